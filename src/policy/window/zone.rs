//! Time zones of the IANA database, compiled in: the module reads no files.
//!
//! Only the rules that hold from now on are kept (RFC 8536 section 3.3, "footer": a POSIX `TZ` string a zone),
//! 12 KB for all names. Zones whose changes follow no such rule (Gaza: by the moon) are not offered.
//! `tests/zones.rs` makes the table and compares it with the database.

use super::civil::{DAY, date, days, weekday};

/// The end of the year 9999: nothing changes after it.
const LAST: i64 = 253_402_300_799;

/// A line a rule: the `TZ` string, then the zones that follow it.
const ZONES: &str = include_str!("zones.txt");

/// A zone's offsets from UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Zone {
    /// Seconds east of UTC.
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    begins: Change,
    ends: Change,
}

/// A weekday of a month, the fifth being the last, and the local time of the change, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    month: i64,
    week: i64,
    weekday: i64,
    time: i64,
}

impl Zone {
    /// The zone with this name, like `Europe/Zurich`; names are case-sensitive.
    pub(in crate::policy) fn find(name: &str) -> Option<Self> {
        if name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        let line = ZONES.lines().find(|line| line.split(' ').skip(1).any(|zone| zone == name))?;
        Self::parse(line.split(' ').next()?)
    }

    /// The names of all zones.
    pub(in crate::policy) fn names() -> impl Iterator<Item = &'static str> {
        ZONES.lines().flat_map(|line| line.split(' ').skip(1))
    }

    /// Reads a `TZ` string (POSIX.1-2017 section 8.3) whose changes are on weekdays of months.
    pub(in crate::policy) fn parse(text: &str) -> Option<Self> {
        let (standard, rest) = offset(after_name(text)?)?;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let rest = after_name(rest)?;
        let (offset, rest) = match rest.strip_prefix(',') {
            Some(rest) => (standard.saturating_add(3_600), rest),
            None => {
                let (offset, rest) = offset(rest)?;
                (offset, rest.strip_prefix(',')?)
            }
        };
        let (begins, ends) = rest.split_once(',')?;
        let summer = Summer { offset, begins: Change::parse(begins)?, ends: Change::parse(ends)? };
        Some(Self { standard, summer: Some(summer) })
    }

    /// Seconds east of UTC at an instant.
    pub(in crate::policy) fn offset(&self, at: i64) -> i64 {
        let Some(Summer { offset, begins, ends }) = &self.summer else { return self.standard };
        let at = at.clamp(0, LAST);
        let (year, ..) = date(at.saturating_add(self.standard).div_euclid(DAY));
        let begins = begins.local(year).saturating_sub(self.standard);
        let ends = ends.local(year).saturating_sub(*offset);
        let is_summer =
            if begins < ends { (begins..ends).contains(&at) } else { !(ends..begins).contains(&at) };
        if is_summer { *offset } else { self.standard }
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('/').unwrap_or((text, "2"));
        let mut parts = date.strip_prefix('M')?.split('.').map(|part| part.parse::<i64>().ok());
        let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
        let (time, rest) = clock(time)?;
        let is_real = (1..=12).contains(&month)
            && (1..=5).contains(&week)
            && (0..=6).contains(&weekday)
            && rest.is_empty();
        (is_real && parts.next().is_none()).then_some(Self { month, week, weekday, time })
    }

    /// The change in this year, in local time as seconds since the epoch.
    #[expect(clippy::arithmetic_side_effects, reason = "all numbers are bounded by `parse`")]
    fn local(&self, year: i64) -> i64 {
        let first = days(year, self.month, 1);
        let next = if self.month == 12 { days(year + 1, 1, 1) } else { days(year, self.month + 1, 1) };
        let mut day = first + (self.weekday - weekday(first)).rem_euclid(7) + 7 * (self.week - 1);
        if day >= next {
            day -= 7;
        }
        day * DAY + self.time
    }
}

/// What follows an abbreviation, which is letters or anything between `<` and `>`.
fn after_name(text: &str) -> Option<&str> {
    match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>').map(|(_, rest)| rest),
        None => {
            let rest = text.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
            (rest.len() < text.len()).then_some(rest)
        }
    }
}

/// Seconds east of UTC, which POSIX writes as those to the west, and what follows.
fn offset(text: &str) -> Option<(i64, &str)> {
    let (west, rest) = clock(text)?;
    Some((west.saturating_neg(), rest))
}

/// `[+-]h[h[h]][:mm[:ss]]` in seconds, and what follows.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(text.len());
    let (clock, rest) = text.split_at_checked(end)?;
    let mut seconds = 0_i64;
    let mut unit = 3_600_i64;
    for part in clock.split(':') {
        let number: i64 = part.parse().ok().filter(|number| *number <= 167)?;
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        unit /= 60;
    }
    Some((sign.saturating_mul(seconds), rest))
}

#[cfg(test)]
mod tests {
    use super::super::civil::parse_instant;
    use super::*;

    /// Instants that are known: one second before and at each change.
    #[test]
    fn summers_begin_and_end_to_the_second() {
        for (zone, at, hours) in [
            ("UTC", "2026-07-01T00:00:00Z", 0.0),
            ("Europe/Zurich", "2026-03-29T00:59:59Z", 1.0),
            ("Europe/Zurich", "2026-03-29T01:00:00Z", 2.0),
            ("Europe/Zurich", "2026-10-25T00:59:59Z", 2.0),
            ("Europe/Zurich", "2026-10-25T01:00:00Z", 1.0),
            ("America/New_York", "2026-03-08T06:59:59Z", -5.0),
            ("America/New_York", "2026-03-08T07:00:00Z", -4.0),
            ("America/New_York", "2026-11-01T05:59:59Z", -4.0),
            ("America/New_York", "2026-11-01T06:00:00Z", -5.0),
            ("Australia/Sydney", "2026-04-04T15:59:59Z", 11.0),
            ("Australia/Sydney", "2026-04-04T16:00:00Z", 10.0),
            ("Australia/Sydney", "2026-10-03T16:00:00Z", 11.0),
            ("Australia/Sydney", "2026-12-31T23:59:59Z", 11.0),
            ("Australia/Lord_Howe", "2026-07-01T00:00:00Z", 10.5),
            ("Australia/Lord_Howe", "2026-01-01T00:00:00Z", 11.0),
            ("Europe/Dublin", "2026-07-01T00:00:00Z", 1.0),
            ("Europe/Dublin", "2026-01-01T00:00:00Z", 0.0),
            ("Asia/Kolkata", "2026-07-01T00:00:00Z", 5.5),
            ("Asia/Kathmandu", "2026-07-01T00:00:00Z", 5.75),
            ("Pacific/Kiritimati", "2026-07-01T00:00:00Z", 14.0),
        ] {
            let offset = Zone::find(zone).unwrap().offset(parse_instant(at).unwrap());
            assert_eq!(offset as f64 / 3_600.0, hours, "{zone} {at}");
        }
    }

    #[test]
    fn what_is_no_zone_is_none() {
        for name in
            ["", " ", "europe/zurich", "Europe/Zürich", "CET-1CEST,M3.5.0,M10.5.0/3", "UTC UTC", "Asia/Gaza"]
        {
            assert_eq!(Zone::find(name), None, "{name}");
        }
        for text in [
            "",
            "UTC",
            "CET-1CEST",
            "CET-1CEST,J60,J300",
            "CET-1CEST,M13.5.0,M10.5.0",
            "CET-1CEST,M3.5.0",
            "<-03",
            "X999",
        ] {
            assert_eq!(Zone::parse(text), None, "{text}");
        }
    }
}
