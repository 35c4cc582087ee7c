//! The protected resource that is guarded here: its identifier and its metadata (RFC 9728).
//!
//! The external URL is configuration, never guessed from a request's `Host`: behind TLS and other
//! proxies a guess is wrong, and a client compares `resource` with the URL that it used.

use super::scope::Scope;
use serde_json::json;

/// Where the metadata stands, before the resource's own path (RFC 9728 section 3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A resource identifier, taken apart, with its metadata document.
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    identifier: String,
    origin: String,
    path: String,
    metadata_url: String,
    metadata_path: String,
    document: String,
}

/// Why a text is no resource identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceError {
    /// Not `https://` or `http://` with a host.
    NotAUrl,
    /// Has a fragment (RFC 8707 section 2) or a query.
    FragmentOrQuery,
    /// Holds white space, a control character, `"` or `\`.
    Characters,
    /// The path is not in the one form that clients may use: `//`, `/./`, `/../`, `%`, `;`.
    Path,
}

impl ProtectedResource {
    /// Takes a resource identifier apart and makes its metadata document, which names `scope` as
    /// `scopes_supported` if it has any: what a client asks for where a challenge names none.
    ///
    /// # Errors
    /// What the identifier breaks.
    pub fn new(
        identifier: &str,
        authorization_servers: &[&str],
        scope: &Scope,
    ) -> Result<Self, ResourceError> {
        if identifier
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\') || !c.is_ascii())
        {
            return Err(ResourceError::Characters);
        }
        if identifier.contains(['#', '?']) {
            return Err(ResourceError::FragmentOrQuery);
        }
        let (scheme, rest) = identifier.split_once("://").ok_or(ResourceError::NotAUrl)?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        if !matches!(scheme, "https" | "http") || authority.is_empty() || authority.contains('@') {
            return Err(ResourceError::NotAUrl);
        }
        if !is_one_path(&path) {
            return Err(ResourceError::Path);
        }
        let suffix = if path == "/" { "" } else { &path };
        let metadata_path = format!("{WELL_KNOWN}{suffix}");
        let mut document = json!({
            "resource": identifier,
            "authorization_servers": authorization_servers,
            "bearer_methods_supported": ["header"],
        });
        // Lists without an element are left out (RFC 9728 section 3.2).
        if let (Some(members), false) = (document.as_object_mut(), scope.is_empty()) {
            members.insert("scopes_supported".to_owned(), scope.names().collect());
        }
        Ok(Self {
            identifier: identifier.to_owned(),
            origin: format!("{scheme}://{authority}"),
            metadata_url: format!("{scheme}://{authority}{metadata_path}"),
            metadata_path,
            path,
            document: document.to_string(),
        })
    }

    /// The identifier as configured: what clients call, and the `aud` of their tokens.
    #[must_use]
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The audience of which a token must be where its issuer's entry names no other.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        std::slice::from_ref(&self.identifier)
    }

    /// Scheme, host and port, as a browser names them (RFC 6454).
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path of the MCP endpoint.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where clients find the document, as a challenge names it.
    #[must_use]
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The document: JSON, unauthenticated, answered to GET.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// Whether `path` (without query) is the endpoint's or its document's, and no other resource's.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        path == self.path || path == self.metadata_path
    }

    /// Whether `path` (without query) is one of the two places of the document: with the resource's
    /// path behind the well-known one (RFC 9728 section 3.1), or the well-known one alone, which MCP
    /// clients try next.
    #[must_use]
    pub fn is_metadata_path(&self, path: &str) -> bool {
        path == self.metadata_path || path == WELL_KNOWN
    }
}

/// Whether a path can be written in one way only, so that comparing it byte for byte is enough.
#[must_use]
pub fn is_one_path(path: &str) -> bool {
    let dotted = path.split('/').any(|segment| matches!(segment, "." | ".."));
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b';' | b'?' | b'#' | b'\\' | b'"');
    path.starts_with('/') && !dotted && !path.contains("//") && path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_places() {
        let resource = ProtectedResource::new(
            "https://mcp.example.com/mcp",
            &["https://login.example.com"],
            &Scope::default(),
        )
        .unwrap();
        assert_eq!(resource.path(), "/mcp");
        assert_eq!(
            resource.metadata_url(),
            "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
        );
        assert!(resource.is_metadata_path("/.well-known/oauth-protected-resource/mcp"));
        assert!(resource.is_metadata_path("/.well-known/oauth-protected-resource"));
        assert!(!resource.is_metadata_path("/.well-known/oauth-protected-resource/"));
        assert!(!resource.is_metadata_path("/.well-known/oauth-protected-resource/mcp/"));
        let document: serde_json::Value = serde_json::from_str(resource.document()).unwrap();
        assert_eq!(document["resource"], "https://mcp.example.com/mcp");
        assert_eq!(document["authorization_servers"][0], "https://login.example.com");
        assert_eq!(document.get("scopes_supported"), None);
    }

    #[test]
    fn names_the_scopes_that_a_client_begins_with() {
        let scope = Scope::asked("mcp:read mcp:list").unwrap();
        let resource = ProtectedResource::new("https://mcp.example.com/mcp", &[], &scope).unwrap();
        let document: serde_json::Value = serde_json::from_str(resource.document()).unwrap();
        assert_eq!(document["scopes_supported"], json!(["mcp:read", "mcp:list"]));
    }

    #[test]
    fn a_resource_without_a_path_is_the_root() {
        for identifier in ["https://mcp.example.com", "https://mcp.example.com/"] {
            let resource = ProtectedResource::new(identifier, &[], &Scope::default()).unwrap();
            assert_eq!(resource.path(), "/");
            assert_eq!(
                resource.metadata_url(),
                "https://mcp.example.com/.well-known/oauth-protected-resource"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_identifier() {
        for (identifier, error) in [
            ("", ResourceError::NotAUrl),
            ("mcp.example.com/mcp", ResourceError::NotAUrl),
            ("ftp://mcp.example.com", ResourceError::NotAUrl),
            ("https:///mcp", ResourceError::NotAUrl),
            ("https://user@mcp.example.com/mcp", ResourceError::NotAUrl),
            ("https://mcp.example.com/mcp#x", ResourceError::FragmentOrQuery),
            ("https://mcp.example.com/mcp?x", ResourceError::FragmentOrQuery),
            ("https://mcp.example.com/a\"b", ResourceError::Characters),
            ("https://mcp.example.com/a b", ResourceError::Characters),
            ("https://mcp.example.com/a//b", ResourceError::Path),
            ("https://mcp.example.com/a/../b", ResourceError::Path),
            ("https://mcp.example.com/a%2fb", ResourceError::Path),
        ] {
            assert_eq!(
                ProtectedResource::new(identifier, &[], &Scope::default()).map(|_| ()),
                Err(error),
                "{identifier}"
            );
        }
    }
}
