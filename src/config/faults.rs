//! The faults of a document's form, all in one go: each is noted and mended in a copy, and the copy is read
//! again. What was mended is never given out: a document with a fault is refused.

use super::document::Config;
use super::error::{ConfigError, Errors};
use super::nearest::nearest;
use super::node::{Node, Step, at};
use serde::Deserialize;
use serde_json::{Map, Value};

/// After so many the rest is left unread.
const MAX_FAULTS: usize = 20;
/// A mended field may bring faults of its own, which are not told.
const MAX_ROUNDS: usize = 100;

/// Reads a document whose syntax is right.
///
/// # Errors
/// The faults of its form, at least the first.
pub(super) fn read(mut document: Value) -> Result<Config, Errors> {
    let mut errors = Vec::new();
    let mut mended: Vec<Vec<Step>> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let error = match Config::deserialize(Node(&document)) {
            Ok(config) if errors.is_empty() => return Ok(config),
            Ok(_) => break,
            Err(error) => error,
        };
        let (mut place, message) = error.into_parts();
        let shown = shown(&place);
        let fault = Fault::read(&message);
        if let Fault::Missing(name) = &fault {
            place.push(Step::Name(name.clone()));
        }
        if !mended.iter().any(|above| place.starts_with(above)) {
            errors.push(fault.explain(shown, at(&mut document, &place)));
        }
        if errors.len() >= MAX_FAULTS || !fault.mend(&mut document, &place, &mut mended) {
            break;
        }
    }
    Err(Errors(errors))
}

/// The way to a value as a path: `rules[0].allow`.
fn shown(place: &[Step]) -> String {
    let mut path = String::new();
    for step in place {
        match step {
            Step::Name(name) if path.is_empty() => path.push_str(name),
            Step::Name(name) => path = format!("{path}.{name}"),
            Step::Index(index) => path = format!("{path}[{index}]"),
        }
    }
    path
}

/// What serde says, taken apart.
enum Fault {
    Unknown { name: String, near: Option<String>, known: Vec<String> },
    Missing(String),
    Name { known: Vec<String> },
    Type { expected: String },
    Other(String),
}

impl Fault {
    fn read(message: &str) -> Self {
        let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let mut names = quoted(rest).into_iter();
            let name = names.next().unwrap_or_default();
            let known: Vec<_> = names.collect();
            let near = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
            return Self::Unknown { name, near, known };
        }
        if let Some(rest) = message.strip_prefix("unknown variant ") {
            return Self::Name { known: quoted(rest).into_iter().skip(1).collect() };
        }
        if let Some(rest) = message.strip_prefix("missing field ") {
            return Self::Missing(quoted(rest).into_iter().next().unwrap_or_default());
        }
        let typed =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        match typed.and_then(|rest| rest.split_once(", expected ")) {
            Some((_, expected)) => Self::Type { expected: expected.to_owned() },
            None => Self::Other(message.to_owned()),
        }
    }

    /// Path, value, reason and fix.
    fn explain(&self, path: String, written: Option<&mut Value>) -> ConfigError {
        // What stands there may be the secret itself, or have one in it.
        let secrets = ["_secret", "actor_token", "_key", ".pepper", ".hash"];
        let may_be_secret = |value: &Value| {
            value.is_object() || value.is_array() || secrets.iter().any(|end| path.ends_with(end))
        };
        let written = written.map(|value| &*value).filter(|value| !may_be_secret(value));
        let error = match self {
            Self::Unknown { near, known, .. } => {
                let fix = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use one of `{}`", known.join("`, `")),
                };
                return ConfigError::new(path, "there is no such field", fix);
            }
            Self::Missing(name) => {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                return ConfigError::new(path, "is absent", format!("give `{name}`"));
            }
            Self::Name { known } => {
                let fix = format!("use one of `{}`", known.join("`, `"));
                ConfigError::new(path, "is none of the names that are known here", fix)
            }
            Self::Type { expected } => {
                let fix = format!("write {}", wanted(expected, &path, written));
                ConfigError::new(path, "has the wrong type", fix)
            }
            Self::Other(message) => ConfigError::new(path, message, "see docs/configuration.md"),
        };
        match written {
            Some(value) => error.value(value.clone()),
            None => error,
        }
    }

    /// Puts something into the fault's place that can be read; `false` where nothing can.
    fn mend(&self, document: &mut Value, place: &[Step], mended: &mut Vec<Vec<Step>>) -> bool {
        match self {
            Self::Unknown { name, near, .. } => {
                let above = place.split_last().map_or(place, |(_, above)| above);
                let Some(Value::Object(members)) = at(document, above) else { return false };
                let Some(value) = members.remove(name) else { return false };
                if let Some(near) = near.as_ref().filter(|near| !members.contains_key(*near)) {
                    members.insert(near.clone(), value);
                }
                return true;
            }
            Self::Missing(name) => {
                let above = place.split_last().map_or(place, |(_, above)| above);
                let Some(Value::Object(members)) = at(document, above) else { return false };
                // Of which type it must be is said in the next round.
                members.insert(name.clone(), Value::Null);
            }
            Self::Type { expected } => {
                let (Some(value), Some(plain)) = (at(document, place), plain(expected)) else {
                    return false;
                };
                if *value == plain {
                    return false;
                }
                *value = plain;
            }
            Self::Name { known } => {
                let (Some(value), Some(name)) = (at(document, place), known.first()) else { return false };
                *value = Value::String(name.clone());
            }
            Self::Other(_) => {
                let Some(value) = at(document, place) else { return false };
                if *value == "" {
                    return false;
                }
                *value = Value::String(String::new());
            }
        }
        mended.push(place.to_vec());
        true
    }
}

/// The least value of a type, by serde's word for it.
fn plain(expected: &str) -> Option<Value> {
    Some(match expected {
        "a string" => Value::String(String::new()),
        "a sequence" => Value::Array(Vec::new()),
        "a boolean" => Value::Bool(false),
        "usize" | "u64" | "i64" | "f64" => Value::from(0),
        other if other.starts_with("struct ") || other == "a map" => Value::Object(Map::new()),
        _ => return None,
    })
}

/// serde's words for types, in words of the document.
fn wanted(expected: &str, path: &str, written: Option<&Value>) -> String {
    match (expected, written) {
        ("a string", Some(Value::Number(number)))
            if [".clock_skew", ".timeout", ".per"].iter().any(|name| path.ends_with(name))
                || path.contains(".keys.") =>
        {
            format!("it with a unit, like `{number}s`")
        }
        ("a string", Some(Value::Number(_) | Value::Bool(_))) => "a text, with quotes around it".to_owned(),
        ("a string", _) => "a text".to_owned(),
        ("a sequence", Some(Value::String(text))) if !text.contains(['`', '\n']) => {
            format!("a list, like `[{}]`", Value::from(text.as_str()))
        }
        ("a sequence", _) => "a list, like `[a, b]`".to_owned(),
        ("a boolean", _) => "`true` or `false`".to_owned(),
        ("usize" | "u64", _) => "a whole number that is not negative".to_owned(),
        ("i64", _) => "a whole number".to_owned(),
        ("f64", _) => "a number".to_owned(),
        (other, _) if other.starts_with("struct ") || other == "a map" => {
            "fields, like `{ name: value }`".to_owned()
        }
        (other, _) => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(document: Value) -> Vec<String> {
        let Errors(errors) = read(document).unwrap_err();
        errors.iter().map(|error| format!("{} {}", error.path, error.fix)).collect()
    }

    #[test]
    fn all_unknown_fields_are_told_at_once_and_what_they_should_have_been_is_not_absent() {
        let document = json!({
            "resource": "https://r", "isuers": [{"isuer": "https://i", "clok_skew": 5}], "x": 1,
            "rules": [{"idd": "a", "allow": {"tols": ["x"]}, "to": {"group": ["g"]}}, {"id": "b", "denny": {}}],
        });
        let mut seen = faults(document);
        seen.sort();
        let wanted = [
            "issuers[0].clok_skew did you mean `clock_skew`?",
            "issuers[0].clock_skew write it with a unit, like `5s`",
            "issuers[0].isuer did you mean `issuer`?",
            "isuers did you mean `issuers`?",
            "rules[0].allow.tols did you mean `tools`?",
            "rules[0].idd did you mean `id`?",
            "rules[0].to.group did you mean `groups`?",
            "rules[1].denny did you mean `deny`?",
            "x use one of `resource`, `resources`, `issuers`, `require_auth`, `token_review`, `api_keys`, `mesh_identity`, `rules`, `shadow_rules`, `catalogue`, `token_exchange`, `token_passthrough`, `allowed_origins`, `allowed_hosts`, `trusted_headers`, `health_paths`, `failed_authentication`, `audit`, `limits`, `allow_on_headers_stop_iteration`",
        ];
        let mut wanted: Vec<_> = wanted.iter().map(|line| (*line).to_owned()).collect();
        wanted.sort();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_stands_in_for_a_fault_brings_no_other() {
        let document = json!({"resource": 7, "rules": ["x", {"to": {"groups": "dev"}}], "catalogue": {}});
        let mut seen = faults(document);
        seen.sort();
        let wanted = [
            "catalogue.tools give `tools`",
            "resource write a text, with quotes around it",
            "rules[0] write fields, like `{ name: value }`",
            "rules[1].id give `id`",
            "rules[1].to.groups write a list, like `[\"dev\"]`",
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_document_of_faults_ends() {
        let rules: Vec<_> = (0..500).map(|n| json!({"id": n, "no": n})).collect();
        assert_eq!(faults(json!({"rules": rules})).len(), MAX_FAULTS);
    }

    /// A document that was mended is refused whatever was mended in it.
    #[test]
    fn a_mended_document_is_never_accepted() {
        for document in [
            json!({"resource": "https://r", "issuers": [{"issuer": "https://i"}], "rules": [], "no": 1}),
            json!({"resource": "https://r", "issuers": [], "rules": [], "limits": {"body_bytes": "x"}}),
            json!({"resource": "https://r", "rules": [], "issuers": 7}),
            json!([]),
            json!(7),
        ] {
            assert!(!faults(document).is_empty());
        }
    }
}
