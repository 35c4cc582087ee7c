//! From text to document: YAML or JSON, with the path of the field in every error.

use super::document::Config;
use super::error::{ConfigError, Errors};
use super::nearest::nearest;
use super::node::Node;
use serde_json::Value;

/// Larger documents are refused unread.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Reads a configuration.
///
/// # Errors
/// The first fault of its form. What it means is checked by those who compile it.
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
        ConfigError::new("", format!("is no YAML or JSON: {first}"), "mend its syntax")
    })?;
    if value.is_null() {
        return Err(nothing().into());
    }
    serde_path_to_error::deserialize(Node(&value)).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        explain(&value, path, &error.into_inner().to_string()).into()
    })
}

fn nothing() -> ConfigError {
    let fix = "give the document as text in a `google.protobuf.StringValue`";
    ConfigError::new("", "there is no configuration", fix)
}

/// Turns serde's sentence into a path, a value, a reason and a fix.
fn explain(document: &Value, path: String, message: &str) -> ConfigError {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest).into_iter();
        let wrong = names.next().unwrap_or_default();
        let known: Vec<_> = names.collect();
        let reason = "there is no such field".to_owned();
        let fix = match nearest(&wrong, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of `{}`", known.join("`, `")),
        };
        return ConfigError::new(path, reason, fix);
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        let name = quoted(rest).into_iter().next().unwrap_or_default();
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        return ConfigError::new(path, "is absent", format!("give `{name}`"));
    }
    let typed = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let error = match typed.and_then(|rest| rest.split_once(", expected ")) {
        Some((_, expected)) => {
            ConfigError::new(path.clone(), "has the wrong type", format!("write {}", plain(expected)))
        }
        None => ConfigError::new(path.clone(), message, "see docs/configuration.md"),
    };
    match at(document, &path) {
        // What stands there may be the secret itself.
        Some(_) if path.ends_with("_secret") => error,
        Some(value) => error.value(value.clone()),
        None => error,
    }
}

/// serde's words for types, in words of the document.
fn plain(expected: &str) -> String {
    match expected {
        "a string" => "a text".to_owned(),
        "a sequence" => "a list, like `[a, b]`".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "usize" | "u64" => "a whole number that is not negative".to_owned(),
        "i64" => "a whole number".to_owned(),
        other if other.starts_with("struct ") || other == "a map" => {
            "fields, like `{ name: value }`".to_owned()
        }
        other => other.to_owned(),
    }
}

/// The value at a path as `serde_path_to_error` writes it.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = document;
    for step in path.split('.') {
        let mut parts = step.split('[');
        let name = parts.next()?;
        if !name.is_empty() {
            here = here.get(name)?;
        }
        for index in parts {
            here = here.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    Some(here)
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
