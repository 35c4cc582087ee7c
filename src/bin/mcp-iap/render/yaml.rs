//! Texts in YAML: whatever they hold, they stay one scalar in their place.

use serde_json::Value;
use std::fmt::Write as _;

/// A scalar: plain where every reader takes it for a text, else in double quotes, in ASCII.
pub fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if starts && text.chars().all(plain) && !is_word(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            // To `String` nothing fails.
            _ => {
                let code = u32::from(c);
                let _ = if code <= 0xffff {
                    write!(quoted, "\\u{code:04x}")
                } else {
                    write!(quoted, "\\U{code:08x}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// JSON as YAML's flow style, in which characters that are not plainly visible are written out.
pub fn flow(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if is_visible(c) {
            text.push(c);
        } else {
            // Outside of texts JSON has no such characters. To `String` nothing fails.
            let _ = write!(text, "\\U{:08x}", u32::from(c));
        }
    }
    text
}

/// Whether it is shown as itself: no control or format character, nor one that joins another.
pub fn is_visible(c: char) -> bool {
    matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().eq([c]))
}

/// Words that some YAML takes for something else than a text.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// JSON as YAML's block style, in which only what is plain stands without quotes: YAML 1.1 reads it alike. Ends with a
/// line end.
pub fn block(value: &Value) -> String {
    let within = |value: &Value| match value {
        Value::Object(members) if !members.is_empty() => Some(block(value)),
        Value::Array(elements) if !elements.is_empty() => Some(block(value)),
        _ => None,
    };
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .map(|(name, value)| match within(value) {
                Some(inner) => format!("{}:\n{}", scalar(name), indent(&inner, 2)),
                None => format!("{}: {}", scalar(name), block(value)),
            })
            .collect(),
        Value::Array(elements) if !elements.is_empty() => elements
            .iter()
            .map(|element| {
                let text = indent(&block(element), 2);
                format!("- {}", text.get(2..).unwrap_or_default())
            })
            .collect(),
        Value::String(text) => scalar(text) + "\n",
        value => format!("{value}\n"),
    }
}

/// Lines moved to the right; empty ones stay empty.
pub fn indent(text: &str, by: usize) -> String {
    text.split_inclusive('\n')
        .map(|line| if line == "\n" { line.to_owned() } else { format!("{:by$}{line}", "") })
        .collect()
}

/// A literal block scalar below `key`, of which the lines stand as they are. Ends with a line end.
///
/// A text whose first line is indented says so in the header: else its depth would be taken from that
/// line, and a later line that stands less deep would end the scalar.
pub fn literal(key: &str, text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let blank = text.lines().take_while(|line| line.trim().is_empty()).any(|line| !line.is_empty());
    let depth = if blank || first.starts_with([' ', '\t']) { "2" } else { "" };
    format!("{key}: |{depth}\n{}", indent(text, 2))
}

/// A text with its lines ended by `\n` alone, and by one at the end: so a block scalar gives it back.
pub fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        mcp_iap::config::yaml::read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_is_plain_stays_plain() {
        for text in
            ["dist/mcp_iap.wasm", "/etc/ssl/certs/ca-certificates.crt", "login.example.com", "mcp_server"]
        {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn scalars_stay_texts() {
        for text in [
            "",
            " ",
            "no",
            "True",
            "null",
            "~",
            "1e3",
            "0x1f",
            "1_000",
            ".nan",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "{a",
            "}",
            "[",
            "]",
            ",",
            "?",
            "a\nb: c",
            "a\r\nb",
            "\u{85}",
            "\u{2028}x",
            "\u{feff}",
            "\"",
            "'",
            "\\",
            "a\" }\nadmin: {",
            "\0",
            "\u{7f}",
            "\u{9b}",
            "é",
            "🦀",
            "outbound|443||login.example.com",
        ] {
            let inside = format!("a: {{ b: {} }}\nc: [ {} ]\n", scalar(text), scalar(text));
            assert_eq!(read(&inside), json!({"a": {"b": text}, "c": [text]}), "{text:?}");
            assert_eq!(inside.lines().count(), 2, "{text:?}");
        }
    }

    #[test]
    fn a_document_stays_in_its_block() {
        for text in [
            "a: 1",
            "  # less deep follows\na: 1\nb: 2",
            "\n\n  \n a: 1\n",
            "   \na: 1",
            "\tx",
            "a: |\n  b\n\n  c\n",
            "---\na: 1\n...",
            "{\n\"a\": 1\n}",
            "%YAML 1.2\n---\na: 1",
            "a: 1\r\nb: 2\r\n",
            "a: 1\rb: 2",
            "\u{feff}a: 1",
            "a: 1\n\n\n",
        ] {
            let text = lines(text);
            let around = format!("before: 1\nin:\n{}after: 2\n", indent(&literal("value", &text), 4));
            assert_eq!(read(&around), json!({"before": 1, "in": {"value": text}, "after": 2}), "{text:?}");
        }
    }

    #[test]
    fn a_block_is_read_as_the_value() {
        for value in [
            json!({}),
            json!([]),
            json!("a"),
            json!({"a": {}, "b": [], "c": null, "d": true, "e": -1, "f": 0.5}),
            json!([[1, [2, {"a": [[]]}]], {"b": {"c": [{"d": 1, "e": 2}, "x"]}}]),
            json!({"on": "yes", "1": "2", "a b": "c: d", "": "\n---\nkind: Secret\n", "22:00": "22:00"}),
        ] {
            let text = block(&value);
            assert_eq!(read(&text), value, "{text}");
            assert!(!text.lines().any(|line| line.starts_with("---")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_scalar(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            prop_assert_eq!(read(&format!("a: {{ b: {} }}\n", scalar(&text))), json!({"a": {"b": text}}));
        }

        #[test]
        fn any_document_stays_in_its_block(text in "[ \t\n\ra#:|>'\"{}-]{0,40}") {
            let text = lines(&format!("{text}a"));
            let around = format!("in:\n{}after: 2\n", indent(&literal("value", &text), 2));
            prop_assert_eq!(read(&around), json!({"in": {"value": text}, "after": 2}));
        }
    }
}
