//! The lists in an answer, for one caller: what filters them as they pass.
//!
//! The answer to a request for a list is read whole, up to a limit, as JSON or event by event. A GET stream of the
//! legacy revisions may repeat such an answer, to a request that nobody here knows any more: so each of its events is
//! looked at, and what has a list's shape is one. What can't be read becomes an error, never what it was.

use super::refusal::late_error;
use super::request::{Request, Shared};
use super::resource::ResourceSettings;
use crate::audit::{Record, Written};
use crate::head::{Head, One};
use crate::identity::Caller;
use crate::mcp::headers::{self, METHOD};
use crate::mcp::{Arguments, Entry, Era, Events, Operation, Verdict, filter, is_list};
use crate::policy::{Call, Unspent};
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
    Other,
}

impl Answered {
    /// A message of this method.
    pub(super) fn to(method: &str) -> Self {
        if is_list(method) { Self::List } else { Self::Other }
    }
}

impl Request {
    /// Whether lists may be in its answer, which are filtered as they pass.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        matches!(self.answer.get(), Answered::List | Answered::Stream)
    }

    /// Whether a coding of its answer would hide a list. Where the head goes on before its body, only what it
    /// announces tells.
    pub(super) fn may_have_lists(&self) -> bool {
        let announced = || {
            let method = headers::value(&self.head, METHOD).ok().flatten();
            method.is_none_or(|method| is_list(&method))
        };
        let goes_early = !self.settings.allow_on_headers_stop_iteration;
        self.has_lists() || (goes_early && self.answer.get() == Answered::Unknown && announced())
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

/// How much of an answer the host may hold, in bytes: no more than the smallest buffer that Envoy's documentation advises.
const HELD: usize = 32_000;

/// What filters the lists of one answer. It outlives its request, of which it keeps no credential.
pub struct Lists {
    viewer: Viewer,
    framing: Framing,
    told: Told,
}

/// How the answer is written.
enum Framing {
    /// One message; `None` once it has been answered otherwise.
    Json {
        body: Option<Vec<u8>>,
        limit: usize,
        has_length: bool,
    },
    Events(Events),
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
    /// Whether a list must say who may keep it.
    has_scope: bool,
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
        let limit = request.settings.limits.list_bytes;
        let essence = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let framing = match answer.one("content-type").text().map(essence).as_deref() {
            Some("application/json") => {
                let has_length = answer.one("content-length") != One::Absent;
                Framing::Json { body: Some(Vec::new()), limit, has_length }
            }
            Some("text/event-stream") => Framing::Events(Events::new(limit)),
            // Clients read the stream that they asked for, whatever it is called.
            _ if request.is_stream() => Framing::Events(Events::new(limit)),
            _ => return Err(unreadable),
        };
        Ok(Self { viewer: Viewer::of(request).ok_or(Reason::Internal)?, framing, told: Told::of(request) })
    }

    /// Takes the next piece of the answer and gives what goes on.
    pub fn push(&mut self, piece: Vec<u8>, is_last: bool) -> Vec<u8> {
        let Self { viewer, framing, told } = self;
        match framing {
            Framing::Events(events) => {
                let mut judge = |data: Result<&[u8], Reason>| match viewer.look(data, told) {
                    None => Verdict::Pass,
                    Some(data) => Verdict::Replace(data),
                };
                let mut out = events.push(&piece, &mut judge);
                if is_last {
                    out.extend(events.finish(&mut judge));
                }
                out
            }
            Framing::Json { body, limit, .. } => {
                let Some(held) = body else { return Vec::new() };
                if held.len().saturating_add(piece.len()) > *limit {
                    *body = None;
                    return viewer.look(Err(Reason::ListTooLarge), told).unwrap_or_default();
                }
                if held.is_empty() {
                    *held = piece;
                } else {
                    held.extend_from_slice(&piece);
                }
                if !is_last {
                    return Vec::new();
                }
                let whole = body.take().unwrap_or_default();
                viewer.look(Ok(&whole), told).unwrap_or(whole)
            }
        }
    }

    /// Gives an error in the place of all that is to come.
    pub fn fail(&mut self) -> Vec<u8> {
        let Self { viewer, framing, told } = self;
        *framing = Framing::Json { body: None, limit: 0, has_length: true };
        viewer.look(Err(Reason::Internal), told).unwrap_or_default()
    }

    /// Whether the host is to hold the answer, of which it has nothing just now: only so can something be put before
    /// trailers. Not where a length says that none come, nor for long answers: the host resets what is more than it may
    /// hold.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(&self.framing, Framing::Json { body: Some(body), has_length: false, .. } if body.len() <= HELD)
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
    fn of(request: &Request) -> Option<Self> {
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
            has_scope: !request.is_stream() && request.era() == Some(Era::Modern),
        })
    }

    /// What stands in the place of a message, or of one that can't be had; `None` where it stays.
    fn look(&self, message: Result<&[u8], Reason>, told: &mut Told) -> Option<Vec<u8>> {
        let listed = message.and_then(|message| {
            let listed = filter(message, self.has_scope, &mut |entry| self.sees(entry));
            listed.map_err(|reason| match reason {
                Reason::ListTooLarge => reason,
                _ => Reason::ListUnreadable,
            })
        });
        match listed {
            Ok(None) => None,
            Ok(Some(listed)) => {
                told.note(listed.shown, listed.hidden);
                Some(listed.text)
            }
            Err(reason) => {
                told.fail(reason);
                Some(late_error(self.id.as_deref(), self.era, reason, &told.record.decision).into_bytes())
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
            has_claims: true,
            has_groups: true,
            method: "",
            operations: &[] as &[Operation<'_>],
            arguments,
            target: target.as_deref().map(super::outgoing::Target::name),
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

    fn fail(&mut self, reason: Reason) {
        self.record.note_denial(&reason.into());
        self.is_new = true;
    }
}
