//! Which of the few paths a request is for, and what its head says about its body.
//!
//! Paths are compared exactly: what is not written as configured is not found.

use super::resource::{ResourceSettings, without_query};
use super::settings::Settings;
use crate::head::{Head, One};
use crate::oauth::ProtectedResource;
use crate::reason::Reason;
use crate::spiffe::XFCC;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// GET or HEAD of the RFC 9728 document.
    Metadata,
    /// A browser asks beforehand what a page may send; the methods that it may use.
    Preflight(&'static str),
    /// GET or HEAD of a health path.
    Health,
    /// POST of a message to the MCP endpoint.
    Message,
    /// GET or DELETE of the MCP endpoint: stream and session of the legacy revisions.
    Stream,
}

/// Headers that are read or set here, beside `Mcp-*`, and have another spelling: servers behind CGI and
/// WSGI take `_` for `-`. (`Mcp-Param-*` passes as it is, whatever stands behind the second `-`.)
const OURS: &[&str] =
    &["content-encoding", "content-length", "content-type", "proxy-authorization", "transfer-encoding"];

/// Headers by which some servers take another method or path than the request line's.
const OVERRIDES: &[&str] =
    &["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// Finds what a request is for; `resource` is the one that its path and host name.
pub(super) fn find(
    settings: &Settings,
    resource: Result<&ResourceSettings, Reason>,
    head: &Head,
) -> Result<Route, Reason> {
    let (One::Text(path), One::Text(method)) = (head.one(":path"), head.one(":method")) else {
        return Err(Reason::MalformedHead);
    };
    for (name, _) in head.iter() {
        if OVERRIDES.iter().any(|known| reads_as(name, known)) {
            return Err(Reason::Override);
        }
        if is_disguised(name) {
            return Err(Reason::MalformedHead);
        }
        // What would stay in the head, for the upstream to read.
        if settings.api_keys.as_ref().is_some_and(|keys| is_other_spelling(name, keys.header())) {
            return Err(Reason::MalformedApiKey);
        }
        if settings.mesh.as_ref().is_some_and(|mesh| mesh.reads_forwarded() && is_other_spelling(name, XFCC))
        {
            return Err(Reason::MalformedForwardedClientCert);
        }
    }
    let path = without_query(path);
    if settings.health_paths.iter().any(|health| health == path) {
        return if matches!(method, "GET" | "HEAD") {
            Ok(Route::Health)
        } else {
            Err(Reason::MethodNotAllowed)
        };
    }
    let resource = &resource?.protected;
    let is_metadata = resource.is_metadata_path(path);
    if is_metadata && settings.issuers.is_empty() {
        return Err(Reason::UnknownPath);
    }
    let asks_beforehand =
        head.one("origin") != One::Absent && head.one("access-control-request-method") != One::Absent;
    match (method, is_metadata) {
        ("OPTIONS", _) if asks_beforehand => Ok(Route::Preflight(allowed_methods(Some(resource), head))),
        // Envoy leaves the body of the answer to a HEAD out.
        ("GET" | "HEAD", true) => Ok(Route::Metadata),
        ("POST", false) => Ok(Route::Message),
        ("GET" | "DELETE", false) => Ok(Route::Stream),
        _ => Err(Reason::MethodNotAllowed),
    }
}

/// The value of `Allow` in a 405 (RFC 9110 section 10.2.1); without a resource, of a health path.
pub(super) fn allowed_methods(resource: Option<&ProtectedResource>, head: &Head) -> &'static str {
    let path = head.one(":path").text().map(without_query).unwrap_or_default();
    match resource {
        Some(resource) if !resource.is_metadata_path(path) => "GET, POST, DELETE",
        _ => "GET, HEAD",
    }
}

/// Whether a server that takes `_` for `-` reads `known` (lower case) in `name`.
fn reads_as(name: &[u8], known: &str) -> bool {
    let same = |(a, b): (&u8, u8)| a.to_ascii_lowercase() == b || (*a == b'_' && b == b'-');
    name.len() == known.len() && name.iter().zip(known.bytes()).all(same)
}

/// Whether such a server reads `known` (lower case) in `name`, and nobody else does.
fn is_other_spelling(name: &[u8], known: &str) -> bool {
    name.contains(&b'_') && reads_as(name, known)
}

/// Whether `name` is another spelling of a header that is read or set here.
fn is_disguised(name: &[u8]) -> bool {
    if !name.contains(&b'_') {
        return false;
    }
    let is_mcp = name.get(..4).is_some_and(|start| reads_as(start, "mcp-"));
    let is_parameter = name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"mcp-param-"));
    (is_mcp && !is_parameter) || OURS.iter().any(|known| reads_as(name, known))
}

/// What must be right before a body is read: one media type, UTF-8, no coding, not too long.
pub(super) fn check_body_headers(head: &Head, limit: usize) -> Result<(), Reason> {
    if head.one("content-encoding") != One::Absent {
        return Err(Reason::ContentEncoding);
    }
    let is_json = head.one("content-type").text().is_some_and(|value| {
        let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
        let essence = parts.next().unwrap_or_default();
        essence.eq_ignore_ascii_case("application/json")
            && parts.all(|parameter| {
                parameter.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset")
                        && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
            })
    });
    if !is_json {
        return Err(Reason::ContentType);
    }
    // What is no number, or none that fits, is too large as well.
    let length = head.one("content-length").text();
    if length.is_some_and(|length| length.parse::<usize>().is_ok_and(|length| length <= limit)) {
        return Ok(());
    }
    if length.is_some() {
        return Err(Reason::BodyTooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::resource;

    const CONFIGURATION: &str = "{resource: 'https://h/mcp', issuers: [{issuer: 'https://i'}], rules: [], health_paths: [/healthz], allowed_hosts: [h]}";

    fn route(pairs: &[(&str, &str)]) -> Result<Route, Reason> {
        let settings = Settings::load(CONFIGURATION.as_bytes()).unwrap();
        let head = Head::from_pairs(pairs.iter().copied());
        let resource = resource::find(&settings.resources, &head);
        find(&settings, resource.as_deref().map_err(|reason| *reason), &head)
    }

    fn at(method: &str, path: &str) -> Result<Route, Reason> {
        route(&[(":method", method), (":path", path), (":authority", "h")])
    }

    #[test]
    fn knows_few_paths() {
        assert_eq!(at("POST", "/mcp"), Ok(Route::Message));
        assert_eq!(at("POST", "/mcp?x=1"), Ok(Route::Message));
        assert_eq!(at("GET", "/mcp"), Ok(Route::Stream));
        assert_eq!(at("DELETE", "/mcp"), Ok(Route::Stream));
        assert_eq!(at("GET", "/healthz"), Ok(Route::Health));
        assert_eq!(at("POST", "/healthz"), Err(Reason::MethodNotAllowed));
        for method in ["GET", "HEAD"] {
            assert_eq!(at(method, "/.well-known/oauth-protected-resource/mcp"), Ok(Route::Metadata));
        }
        for path in [
            "/",
            "/mcp/",
            "/MCP",
            "//mcp",
            "/mcp;x",
            "/%6dcp",
            "/./mcp",
            "/mcp#",
            "/mcp/x",
            "*",
            "",
            "/healthz/",
            "/Healthz",
            "/.well-known/openid-configuration",
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-authorization-server",
        ] {
            assert_eq!(at("POST", path), Err(Reason::UnknownPath), "{path}");
            assert_eq!(at("GET", path), Err(Reason::UnknownPath), "{path}");
        }
        for method in ["PUT", "OPTIONS", "HEAD", "CONNECT", "TRACE", "post", ""] {
            assert_eq!(at(method, "/mcp"), Err(Reason::MethodNotAllowed), "{method}");
        }
        assert_eq!(at("POST", "/.well-known/oauth-protected-resource"), Err(Reason::MethodNotAllowed));
        assert_eq!(route(&[]), Err(Reason::MalformedHead));
    }

    #[test]
    fn knows_its_hosts_and_no_overrides() {
        let with = |pair| route(&[(":method", "POST"), (":path", "/mcp"), pair]);
        assert_eq!(with((":authority", "H")), Ok(Route::Message));
        for host in ["evil", "h:80", "h.evil", ""] {
            assert_eq!(with((":authority", host)), Err(Reason::HostNotAllowed), "{host}");
        }
        assert_eq!(with(("x", "y")), Err(Reason::HostNotAllowed));
        for name in ["X-HTTP-Method-Override", "x-original-url", "x_original-url", "X_HTTP_METHOD"] {
            let pairs = [(":method", "POST"), (":path", "/mcp"), (":authority", "h"), (name, "DELETE")];
            assert_eq!(route(&pairs), Err(Reason::Override), "{name}");
        }
        let preflight = [
            (":method", "OPTIONS"),
            (":path", "/mcp"),
            (":authority", "h"),
            ("origin", "https://h"),
            ("access-control-request-method", "POST"),
        ];
        assert_eq!(route(&preflight), Ok(Route::Preflight("GET, POST, DELETE")));
    }

    #[test]
    fn knows_its_headers_in_every_spelling() {
        let with = |name| route(&[(":method", "POST"), (":path", "/mcp"), (":authority", "h"), (name, "x")]);
        for name in [
            "mcp_method",
            "Mcp_Name",
            "mcp-session_id",
            "MCP_Protocol-Version",
            "mcp_param-a",
            "mcp_param_a",
            "content_type",
            "CONTENT_LENGTH",
            "transfer_encoding",
            "proxy_authorization",
        ] {
            assert_eq!(with(name), Err(Reason::MalformedHead), "{name}");
        }
        for name in ["mcp-param-a_b", "Mcp-Param-_", "x_request_id", "mcp", "_", "mcpx_", "content-type"] {
            assert_eq!(with(name), Ok(Route::Message), "{name}");
        }
    }

    #[test]
    fn knows_one_kind_of_body() {
        let check = |pairs: &[(&str, &str)]| check_body_headers(&Head::from_pairs(pairs.iter().copied()), 10);
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert_eq!(check(&[("content-type", good)]), Ok(()), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/json-seq",
            "application/json; charset=utf-16le",
            "application/json, text/plain",
            "application/json; boundary=x",
            "application/json;",
        ] {
            assert_eq!(check(&[("content-type", bad)]), Err(Reason::ContentType), "{bad}");
        }
        let json = ("content-type", "application/json");
        assert_eq!(check(&[]), Err(Reason::ContentType));
        assert_eq!(check(&[json, json]), Err(Reason::ContentType));
        for coding in ["gzip", "identity", ""] {
            assert_eq!(check(&[json, ("content-encoding", coding)]), Err(Reason::ContentEncoding));
        }
        assert_eq!(check(&[json, ("content-length", "10")]), Ok(()));
        for long in ["11", "4294967306", "99999999999999999999999"] {
            assert_eq!(check(&[json, ("content-length", long)]), Err(Reason::BodyTooLarge), "{long}");
        }
    }
}
