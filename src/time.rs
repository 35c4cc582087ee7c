//! Seconds since the epoch and durations as the configuration writes them (`30s`, `5m`).
//!
//! Plain data: no clock is read here; whoever decides by time is given the time.

use std::time::Duration;

/// How far a time may be ahead of our own clock: workers read theirs at different moments.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A point in time in whole seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2, NumericDate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This time plus `duration`, at most the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// This time minus `duration`, at least the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

/// A point in time in milliseconds since 1970-01-01T00:00:00Z, for what is counted more finely than tokens
/// count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// In whole seconds.
    #[must_use]
    pub fn unix(self) -> UnixTime {
        UnixTime(self.0 / 1_000)
    }

    /// This time plus `duration`, at most the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This time minus `duration`, at least the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long ago `earlier` was; zero where it is to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whether it can't have been read from the clock that shows `now`, unless that was put back since: it is more
    /// than 5 s ahead.
    #[must_use]
    pub fn is_ahead_of(self, now: Self) -> bool {
        self > now.plus(CLOCK_TOLERANCE)
    }
}

impl From<UnixTime> for Timestamp {
    fn from(time: UnixTime) -> Self {
        Self(time.0.saturating_mul(1_000))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a duration like `500ms`, `30s`, `5m` or `1h`.
///
/// # Errors
/// A text that says which form is wanted.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const WANTED: &str = "a whole number with a unit: `500ms`, `30s`, `5m` or `1h`";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(WANTED)?;
    let number: u64 = number.parse().map_err(|_| WANTED)?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or(WANTED)
}

/// Reads a point in time like `2026-11-21T08:00:00Z` or `2026-11-21T09:00:00+01:00` (RFC 3339 section 5.6), from
/// 1970 on and in whole seconds.
///
/// # Errors
/// A text that says which form is wanted.
pub fn parse_time(text: &str) -> Result<UnixTime, &'static str> {
    const WANTED: &str = "a time with its zone: `2026-11-21T08:00:00Z` (RFC 3339)";
    read_time(text).ok_or(WANTED)
}

fn read_time(text: &str) -> Option<UnixTime> {
    let (local, zone) = text.split_at_checked(19)?;
    let field = |from: usize, length: usize| -> Option<i64> {
        let digits = local.get(from..from.checked_add(length)?)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| local.as_bytes().get(*at) != Some(byte)) {
        return None;
    }
    let (year, month, day) = (field(0, 4)?, field(5, 2)?, field(8, 2)?);
    let (hour, minute, second) = (field(11, 2)?, field(14, 2)?, field(17, 2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = since_epoch([year, month, day], [hour, minute, second]).checked_sub(offset(zone)?)?;
    Some(UnixTime(u64::try_from(seconds).ok()?))
}

/// A point in time as [`parse_time`] reads it, in UTC; what is past the year 9999 is its end.
#[must_use]
#[expect(clippy::arithmetic_side_effects, reason = "of years from 1970 to 9999: nothing overflows")]
pub fn format_time(time: UnixTime) -> String {
    let time = time.0.min(253_402_300_799);
    let (days, seconds) = (time / 86_400, time % 86_400);
    // Counted from 0000-03-01 on, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = cycle * 400 + year + next;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A zone, in seconds ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let is_field = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_field(hours) || !is_field(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?;
    match sign {
        "+" if hours < 24 && minutes < 60 => Some(seconds),
        "-" if hours < 24 && minutes < 60 => seconds.checked_neg(),
        _ => None,
    }
}

/// Seconds from the epoch to a time in UTC, of the Gregorian calendar: years that begin in March end with the
/// leap day.
#[expect(clippy::arithmetic_side_effects, reason = "of years from 1970 to 9999: nothing overflows")]
fn since_epoch([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-21T08:00:00Z", 1_795_248_000),
            ("2026-11-21T02:30:00-05:30", 1_795_248_000),
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse_time(text), Ok(UnixTime(seconds)), "{text}");
        }
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T08:00:00",
            "2026-11-21 08:00:00Z",
            "2026-11-21T08:00Z",
            "2026-11-21T08:00:00.5Z",
            "2026-11-21T08:00:00z",
            "2026-11-21T08:00:00+01",
            "2026-11-21T08:00:00+1:00",
            "2026-11-21T08:00:00+24:00",
            "2026-11-21T08:00:60Z",
            "2026-11-21T24:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+026-11-21T08:00:00Z",
            "2026-11-21T08:00:00é",
            "２026-11-21T08:00:00Z",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_times_as_it_reads_them() {
        for day in 0..40_000 {
            let time = UnixTime(day * 86_400 + day % 86_400);
            assert_eq!(parse_time(&format_time(time)), Ok(time), "{day}");
        }
        assert_eq!(format_time(UnixTime(1_795_248_000)), "2026-11-21T08:00:00Z");
        assert_eq!(format_time(UnixTime(u64::MAX)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn reads_durations() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "30", "s", "-1s", "1.5s", "30 s", "1d", "99999999999999999h", "３s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_does_not_wrap() {
        assert_eq!(UnixTime(u64::MAX).plus(Duration::from_secs(1)), UnixTime(u64::MAX));
        assert_eq!(UnixTime(1).minus(Duration::from_secs(2)), UnixTime(0));
        assert_eq!(Timestamp(u64::MAX).plus(Duration::MAX), Timestamp(u64::MAX));
        assert_eq!(Timestamp(1).minus(Duration::from_secs(2)), Timestamp(0));
        assert_eq!(Timestamp(1).since(Timestamp(2)), Duration::ZERO);
        assert_eq!(Timestamp::from(UnixTime(u64::MAX)), Timestamp(u64::MAX));
        assert_eq!(Timestamp(1_999).unix(), UnixTime(1));
    }
}
