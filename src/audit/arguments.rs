//! The arguments whose values stand in the record, by the names that the configuration lists: texts, numbers, truth
//! values and `null`, cut to a bound. Lists and objects are left out, and what is a credential is masked.

use super::MAX_NAME;
use super::line::{Line, written_length};
use super::mask::Masks;
use crate::json::{Kind, Reader};
use crate::mcp::Arguments;
use serde_json::Value;
use std::rc::Rc;

pub(super) type Clear = Vec<(Rc<str>, Value)>;

/// Those of these arguments that are listed. `is_credential`: whether a text has what proves this caller.
pub(super) fn clear(
    listed: &[Rc<str>],
    arguments: &Arguments<'_>,
    masks: &Masks,
    is_credential: &dyn Fn(&str) -> bool,
) -> Clear {
    let mut clear = Clear::new();
    for name in listed {
        // What a server may take for it stands there as well, as it was spelt; behind a NUL there may be anything.
        let Some((spelt, raw)) = arguments.spelt(name) else { continue };
        let spelt = spelt.split_inclusive('\0').next().unwrap_or_default();
        let Some(value) = plain(raw).filter(|_| !clear.iter().any(|(known, _)| **known == *spelt)) else {
            continue;
        };
        let is_masked = masks.has_name(spelt)
            || value.as_str().is_some_and(|text| masks.has_value(text) || is_credential(text));
        let value = match value {
            _ if is_masked => Value::from(&*masks.mask),
            Value::String(text) => Value::from(cut_as_written(&text)),
            value => value,
        };
        clear.push((if *spelt == **name { Rc::clone(name) } else { Rc::from(spelt) }, value));
    }
    clear
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
    use super::super::MASK;
    use super::*;
    use crate::policy::Pattern;

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
        let seen = clear(&listed, &arguments, &Masks::none(), &|text| text.contains("opaque-token"));
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

    /// A server that takes it for the one that is listed acts on it: the record is not silent.
    #[test]
    fn another_spelling_stands_there_as_it_was_spelt() {
        for (sent, expected) in [
            (vec![("Namespace", "1")], "Namespace=1"),
            (vec![("name\u{17f}pace", "1")], "name\u{17f}pace=1"),
            // Whatever else stands in the name is not what is listed.
            (vec![("namespace\0eyJ0.eyJ0.s3cret", "1")], "namespace\0=1"),
            (vec![("namespace", "1"), ("Namespace", "2")], "namespace=1"),
            (vec![("namespaces", "1"), ("name_space", "1")], ""),
        ] {
            let arguments = Arguments::from_pairs(sent);
            // Listed twice, it stands there once.
            let listed = ["namespace", "NAMESPACE"].map(Rc::from);
            let seen = clear(&listed, &arguments, &Masks::none(), &|_| false);
            let seen: Vec<String> = seen.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(seen.join(" "), expected);
        }
        let token = "\"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYW5hIn0.c2ln\"";
        let arguments = Arguments::from_pairs(vec![("NOTE", token)]);
        let seen = clear(&["note".into()], &arguments, &Masks::none(), &|_| false);
        assert_eq!(seen, [(Rc::from("NOTE"), Value::from(MASK))]);
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
    fn names_and_forms_that_are_configured_are_masked() {
        let masks = Masks {
            mask: "<gone>".into(),
            names: vec![Pattern::new("*pin*")],
            values: vec![Pattern::new("*AKIA*")],
        };
        let pairs = vec![("card_PIN", "1234"), ("note", "\"key AKIA0123\""), ("other", "\"akia\"")];
        let listed = ["card_PIN", "note", "other"].map(Rc::from);
        let seen = clear(&listed, &Arguments::from_pairs(pairs), &masks, &|_| false);
        let values: Vec<_> = seen.iter().map(|(_, value)| value.as_str().unwrap_or_default()).collect();
        assert_eq!(values, ["<gone>", "<gone>", "akia"]);
    }
}
