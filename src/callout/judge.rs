//! Others' word on a token: a Kubernetes API server's (TokenReview), and an issuer's own (RFC 7662 introspection).
//!
//! Nothing of a reply is kept but what was read of it: a TokenReview repeats the token.

use super::{CalloutError, Endpoint, Outbox};
use crate::json::{Map, Value};
use crate::kube::{self, Review};
use crate::oauth::{FORM, introspection_request, read_introspection};
use crate::secret::Secret;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The largest reply that is read, in bytes: a review repeats the token and says who set which field.
const MAX_REPLY: usize = 256 * 1024;

/// Why there is no word on a token. It is never the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgeError {
    /// It did not come.
    Callout(CalloutError),
    /// It is none.
    NoAnswer,
}

/// Asks a Kubernetes API server whether `token` is somebody's, for one of these audiences.
///
/// # Errors
/// There is no answer. Every status but 201 is a failure of the server or of the gate's own credential.
pub async fn review(
    outbox: Outbox,
    endpoint: Rc<Endpoint>,
    token: Secret,
    audiences: Rc<[String]>,
    timeout: Duration,
) -> Result<Review, JudgeError> {
    let token = std::str::from_utf8(token.expose()).map_err(|_| JudgeError::NoAnswer)?;
    let question = Secret::new(kube::question(token, &audiences).into_bytes());
    let callout = endpoint.post("application/json", question, timeout).max_reply(MAX_REPLY);
    let reply = outbox.call(callout).await.and_then(|reply| reply.body_of(kube::CREATED));
    let body = reply.map_err(JudgeError::Callout)?;
    kube::read_answer(&body, &audiences).map_err(|_| JudgeError::NoAnswer)
}

/// Asks an issuer whether `token` is active; `None` where it is not. `authorization` is the gate's own, where Envoy
/// does not add it.
///
/// # Errors
/// There is no answer.
pub async fn introspect(
    outbox: Outbox,
    endpoint: Rc<Endpoint>,
    token: Secret,
    authorization: Option<Secret>,
    timeout: Duration,
) -> Result<Option<Map<String, Value>>, JudgeError> {
    let token = std::str::from_utf8(token.expose()).map_err(|_| JudgeError::NoAnswer)?;
    let question = introspection_request(token).into_body();
    let mut callout = endpoint.post(FORM, question, timeout).max_reply(MAX_REPLY);
    if let Some(value) = authorization {
        callout = callout.header("authorization", value);
    }
    let reply = outbox.call(callout).await.and_then(|reply| reply.body_of(200));
    let body = reply.map_err(JudgeError::Callout)?;
    read_introspection(&body).map_err(|_| JudgeError::NoAnswer)
}

impl JudgeError {
    /// Its name in counters: one of a closed list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Callout(error) => error.name(),
            Self::NoAnswer => "no_answer",
        }
    }
}

impl fmt::Display for JudgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::NoAnswer => return f.write_str("the answer is none that can be read"),
            Self::Callout(error) => error,
        };
        match error {
            CalloutError::UnknownCluster => f.write_str(
                "was not asked: Envoy has no such cluster; add it, or name another with `cluster`",
            ),
            CalloutError::NotSent => f.write_str("was not asked: Envoy could not send the request"),
            CalloutError::CutOff => f.write_str("the answer was cut off"),
            CalloutError::Unreadable => f.write_str("the answer is too large, or can't be read"),
            CalloutError::Status(400) => f.write_str("answered 400: it does not take the question"),
            CalloutError::Status(401) => f.write_str(
                "answered 401: it does not accept the gate's own credential; Envoy adds it to the cluster",
            ),
            CalloutError::Status(403) => {
                f.write_str("answered 403: the gate's own credential may not ask this")
            }
            CalloutError::Status(status @ (503 | 504)) => {
                write!(f, "answered {status} (Envoy's own if the cluster can't be reached)")
            }
            CalloutError::Status(status) => write!(f, "answered {status}"),
        }
    }
}
