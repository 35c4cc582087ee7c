//! The `Mcp-*` headers beside the body (MCP 2026-07-28, "Streamable HTTP", Server Validation).
//!
//! The body is what counts; the headers are compared with it and never trusted alone, because servers
//! of the legacy revisions ignore them and filters behind this one may read them. The order of the
//! checks is the specification's: `_meta`, then mismatch, then an unknown version.

use super::message::{Message, Role};
use super::method::{Operation, Shape, shape};
use super::version::Era;
use crate::head::{Head, One};
use crate::reason::Reason;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::borrow::Cow;

/// The version that the client says it speaks.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// A copy of the body's `method`.
pub const METHOD: &str = "mcp-method";
/// A copy of what the method acts on.
pub const NAME: &str = "mcp-name";

/// The era of a request without a message (GET and DELETE of the legacy revisions).
///
/// # Errors
/// [`Reason::HeaderMismatch`] for a repeated header, [`Reason::UnsupportedProtocolVersion`].
pub fn era_without_message(head: &Head) -> Result<Era, Reason> {
    // They mirror a message, and there is none.
    if head.one(METHOD) != One::Absent || head.one(NAME) != One::Absent {
        return Err(Reason::HeaderMismatch);
    }
    match version(head)? {
        None => Ok(Era::Legacy),
        Some(version) => Era::of(version).ok_or(Reason::UnsupportedProtocolVersion),
    }
}

/// The era of `message`, and that the headers say the same as it.
///
/// # Errors
/// [`Reason::MissingMeta`], [`Reason::HeaderMismatch`] or [`Reason::UnsupportedProtocolVersion`].
pub fn agree(head: &Head, message: &Message<'_>) -> Result<Era, Reason> {
    let header = version(head)?;
    let is_request = message.role == Role::Request;
    let era = match (header, message.meta_version.as_deref()) {
        (None, None) => Era::Legacy,
        (None, Some(_)) => return Err(Reason::HeaderMismatch),
        (Some(header), None) => match Era::of(header) {
            Some(Era::Modern) if is_request => return Err(Reason::MissingMeta),
            Some(era) => era,
            None => return Err(Reason::UnsupportedProtocolVersion),
        },
        (Some(header), Some(body)) if header == body => {
            Era::of(header).ok_or(Reason::UnsupportedProtocolVersion)?
        }
        (Some(_), Some(_)) => return Err(Reason::HeaderMismatch),
    };
    let required = era == Era::Modern && is_request;
    if required && !message.has_client_capabilities {
        return Err(Reason::MissingMeta);
    }
    same(head, METHOD, &message.method, required)?;
    match message.mirrored_name() {
        Some(name) => same(head, NAME, name, required)?,
        // A name beside a method that mirrors none can't be compared: a filter behind may believe it.
        None if head.one(NAME) != One::Absent => return Err(Reason::HeaderMismatch),
        None => {}
    }
    Ok(era)
}

/// What a modern request's head says that it asks for.
#[derive(Debug)]
pub struct Announced<'a> {
    method: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
}

impl Announced<'_> {
    /// The method, and the operations as far as the head tells them; a method whose object stands in the body
    /// only tells nothing.
    #[must_use]
    pub fn asks(&self) -> (&str, Vec<Operation<'_>>) {
        let name = self.name.as_deref().unwrap_or_default();
        let operations = match shape(&self.method) {
            Some(Shape::ToolName) => vec![Operation::Tool(name)],
            Some(Shape::PromptName) => vec![Operation::Prompt(name)],
            Some(Shape::ResourceUri) if self.name.is_some() => vec![Operation::Resource(name)],
            _ => Vec::new(),
        };
        (&self.method, operations)
    }
}

/// Reads what the head of a modern request announces; `None` for a legacy one.
///
/// # Errors
/// [`Reason::HeaderMismatch`] where a header is repeated, wrongly encoded, or absent although its
/// method needs it.
pub fn announced(head: &Head) -> Result<Option<Announced<'_>>, Reason> {
    if version(head)?.and_then(Era::of) != Some(Era::Modern) {
        return Ok(None);
    }
    let Some(method) = value(head, METHOD)? else { return Ok(None) };
    let name = value(head, NAME)?;
    if name.is_none() && matches!(method.as_ref(), "tools/call" | "prompts/get" | "resources/read") {
        return Err(Reason::HeaderMismatch);
    }
    Ok(Some(Announced { method, name }))
}

/// The decoded value of a mirrored header, where there is just one.
///
/// # Errors
/// [`Reason::HeaderMismatch`] where it is repeated, no text, or wrongly encoded.
pub fn value<'a>(head: &'a Head, name: &str) -> Result<Option<Cow<'a, str>>, Reason> {
    match head.one(name) {
        One::Absent => Ok(None),
        One::Text(text) => decode(text).map(Some),
        One::Unusable => Err(Reason::HeaderMismatch),
    }
}

fn version(head: &Head) -> Result<Option<&str>, Reason> {
    match head.one(PROTOCOL_VERSION) {
        One::Absent => Ok(None),
        One::Text(text) => Ok(Some(trim(text))),
        One::Unusable => Err(Reason::HeaderMismatch),
    }
}

fn same(head: &Head, name: &str, body: &str, required: bool) -> Result<(), Reason> {
    match value(head, name)? {
        Some(header) if header == body => Ok(()),
        None if !required => Ok(()),
        _ => Err(Reason::HeaderMismatch),
    }
}

/// Optional white space around a value is not part of it (RFC 9110 section 5.5).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Resolves `=?base64?...?=` (MCP 2026-07-28, "Value Encoding"): lower-case markers, standard
/// alphabet, padded, UTF-8 inside.
fn decode(text: &str) -> Result<Cow<'_, str>, Reason> {
    let text = trim(text);
    let Some(inner) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(text));
    };
    let bytes = STANDARD.decode(inner).map_err(|_| Reason::HeaderMismatch)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Reason::HeaderMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    const LEGACY_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"}}"#;
    const NOTIFICATION: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#;

    fn check(headers: &[(&str, &str)], body: &str) -> Result<Era, Reason> {
        agree(&Head::from_pairs(headers.iter().copied()), &Message::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn header_and_body_must_agree() {
        let v = ("mcp-protocol-version", "2026-07-28");
        let m = ("mcp-method", "tools/call");
        let n = ("mcp-name", "get_x");
        let mismatch = Err(Reason::HeaderMismatch);
        let cases: &[(&[(&str, &str)], &str, Result<Era, Reason>)] = &[
            (&[v, m, n], MODERN_CALL, Ok(Era::Modern)),
            (&[v, m, ("mcp-name", "=?base64?Z2V0X3g=?=")], MODERN_CALL, Ok(Era::Modern)),
            (&[v, m, ("mcp-name", " get_x\t")], MODERN_CALL, Ok(Era::Modern)),
            (&[v, m, ("mcp-name", "=?base64?Z2V0X3g?=")], MODERN_CALL, mismatch),
            (&[v, m, ("mcp-name", "=?BASE64?Z2V0X3g=?=")], MODERN_CALL, mismatch),
            (&[v, m, ("mcp-name", "GET_X")], MODERN_CALL, mismatch),
            (&[v, m, n, ("mcp-name", "get_x")], MODERN_CALL, mismatch),
            (&[v, m, n, ("Mcp-Name", "delete_x")], MODERN_CALL, mismatch),
            (&[v, ("mcp-method", "tools/list"), n], MODERN_CALL, mismatch),
            (&[v, n], MODERN_CALL, mismatch),
            (&[v, m], MODERN_CALL, mismatch),
            (&[m, n], MODERN_CALL, mismatch),
            (&[("mcp-protocol-version", "2025-11-25"), m, n], MODERN_CALL, mismatch),
            (&[v, m, n], LEGACY_CALL, Err(Reason::MissingMeta)),
            (&[], LEGACY_CALL, Ok(Era::Legacy)),
            (&[("mcp-protocol-version", "2025-06-18")], LEGACY_CALL, Ok(Era::Legacy)),
            (&[("mcp-protocol-version", "2099-01-01")], LEGACY_CALL, Err(Reason::UnsupportedProtocolVersion)),
            (&[("mcp-name", "delete_x")], LEGACY_CALL, mismatch),
            (&[v], NOTIFICATION, Ok(Era::Modern)),
            (&[v, ("mcp-name", "get_x")], NOTIFICATION, mismatch),
            (&[v, ("mcp-method", "tools/call")], NOTIFICATION, mismatch),
        ];
        for (headers, body, expected) in cases {
            assert_eq!(check(headers, body), *expected, "{headers:?}");
        }
    }

    #[test]
    fn an_unknown_version_in_both_is_unsupported() {
        let body = MODERN_CALL.replace("2026-07-28", "2099-01-01");
        assert_eq!(
            check(&[("mcp-protocol-version", "2099-01-01")], &body),
            Err(Reason::UnsupportedProtocolVersion)
        );
    }

    #[test]
    fn non_text_header_values_are_refused() {
        let head = Head::from_pairs([("mcp-name", &b"get_\xff"[..])]);
        assert_eq!(value(&head, NAME), Err(Reason::HeaderMismatch));
    }
}
