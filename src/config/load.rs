//! From text to document: YAML or JSON, with the path of the field in every error.

use super::document::Config;
use super::error::{ConfigError, Errors};
use super::faults;
use serde_json::Value;

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
    // `no`, `on` and their like are texts, as YAML 1.2 has it.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
        // The library's advice on its own options is not for the document's author.
        let first = first.split(", set ").next().unwrap_or_default();
        let first = first.split("; use from_").next().unwrap_or_default();
        ConfigError::new("", format!("is no YAML or JSON: {first}"), mend_syntax(first))
    })?;
    if value.is_null() {
        return Err(nothing().into());
    }
    faults::read(value)
}

fn nothing() -> ConfigError {
    let fix = "give the document as text in a `google.protobuf.StringValue`";
    ConfigError::new("", "there is no configuration", fix)
}

/// What to do about a fault of YAML's syntax, by the library's words for it.
fn mend_syntax(message: &str) -> &'static str {
    const FIXES: &[(&str, &str)] = &[
        ("alias", "put a text that begins with `*` or `&` into quotes, like `\"*\"`"),
        ("tabs", "indent with spaces"),
        ("flow mapping", "close each `{`; within `{ }` put `${NAME}` into quotes, like `\"${NAME}\"`"),
        ("mapping values", "put a text with a colon in it into quotes"),
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
