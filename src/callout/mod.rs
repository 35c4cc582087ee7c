//! Requests of our own: to an identity provider, through a cluster that Envoy knows.
//!
//! A reply is typed and counts only with the status that its reader demands: Envoy answers for a host
//! that is down with a page of its own, which has a body too. Callouts are run by tasks that belong to
//! the root, so a client that goes away takes nobody's callout with it; [`SingleFlight`] makes one task
//! serve all who wait for the same thing.

mod jwks;
mod single_flight;
mod tasks;

pub use jwks::{KeySource, KeysError, fetch_keys};
pub use single_flight::{Lost, SingleFlight, Wait};
pub use tasks::{Callouts, Full, Outbox, StreamId};

use crate::head::{Head, One};
use std::time::Duration;

/// The largest reply body that is read, in bytes.
pub const MAX_REPLY: usize = 1024 * 1024;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The Envoy cluster.
    pub cluster: String,
    /// `:authority`
    pub authority: String,
    /// `:path`
    pub path: String,
    /// `https` or `http`: what the other side is told; encryption is the cluster's business.
    pub scheme: &'static str,
    /// After this a reply of Envoy's own comes (504).
    pub timeout: Duration,
}

/// A reply as it came.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Names and values, `:status` among them.
    pub head: Head,
    /// The body, at most [`MAX_REPLY`].
    pub body: Vec<u8>,
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
    /// The reply is larger than [`MAX_REPLY`], or has no status.
    Unreadable,
    /// The status is another one than demanded.
    Status(u16),
}

impl Reply {
    /// The body, if the status is `status`.
    ///
    /// # Errors
    /// [`CalloutError::Status`] or [`CalloutError::Unreadable`].
    pub fn body_of(self, status: u16) -> Result<Vec<u8>, CalloutError> {
        let One::Text(text) = self.head.one(":status") else { return Err(CalloutError::Unreadable) };
        match text.parse::<u16>() {
            Ok(seen) if seen == status => Ok(self.body),
            Ok(seen) => Err(CalloutError::Status(seen)),
            Err(_) => Err(CalloutError::Unreadable),
        }
    }
}
