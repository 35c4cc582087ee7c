//! Scopes (RFC 6749 section 3.3): those that a token has, and those that something asks for.

use crate::json::Value;
use std::fmt;

/// The most bytes of a scope that is asked for: it stands in a header.
const MAX_ASKED: usize = 500;

/// What a client asks for to get refresh tokens (OpenID Connect Core 1.0 section 11): no resource asks for it.
const OFFLINE_ACCESS: &str = "offline_access";

/// Scope names in their order, as one text with spaces between: it is read for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(String);

/// Why a text can't be asked for as a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeError {
    /// Not names of printable ASCII without `"` and `\`, with one space between.
    Malformed,
    /// A name stands in it twice.
    Repeated,
    /// Has the name `offline_access`.
    OfflineAccess,
    /// Is longer than 500 bytes.
    TooLong,
}

impl Scope {
    /// The scope that something asks for: a text of the form that RFC 6749 gives it.
    ///
    /// # Errors
    /// Why it can't be asked for.
    pub fn asked(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_ASKED {
            return Err(ScopeError::TooLong);
        }
        let mut scope = Self::default();
        for name in text.split(' ') {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')) {
                return Err(ScopeError::Malformed);
            }
            if name == OFFLINE_ACCESS {
                return Err(ScopeError::OfflineAccess);
            }
            if scope.contains(name) {
                return Err(ScopeError::Repeated);
            }
            scope.push(name);
        }
        Ok(scope)
    }

    /// The scope that a claim grants: a text of names with spaces between (RFC 9068 section 2.2.3, RFC 8693
    /// section 4.2), or a list of names, as some issuers write it. `None` for everything else, and for a name
    /// with a space in it.
    #[must_use]
    pub fn granted(claim: &Value) -> Option<Self> {
        match claim {
            Value::String(text) => Some(Self(text.clone())),
            Value::Array(names) => {
                let mut scope = Self::default();
                for name in names {
                    scope.push(name.as_str().filter(|name| !name.contains(' '))?);
                }
                Some(scope)
            }
            _ => None,
        }
    }

    /// Whether this name is among them, to the letter.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// Whether every name of the other is among them.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.names().all(|name| self.contains(name))
    }

    /// Adds the names of the other that are not there yet.
    pub fn extend(&mut self, other: &Self) {
        for name in other.names() {
            if !self.contains(name) {
                self.push(name);
            }
        }
    }

    fn push(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(name);
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|name| !name.is_empty())
    }

    /// As it stands in a claim and in a header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }
}

/// As it stands in a claim and in a header.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn asks_for_what_can_stand_in_a_header() {
        for text in ["a", "mcp:read mcp:write", "https://h/a.b ~!#$%&'()*+,-./"] {
            assert_eq!(Scope::asked(text).unwrap().to_string(), text);
        }
        for (text, error) in [
            ("", ScopeError::Malformed),
            (" ", ScopeError::Malformed),
            (" a", ScopeError::Malformed),
            ("a  b", ScopeError::Malformed),
            ("a\tb", ScopeError::Malformed),
            ("a\", error=\"x", ScopeError::Malformed),
            ("a\\b", ScopeError::Malformed),
            ("a\r\nx: y", ScopeError::Malformed),
            ("\u{e4}", ScopeError::Malformed),
            ("a b a", ScopeError::Repeated),
            ("a offline_access", ScopeError::OfflineAccess),
        ] {
            assert_eq!(Scope::asked(text), Err(error), "{text:?}");
        }
        assert_eq!(Scope::asked(&"a".repeat(501)), Err(ScopeError::TooLong));
    }

    #[test]
    fn reads_what_issuers_write() {
        for (claim, names) in [
            (json!(""), &[][..]),
            (json!("a"), &["a"]),
            (json!(" a  b "), &["a", "b"]),
            (json!(["a", "b"]), &["a", "b"]),
            (json!([]), &[]),
        ] {
            assert_eq!(Scope::granted(&claim).unwrap().names().collect::<Vec<_>>(), names, "{claim}");
        }
        for claim in
            [json!(null), json!(7), json!({"a": true}), json!(["a", 7]), json!(["a b"]), json!([["a"]])]
        {
            assert_eq!(Scope::granted(&claim), None, "{claim}");
        }
    }

    #[test]
    fn names_count_to_the_letter_and_stand_for_nothing_else() {
        let scope = Scope::granted(&json!("mcp:* MCP:READ mcp:reader")).unwrap();
        assert!(scope.covers(&Scope::asked("mcp:reader").unwrap()));
        assert!(!scope.covers(&Scope::asked("mcp:reader mcp:read").unwrap()));
    }
}
