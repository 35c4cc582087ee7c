//! What must not stand in a record: what proves somebody, and what the configuration names. Its place is marked.

use crate::policy::Pattern;
use std::rc::Rc;

/// What stands in the place of what is masked, where the configuration says nothing else.
pub const MASK: &str = "***REDACTED***";

/// What is masked beside tokens.
#[derive(Clone, Debug)]
pub struct Masks {
    /// What stands in its place.
    pub mask: Rc<str>,
    /// Names of arguments, in lower case.
    pub names: Vec<Pattern>,
    /// Texts.
    pub values: Vec<Pattern>,
}

impl Masks {
    /// Tokens alone are masked.
    #[must_use]
    pub fn none() -> Self {
        Self { mask: MASK.into(), names: Vec::new(), values: Vec::new() }
    }

    /// Whether an argument of this name is masked, whatever it holds.
    pub(super) fn has_name(&self, name: &str) -> bool {
        !self.names.is_empty() && {
            let lower = name.to_lowercase();
            self.names.iter().any(|pattern| pattern.matches(&lower))
        }
    }

    /// Whether a text must not stand in a record: it has a JWT in it, or is of a form that is masked.
    pub(super) fn has_value(&self, text: &str) -> bool {
        has_jwt(text) || self.values.iter().any(|pattern| pattern.matches(text))
    }

    /// The text, or what stands in its place.
    pub fn shown<'a>(&'a self, text: &'a str, is_credential: &dyn Fn(&str) -> bool) -> &'a str {
        if self.has_value(text) || is_credential(text) { &self.mask } else { text }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
