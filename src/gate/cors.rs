//! Which browser pages may call (Origin, MCP "Streamable HTTP" security; CORS, Fetch standard section
//! 3.2), and what they are told.
//!
//! The resource's own origin is always allowed; a client that is no browser sends none.

use super::refusal::Answer;
use crate::head::{Head, One};
use crate::reason::Reason;

/// What an upstream's and our answers expose to a page.
const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Iap-Decision";
/// What a page may send, beside every `Mcp-Param-*`.
const ACCEPTED: &[&str] = &[
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
];

/// A page of an allowed origin asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    origin: String,
}

impl Cors {
    /// An answer says that another page's would differ, beside what else its `Vary` says.
    pub const VARY: (&str, &str) = ("vary", "Origin");

    /// The origin of a request, `None` where it has none.
    ///
    /// # Errors
    /// [`Reason::OriginNotAllowed`]
    pub(super) fn of(head: &Head, is_allowed: impl Fn(&str) -> bool) -> Result<Option<Self>, Reason> {
        match head.one("origin") {
            One::Absent => Ok(None),
            One::Text(origin) if is_allowed(origin) => Ok(Some(Self { origin: origin.to_owned() })),
            One::Text(_) | One::Unusable => Err(Reason::OriginNotAllowed),
        }
    }

    /// What every answer to this page carries.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        [
            ("access-control-allow-origin", self.origin.clone()),
            ("access-control-expose-headers", EXPOSED.to_owned()),
        ]
        .into_iter()
    }

    /// The answer to a question beforehand: the methods, and of the headers asked for the accepted ones.
    pub(super) fn preflight(&self, head: &Head, methods: &str) -> Answer {
        let asked = head.one("access-control-request-headers").text().unwrap_or_default();
        let accepted = asked.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| {
            let is_parameter = name.strip_prefix("mcp-param-").is_some_and(is_token);
            is_parameter || ACCEPTED.contains(&name.as_str())
        });
        let mut headers: Vec<_> = self.headers().collect();
        headers.push(("access-control-allow-methods", methods.to_owned()));
        headers.push(("access-control-allow-headers", accepted.collect::<Vec<_>>().join(", ")));
        headers.push(("access-control-max-age", "600".to_owned()));
        headers.push((Self::VARY.0, Self::VARY.1.to_owned()));
        Answer { status: 204, headers, body: String::new(), reason: Reason::Preflight }
    }
}

/// A header name's characters (RFC 9110 section 5.6.2), as far as they are wanted here.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origins: &[&str]) -> Result<Option<Cors>, Reason> {
        let head = Head::from_pairs(origins.iter().map(|origin| ("origin", *origin)));
        Cors::of(&head, |origin| origin == "https://app.example")
    }

    #[test]
    fn an_origin_is_allowed_to_the_letter() {
        assert_eq!(of(&[]), Ok(None));
        assert!(of(&["https://app.example"]).unwrap().is_some());
        for origin in [
            "null",
            "",
            "http://app.example",
            "https://app.example:443",
            "https://APP.example",
            "https://app.example.evil",
            "*",
        ] {
            assert_eq!(of(&[origin]), Err(Reason::OriginNotAllowed), "{origin}");
        }
        assert_eq!(of(&["https://app.example", "https://app.example"]), Err(Reason::OriginNotAllowed));
    }

    #[test]
    fn a_preflight_accepts_what_mcp_needs() {
        let cors = of(&["https://app.example"]).unwrap().unwrap();
        let asked = "Authorization, X-Evil, mcp-param-region, mcp-param-a b, Mcp-Name";
        let answer = cors.preflight(&Head::from_pairs([("access-control-request-headers", asked)]), "POST");
        let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert!(
            headers.contains(
                &"access-control-allow-headers: authorization, mcp-param-region, mcp-name".to_owned()
            ),
            "{headers:?}"
        );
        assert!(headers.contains(&"access-control-allow-origin: https://app.example".to_owned()));
    }
}
