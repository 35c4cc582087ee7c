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

#[cfg(test)]
mod tests {
    use super::*;

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
