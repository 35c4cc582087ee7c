//! The arguments whose values stand in the record, by the names that the configuration lists: texts, numbers, truth
//! values and `null`, cut to a bound. Lists and objects are left out, and what is a credential is masked.

use super::MAX_NAME;
use super::line::{Line, written_length};
use crate::json::{Kind, Reader};
use crate::mcp::Arguments;
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
            Value::String(text) => Value::from(cut_as_written(&text)),
            value => value,
        };
        Some((Rc::clone(name), value))
    });
    each.collect()
}

/// A value that is no list and no object. A number that is no 64-bit integer is a text, as it was written.
fn plain(raw: &[u8]) -> Option<Value> {
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

/// How a JSON object begins in base64url: `{"`, or white space behind the brace.
const BEGINNINGS: [&str; 5] = ["eyJ", "eyA", "ewo", "ew0", "ewk"];

/// Whether a JWS or a JWE stands in a text, unencoded: a JSON object in base64url, and at least two dots behind it.
fn has_jwt(text: &str) -> bool {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // Of several beginnings in one run of such characters the first has the most dots behind it.
    text.split(|c| !is_of_token(c)).any(|run| {
        let first = BEGINNINGS.iter().filter_map(|beginning| run.find(beginning)).min();
        let behind = first.and_then(|at| run.get(at..)).unwrap_or_default();
        behind.bytes().filter(|byte| *byte == b'.').count() >= 2
    })
}

/// Cut where it would be longer than a name in the record.
fn cut_as_written(text: &str) -> &str {
    let mut left = MAX_NAME;
    let end = text.char_indices().find(|(_, c)| {
        let rest = left.checked_sub(written_length(*c));
        left = rest.unwrap_or(left);
        rest.is_none()
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

pub(super) fn write(arguments: &Clear, line: &mut Line) {
    for (name, value) in arguments {
        match value {
            Value::String(text) => line.text(name, text),
            value => line.plain(name, value),
        }
    }
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

    /// Else a caller makes the line too long for who collects it.
    #[test]
    fn a_value_is_cut_as_it_is_written() {
        for (one, written, kept) in
            [("\u{1}", 6, 42), ("\"", 2, 128), ("x", 1, 256), ("\u{9b}", 6, 42), ("é", 2, 128)]
        {
            let text = one.repeat(400);
            assert_eq!(cut_as_written(&text), one.repeat(kept), "{written}");
            assert_eq!(written_length(one.chars().next().unwrap()), written);
        }
        assert_eq!(cut_as_written("ab"), "ab");
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
            ("a.b.eyJ.c", false),
            ("eyJ.a eyJ.b", false),
            ("eyJeyJ.a.b", true),
            ("eyAieHAiOjF9.a.b", true),
            ("ewogICJ4IjoxfQ.a.b", true),
        ] {
            assert_eq!(has_jwt(text), is_token, "{text}");
        }
        // A worker must not be kept by who sends many beginnings of a token: a second, where each is followed to the end.
        let quickest = |text: &str| {
            let timed = (0..5).map(|_| {
                let begun = std::time::Instant::now();
                assert!(!has_jwt(text));
                begun.elapsed()
            });
            timed.min().unwrap_or_default()
        };
        let (many, none) = (quickest(&"eyJ".repeat(60_000)), quickest(&"xyz".repeat(60_000)));
        assert!(many < none * 20, "{many:?}, {none:?}");
    }
}
