//! The issuer's discovery document (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
//!
//! The document is untrusted: it may name only its own issuer, and an endpoint on another host counts
//! only where the configuration names it.

use crate::json::{self, Value};
use std::fmt;

/// Why a discovery document is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryError {
    /// No strict JSON object.
    NotJson,
    /// `issuer` is not the one that was asked (OpenID Connect Discovery 1.0 section 4.3).
    OtherIssuer,
    /// The endpoint that is looked for, by its name, is absent or no URL.
    Absent(&'static str),
    /// It stands on another host than the issuer.
    OtherHost(&'static str),
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the discovery document is no strict JSON"),
            Self::OtherIssuer => f.write_str("the discovery document names another issuer"),
            Self::Absent(name) => write!(f, "the discovery document has no usable `{name}`"),
            Self::OtherHost(name) => write!(
                f,
                "the discovery document's `{name}` is on another host; configure `{name}` if it is right"
            ),
        }
    }
}

/// Where the discovery document of an issuer stands whose own path is `issuer_path`: behind that path (OpenID
/// Connect Discovery 1.0 section 4), or else before it (RFC 8414 section 3.1).
#[must_use]
pub fn well_known_paths(issuer_path: &str) -> [String; 2] {
    let path = issuer_path.trim_end_matches('/');
    [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
    ]
}

/// Takes `jwks_uri` from the discovery document of `issuer`; `origin` is the issuer's scheme and
/// authority (`https://login.example.com`). Answers the path on that origin.
///
/// # Errors
/// Why the document is not used.
pub fn jwks_uri(document: &[u8], issuer: &str, origin: &str) -> Result<String, DiscoveryError> {
    endpoint(document, "jwks_uri", issuer, origin)
}

/// As [`jwks_uri`], for `token_endpoint`.
///
/// # Errors
/// Why the document is not used.
pub fn token_endpoint(document: &[u8], issuer: &str, origin: &str) -> Result<String, DiscoveryError> {
    endpoint(document, "token_endpoint", issuer, origin)
}

fn endpoint(
    document: &[u8],
    name: &'static str,
    issuer: &str,
    origin: &str,
) -> Result<String, DiscoveryError> {
    let document = json::parse(document).map_err(|_| DiscoveryError::NotJson)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryError::OtherIssuer);
    }
    let uri = document.get(name).and_then(Value::as_str).ok_or(DiscoveryError::Absent(name))?;
    if !uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(DiscoveryError::Absent(name));
    }
    match uri.strip_prefix(origin) {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(DiscoveryError::OtherHost(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(document: &str) -> Result<String, DiscoveryError> {
        jwks_uri(document.as_bytes(), "https://i.example/realm", "https://i.example")
    }

    #[test]
    fn takes_a_jwks_uri_of_the_same_host_only() {
        assert_eq!(
            find(r#"{"issuer":"https://i.example/realm","jwks_uri":"https://i.example/keys"}"#),
            Ok("/keys".into())
        );
        for (uri, error) in [
            ("https://evil.example/keys", DiscoveryError::OtherHost("jwks_uri")),
            ("https://i.example.evil.example/keys", DiscoveryError::OtherHost("jwks_uri")),
            ("https://i.example@evil.example/keys", DiscoveryError::OtherHost("jwks_uri")),
            ("http://i.example/keys", DiscoveryError::OtherHost("jwks_uri")),
            ("https://i.example/a\\r\\nx: y", DiscoveryError::Absent("jwks_uri")),
        ] {
            assert_eq!(
                find(&format!(r#"{{"issuer":"https://i.example/realm","jwks_uri":"{uri}"}}"#)),
                Err(error),
                "{uri}"
            );
        }
    }

    #[test]
    fn refuses_another_issuers_document() {
        assert_eq!(
            find(r#"{"issuer":"https://i.example","jwks_uri":"https://i.example/keys"}"#),
            Err(DiscoveryError::OtherIssuer)
        );
        assert_eq!(find(r#"{"jwks_uri":"https://i.example/keys"}"#), Err(DiscoveryError::OtherIssuer));
        assert_eq!(find(r#"{"issuer":"https://i.example/realm"}"#), Err(DiscoveryError::Absent("jwks_uri")));
        assert_eq!(find("<html>"), Err(DiscoveryError::NotJson));
        assert_eq!(
            find(r#"{"issuer":"https://i.example/realm","issuer":"x","jwks_uri":"https://i.example/keys"}"#),
            Err(DiscoveryError::NotJson)
        );
    }

    #[test]
    fn takes_a_token_endpoint_of_the_same_host_only() {
        let find = |uri: &str| {
            let document =
                format!(r#"{{"issuer":"https://i.example","jwks_uri":"https://i.example/keys"{uri}}}"#);
            token_endpoint(document.as_bytes(), "https://i.example", "https://i.example")
        };
        assert_eq!(find(r#","token_endpoint":"https://i.example/token""#), Ok("/token".into()));
        assert_eq!(find(""), Err(DiscoveryError::Absent("token_endpoint")));
        let elsewhere = find(r#","token_endpoint":"https://evil.example/token""#);
        assert_eq!(elsewhere, Err(DiscoveryError::OtherHost("token_endpoint")));
    }

    #[test]
    fn finds_the_document() {
        for (path, expected) in [
            ("", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]),
            (
                "/realms/a/",
                [
                    "/realms/a/.well-known/openid-configuration",
                    "/.well-known/oauth-authorization-server/realms/a",
                ],
            ),
        ] {
            assert_eq!(well_known_paths(path), expected, "{path}");
        }
    }
}
