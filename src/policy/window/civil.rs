//! Dates of the Gregorian calendar and instants of RFC 3339, in seconds since the epoch.

/// Seconds of a day.
pub(in crate::policy) const DAY: i64 = 86_400;

/// Days since 1970-01-01 of a date.
#[expect(clippy::arithmetic_side_effects, reason = "years have at most four digits, months and days two")]
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970-01-01; of one that is too far away, of the last that is not.
#[expect(clippy::arithmetic_side_effects, reason = "within 10,000 years")]
pub(in crate::policy) fn date(day: i64) -> (i64, i64, i64) {
    let day = day.clamp(0, 2_932_896) + 719_468;
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    // January and February are the year's end here.
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (day.div_euclid(146_097) * 400 + year_of_era + next, month, date)
}

/// The weekday of a day since 1970-01-01, which was a Thursday: 0 for Sunday.
pub(in crate::policy) fn weekday(day: i64) -> i64 {
    day.saturating_add(4).rem_euclid(7)
}

/// An instant with its offset from UTC, like `2026-12-20T00:00:00Z` or `2026-12-20T08:00:00+01:00`: seconds
/// since the epoch (RFC 3339 section 5.6). Fractions and leap seconds are refused.
#[must_use]
#[expect(clippy::arithmetic_side_effects, reason = "each number has at most four digits")]
pub fn parse_instant(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, zone) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, rest) = match zone.split_at_checked(1)? {
                ("+", rest) => (1, rest),
                ("-", rest) => (-1, rest),
                _ => return None,
            };
            let [hours, minutes] = numbers(rest, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3_600 + minutes * 60)
        }
    };
    let next_month = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let is_real = (1..=12).contains(&month)
        && day >= 1
        && days(year, month, day) < next_month
        && hour <= 23
        && minute <= 59
        && second <= 59;
    is_real.then(|| days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second - offset)
}

/// Numbers of just so many digits, with `separator` between them.
pub(super) fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_instants() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-12-20T00:00:00Z", Some(1_797_724_800)),
            ("2026-12-20T01:00:00+01:00", Some(1_797_724_800)),
            ("2026-12-19T19:30:00-04:30", Some(1_797_724_800)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2026-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:60Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00:00.5Z", None),
            ("2026-01-01T00:00:00+0100", None),
            ("2026-01-01T00:00:00+24:00", None),
            ("2026-01-01 00:00:00Z", None),
            ("2026-1-01T00:00:00Z", None),
            ("+026-01-01T00:00:00Z", None),
            ("2026-01-01", None),
            ("", None),
            ("é026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(parse_instant(text), seconds, "{text}");
        }
    }

    #[test]
    fn years_begin_and_end_where_dates_do() {
        for number in 1970..2400 {
            for (month, day) in [(1, 1), (2, 28), (3, 1), (7, 31), (12, 31)] {
                assert_eq!(date(days(number, month, day)), (number, month, day));
            }
            assert_eq!(days(number, 12, 31) + 1, days(number + 1, 1, 1));
        }
        assert_eq!(weekday(days(2026, 11, 21)), 6);
    }
}
