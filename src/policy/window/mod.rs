//! When a rule holds: weekdays and hours of a time zone's clock, and a span between two instants.
//!
//! A window whose hours pass midnight belongs to the day on which it begins: `days: [fri], hours:
//! "22:00-06:00"` ends on Saturday at six. Hours are those that the zone's clock shows: what a change to
//! summer time leaves out does not come, and what the change back shows twice counts twice.

mod civil;
mod zone;

pub use civil::parse_instant;
pub(super) use civil::{DAY, date, weekday};
use zone::Zone;

use crate::config::{self, nearest};
use crate::time::UnixTime;
use civil::numbers;

const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE: i64 = 60;

/// A compiled window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Which weekdays, Sunday being the first.
    days: [bool; 7],
    /// From and until, in seconds of the day; the second is the smaller where midnight lies between.
    hours: (i64, i64),
    zone: Zone,
    from: i64,
    until: i64,
}

/// A fault of a window: its field, why it can't be, what to write.
pub(super) type Fault = (&'static str, &'static str, String);

#[cold]
#[inline(never)]
fn fault(field: &'static str, reason: &'static str, fix: &str) -> Fault {
    (field, reason, fix.to_owned())
}

impl Window {
    pub(super) fn compile(written: &config::TimeWindow) -> Result<Self, Fault> {
        let config::TimeWindow { days, hours, zone, from, until } = written;
        let has_clock = days.is_some() || hours.is_some();
        if !has_clock && from.is_none() && until.is_none() {
            return Err(fault(
                "",
                "sets no bound",
                "give `days` or `hours` with a `zone`, or `from` or `until`",
            ));
        }
        let zone = match zone.as_deref() {
            None if has_clock => {
                return Err(fault(
                    "zone",
                    "is absent: days and hours are those of a place",
                    "name a time zone, like `Europe/Zurich` or `UTC`",
                ));
            }
            Some(_) if !has_clock => {
                return Err(fault(
                    "zone",
                    "has nothing to say on `from` and `until`, which name their offset",
                    "leave it out",
                ));
            }
            name => zone_of(name.unwrap_or("UTC"))?,
        };
        let instant = |field, text: Option<&str>, default| {
            match text {
            None => Ok(default),
            Some(text) => parse_instant(text).ok_or_else(|| {
                fault(
                    field,
                    "is no instant",
                    "write date, time and offset from UTC, like `2026-12-20T00:00:00Z` or `2026-12-20T00:00:00+01:00`",
                )
            }),
        }
        };
        let window = Self {
            days: weekdays(days.as_deref())?,
            hours: parse_hours(hours.as_deref())?,
            zone,
            from: instant("from", from.as_deref(), i64::MIN)?,
            until: instant("until", until.as_deref(), i64::MAX)?,
        };
        if window.from >= window.until {
            return Err(fault("until", "can't hold: it is not after `from`", "exchange them"));
        }
        if !window.ever_holds() {
            return Err(fault(
                "",
                "can't hold: between `from` and `until` none of the days and hours comes",
                "mend one of them",
            ));
        }
        Ok(window)
    }

    /// Whether the window is open.
    pub(super) fn holds(&self, now: UnixTime) -> bool {
        let at = i64::try_from(now.0).unwrap_or(i64::MAX);
        if !(self.from..self.until).contains(&at) {
            return false;
        }
        let local = at.saturating_add(self.zone.offset(at));
        let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (from, until) = self.hours;
        if from < until {
            return (from..until).contains(&second) && self.has_day(day);
        }
        (second >= from && self.has_day(day)) || (second < until && self.has_day(day.saturating_sub(1)))
    }

    fn has_day(&self, day: i64) -> bool {
        let day = usize::try_from(weekday(day)).ok();
        day.and_then(|day| self.days.get(day)).is_some_and(|holds| *holds)
    }

    /// Whether there is a minute in which it is open. More than a week has every one of them.
    fn ever_holds(&self) -> bool {
        let week = DAY.saturating_mul(8);
        if self.until.saturating_sub(self.from) > week {
            return true;
        }
        let mut at = self.from;
        while at < self.until {
            if u64::try_from(at).is_ok_and(|at| self.holds(UnixTime(at))) {
                return true;
            }
            at = at.saturating_add(MINUTE);
        }
        false
    }

    /// Whether this window is open whenever the other is, as far as can be told without trying.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let is_every_hour = self.days == [true; 7] && self.hours == (0, DAY);
        let clock =
            is_every_hour || (self.days, self.hours, &self.zone) == (other.days, other.hours, &other.zone);
        clock && self.from <= other.from && self.until >= other.until
    }
}

fn zone_of(name: &str) -> Result<Zone, Fault> {
    const WANTED: &str = "write a name of the IANA database, like `Europe/Zurich` or `UTC`; those that follow the moon (`Asia/Gaza`) are not known";
    Zone::find(name).ok_or_else(|| {
        let fix = match nearest(name, Zone::names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => WANTED.to_owned(),
        };
        ("zone", "is no time zone that is known here", fix)
    })
}

fn weekdays(written: Option<&[String]>) -> Result<[bool; 7], Fault> {
    let wanted = || fault("days", "is no list of weekdays", "write them like `[mon-fri, sun]`");
    let Some(written) = written else { return Ok([true; 7]) };
    if written.is_empty() {
        return Err(fault("days", "can't hold: the list is empty", "name at least one, like `[mon-fri]`"));
    }
    let find = |name: &str| WEEKDAYS.iter().position(|day| *day == name).ok_or_else(wanted);
    let mut days = [false; 7];
    for entry in written {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (mut day, last) = (find(first)?, find(last)?);
        loop {
            if let Some(holds) = days.get_mut(day) {
                *holds = true;
            }
            if day == last {
                break;
            }
            day = if day == 6 { 0 } else { day.saturating_add(1) };
        }
    }
    Ok(days)
}

fn parse_hours(written: Option<&str>) -> Result<(i64, i64), Fault> {
    let wanted =
        || fault("hours", "are no hours", "write them like `08:00-18:00`; over midnight like `22:00-06:00`");
    let Some(written) = written else { return Ok((0, DAY)) };
    let clock = |text: &str| {
        let [hour, minute] = numbers(text, ':', [2, 2])?;
        let seconds = hour.saturating_mul(3_600).saturating_add(minute.saturating_mul(MINUTE));
        (minute <= 59 && seconds <= DAY).then_some(seconds)
    };
    let (from, until) = written.split_once('-').ok_or_else(wanted)?;
    let (from, until) = (clock(from).ok_or_else(wanted)?, clock(until).ok_or_else(wanted)?);
    if from == until || from == DAY {
        return Err(fault(
            "hours",
            "can't hold: they end where they begin",
            "write `00:00-24:00`, or leave them out, for the whole day",
        ));
    }
    Ok((from, until))
}

/// Seconds east of UTC in a zone of the IANA database at an instant, in seconds since the epoch; `None` for a
/// zone that is not known here.
#[must_use]
pub fn utc_offset(zone: &str, at: i64) -> Option<i64> {
    Some(Zone::find(zone)?.offset(at))
}

#[cfg(test)]
mod tests;
