//! The arguments whose values stand in the record, by the names that the configuration lists: texts, numbers, truth
//! values and `null`, cut to a bound. Lists and objects are left out, and what is a credential is masked.

use super::cut;
use crate::json::{Kind, Reader};
use crate::mcp::Arguments;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;
use std::rc::Rc;

/// What stands in the place of a credential.
const MASK: &str = "***REDACTED***";

pub(super) type Clear = Vec<(Rc<str>, Value)>;

/// Those of these arguments that are listed. `is_credential`: whether a text has what proves this caller.
pub(super) fn clear(
    listed: &[Rc<str>],
    arguments: &Arguments<'_>,
    is_credential: &dyn Fn(&str) -> bool,
) -> Clear {
    let each = listed.iter().filter_map(|name| {
        let value = plain(arguments.get(name)?)?;
        let is_masked = value.as_str().is_some_and(|text| has_jwt(text) || is_credential(text));
        let value = match value {
            Value::String(_) if is_masked => Value::from(MASK),
            Value::String(text) => Value::from(cut(&text)),
            value => value,
        };
        Some((Rc::clone(name), value))
    });
    each.collect()
}

/// A value that is no list and no object. A number that is no 64-bit integer is a text, as it was written.
fn plain(raw: &str) -> Option<Value> {
    let mut reader = Reader::new(raw);
    Some(match reader.kind().ok()? {
        Kind::String => Value::from(reader.string().ok()?.into_owned()),
        Kind::Number => {
            let written = reader.number().ok()?;
            written.parse::<i64>().map_or_else(|_| Value::from(written), Value::from)
        }
        Kind::Bool => Value::from(reader.bool().ok()?),
        Kind::Null => Value::Null,
        Kind::Array | Kind::Object => return None,
    })
}

/// Whether a JWS or a JWE stands in a text: a JSON object in base64url, and at least two dots behind it.
fn has_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let rest = text.get(at..).unwrap_or_default().bytes();
        let token =
            rest.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        token.filter(|byte| *byte == b'.').count() >= 2
    })
}

pub(super) fn serialize<S: Serializer>(arguments: &Clear, serializer: S) -> Result<S::Ok, S::Error> {
    let mut members = serializer.serialize_map(None)?;
    for (name, value) in arguments {
        members.serialize_entry(&**name, value)?;
    }
    members.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_stand_in_clear_and_credentials_do_not() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYW5hIn0.c2ln";
        let texts = [format!("\"{token}\""), format!("\"x {token} y\""), format!("\"{}\"", "é".repeat(400))];
        let pairs = [
            ("text", "\"a\\u0062\""),
            ("integer", "-7"),
            ("fraction", "5.0"),
            ("large", "99999999999999999999"),
            ("bool", "true"),
            ("null", "null"),
            ("list", "[1]"),
            ("object", "{\"a\":1}"),
            ("Text", "\"another\""),
            ("token", &texts[0]),
            ("within", &texts[1]),
            ("long", &texts[2]),
            ("own", "\"my opaque-token\""),
            ("not_listed", "\"x\""),
        ];
        let arguments = Arguments::from_pairs(pairs.to_vec());
        let listed = [
            "text", "integer", "fraction", "large", "bool", "null", "list", "object", "token", "within",
            "long", "own", "absent",
        ];
        let listed: Vec<Rc<str>> = listed.into_iter().map(Rc::from).collect();
        let seen = clear(&listed, &arguments, &|text| text.contains("opaque-token"));
        let seen: Vec<String> = seen.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let masked = |name: &str| format!("{name}=\"***REDACTED***\"");
        let expected = [
            "text=\"ab\"".to_owned(),
            "integer=-7".to_owned(),
            "fraction=\"5.0\"".to_owned(),
            "large=\"99999999999999999999\"".to_owned(),
            "bool=true".to_owned(),
            "null=null".to_owned(),
            masked("token"),
            masked("within"),
            format!("long=\"{}\"", "é".repeat(128)),
            masked("own"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_only_looks_like_it_is_no_token() {
        for (text, is_token) in [
            ("eyJ.a.b", true),
            ("see eyJx.y.z.", true),
            ("eyJ", false),
            ("eyJx.y", false),
            ("eyJ a.b.c", false),
            ("a.b.c", false),
            ("web", false),
        ] {
            assert_eq!(has_jwt(text), is_token, "{text}");
        }
    }
}
