//! Conditions on one argument, on its JSON as it is written.

use crate::config::Scalar;
use crate::json::{Kind, Reader};
use crate::reason::Reason;

/// How much of a value is told back to the caller.
const MAX_SHOWN: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    OneOf(Vec<Scalar>),
    Integer { min: Option<i64>, max: Option<i64> },
}

/// Why an argument does not meet a condition; `text` is for the caller, who sent the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unmet {
    pub(super) reason: Reason,
    pub(super) text: String,
}

impl Condition {
    /// Whether the argument meets the condition.
    pub(super) fn check(&self, raw: Option<&str>) -> Result<(), Unmet> {
        let unmet = |reason, text: String| Err(Unmet { reason, text });
        let out_of_range = |text| Err(Unmet { reason: Reason::ArgumentOutOfRange, text });
        let Some(raw) = raw else {
            return unmet(Reason::ArgumentMissing, "is needed".to_owned());
        };
        match (self, read(raw)) {
            (Self::OneOf(values), Some(Given::Scalar(given))) if values.contains(&given) => Ok(()),
            (Self::OneOf(values), Some(given)) => {
                if values.iter().any(|value| given.is_like(value)) {
                    unmet(Reason::ArgumentNotInList, format!("{} is not an accepted value", shown(raw)))
                } else {
                    unmet(Reason::ArgumentType, "has the wrong type".to_owned())
                }
            }
            (Self::Integer { min, max }, Some(Given::Scalar(Scalar::Integer(number)))) => match (min, max) {
                (Some(min), _) if number < *min => out_of_range(format!("{number} is below {min}")),
                (_, Some(max)) if number > *max => out_of_range(format!("{number} is above {max}")),
                _ => Ok(()),
            },
            // Beyond 64 bits only the side counts, and only if it is bounded.
            (Self::Integer { min, max }, Some(Given::LargeInteger)) => {
                match (raw.starts_with('-'), min, max) {
                    (true, Some(min), _) => out_of_range(format!("is below {min}")),
                    (false, _, Some(max)) => out_of_range(format!("is above {max}")),
                    _ => Ok(()),
                }
            }
            (Self::Integer { .. }, _) => {
                unmet(Reason::ArgumentType, "must be an integer, without fraction and exponent".to_owned())
            }
            (Self::OneOf(_), None) => unmet(Reason::ArgumentType, "has the wrong type".to_owned()),
        }
    }
}

enum Given {
    Scalar(Scalar),
    /// An integer that does not fit 64 bits.
    LargeInteger,
}

impl Given {
    fn is_like(&self, value: &Scalar) -> bool {
        matches!(
            (self, value),
            (Self::Scalar(Scalar::Text(_)), Scalar::Text(_))
                | (Self::Scalar(Scalar::Bool(_)), Scalar::Bool(_))
                | (Self::Scalar(Scalar::Integer(_)) | Self::LargeInteger, Scalar::Integer(_))
        )
    }
}

/// A scalar as it is written. A number with a fraction or an exponent is none: servers differ in
/// whether `5.0` and `5e0` are the integer 5.
fn read(raw: &str) -> Option<Given> {
    let mut reader = Reader::new(raw);
    match reader.kind().ok()? {
        Kind::String => Some(Given::Scalar(Scalar::Text(reader.string().ok()?.into_owned()))),
        Kind::Bool => Some(Given::Scalar(Scalar::Bool(reader.bool().ok()?))),
        Kind::Number => {
            let number = reader.number().ok()?;
            if number.contains(['.', 'e', 'E']) {
                return None;
            }
            Some(number.parse().map_or(Given::LargeInteger, |number| Given::Scalar(Scalar::Integer(number))))
        }
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

fn shown(raw: &str) -> String {
    if raw.len() <= MAX_SHOWN { raw.to_owned() } else { "the value".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_integers_as_written() {
        let condition = Condition::Integer { min: Some(0), max: Some(10) };
        for raw in ["0", "10", "-0", "3"] {
            assert_eq!(condition.check(Some(raw)), Ok(()), "{raw}");
        }
        const INTEGER: &str = "must be an integer, without fraction and exponent";
        for (raw, reason, text) in [
            ("50", Reason::ArgumentOutOfRange, "50 is above 10"),
            ("-1", Reason::ArgumentOutOfRange, "-1 is below 0"),
            ("99999999999999999999", Reason::ArgumentOutOfRange, "is above 10"),
            ("-99999999999999999999", Reason::ArgumentOutOfRange, "is below 0"),
            ("5.0", Reason::ArgumentType, INTEGER),
            ("5e0", Reason::ArgumentType, INTEGER),
            ("\"5\"", Reason::ArgumentType, INTEGER),
            ("true", Reason::ArgumentType, INTEGER),
            ("null", Reason::ArgumentType, INTEGER),
            ("[5]", Reason::ArgumentType, INTEGER),
        ] {
            assert_eq!(condition.check(Some(raw)), Err(Unmet { reason, text: text.into() }), "{raw}");
        }
        assert_eq!(condition.check(None).unwrap_err().reason, Reason::ArgumentMissing);
    }

    #[test]
    fn an_open_side_is_open() {
        let from = Condition::Integer { min: Some(11), max: None };
        let until = Condition::Integer { min: None, max: Some(-1) };
        for raw in ["11", "9223372036854775807", "9223372036854775808", "99999999999999999999"] {
            assert_eq!(from.check(Some(raw)), Ok(()), "{raw}");
            assert!(until.check(Some(raw)).is_err(), "{raw}");
        }
        for raw in ["-1", "-9223372036854775808", "-9223372036854775809"] {
            assert_eq!(until.check(Some(raw)), Ok(()), "{raw}");
            assert!(from.check(Some(raw)).is_err(), "{raw}");
        }
    }

    #[test]
    fn values_are_compared_with_their_type() {
        let condition = Condition::OneOf(vec![Scalar::Text("web".into()), Scalar::Integer(7)]);
        for raw in ["\"web\"", "\"w\\u0065b\"", "7"] {
            assert_eq!(condition.check(Some(raw)), Ok(()), "{raw}");
        }
        for (raw, reason) in [
            ("\"Web\"", Reason::ArgumentNotInList),
            ("\"7\"", Reason::ArgumentNotInList),
            ("8", Reason::ArgumentNotInList),
            ("99999999999999999999", Reason::ArgumentNotInList),
            ("7.0", Reason::ArgumentType),
            ("true", Reason::ArgumentType),
            ("{\"web\":1}", Reason::ArgumentType),
        ] {
            assert_eq!(condition.check(Some(raw)).unwrap_err().reason, reason, "{raw}");
        }
    }
}
