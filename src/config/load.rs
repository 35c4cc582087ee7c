//! From text to document: YAML or JSON, with the path of the field in every error.

use super::document::Config;
use super::error::{ConfigError, Errors};
use super::{faults, yaml};

/// Larger documents are refused unread.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Reads a configuration.
///
/// # Errors
/// All faults of its form that can be told apart. What it means is checked by those who compile it.
pub fn load(text: &[u8]) -> Result<Config, Errors> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(nothing().into());
    }
    if text.len() > MAX_BYTES {
        return Err(ConfigError::new("", "is larger than 4 MiB", "split it over several filters").into());
    }
    let binary = text.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\n' | b'\r' | b'\t'));
    let text = match std::str::from_utf8(text) {
        Ok(text) if !binary => text,
        _ => {
            return Err(ConfigError::new(
                "",
                "is no text but bytes, as Envoy passes a `google.protobuf.Struct`",
                "give it as text: `configuration: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: \"...\"}`",
            )
            .into());
        }
    };
    let value = yaml::read(text).map_err(|fault| {
        let fault = fault.to_string();
        ConfigError::new("", format!("is no YAML or JSON: {fault}"), mend_syntax(&fault))
    })?;
    if value.is_null() {
        return Err(nothing().into());
    }
    faults::read(value)
}

fn nothing() -> ConfigError {
    let fix = "write `resource`, `issuers` and `rules` (`mcp-iap init` begins a document); in Envoy it stands as text in a \
               `google.protobuf.StringValue`";
    ConfigError::new("", "there is no configuration", fix)
}

/// What to do about a fault of YAML's syntax, by the words for it.
fn mend_syntax(message: &str) -> &'static str {
    const FIXES: &[(&str, &str)] = &[
        // Before what a name in the message may look like.
        (
            "duplicate mapping key",
            "leave one of them; several values are a list: `[a, b]`, or lines that begin with `- `",
        ),
        ("alias", "put a text that begins with `*` or `&` into quotes, like `\"*\"`"),
        ("unknown anchor", "put a text that begins with `*` or `&` into quotes, like `\"*\"`"),
        ("may be read as", "put a text into quotes, and write a number as JSON has it"),
        ("multiple YAML documents", "give one of them"),
        ("tags", "leave the tag away, and put a text into quotes"),
        ("merge keys", "write the fields out"),
        ("tabs", "indent with spaces"),
        ("flow mapping", "close each `{`; within `{ }` put `${NAME}` into quotes, like `\"${NAME}\"`"),
        ("mapping values", "put a text with a colon in it into quotes"),
        (
            "line break of YAML 1.1",
            "remove it; within a text in double quotes write a backslash and `N`, `L` or `P` for it",
        ),
        (
            "name in a mapping is no text",
            "write a name before the colon, in quotes where it is empty or `null`",
        ),
        ("unexpected character", "put a text that begins with such a character into quotes"),
    ];
    let known = FIXES.iter().find(|(words, _)| message.contains(words));
    known.map_or("mend its syntax", |(_, fix)| fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_json_as_well() {
        let text = br#"{"resource":"https://r","issuers":[{"issuer":"https://i"}],"rules":[]}"#;
        assert_eq!(load(text).unwrap().resource.as_deref(), Some("https://r"));
    }

    #[test]
    fn refuses_a_raw_struct_with_advice() {
        let error = load(b"\x0a\x10\x0a\x08resource\x12\x04\x1a\x02ab").unwrap_err();
        assert!(error.to_string().contains("google.protobuf.StringValue"), "{error}");
        assert!(load(b" \n").unwrap_err().to_string().contains("there is no configuration"));
    }

    #[test]
    fn only_true_and_false_are_truth_values() {
        let text = b"{resource: 'https://r', issuers: [{issuer: 'https://i'}], rules: [{id: no, allow: {tools: [yes, on]}}]}";
        let config = load(text).unwrap();
        assert_eq!(config.rules.unwrap().first().unwrap().allow.as_ref().unwrap().tools, ["yes", "on"]);
    }

    #[test]
    fn bounds_the_document() {
        let error = load(&vec![b'#'; MAX_BYTES.saturating_add(1)]).unwrap_err();
        assert!(error.to_string().contains("is larger than 4 MiB"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_does_not_panic(text in ".{0,200}") {
            let _ = load(text.as_bytes());
        }
    }
}
