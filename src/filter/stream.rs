//! One stream (one HTTP request): pauses it, brings head and body to the gate, carries out its exit.
//!
//! A stream is paused from its head until the gate has decided. Continue is answered in two cases only:
//! the gate's exits, head and body. A body that ends with trailers never shows its end in the body's
//! callback, so trailers end it too; MCP has none, and what stands in them would reach the upstream.

use super::root::Worker;
use super::{answer, host};
use crate::audit::{Outcome, Written};
use crate::callout::StreamId;
use crate::gate::{Answer, Cors, DECISION, Exit, GlobalRate, Lists, Request};
use crate::mcp::{Answering, Told};
use crate::reason::Reason;
use crate::upstream::UpstreamCredential;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{self, Poll, Waker};

/// The streams of a root that wait for something.
pub(super) type Streams = RefCell<BTreeMap<StreamId, Weak<StreamCore>>>;

/// What the host does with a request next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// What it holds goes on.
    Continue,
    /// It waits, and holds what comes.
    Pause,
}

/// A stream; the root finds it while it waits.
pub(super) struct StreamCore {
    id: StreamId,
    worker: Option<Rc<Worker>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// What the host had received of the request when its head came, in bytes.
    received: u64,
    /// Whether a body's callback has come.
    body_began: bool,
    /// Whether the head has gone on before the body was decided.
    head_released: bool,
}

/// Whether an answer is read for errors.
enum Reading {
    /// It is not, or has been.
    Not,
    /// Its head is to come.
    Due,
    /// It is being read.
    Begun(Answering),
}

/// How far a stream is.
#[derive(Default)]
enum Phase {
    #[default]
    New,
    Deciding(Rc<Request>, Pin<Box<dyn Future<Output = Exit>>>),
    /// Left the gate; of the request only its record is kept, and until the upstream has answered the request
    /// itself, where a token was issued for it or lists may be in the answer.
    Forwarded {
        written: Written,
        cors: Option<Cors>,
        request: Option<Rc<Request>>,
        lists: Option<Box<Lists>>,
        reading: Reading,
    },
    Answered(Written),
}

impl StreamCore {
    /// Without a worker there is no configuration: the host sends no requests; should it, none goes on.
    pub(super) fn new(id: u32, worker: Option<Rc<Worker>>) -> Self {
        Self { id: StreamId(id), worker, state: RefCell::default() }
    }

    /// The request's head, and whether that is all.
    pub(super) fn request_head(self: &Rc<Self>, is_complete: bool) -> Action {
        self.worker.as_ref().map_or(Action::Pause, |worker| self.begin(worker, is_complete))
    }

    /// More of the body, `size` bytes by now, and whether that is all.
    pub(super) fn request_body(&self, size: usize, is_complete: bool) -> Action {
        self.worker.as_ref().map_or(Action::Pause, |worker| self.body(worker, size, is_complete))
    }

    /// The body ended with trailers.
    pub(super) fn request_trailers(&self) -> Action {
        let refuse = || Err(Reason::Trailers);
        self.worker.as_ref().map_or(Action::Pause, |worker| self.complete(worker, refuse))
    }

    /// The head of the answer, and whether that is all.
    pub(super) fn response_head(&self, is_complete: bool) -> Action {
        self.worker.as_ref().map_or(Action::Continue, |worker| self.response(worker, is_complete))
    }

    /// More of the answer's body, `size` bytes that are with the host, and whether that is all. Without a worker no
    /// request went on: the answer is Envoy's own.
    pub(super) fn response_body(&self, size: usize, is_complete: bool) -> Action {
        self.worker.as_ref().map_or(Action::Continue, |worker| self.list(worker, size, is_complete))
    }

    /// The answer's body ended with trailers.
    pub(super) fn response_trailers(&self) -> Action {
        self.worker.as_ref().map_or(Action::Continue, |worker| self.list(worker, 0, true))
    }

    /// The request has ended, and is about to be logged.
    pub(super) fn log(&self) {
        if let Some(worker) = &self.worker {
            self.end(worker);
        }
    }

    /// The head is here: the gate starts.
    fn begin(self: &Rc<Self>, worker: &Rc<Worker>, is_complete: bool) -> Action {
        let mut state = self.state.borrow_mut();
        if worker.watches_for_bodies() {
            state.received = host::received();
        }
        let request = self.request(worker);
        if is_complete {
            request.complete_body(|| Ok(Vec::new()));
        }
        let flow = Box::pin(Rc::clone(&request).run());
        state.phase = Phase::Deciding(request, flow);
        worker.streams.borrow_mut().insert(self.id, Rc::downgrade(self));
        let action = self.advance(worker, &mut state);
        if action == Action::Pause
            && matches!(state.phase, Phase::Deciding(..))
            && worker.watches_for_bodies()
        {
            worker.tick();
        }
        action
    }

    fn request(&self, worker: &Worker) -> Rc<Request> {
        let head = host::request_head().unwrap_or_default();
        Rc::new(Request::new(Rc::clone(&worker.settings), Rc::clone(&worker.shared), self.id, head))
    }

    /// More of the body is here, `size` bytes by now.
    fn body(&self, worker: &Rc<Worker>, size: usize, is_complete: bool) -> Action {
        let limit = worker.settings.limits.body_bytes;
        if size > limit {
            return self.complete(worker, || Err(Reason::BodyTooLarge));
        }
        if is_complete {
            // Read when the gate wants it: in this callback or, after a wait, in one of the root's.
            return self.complete(worker, move || host::request_body(size).ok_or(Reason::Internal));
        }
        let mut state = self.state.borrow_mut();
        self.body_began(worker, &mut state);
        if matches!(state.phase, Phase::Forwarded { .. }) { Action::Continue } else { Action::Pause }
    }

    /// The body is complete.
    fn complete(
        &self,
        worker: &Rc<Worker>,
        read: impl FnOnce() -> Result<Vec<u8>, Reason> + 'static,
    ) -> Action {
        let mut state = self.state.borrow_mut();
        self.body_began(worker, &mut state);
        match &state.phase {
            Phase::Forwarded { .. } => return Action::Continue,
            Phase::New | Phase::Answered(_) => return Action::Pause,
            Phase::Deciding(request, _) => request.complete_body(read),
        }
        self.advance(worker, &mut state)
    }

    fn body_began(&self, worker: &Worker, state: &mut State) {
        state.body_began = true;
        if !state.head_released {
            worker.body_came_after_a_pause();
        }
    }

    /// Polls the gate. Continue lets go on what the host holds just now.
    fn advance(&self, worker: &Rc<Worker>, state: &mut State) -> Action {
        let Phase::Deciding(request, flow) = &mut state.phase else { return Action::Pause };
        worker.shared.set_now(host::now());
        let request = Rc::clone(request);
        let polled = flow.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        let action = match polled {
            Poll::Ready(Exit::Forward(forward)) => {
                let rate = request.global_rate();
                // A head that is gone went without a credential, and past the filters that count.
                let is_set = if state.head_released {
                    rate.is_none()
                } else {
                    set_credential(&request, forward.credential()) && hand_on(rate.as_deref())
                };
                if is_set {
                    let (written, cors) = (request.note(|record| record.write()), request.cors.clone());
                    let reading = if request.reads_answer() { Reading::Due } else { Reading::Not };
                    let is_kept = request.has_issued_token() || request.has_lists() || rate.is_some();
                    let request = is_kept.then_some(request);
                    self.leave(
                        worker,
                        state,
                        Phase::Forwarded { written, cors, request, lists: None, reading },
                    );
                    Action::Continue
                } else {
                    self.refuse(worker, state, &request, Reason::Internal)
                }
            }
            Poll::Ready(Exit::Answer(answer)) => {
                self.answer(worker, state, &request, &answer);
                Action::Pause
            }
            Poll::Pending => match request.take_released_head() {
                None => Action::Pause,
                // A body that comes after a pause at the head shows that the host has the flag, whatever
                // the configuration says: to go on now would let the body's beginning pass undecided.
                Some(_) if state.body_began => Action::Pause,
                Some(credential) if set_credential(&request, &credential) => {
                    state.head_released = true;
                    Action::Continue
                }
                Some(_) => self.refuse(worker, state, &request, Reason::Internal),
            },
        };
        if worker.shared.callouts.is_ready() {
            worker.send(self.id.0);
        }
        action
    }

    /// Refuses for what the gate does not see.
    fn refuse(&self, worker: &Worker, state: &mut State, request: &Request, reason: Reason) -> Action {
        self.answer(worker, state, request, &Answer::refuse_late(request, reason));
        Action::Pause
    }

    /// Whether the host sends it. Where it does not, what is there stays paused: nothing goes on, Envoy's timeout ends it.
    fn answer(&self, worker: &Worker, state: &mut State, request: &Request, answer: &Answer) -> bool {
        self.leave(worker, state, Phase::Answered(request.note(|record| record.write())));
        let is_sent = host::answer(answer).is_ok();
        if !is_sent {
            host::error("mcp-iap: the host did not send an answer");
        }
        is_sent
    }

    /// The same, in the place of an answer whose head is here.
    fn answer_instead(
        &self,
        worker: &Worker,
        state: &mut State,
        request: &Request,
        answer: &Answer,
    ) -> Action {
        if self.answer(worker, state, request, answer) { Action::Continue } else { Action::Pause }
    }

    /// Out of the gate: the flow and the head, with the token in it, are dropped. The record is written
    /// now, since lines of long streams are, and before an answer, whose line may be.
    fn leave(&self, worker: &Worker, state: &mut State, phase: Phase) {
        worker.streams.borrow_mut().remove(&self.id);
        if let Phase::Forwarded { written, .. } | Phase::Answered(written) = &phase {
            give(written);
        }
        state.phase = phase;
    }

    /// The root says that what this stream waited for is there.
    pub(super) fn wake(&self) {
        let Some(worker) = &self.worker else { return };
        if host::become_context(self.id.0).is_err() {
            return;
        }
        let mut state = self.state.borrow_mut();
        if self.advance(worker, &mut state) == Action::Continue && host::resume_request().is_err() {
            host::error("mcp-iap: the host did not resume a request");
        }
    }

    /// Refuses a stream that was paused at its head and whose body the host has, but does not bring.
    pub(super) fn refuse_if_stuck(&self, worker: &Worker) {
        let mut state = self.state.borrow_mut();
        let Phase::Deciding(request, _) = &state.phase else { return };
        let request = Rc::clone(request);
        if request.is_complete() || state.body_began || host::become_context(self.id.0).is_err() {
            return;
        }
        if host::received() <= state.received {
            return;
        }
        host::error(
            "mcp-iap: a head was paused and Envoy keeps the body back: its PluginConfig has no \
             `allow_on_headers_stop_iteration: true`; set it there, or configure \
             `allow_on_headers_stop_iteration: false` here",
        );
        self.refuse(worker, &mut state, &request, Reason::FlagMissing);
    }

    /// The upstream's answer, or Envoy's own.
    fn response(&self, worker: &Worker, is_complete: bool) -> Action {
        let mut state = self.state.borrow_mut();
        let released = state.head_released;
        match &mut state.phase {
            Phase::Forwarded { written, cors, request, lists, reading } => {
                let status = host::status();
                // The record tells of no good answer.
                let failed = status.filter(|status| *status >= 400 && host::is_of_the_upstream());
                if let Some(request) = request.take() {
                    if let Some(answer) = answer::refused_for_rate(worker, &request, status, failed) {
                        return self.answer_instead(worker, &mut state, &request, &answer);
                    }
                    match answer::lists_of(worker, &request, status, failed, is_complete) {
                        Ok(found) => *lists = found,
                        Err(answer) => return self.answer_instead(worker, &mut state, &request, &answer),
                    }
                }
                if let Some(status) = failed {
                    written.add_upstream_status(status);
                    give(written);
                }
                if matches!(reading, Reading::Due) {
                    *reading = answer::reading(is_complete).map_or(Reading::Not, Reading::Begun);
                }
                // In the place of whatever the upstream says under this name.
                if host::set_response_header(DECISION, &written.decision).is_err() {
                    host::error("mcp-iap: the host did not set a header of an answer");
                }
                // It asks for a credential of the gate's, which no client has.
                if host::remove_response_header("www-authenticate").is_err() {
                    host::error("mcp-iap: the host did not remove a header of an answer");
                }
                if let Some(cors) = cors
                    && answer::show_to_page(cors).is_err()
                {
                    host::error("mcp-iap: the host did not set a header of an answer");
                }
            }
            // Without the flag an upstream may answer a head alone: not before its body is decided.
            Phase::Deciding(request, _) if released => {
                let request = Rc::clone(request);
                if host::is_of_the_upstream() {
                    request.note(|record| record.upstream_status = host::status());
                    let answer = Answer::refuse_late(&request, Reason::UpstreamAnsweredEarly);
                    return self.answer_instead(worker, &mut state, &request, &answer);
                }
            }
            _ => {}
        }
        Action::Continue
    }

    /// A piece of an answer's body.
    fn list(&self, worker: &Worker, size: usize, is_complete: bool) -> Action {
        let mut state = self.state.borrow_mut();
        let Phase::Forwarded { written, lists, reading, .. } = &mut state.phase else {
            return Action::Continue;
        };
        if let Reading::Begun(answering) = reading
            && answering.wants(size)
        {
            // Before lists take it from the host.
            answering.push(&host::response_body(size).unwrap_or_default());
        }
        let mut action = Action::Continue;
        if let Some(looking) = lists {
            action = answer::filter(worker, looking, written, size, is_complete);
            if looking.has_passed() {
                *lists = None;
            }
        }
        if is_complete && let Reading::Begun(answering) = std::mem::replace(reading, Reading::Not) {
            note_answer(written, answering.told());
        }
        action
    }

    /// The one place where a request ends: it is counted, and recorded where it was not decided.
    fn end(&self, worker: &Worker) {
        worker.streams.borrow_mut().remove(&self.id);
        let mut state = self.state.borrow_mut();
        // Its answer did not come to its end.
        if let Phase::Forwarded { written, reading: Reading::Begun(_), .. } = &mut state.phase {
            note_answer(written, Told::Unread);
        }
        let undecided = |request: &Request, reason| {
            let written = request.note(|record| {
                // A refusal that is held is one.
                if record.outcome == Outcome::Aborted {
                    record.reason = reason;
                }
                record.write()
            });
            give(&written);
            (written.outcome, written.reason)
        };
        let (outcome, reason) = match &state.phase {
            Phase::Forwarded { written, .. } | Phase::Answered(written) => (written.outcome, written.reason),
            Phase::Deciding(request, _) if host::is_answered() => undecided(request, Reason::EndedByEnvoy),
            Phase::Deciding(request, _) => undecided(request, Reason::ClientGone),
            // Envoy ended the request by itself: its head never came here.
            Phase::New => undecided(&self.request(worker), Reason::NotSeen),
        };
        worker.metrics.count_request(outcome.name(), reason);
    }
}

/// What is not for the upstream goes, whatever comes in its place.
fn set_credential(request: &Request, credential: &UpstreamCredential) -> bool {
    request.withheld_headers().all(|name| host::remove_header(name).is_ok())
        && host::set_authorization(credential.authorization()).is_ok()
}

/// Adds how the upstream answered to the record, where it was no success.
fn note_answer(written: &mut Written, told: Told) {
    if written.add_answer(told) {
        give(written);
    }
}

/// What Envoy's rate limit filter, behind this one, counts by.
fn hand_on(rate: Option<&GlobalRate>) -> bool {
    rate.is_none_or(|rate| rate.properties().all(|(name, value)| host::hand_on(name, value).is_ok()))
}

/// Gives a record to the access log, in the place of what it had.
pub(super) fn give(written: &Written) {
    if host::set_audit_record(written.json()).is_err() {
        host::error("mcp-iap: the host did not take an audit record");
    }
}
