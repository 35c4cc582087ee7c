//! Requests of our own: to an identity provider, through a cluster that Envoy knows.
//!
//! A reply is typed and counts only with the status that its reader demands: Envoy answers for a host
//! that is down with a page of its own, which has a body too. Callouts are run by tasks that belong to
//! the root, so a client that goes away takes nobody's callout with it; [`SingleFlight`] makes one task
//! serve all who wait for the same thing, and [`Answers`] remembers what it brought. A new question to a
//! service: its form in `oauth` or the like, pure; a task here that posts it to an [`Endpoint`] and reads the
//! reply; an [`Answers`] in the root's state, asked by the request.

mod answers;
mod discovery;
mod judge;
mod jwks;
mod single_flight;
mod tasks;
mod token;

pub use answers::{Answers, Found, Fresh, Unanswered};
pub use judge::{JudgeError, introspect, review};
pub use jwks::{KeySource, KeysError, NoKeys, fetch_keys};
pub use single_flight::{Lost, SingleFlight, Wait};
pub use tasks::{Callouts, Full, Outbox, StreamId};
pub use token::{IssuerPlace, TokenError, ask_for_token, find_token_endpoint};

use crate::head::Head;
use crate::secret::Secret;
use std::fmt;
use std::time::Duration;

/// The largest reply body that is read where nothing else is said, in bytes.
const MAX_REPLY: usize = 1024 * 1024;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The Envoy cluster.
    pub cluster: String,
    /// `https` or `http`: what the other side is told; encryption is the cluster's business.
    pub scheme: &'static str,
    /// `:authority`
    pub authority: String,
    /// `:path`
    pub path: String,
}

/// A request to be sent: a GET, or a POST of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// Where to.
    pub endpoint: Endpoint,
    /// After this a reply of Envoy's own comes (504).
    pub timeout: Duration,
    /// What is posted.
    pub content: Option<Content>,
    /// Further headers, by names in lower case; their values may be credentials.
    pub headers: Vec<(&'static str, Secret)>,
    /// The largest reply body that is read, in bytes.
    pub max_reply: usize,
}

/// What is posted; it may hold credentials, so it does not show itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `content-type`
    pub media_type: &'static str,
    /// The body.
    pub body: Secret,
}

impl Endpoint {
    /// A GET.
    #[must_use]
    pub fn get(&self, timeout: Duration) -> Callout {
        let (endpoint, headers) = (self.clone(), Vec::new());
        Callout { endpoint, timeout, content: None, headers, max_reply: MAX_REPLY }
    }

    /// A POST of `body`.
    #[must_use]
    pub fn post(&self, media_type: &'static str, body: Secret, timeout: Duration) -> Callout {
        Callout { content: Some(Content { media_type, body }), ..self.get(timeout) }
    }
}

impl Callout {
    /// With one header more.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With this bound of the reply's body, in bytes.
    #[must_use]
    pub fn max_reply(self, max_reply: usize) -> Self {
        Self { max_reply, ..self }
    }
}

/// A reply as it came.
#[derive(Clone)]
pub struct Reply {
    /// Names and values, `:status` among them.
    pub head: Head,
    /// The body, at most [`Callout::max_reply`].
    pub body: Vec<u8>,
}

/// Not the body: a token may stand in it.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Why there is no document, and how long who should give it asks to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    error: CalloutError,
    wait: Option<Duration>,
}

impl From<CalloutError> for Refused {
    fn from(error: CalloutError) -> Self {
        Self { error, wait: None }
    }
}

/// Why there is no reply to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutError {
    /// Envoy knows no cluster of this name.
    UnknownCluster,
    /// Envoy could not send the request.
    NotSent,
    /// The connection ended within the reply.
    CutOff,
    /// The reply is larger than its bound, or has no status.
    Unreadable,
    /// The status is another one than demanded.
    Status(u16),
}

impl CalloutError {
    /// Its name in records and counters: one of a closed list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownCluster => "unknown_cluster",
            Self::NotSent => "not_sent",
            Self::CutOff => "cut_off",
            Self::Unreadable => "unreadable",
            Self::Status(503) => "unavailable",
            Self::Status(504) => "timeout",
            Self::Status(_) => "status",
        }
    }

    /// Tells an operator why `what` is not there.
    fn describe(self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCluster => write!(
                f,
                "{what} was not asked for: Envoy has no such cluster; add it, or name another with `cluster`"
            ),
            Self::NotSent => write!(f, "{what} was not asked for: Envoy could not send the request"),
            Self::CutOff => write!(f, "{what} came in an answer that was cut off"),
            Self::Unreadable => write!(f, "{what} came in an answer that can't be read"),
            Self::Status(status @ (503 | 504)) => {
                write!(
                    f,
                    "{what} was answered with status {status} (Envoy's own if the cluster can't be reached)"
                )
            }
            Self::Status(status) => write!(f, "{what} was answered with status {status}"),
        }
    }
}

impl Reply {
    /// The status.
    ///
    /// # Errors
    /// [`CalloutError::Unreadable`] where there is none.
    pub fn status(&self) -> Result<u16, CalloutError> {
        let status = self.head.one(":status").text().and_then(|text| text.parse().ok());
        status.ok_or(CalloutError::Unreadable)
    }

    /// How long it asks to be left alone (RFC 9110 section 10.2.3), where it says so in seconds.
    #[must_use]
    fn retry_after(&self) -> Option<Duration> {
        let text = self.head.one("retry-after").text()?;
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        is_number
            .then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
            .filter(|_| !text.is_empty())
    }

    /// The body, if the status is 200; else with the error how long it asks to be left alone.
    ///
    /// # Errors
    /// As [`Self::body_of`].
    fn document(self) -> Result<Vec<u8>, Refused> {
        let wait = self.retry_after();
        self.body_of(200).map_err(|error| Refused { error, wait })
    }

    /// The body, if the status is `status`.
    ///
    /// # Errors
    /// [`CalloutError::Status`] or [`CalloutError::Unreadable`].
    pub fn body_of(self, status: u16) -> Result<Vec<u8>, CalloutError> {
        match self.status()? {
            seen if seen == status => Ok(self.body),
            seen => Err(CalloutError::Status(seen)),
        }
    }
}
