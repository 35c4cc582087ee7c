//! Conditions on one argument, on its JSON as it is written.

use super::clause::Verdict;
use super::pattern::Pattern;
use super::sentence::Sentence;
use crate::config::Scalar;
use crate::json::{Kind, Reader};
use crate::reason::Reason;
use std::borrow::Cow;

/// How much of a value is told back to the caller.
const MAX_SHOWN: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    OneOf(Vec<Scalar>),
    Glob(Vec<Pattern>),
    Prefix(Vec<String>),
    Integer { min: Option<i64>, max: Option<i64> },
    Number { min: Option<f64>, max: Option<f64> },
    Boolean(bool),
    Present(bool),
}

impl Condition {
    /// Whether the argument meets the condition.
    pub(super) fn check(&self, raw: Option<&[u8]>) -> Verdict {
        let Some(raw) = raw else {
            return match self {
                Self::Present(false) => Verdict::Holds,
                Self::Present(true) => Verdict::Fails(Reason::ArgumentMissing),
                _ => Verdict::Unevaluated(Reason::ArgumentMissing),
            };
        };
        let given = Given::read(raw);
        let accepted =
            |accepted: bool, reason| if accepted { Verdict::Holds } else { Verdict::Fails(reason) };
        match (self, &given) {
            (Self::OneOf(values), _) if values.iter().any(|value| given.is(value)) => Verdict::Holds,
            (Self::OneOf(values), _) if values.iter().any(|value| given.is_like(value)) => {
                Verdict::Fails(Reason::ArgumentNotInList)
            }
            (Self::Glob(patterns), Given::Text(text)) => {
                accepted(patterns.iter().any(|pattern| pattern.matches(text)), Reason::ArgumentNotAccepted)
            }
            (Self::Prefix(prefixes), Given::Text(text)) => accepted(
                prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())),
                Reason::ArgumentNotAccepted,
            ),
            (Self::Integer { min, max }, Given::Integer(number)) => accepted(
                min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max),
                Reason::ArgumentOutOfRange,
            ),
            // Beyond 64 bits only the side counts, and only if it is bounded.
            (Self::Integer { min, max }, Given::LargeInteger) => {
                let bound = if raw.starts_with(b"-") { min } else { max };
                accepted(bound.is_none(), Reason::ArgumentOutOfRange)
            }
            (Self::Number { min, max }, _) => match number(raw) {
                Some(number) => accepted(
                    min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max),
                    Reason::ArgumentOutOfRange,
                ),
                None => Verdict::Unevaluated(Reason::ArgumentType),
            },
            (Self::Boolean(wanted), Given::Bool(given)) => {
                accepted(wanted == given, Reason::ArgumentNotAccepted)
            }
            // To some servers it is absent, to others it is not.
            (Self::Present(_), Given::Null) => Verdict::Unevaluated(Reason::ArgumentType),
            (Self::Present(wanted), _) => accepted(*wanted, Reason::ArgumentNotAccepted),
            _ => Verdict::Unevaluated(Reason::ArgumentType),
        }
    }

    /// Why the argument does not meet the condition, for the caller, who sent the value.
    pub(super) fn say(&self, raw: Option<&[u8]>, reason: Reason) -> Sentence {
        let Some(raw) = raw else {
            return match reason {
                Reason::KeyVariant => "is there in another spelling".into(),
                _ => "is needed".into(),
            };
        };
        match (reason, self) {
            (Reason::ArgumentOutOfRange, Self::Integer { min, max }) => {
                let Given::Integer(number) = Given::read(raw) else {
                    return match (raw.starts_with(b"-"), min, max) {
                        (true, Some(min), _) => format!("is below {min}").into(),
                        (_, _, Some(max)) => format!("is above {max}").into(),
                        _ => "is out of range".into(),
                    };
                };
                let quoting = |after| Sentence::quoting(&number.to_string(), after);
                match (min, max) {
                    (Some(min), _) if number < *min => quoting(format!(" is below {min}")),
                    (_, Some(max)) => quoting(format!(" is above {max}")),
                    _ => "is out of range".into(),
                }
            }
            (Reason::ArgumentOutOfRange, Self::Number { min, max }) => {
                let given = number(raw).unwrap_or_default();
                match (min, max) {
                    (Some(min), _) if given < *min => shown(raw, format!(" is below {}", written(*min))),
                    (_, Some(max)) => shown(raw, format!(" is above {}", written(*max))),
                    _ => "is out of range".into(),
                }
            }
            (Reason::ArgumentType, Self::Integer { .. }) => {
                "must be an integer, without fraction and exponent".into()
            }
            (Reason::ArgumentType, _) => "has the wrong type".into(),
            (_, Self::Present(_)) => "must not be there".into(),
            _ => shown(raw, " is not an accepted value".to_owned()),
        }
    }
}

enum Given<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    /// An integer that does not fit 64 bits.
    LargeInteger,
    Bool(bool),
    Null,
    /// An array, an object, or a number with a fraction or an exponent: servers differ in whether `5.0` and
    /// `5e0` are the integer 5.
    Other,
}

impl<'a> Given<'a> {
    /// A value as it is written.
    fn read(raw: &'a [u8]) -> Self {
        let mut reader = Reader::new(raw);
        let read = match reader.kind() {
            Ok(Kind::String) => reader.string().map(Self::Text),
            Ok(Kind::Bool) => reader.bool().map(Self::Bool),
            Ok(Kind::Null) => Ok(Self::Null),
            Ok(Kind::Number) => reader.number().map(|number| {
                if number.contains(['.', 'e', 'E']) {
                    return Self::Other;
                }
                number.parse().map_or(Self::LargeInteger, Self::Integer)
            }),
            Ok(Kind::Array | Kind::Object) | Err(_) => Ok(Self::Other),
        };
        read.unwrap_or(Self::Other)
    }

    fn is(&self, value: &Scalar) -> bool {
        match (self, value) {
            (Self::Text(given), Scalar::Text(value)) => given == value,
            (Self::Integer(given), Scalar::Integer(value)) => given == value,
            (Self::Bool(given), Scalar::Bool(value)) => given == value,
            _ => false,
        }
    }

    fn is_like(&self, value: &Scalar) -> bool {
        matches!(
            (self, value),
            (Self::Text(_), Scalar::Text(_))
                | (Self::Bool(_), Scalar::Bool(_))
                | (Self::Integer(_) | Self::LargeInteger, Scalar::Integer(_))
        )
    }
}

/// A number, however it is written, if it is not too large for 64 bits of a float.
fn number(raw: &[u8]) -> Option<f64> {
    let mut reader = Reader::new(raw);
    if reader.kind() != Ok(Kind::Number) {
        return None;
    }
    reader.number().ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn written(number: f64) -> String {
    serde_json::Number::from_f64(number).map(|number| number.to_string()).unwrap_or_default()
}

/// The value as it was sent, and what is said of it. One with an escape is not quoted: in it nobody finds what is masked.
fn shown(raw: &[u8], after: String) -> Sentence {
    let is_quoted = |raw: &&str| raw.len() <= MAX_SHOWN && !raw.contains('\\');
    match std::str::from_utf8(raw).ok().filter(is_quoted) {
        Some(raw) => Sentence::quoting(raw, after),
        None => format!("the value{after}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict's reason and what the caller is told; whether a deny rule takes it for met.
    fn check(condition: &Condition, raw: Option<&str>) -> (String, bool) {
        let raw = raw.map(str::as_bytes);
        match condition.check(raw) {
            Verdict::Holds => (String::new(), true),
            Verdict::Fails(reason) => (format!("{}: {}", reason.code(), condition.say(raw, reason)), false),
            Verdict::Unevaluated(reason) => {
                (format!("{}: {}", reason.code(), condition.say(raw, reason)), true)
            }
            Verdict::Unknown => panic!("an argument is known here"),
        }
    }

    #[test]
    fn what_is_told_back_is_short_and_has_no_escape() {
        let condition = Condition::OneOf(vec![Scalar::Text("web".to_owned())]);
        let long = format!("\"{}\"", "x".repeat(MAX_SHOWN));
        for (raw, told) in [("\"db\"", "\"db\""), ("\"d\\u0062\"", "the value"), (&long, "the value")] {
            let expected = format!("argument_not_in_list: {told} is not an accepted value");
            assert_eq!(check(&condition, Some(raw)), (expected, false), "{raw}");
        }
    }

    #[test]
    fn integers_are_integers_as_written() {
        let condition = Condition::Integer { min: Some(0), max: Some(10) };
        for raw in ["0", "10", "-0", "3"] {
            assert_eq!(condition.check(Some(raw.as_bytes())), Verdict::Holds, "{raw}");
        }
        const INTEGER: &str = "argument_type: must be an integer, without fraction and exponent";
        for (raw, text) in [
            ("50", "argument_out_of_range: 50 is above 10"),
            ("-1", "argument_out_of_range: -1 is below 0"),
            ("99999999999999999999", "argument_out_of_range: is above 10"),
            ("-99999999999999999999", "argument_out_of_range: is below 0"),
            ("5.0", INTEGER),
            ("5e0", INTEGER),
            ("\"5\"", INTEGER),
            ("true", INTEGER),
            ("null", INTEGER),
            ("[5]", INTEGER),
        ] {
            assert_eq!(check(&condition, Some(raw)), (text.to_owned(), text == INTEGER), "{raw}");
        }
        assert_eq!(check(&condition, None), ("argument_missing: is needed".to_owned(), true));
    }

    #[test]
    fn an_open_side_is_open() {
        let from = Condition::Integer { min: Some(11), max: None };
        let until = Condition::Integer { min: None, max: Some(-1) };
        for raw in ["11", "9223372036854775807", "9223372036854775808", "99999999999999999999"] {
            assert_eq!(from.check(Some(raw.as_bytes())), Verdict::Holds, "{raw}");
            assert_eq!(
                until.check(Some(raw.as_bytes())),
                Verdict::Fails(Reason::ArgumentOutOfRange),
                "{raw}"
            );
        }
        for raw in ["-1", "-9223372036854775808", "-9223372036854775809"] {
            assert_eq!(until.check(Some(raw.as_bytes())), Verdict::Holds, "{raw}");
            assert_eq!(from.check(Some(raw.as_bytes())), Verdict::Fails(Reason::ArgumentOutOfRange), "{raw}");
        }
    }

    #[test]
    fn values_are_compared_with_their_type() {
        let condition = Condition::OneOf(vec![Scalar::Text("web".into()), Scalar::Integer(7)]);
        for raw in ["\"web\"", "\"w\\u0065b\"", "7"] {
            assert_eq!(condition.check(Some(raw.as_bytes())), Verdict::Holds, "{raw}");
        }
        for (raw, verdict) in [
            ("\"Web\"", Verdict::Fails(Reason::ArgumentNotInList)),
            ("\"7\"", Verdict::Fails(Reason::ArgumentNotInList)),
            ("8", Verdict::Fails(Reason::ArgumentNotInList)),
            ("99999999999999999999", Verdict::Fails(Reason::ArgumentNotInList)),
            ("7.0", Verdict::Unevaluated(Reason::ArgumentType)),
            ("true", Verdict::Unevaluated(Reason::ArgumentType)),
            ("{\"web\":1}", Verdict::Unevaluated(Reason::ArgumentType)),
        ] {
            assert_eq!(condition.check(Some(raw.as_bytes())), verdict, "{raw}");
        }
    }

    #[test]
    fn texts_numbers_truth_and_presence() {
        let glob = Condition::Glob(vec![Pattern::new("team-*-dev"), Pattern::new("shared")]);
        let prefix = Condition::Prefix(vec!["/srv/".into()]);
        let number = Condition::Number { min: Some(-1.5), max: Some(10.0) };
        let (yes, there, absent) =
            (Condition::Boolean(true), Condition::Present(true), Condition::Present(false));
        const TYPE: &str = "argument_type: has the wrong type";
        for (condition, raw, told, met_by_deny) in [
            (&glob, "\"team-a-dev\"", "", true),
            (&glob, "\"te\\u0061m-a-dev\"", "", true),
            (&glob, "\"shared\"", "", true),
            (&glob, "\"shared2\"", "argument_not_accepted: \"shared2\" is not an accepted value", false),
            (&glob, "7", TYPE, true),
            (&glob, "[\"shared\"]", TYPE, true),
            (&prefix, "\"/srv/x\"", "", true),
            (&prefix, "\"/srv\"", "argument_not_accepted: \"/srv\" is not an accepted value", false),
            (&prefix, "null", TYPE, true),
            (&number, "10", "", true),
            (&number, "10.0", "", true),
            (&number, "1e1", "", true),
            (&number, "-1.5", "", true),
            (&number, "10.1", "argument_out_of_range: 10.1 is above 10.0", false),
            (&number, "-1.6", "argument_out_of_range: -1.6 is below -1.5", false),
            (&number, "1e999", TYPE, true),
            (&number, "\"1\"", TYPE, true),
            (&yes, "true", "", true),
            (&yes, "false", "argument_not_accepted: false is not an accepted value", false),
            (&yes, "\"true\"", TYPE, true),
            (&yes, "1", TYPE, true),
            (&there, "0", "", true),
            (&there, "\"\"", "", true),
            (&there, "null", TYPE, true),
            (&absent, "0", "argument_not_accepted: must not be there", false),
            (&absent, "null", TYPE, true),
        ] {
            assert_eq!(check(condition, Some(raw)), (told.to_owned(), met_by_deny), "{condition:?} {raw}");
        }
        // A deny rule for what has the argument leaves alone what has it not.
        assert_eq!(check(&there, None), ("argument_missing: is needed".to_owned(), false));
        assert_eq!(check(&absent, None), (String::new(), true));
    }
}
