//! Values of an evaluation, and how they compare.

use super::super::parse_instant;
use crate::json;
use std::borrow::Cow;
use std::cmp::Ordering;

/// How long a text may be that an evaluation reads or makes, in bytes; and an argument, as it is written.
pub(super) const MAX_TEXT: usize = 65_536;

/// A value. Numbers of JSON are integers where they are written as such and fit 64 bits, else decimals.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Finite.
    Decimal(f64),
    Text(Cow<'a, str>),
    /// Seconds since the epoch.
    Timestamp(i64),
    /// Seconds.
    Duration(i64),
    List(Vec<Value<'a>>),
    /// An object of JSON.
    Object(Cow<'a, json::Map<String, json::Value>>),
}

impl<'a> Value<'a> {
    pub(super) fn of(value: &'a json::Value) -> Option<Self> {
        Some(match value {
            json::Value::String(text) => Self::text(Cow::Borrowed(text))?,
            json::Value::Array(elements) => Self::List(elements.iter().map(Self::of).collect::<Option<_>>()?),
            json::Value::Object(members) => Self::Object(Cow::Borrowed(members)),
            scalar => Self::of_scalar(scalar)?,
        })
    }

    pub(super) fn of_owned(value: json::Value) -> Option<Self> {
        Some(match value {
            json::Value::String(text) => Self::text(Cow::Owned(text))?,
            json::Value::Array(elements) => {
                Self::List(elements.into_iter().map(Self::of_owned).collect::<Option<_>>()?)
            }
            json::Value::Object(members) => Self::Object(Cow::Owned(members)),
            scalar => Self::of_scalar(&scalar)?,
        })
    }

    fn of_scalar(value: &json::Value) -> Option<Self> {
        match value {
            json::Value::Null => Some(Self::Null),
            json::Value::Bool(bool) => Some(Self::Bool(*bool)),
            json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Some(Self::Integer(integer)),
                None => Self::decimal(number.as_f64()?),
            },
            _ => None,
        }
    }

    /// A decimal number, if it is one: not what comes of a division by zero or beyond the largest.
    pub(super) fn decimal(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self::Decimal(number))
    }

    /// A text, if it is not too long.
    pub(super) fn text(text: Cow<'a, str>) -> Option<Self> {
        (text.len() <= MAX_TEXT).then_some(Self::Text(text))
    }

    /// The member of an object; `None` where there is none, or no object.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Object(Cow::Borrowed(members)) => Self::of(members.get(name)?),
            Self::Object(Cow::Owned(mut members)) => Self::of_owned(members.remove(name)?),
            _ => None,
        }
    }

    /// Whether both are the same; `None` where that can't be said, as of values of different kinds: a server
    /// may convert one into the other. Numbers are compared as numbers.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Null, Self::Null) => Some(true),
            (Self::Bool(one), Self::Bool(other)) => Some(one == other),
            (Self::Text(one), Self::Text(other)) => Some(one == other),
            (Self::List(one), Self::List(other)) => {
                if one.len() != other.len() {
                    return Some(false);
                }
                all(one.iter().zip(other).map(|(one, other)| one.equals(other)))
            }
            (Self::Object(one), Self::Object(other)) => {
                if one.len() != other.len() || !one.keys().all(|name| other.contains_key(name)) {
                    return Some(false);
                }
                all(one.iter().map(|(name, one)| Value::of(one)?.equals(&Value::of(other.get(name)?)?)))
            }
            _ => self.compare(other).map(Ordering::is_eq),
        }
    }

    /// The order of two values of a kind that has one.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other))
            | (Self::Timestamp(one), Self::Timestamp(other))
            | (Self::Duration(one), Self::Duration(other)) => Some(one.cmp(other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Decimal(one), Self::Decimal(other)) => one.partial_cmp(other),
            (Self::Integer(one), Self::Decimal(other)) => mixed(*one, *other),
            (Self::Decimal(one), Self::Integer(other)) => mixed(*other, *one).map(Ordering::reverse),
            _ => None,
        }
    }
}

/// Whether all of it holds: what does not decides, whatever can't be said of the rest.
pub(super) fn all(same: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for same in same {
        match same {
            Some(false) => return same,
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

/// An integer against a decimal number, exactly: beyond 2^53 not every integer is one.
fn mixed(integer: i64, decimal: f64) -> Option<Ordering> {
    /// 2^63, which is one.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if decimal >= BEYOND {
        return Some(Ordering::Less);
    }
    if decimal < -BEYOND {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 64 bits, and the fraction is compared below")]
    let whole = decimal.trunc() as i64;
    match integer.cmp(&whole) {
        Ordering::Equal => 0.0.partial_cmp(&decimal.fract()),
        ordering => Some(ordering),
    }
}

/// Seconds since the epoch of an instant (RFC 3339).
pub(super) fn instant(text: &str) -> Option<i64> {
    parse_instant(text)
}

/// Seconds of a duration like `90s` or `1h30m`.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, text),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let mut behind = behind.chars();
        let unit = match behind.next()? {
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = behind.as_str();
    }
    seconds.checked_mul(sign)
}
