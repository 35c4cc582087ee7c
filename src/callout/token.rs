//! A token endpoint, asked for one token (RFC 6749 section 3.2): found by discovery where the configuration does not
//! name it, and answered with a token that is right in all, or with the reason for which there is none.

use super::discovery::discover;
use super::{CalloutError, Endpoint, Outbox};
use crate::oauth::{
    self, BadToken, ClientProof, DiscoveryError, FORM, Form, IssuedToken, OAuthError, TokenRequest,
};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The largest answer of a token endpoint that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// An issuer whose discovery document names the endpoint.
#[derive(Clone, Debug)]
pub struct IssuerPlace {
    /// Its identifier.
    pub issuer: String,
    /// Its scheme and authority: `https://login.example.com`.
    pub origin: String,
    /// Its own path, empty for none.
    pub path: String,
    /// How it is reached; the path is of no meaning.
    pub endpoint: Endpoint,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The discovery document did not come.
    DiscoveryCallout(CalloutError),
    /// The discovery document is not used.
    Discovery(DiscoveryError),
    /// No answer that counts came.
    Callout(CalloutError),
    /// The endpoint refuses.
    Refused(OAuthError),
    /// The token is not used.
    Token(BadToken),
    /// The upstream refused the last one just now.
    RefusedByUpstream,
    /// The request can't be made: no randomness, or a key that does not sign.
    Request,
}

/// Finds the token endpoint of an issuer.
///
/// # Errors
/// Why it can't be found.
pub async fn find_token_endpoint(
    outbox: Outbox,
    issuer: Rc<IssuerPlace>,
    timeout: Duration,
) -> Result<Rc<Endpoint>, TokenError> {
    let at = |path: String| Endpoint { path, ..issuer.endpoint.clone() };
    let document = discover(&outbox, &issuer.path, |path| at(path).get(timeout)).await;
    let document = document.map_err(|refused| TokenError::DiscoveryCallout(refused.error))?;
    let path =
        oauth::token_endpoint(&document, &issuer.issuer, &issuer.origin).map_err(TokenError::Discovery)?;
    Ok(Rc::new(at(path)))
}

/// Asks `endpoint` for a token: posts `form`, in which the client proves itself unless `proof` belongs into a header,
/// and reads the answer to `request`.
///
/// # Errors
/// Why there is none. An error of OAuth's counts with status 400, 401 or 403 alone: what Envoy answers for a host
/// that is down is none, whatever stands in it.
pub async fn ask_for_token(
    outbox: Outbox,
    endpoint: &Endpoint,
    (form, proof): (Form, ClientProof),
    timeout: Duration,
    request: &TokenRequest,
    issued_audience: Option<&str>,
) -> Result<Rc<IssuedToken>, TokenError> {
    let mut callout = endpoint.post(FORM, form.into_body(), timeout).max_reply(MAX_ANSWER);
    if let ClientProof::Basic(value) = proof {
        callout = callout.header("authorization", value);
    }
    let reply = outbox.call(callout).await.map_err(TokenError::Callout)?;
    let status = reply.status().map_err(TokenError::Callout)?;
    if let 400 | 401 | 403 = status
        && let Some(error) = OAuthError::parse(&reply.body)
    {
        return Err(TokenError::Refused(error));
    }
    let body = reply.body_of(200).map_err(TokenError::Callout)?;
    IssuedToken::parse(&body, request, issued_audience).map(Rc::new).map_err(TokenError::Token)
}

impl TokenError {
    /// Its name in records and counters: one of a closed list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiscoveryCallout(error) | Self::Callout(error) => error.name(),
            Self::Discovery(_) => "discovery",
            Self::Refused(error) => error.name(),
            Self::Token(error) => error.name(),
            Self::RefusedByUpstream => "refused_by_upstream",
            Self::Request => "request",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiscoveryCallout(error) => error.describe("the discovery document", f),
            Self::Discovery(error) => error.fmt(f),
            Self::Callout(error) => error.describe("a token", f),
            Self::Refused(error) => write!(f, "the token endpoint refuses with `{}`", error.name()),
            Self::Token(error) => write!(f, "the token endpoint's answer is not used: `{}`", error.name()),
            Self::RefusedByUpstream => f.write_str("the upstream refuses the token"),
            Self::Request => f.write_str("the request for a token can't be made"),
        }
    }
}
