//! The lists in an answer, for one caller: what filters them as they pass.
//!
//! The answer to a request for a list is read whole, up to a limit, as JSON or event by event. A GET stream of the
//! legacy revisions may repeat such an answer, to a request that nobody here knows any more: so each of its events is
//! looked at, and what has a list's shape is one. A legacy session's server sends an answer to whoever used its `id`
//! last: so all its other answers are watched, which pass unless they begin as a list. What can't be read of a list
//! becomes an error, never what it was.

use super::framing::{Framing, Taken};
use super::outgoing::Target;
use super::refusal::late_error;
use super::request::{Request, Shared};
use super::resource::ResourceSettings;
use crate::audit::{Record, Written};
use crate::head::{Head, One};
use crate::identity::Caller;
use crate::mcp::headers;
use crate::mcp::{
    Arguments, Beginning, CacheScope, Entry, Era, Operation, Verdict, beginning, filter, is_list,
};
use crate::policy::{Call, Known, Unspent};
use crate::reason::Reason;
use std::rc::Rc;

/// What may be in the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is not known yet what is asked for.
    Unknown,
    /// A list.
    List,
    /// Whatever the server sends by itself, and what it answered before.
    Stream,
    /// No list, but for one that was asked for in the same session by the same `id`.
    Session,
    Other,
}

impl Request {
    /// Whether lists may be in its answer, which are filtered as they pass.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        matches!(self.answer.get(), Answered::List | Answered::Stream | Answered::Session)
    }

    /// Whether its answer passes unless it begins as a list.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.answer.get() == Answered::Session
    }

    /// Whether a coding of its answer would hide a list. Where the head goes on before its body, only what it
    /// announces tells: of a modern request without a session, in whose answer there is nothing else.
    pub(super) fn may_have_lists(&self) -> bool {
        let is_known_other = || {
            let announced = headers::announced(&self.head).ok().flatten();
            !self.has_session() && announced.is_some_and(|announced| !is_list(announced.asks().0))
        };
        let goes_early = !self.settings.allow_on_headers_stop_iteration;
        self.has_lists() || (goes_early && self.answer.get() == Answered::Unknown && !is_known_other())
    }

    fn has_session(&self) -> bool {
        self.head.one(SESSION) != One::Absent
    }

    /// It has a message of this method. The modern revision has no sessions; a server that keeps one has its header.
    pub(super) fn note_asked(&self, method: &str, era: Era) {
        let is_in_session = era == Era::Legacy || self.has_session();
        self.answer.set(match is_list(method) {
            true => Answered::List,
            false if is_in_session => Answered::Session,
            false => Answered::Other,
        });
        self.note_era(era);
    }

    /// It has no message: it opens a stream, or ends a session.
    pub(super) fn note_stream(&self, era: Era) {
        let opens = self.head.one(":method").text() == Some("GET");
        self.answer.set(if opens { Answered::Stream } else { Answered::Other });
        self.note_era(era);
    }

    fn is_stream(&self) -> bool {
        self.answer.get() == Answered::Stream
    }
}

/// The header of a session (MCP 2025-11-25, "Session Management").
pub(super) const SESSION: &str = "mcp-session-id";

/// How much of answers a worker holds, in bytes: lists that are not complete, of all streams together. One list is no
/// longer (`limits.list_bytes`).
const HELD_BY_ALL: usize = 64 << 20;

/// What filters the lists of one answer. It outlives its request, of which it keeps no credential.
pub struct Lists {
    viewer: Viewer,
    framing: Framing,
    told: Told,
    /// How much of it is held here, in bytes.
    held: usize,
    /// Its head has gone on with a length: as much goes on as comes.
    keeps_length: bool,
}

/// No stream of this worker holds what has gone.
impl Drop for Lists {
    fn drop(&mut self) {
        self.note_held(0);
    }
}

/// Who looks.
struct Viewer {
    shared: Rc<Shared>,
    resource: Rc<ResourceSettings>,
    caller: Rc<Caller>,
    /// The headers that rules may read.
    head: Head,
    id: Option<String>,
    era: Option<Era>,
    /// What becomes of what a list says of who may keep it.
    scope: CacheScope,
    /// Whether there may be other messages beside the answer.
    is_stream: bool,
}

/// What is to be told of it.
struct Told {
    record: Record,
    shown: usize,
    hidden: usize,
    is_new: bool,
}

/// What was listed since it was asked the last time.
pub struct News {
    /// The record that says so.
    pub record: Written,
    /// How many entries of lists the caller sees.
    pub shown: usize,
    /// How many he does not.
    pub hidden: usize,
}

impl Lists {
    /// Of a request that went on, by the head of its answer.
    ///
    /// # Errors
    /// [`Reason::ListUnreadable`] where what follows can't be read.
    pub fn of(request: &Request, answer: &Head) -> Result<Self, Reason> {
        let unreadable = Reason::ListUnreadable;
        if answer.all("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(unreadable);
        }
        let content_type = answer.one("content-type").text().unwrap_or_default();
        let has_length = answer.one("content-length") != One::Absent;
        let limit = request.settings.limits.list_bytes;
        let framing = Framing::of(content_type, limit, has_length, false).ok_or(unreadable)?;
        Self::new(request, framing, false)
    }

    /// Of a request in whose answer a list may be that another asked for, by the answer's `Content-Type` and whether it
    /// has a `Content-Length`; `None` where no client takes a list from it.
    ///
    /// # Errors
    /// [`Reason::Internal`]: it did not go on.
    pub fn watched(request: &Request, content_type: &str, has_length: bool) -> Result<Option<Self>, Reason> {
        let limit = request.settings.limits.list_bytes;
        let Some(framing) = Framing::of(content_type, limit, has_length, true) else { return Ok(None) };
        // Behind a message there may be white space; a stream may be anywhere by then.
        let keeps_length = has_length && matches!(framing, Framing::Json(_));
        Self::new(request, framing, keeps_length).map(Some)
    }

    fn new(request: &Request, framing: Framing, keeps_length: bool) -> Result<Self, Reason> {
        let is_stream = matches!(framing, Framing::Events(_));
        let viewer = Viewer::of(request, is_stream, keeps_length).ok_or(Reason::Internal)?;
        Ok(Self { viewer, framing, told: Told::of(request), held: 0, keeps_length })
    }

    /// Whether the length that the answer's head tells holds of what goes on: else it is to be taken out.
    #[must_use]
    pub fn keeps_length(&self) -> bool {
        self.keeps_length
    }

    /// Takes the next piece of the answer and gives what goes on.
    pub fn push(&mut self, piece: &[u8], is_last: bool) -> Vec<u8> {
        let of_others = self.viewer.shared.held_lists.get().saturating_sub(self.held);
        let room = HELD_BY_ALL.saturating_sub(of_others);
        let Self { viewer, framing, told, .. } = self;
        let mut out = match framing {
            Framing::Passed => piece.to_vec(),
            Framing::Answered => Vec::new(),
            Framing::Events(events) => {
                let mut judge = |data: &[u8], fault: Option<Reason>| match viewer.look(data, fault, told) {
                    None => Verdict::Pass,
                    Some(data) => Verdict::Replace(data),
                };
                let mut out = events.push(piece, room, &mut judge);
                if is_last {
                    out.extend(events.finish(&mut judge));
                }
                out
            }
            Framing::Json(json) => match json.push(piece, room, is_last) {
                Taken::Held => Vec::new(),
                Taken::Whole(body, fault) => {
                    *framing = Framing::Answered;
                    viewer.look(&body, fault, told).unwrap_or(body)
                }
                Taken::Passes(body) => {
                    *framing = Framing::Passed;
                    body
                }
            },
        };
        self.give(&mut out, piece.len());
        out
    }

    /// Makes what goes on for a piece of this size as long as it must be, with white space behind the message; what is
    /// too long for that, an error, does not go on.
    fn give(&mut self, out: &mut Vec<u8>, size: usize) {
        let before = self.held;
        self.note_held(self.framing.held());
        if self.keeps_length {
            let size = before.saturating_add(size).saturating_sub(self.held);
            if out.len() > size {
                out.clear();
            }
            out.resize(size, b'\n');
        }
    }

    /// Whether all that is to come goes on as it is.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        matches!(self.framing, Framing::Passed)
    }

    fn note_held(&mut self, held: usize) {
        let all = &self.viewer.shared.held_lists;
        all.set(all.get().saturating_sub(self.held).saturating_add(held));
        self.held = held;
    }

    /// Gives an error in the place of all that is to come, of which `size` bytes are here.
    pub fn fail(&mut self, size: usize) -> Vec<u8> {
        let Self { viewer, framing, told, .. } = self;
        *framing = Framing::Answered;
        let mut error = viewer.look(&[], Some(Reason::Internal), told).unwrap_or_default();
        self.give(&mut error, size);
        error
    }

    /// Whether the host is to hold the answer, of which it has nothing just now: only so can something be put before
    /// trailers. Not where a length says that none come, nor for long answers: the host resets what is more than it may
    /// hold.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.framing.is_for_trailers()
    }

    /// What is to be told since it was asked the last time.
    pub fn news(&mut self) -> Option<News> {
        let told = &mut self.told;
        if !std::mem::take(&mut told.is_new) {
            return None;
        }
        let (shown, hidden) = (std::mem::take(&mut told.shown), std::mem::take(&mut told.hidden));
        Some(News { record: told.record.write(), shown, hidden })
    }
}

impl Viewer {
    fn of(request: &Request, is_stream: bool, keeps_length: bool) -> Option<Self> {
        let is_modern = !request.is_stream() && request.era() == Some(Era::Modern);
        let scope = match (keeps_length, is_modern) {
            (true, _) => CacheScope::Stays,
            (false, true) => CacheScope::Needed,
            (false, false) => CacheScope::Changes,
        };
        let named = |name: &[u8]| {
            request.settings.trusted_headers.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
        };
        Some(Self {
            shared: Rc::clone(request.shared()),
            resource: request.shared_resource()?,
            caller: request.note(|record| record.caller().map(Rc::clone))?,
            head: Head::from_pairs(request.head.iter().filter(|(name, _)| named(name))),
            id: request.message_id(),
            era: request.era(),
            scope,
            is_stream,
        })
    }

    /// What stands in the place of a message, or of one that can't be had, by what there is of it; `None` where it stays.
    fn look(&self, message: &[u8], fault: Option<Reason>, told: &mut Told) -> Option<Vec<u8>> {
        let listed = fault.map_or(Ok(()), Err).and_then(|()| {
            let listed = filter(message, self.scope, &mut |entry| self.sees(entry));
            listed.map_err(|reason| match reason {
                Reason::ListTooLarge => reason,
                _ => Reason::ListUnreadable,
            })
        });
        match listed {
            Ok(None) => None,
            Ok(Some(listed)) => {
                told.note(listed.shown, listed.hidden);
                (listed.text != message).then_some(listed.text)
            }
            Err(reason) => {
                // What asks or tells, or answers who knows whom, is not the answer to the request.
                let is_other = self.is_stream && (self.id.is_none() || beginning(message) == Beginning::Call);
                let id = self.id.as_deref().filter(|_| !is_other);
                told.fail(reason, is_other);
                Some(late_error(id, self.era, reason, &told.record.decision).into_bytes())
            }
        }
    }

    fn sees(&self, entry: Entry<'_>) -> bool {
        // What takes no arguments has none; what takes some has those that nobody knows yet.
        let none = Arguments::default();
        let arguments = (!matches!(entry, Entry::Tool(_) | Entry::Prompt(_))).then_some(&none);
        let tool = if let Entry::Tool(name) = entry { Some(Operation::Tool(name)) } else { None };
        let target = self.resource.outgoing.target_if_known(tool.as_slice(), arguments);
        let call = Call {
            caller: &self.caller,
            known: Known::ALL,
            method: "",
            operations: &[] as &[Operation<'_>],
            arguments,
            target: target.as_deref().map(Target::name),
            is_exchanged: false,
            head: Some(&self.head),
            sender: Some(self.shared.sender()),
            now: Some(self.shared.now().unix()),
            spent: &Unspent,
        };
        self.resource.policies.could_allow(&call, entry)
    }
}

impl Told {
    fn of(request: &Request) -> Self {
        Self { record: request.record(), shown: 0, hidden: 0, is_new: false }
    }

    fn note(&mut self, shown: usize, hidden: usize) {
        self.shown = self.shown.saturating_add(shown);
        self.hidden = self.hidden.saturating_add(hidden);
        self.record.note_listed(shown, hidden);
        self.is_new = true;
    }

    /// The rest of a stream goes on beside a message that is none to the request.
    fn fail(&mut self, reason: Reason, is_other: bool) {
        if is_other {
            self.record.note_replaced();
        } else {
            self.record.note_denial(&reason.into());
        }
        self.is_new = true;
    }
}
