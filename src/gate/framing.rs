//! How an answer is written, and what of it is held: a message until it is complete, or an event of a stream.
//!
//! A message of an answer that is only watched is held as long as its beginning does not tell that it is no list.

use crate::mcp::{BEGINNING, Beginning, Events, beginning};
use crate::reason::Reason;

/// How much of an answer the host may hold, in bytes: no more than the smallest buffer that Envoy's documentation advises.
const HELD: usize = 32_000;

/// How an answer is written.
pub(super) enum Framing {
    /// One message.
    Json(Json),
    Events(Events),
    /// It is no list: what is to come goes on.
    Passed,
    /// Its message has gone on, or an error in its place: nothing is to come.
    Answered,
}

impl Framing {
    /// By `Content-Type`; `None` where no client takes a list from it. `has_length`: the head told one.
    pub(super) fn of(content_type: &str, limit: usize, has_length: bool, is_watched: bool) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Some(Self::Json(Json { body: Vec::new(), limit, has_length, is_watched }));
        }
        let is_stream = essence.eq_ignore_ascii_case("text/event-stream");
        is_stream.then(|| Self::Events(if is_watched { Events::watched(limit) } else { Events::new(limit) }))
    }

    /// How much is held, in bytes.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Json(json) => json.body.len(),
            Self::Events(events) => events.held(),
            Self::Passed | Self::Answered => 0,
        }
    }

    /// Whether the host is to hold the answer, of which it has nothing: trailers may follow, and before them something
    /// is yet to come.
    pub(super) fn is_for_trailers(&self) -> bool {
        matches!(self, Self::Json(Json { body, has_length: false, .. }) if body.len() <= HELD)
    }
}

/// A message that is not complete.
pub(super) struct Json {
    body: Vec<u8>,
    limit: usize,
    has_length: bool,
    is_watched: bool,
}

/// What becomes of a piece.
pub(super) enum Taken {
    Held,
    /// To be looked at; or an error in its place.
    Whole(Vec<u8>, Option<Reason>),
    Passes(Vec<u8>),
}

impl Json {
    /// `room`: how much may be held just now, in bytes. What may still be no list is held whatever that is.
    pub(super) fn push(&mut self, piece: &[u8], room: usize, is_last: bool) -> Taken {
        self.body.extend_from_slice(piece);
        let body = &mut self.body;
        if self.is_watched {
            match beginning(body) {
                Beginning::List => self.is_watched = false,
                Beginning::Open if body.len() <= BEGINNING && !is_last => return Taken::Held,
                _ => return Taken::Passes(std::mem::take(body)),
            }
        }
        let fault = if body.len() > self.limit {
            Some(Reason::ListTooLarge)
        } else if body.len() > room {
            Some(Reason::Overloaded)
        } else {
            None
        };
        if fault.is_none() && !is_last {
            return Taken::Held;
        }
        Taken::Whole(std::mem::take(body), fault)
    }
}
