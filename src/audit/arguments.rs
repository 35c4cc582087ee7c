//! The arguments whose values stand in the record, by the names that the configuration lists: texts, numbers, truth
//! values and `null`, cut to a bound. Lists and objects are left out, and what is a credential is masked.

use super::MAX_NAME;
use super::line::{Line, written_length};
use super::mask::Secrets;
use crate::json::{Kind, Reader};
use crate::mcp::Arguments;
use serde_json::Value;
use std::rc::Rc;

pub(super) type Clear = Vec<Argument>;

/// One that stands in a record.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    name: Rc<str>,
    value: Value,
    /// Whether something of it does not.
    is_masked: bool,
}

/// Those of these arguments that are listed.
pub(super) fn clear(listed: &[Rc<str>], arguments: &Arguments<'_>, secrets: &Secrets<'_>) -> Clear {
    let mut clear = Clear::new();
    for name in listed {
        // What a server may take for it stands there as well, as it was spelt; behind a NUL there may be anything.
        let Some((spelt, raw)) = arguments.spelt(name) else { continue };
        let spelt = spelt.split_inclusive('\0').next().unwrap_or_default();
        let Some(value) = plain(raw).filter(|_| !clear.iter().any(|known| *known.name == *spelt)) else {
            continue;
        };
        let (value, is_masked) = masked(name, value, secrets);
        let name = if *spelt == **name { Rc::clone(name) } else { Rc::from(spelt) };
        clear.push(Argument { name, value, is_masked });
    }
    clear
}

/// The value without what must not stand there, and whether that is another. However the name was spelt, it is masked as
/// the one that is listed.
fn masked(listed: &str, value: Value, secrets: &Secrets<'_>) -> (Value, bool) {
    if secrets.masks.has_name(listed) {
        return (Value::from(&*secrets.masks.mask), true);
    }
    let hidden = match &value {
        Value::String(text) => secrets.hide(text),
        Value::Number(number) => secrets.hide(&number.to_string()),
        _ => None,
    };
    match (hidden, value) {
        (Some(hidden), _) => (Value::from(cut_as_written(&hidden)), true),
        (None, Value::String(text)) => (Value::from(cut_as_written(&text)), false),
        (None, value) => (value, false),
    }
}

/// A value that is no list and no object. A number that is no 64-bit integer is a text, as it was written.
pub(super) fn plain(raw: &[u8]) -> Option<Value> {
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
pub(super) fn cut_as_written(text: &str) -> &str {
    let mut left = MAX_NAME;
    let end = text.char_indices().find(|(_, c)| {
        let rest = left.checked_sub(written_length(*c));
        left = rest.unwrap_or(left);
        rest.is_none()
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// Which of them are masked.
pub(super) fn masked_names(arguments: &Clear) -> impl Iterator<Item = &str> {
    arguments.iter().filter(|argument| argument.is_masked).map(|argument| &*argument.name)
}

pub(super) fn write(arguments: &Clear, line: &mut Line) {
    for Argument { name, value, .. } in arguments {
        match value {
            Value::String(text) => line.text(name, text),
            value => line.plain(name, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::{Form, Masks};
    use super::*;
    use crate::policy::Pattern;

    fn shown(clear: &Clear) -> Vec<String> {
        clear.iter().map(|Argument { name, value, .. }| format!("{name}={value}")).collect()
    }

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
            ("escaped", "\"my \\u006fpaque-token\""),
            ("not_listed", "\"x\""),
        ];
        let arguments = Arguments::from_pairs(pairs.to_vec());
        let listed = [
            "text", "integer", "fraction", "large", "bool", "null", "list", "object", "token", "within",
            "long", "own", "escaped", "absent",
        ];
        let listed: Vec<Rc<str>> = listed.into_iter().map(Rc::from).collect();
        let seen = clear(&listed, &arguments, &Masks::none().and(Some("opaque-token")));
        let expected = [
            "text=\"ab\"".to_owned(),
            "integer=-7".to_owned(),
            "fraction=\"5.0\"".to_owned(),
            "large=\"99999999999999999999\"".to_owned(),
            "bool=true".to_owned(),
            "null=null".to_owned(),
            "token=\"***REDACTED***\"".to_owned(),
            "within=\"x ***REDACTED*** y\"".to_owned(),
            format!("long=\"{}\"", "é".repeat(128)),
            "own=\"my ***REDACTED***\"".to_owned(),
            "escaped=\"my ***REDACTED***\"".to_owned(),
        ];
        assert_eq!(shown(&seen), expected);
        assert_eq!(masked_names(&seen).collect::<Vec<_>>(), ["token", "within", "own", "escaped"]);
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
            assert_eq!(shown(&clear(&listed, &arguments, &Masks::none().and(None))).join(" "), expected);
        }
        let token = "\"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYW5hIn0.c2ln\"";
        let arguments = Arguments::from_pairs(vec![("NOTE", token)]);
        let seen = clear(&["note".into()], &arguments, &Masks::none().and(None));
        assert_eq!(shown(&seen), ["NOTE=\"***REDACTED***\""]);
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

    /// A name is masked however it is spelt and whatever it holds; a form is looked for in numbers as well.
    #[test]
    fn names_and_forms_that_are_configured_are_masked() {
        let masks = Masks {
            mask: "<gone>".into(),
            attributes: Vec::new(),
            names: vec![Pattern::new("*pass*")],
            forms: vec![Form::new("AKIA*"), Form::new("4111")],
        };
        let pairs = vec![
            ("pa\u{17f}\u{17f}word", "1234"),
            ("MY_PASS", "true"),
            ("note", "\"key AKIA0123\""),
            ("card", "4111000011112222"),
            ("fraction", "4111000011112222.0"),
            ("other", "\"akia\""),
            ("said", "\"<gone>\""),
        ];
        let listed = ["password", "my_pass", "note", "card", "fraction", "other", "said"].map(Rc::from);
        let seen = clear(&listed, &Arguments::from_pairs(pairs), &masks.and(None));
        let expected = [
            "pa\u{17f}\u{17f}word=\"<gone>\"",
            "MY_PASS=\"<gone>\"",
            "note=\"key <gone>\"",
            "card=\"<gone>000011112222\"",
            "fraction=\"<gone>000011112222.0\"",
            "other=\"akia\"",
            "said=\"<gone>\"",
        ];
        assert_eq!(shown(&seen), expected);
        // What only looks like the mask is none.
        assert_eq!(masked_names(&seen).count(), 5);
    }
}
