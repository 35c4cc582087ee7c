//! Which of the few paths a request is for, and what its head says about its body.
//!
//! Paths are compared exactly: what is not written as configured is not found.

use crate::head::{Head, One};
use crate::oauth::ProtectedResource;
use crate::reason::Reason;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// GET or HEAD of the RFC 9728 document.
    Metadata,
    /// POST of a message to the MCP endpoint.
    Message,
    /// GET or DELETE of the MCP endpoint: stream and session of the legacy revisions.
    Stream,
}

pub(super) fn find(resource: &ProtectedResource, head: &Head) -> Result<Route, Reason> {
    let (One::Text(path), One::Text(method)) = (head.one(":path"), head.one(":method")) else {
        return Err(Reason::MalformedHead);
    };
    let path = without_query(path);
    if resource.is_metadata_path(path) {
        // Envoy leaves the body of the answer to a HEAD out.
        let reads = matches!(method, "GET" | "HEAD");
        return if reads { Ok(Route::Metadata) } else { Err(Reason::MethodNotAllowed) };
    }
    if path != resource.path() {
        return Err(Reason::UnknownPath);
    }
    match method {
        "POST" => Ok(Route::Message),
        "GET" | "DELETE" => Ok(Route::Stream),
        _ => Err(Reason::MethodNotAllowed),
    }
}

/// The value of `Allow` in a 405 (RFC 9110 section 10.2.1).
pub(super) fn allowed_methods(resource: &ProtectedResource, head: &Head) -> &'static str {
    let is_metadata =
        head.one(":path").text().is_some_and(|path| resource.is_metadata_path(without_query(path)));
    if is_metadata { "GET, HEAD" } else { "GET, POST, DELETE" }
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
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

    fn route(method: &str, path: &str) -> Result<Route, Reason> {
        let resource = ProtectedResource::new("https://h/mcp", &[]).unwrap();
        find(&resource, &Head::from_pairs([(":method", method), (":path", path)]))
    }

    #[test]
    fn knows_few_paths() {
        assert_eq!(route("POST", "/mcp"), Ok(Route::Message));
        assert_eq!(route("POST", "/mcp?x=1"), Ok(Route::Message));
        assert_eq!(route("GET", "/mcp"), Ok(Route::Stream));
        assert_eq!(route("DELETE", "/mcp"), Ok(Route::Stream));
        assert_eq!(route("GET", "/.well-known/oauth-protected-resource/mcp"), Ok(Route::Metadata));
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
            "/.well-known/openid-configuration",
        ] {
            assert_eq!(route("POST", path), Err(Reason::UnknownPath), "{path}");
        }
        for method in ["PUT", "OPTIONS", "HEAD", "CONNECT", "post", ""] {
            assert_eq!(route(method, "/mcp"), Err(Reason::MethodNotAllowed), "{method}");
        }
        assert_eq!(route("POST", "/.well-known/oauth-protected-resource"), Err(Reason::MethodNotAllowed));
        assert_eq!(
            find(&ProtectedResource::new("https://h/mcp", &[]).unwrap(), &Head::default()),
            Err(Reason::MalformedHead)
        );
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
