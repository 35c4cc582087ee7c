//! The `WWW-Authenticate` header of a refusal (RFC 6750 section 3, RFC 9728 section 5.1).

use super::scope::Scope;
use std::fmt;

/// A challenge: what the client needs to come back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The resource's identifier, as realm.
    pub realm: &'a str,
    /// Where the RFC 9728 document is, if there is one.
    pub resource_metadata: Option<&'a str>,
    /// The error code; absent where the client sent no credential (RFC 6750 section 3.1).
    pub error: Option<&'static str>,
    /// What is wrong, in words without `"` and `\`.
    pub error_description: Option<&'a str>,
    /// What the client needs a token for; left out where it is empty.
    pub scope: &'a Scope,
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer realm=\"{}\"", self.realm)?;
        if let Some(error) = self.error {
            write!(f, ", error=\"{error}\"")?;
        }
        if let Some(description) = self.error_description {
            write!(f, ", error_description=\"{description}\"")?;
        }
        if !self.scope.is_empty() {
            write!(f, ", scope=\"{}\"", self.scope)?;
        }
        match self.resource_metadata {
            Some(url) => write!(f, ", resource_metadata=\"{url}\""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_error_only_if_there_is_one() {
        let none = Scope::default();
        let bare = Challenge {
            realm: "r",
            resource_metadata: Some("m"),
            error: None,
            error_description: None,
            scope: &none,
        };
        assert_eq!(bare.to_string(), r#"Bearer realm="r", resource_metadata="m""#);
        let expired =
            Challenge { error: Some("invalid_token"), error_description: Some("token expired"), ..bare };
        assert_eq!(
            expired.to_string(),
            r#"Bearer realm="r", error="invalid_token", error_description="token expired", resource_metadata="m""#
        );
        let scope = Scope::asked("a b").unwrap();
        assert_eq!(
            Challenge { scope: &scope, ..bare }.to_string(),
            r#"Bearer realm="r", scope="a b", resource_metadata="m""#
        );
    }
}
