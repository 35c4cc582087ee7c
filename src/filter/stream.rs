//! One stream (one HTTP request): pauses it, brings head and body to the gate, carries out its exit.
//!
//! A stream is paused from its head until the gate has decided. Body AND trailers may end a body: a
//! request with trailers never shows the end of its body in the body's callback. Continue is answered
//! in two cases only: the gate's exits, head and body.

use super::host;
use super::root::{SOON, Worker};
use crate::callout::StreamId;
use crate::gate::{Answer, Exit, Request};
use crate::reason::Reason;
use crate::upstream::UpstreamCredential;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{self, Poll, Waker};

/// The streams of a root that may be woken.
pub(super) type Streams = RefCell<BTreeMap<StreamId, Weak<StreamCore>>>;

/// What the host holds for a stream.
pub(super) struct Stream(Rc<StreamCore>);

/// A stream; the root holds it too while it waits.
pub(super) struct StreamCore {
    id: StreamId,
    worker: Option<Rc<Worker>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    request: Option<Rc<Request>>,
    /// Whether the head has gone on before the body was decided.
    head_released: bool,
}

/// How far a stream is.
#[derive(Default)]
enum Phase {
    #[default]
    New,
    Deciding(Pin<Box<dyn Future<Output = Exit>>>),
    Forwarded,
    Answered,
}

impl Stream {
    pub(super) fn new(core: StreamCore) -> Self {
        Self(Rc::new(core))
    }
}

impl StreamCore {
    pub(super) fn new(id: u32, worker: Option<Rc<Worker>>) -> Self {
        Self { id: StreamId(id), worker, state: RefCell::default() }
    }

    /// The head is here: the gate starts.
    fn begin(self: &Rc<Self>, worker: &Rc<Worker>, is_complete: bool) -> Action {
        let mut state = self.state.borrow_mut();
        let head = host::request_head().unwrap_or_default();
        let request =
            Rc::new(Request::new(Rc::clone(&worker.settings), Rc::clone(&worker.shared), self.id, head));
        if is_complete {
            request.complete_body(Ok(Vec::new()));
        }
        state.phase = Phase::Deciding(Box::pin(Rc::clone(&request).run()));
        state.request = Some(request);
        worker.streams.borrow_mut().insert(self.id, Rc::downgrade(self));
        self.advance(worker, &mut state)
    }

    /// More of the body is here, `size` bytes by now.
    fn body(&self, worker: &Rc<Worker>, size: usize, is_complete: bool) -> Action {
        let limit = worker.settings.limits.body_bytes;
        self.complete(worker, is_complete || size > limit, || {
            if size > limit {
                Err(Reason::BodyTooLarge)
            } else {
                host::request_body(size).ok_or(Reason::Internal)
            }
        })
    }

    /// Trailers are here: the body is complete, and its size not told.
    fn trailers(&self, worker: &Rc<Worker>) -> Action {
        let limit = worker.settings.limits.body_bytes;
        self.complete(worker, true, || {
            let body = host::request_body_up_to(limit).ok_or(Reason::Internal)?;
            if body.len() > limit { Err(Reason::BodyTooLarge) } else { Ok(body) }
        })
    }

    fn complete(
        &self,
        worker: &Rc<Worker>,
        is_complete: bool,
        read: impl FnOnce() -> Result<Vec<u8>, Reason>,
    ) -> Action {
        let mut state = self.state.borrow_mut();
        match state.phase {
            Phase::Forwarded => return Action::Continue,
            Phase::Deciding(_) => {}
            Phase::New | Phase::Answered => return Action::Pause,
        }
        if !is_complete {
            return Action::Pause;
        }
        if let Some(request) = &state.request {
            request.complete_body(read());
        }
        self.advance(worker, &mut state)
    }

    /// Polls the gate. Continue lets go on what the host holds just now.
    fn advance(&self, worker: &Rc<Worker>, state: &mut State) -> Action {
        let Phase::Deciding(flow) = &mut state.phase else { return Action::Pause };
        worker.shared.set_now(host::now());
        let polled = flow.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        let action = match polled {
            Poll::Ready(Exit::Forward(forward)) => {
                // A head that is gone went without a credential.
                let edited = state.head_released || set_credential(forward.credential());
                self.leave(worker, state, edited)
            }
            Poll::Ready(Exit::Answer(answer)) => {
                self.answer(worker, state, &answer);
                Action::Pause
            }
            Poll::Pending => match state.request.as_ref().and_then(|request| request.take_released_head()) {
                Some(credential) if set_credential(&credential) => {
                    state.head_released = true;
                    Action::Continue
                }
                Some(_) => self.leave(worker, state, false),
                None => Action::Pause,
            },
        };
        if worker.shared.callouts.is_ready() && host::tick_every(SOON).is_err() {
            host::error("mcp-iap: the host does not tick: callouts wait");
        }
        action
    }

    /// Forwards; or, where the credential could not be set, ends the request.
    fn leave(&self, worker: &Worker, state: &mut State, edited: bool) -> Action {
        if !edited {
            host::error("mcp-iap: the host did not edit the request's headers");
            self.refuse_late(worker, state, Reason::Internal);
            return Action::Pause;
        }
        state.phase = Phase::Forwarded;
        worker.streams.borrow_mut().remove(&self.id);
        write_record(state);
        Action::Continue
    }

    /// Ends a request for what happened after the gate let its head or the whole of it through.
    fn refuse_late(&self, worker: &Worker, state: &mut State, reason: Reason) {
        if let Some(request) = &state.request {
            let answer = Answer::refuse_late(request, reason);
            self.answer(worker, state, &answer);
        }
    }

    fn answer(&self, worker: &Worker, state: &mut State, answer: &Answer) {
        state.phase = Phase::Answered;
        worker.streams.borrow_mut().remove(&self.id);
        // Before the answer: the access log may be written with it.
        write_record(state);
        if host::answer(answer).is_err() {
            // The stream stays paused: nothing is forwarded, Envoy's timeout ends it.
            host::error("mcp-iap: the host did not send a refusal");
        }
    }

    /// The root says that what this stream waited for is there.
    pub(super) fn wake(self: &Rc<Self>, id: StreamId) {
        let Some(worker) = &self.worker else { return };
        if host::become_context(id.0).is_err() {
            return;
        }
        let mut state = self.state.borrow_mut();
        if self.advance(worker, &mut state) == Action::Continue && host::resume_request().is_err() {
            host::error("mcp-iap: the host did not resume a request");
        }
    }
}

/// The inbound credential goes, whatever comes in its place.
fn set_credential(credential: &UpstreamCredential) -> bool {
    host::set_authorization(credential.authorization()).is_ok()
}

fn write_record(state: &State) {
    let Some(request) = &state.request else { return };
    let json = request.note(|record| record.to_json());
    if host::set_audit_record(&json).is_err() {
        host::error("mcp-iap: the host did not take an audit record");
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        match &self.0.worker {
            Some(worker) => self.0.begin(worker, end_of_stream),
            // Without a configuration the host sends no requests; should it, none goes on.
            None => Action::Pause,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.worker.as_ref().map_or(Action::Pause, |worker| self.0.body(worker, size, end_of_stream))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.0.worker.as_ref().map_or(Action::Pause, |worker| self.0.trailers(worker))
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(worker) = &self.0.worker else { return Action::Continue };
        let mut state = self.0.state.borrow_mut();
        let released = state.head_released;
        match (&state.phase, &state.request) {
            (Phase::Forwarded, Some(request)) => {
                let status = host::upstream_status();
                request.note(|record| record.upstream_status = status);
            }
            // Without the flag an upstream may answer a head alone: not before its body is decided.
            (Phase::Deciding(_), Some(request)) if released => {
                if let Some(status) = host::upstream_status() {
                    request.note(|record| record.upstream_status = Some(status));
                    self.0.refuse_late(worker, &mut state, Reason::UpstreamAnsweredEarly);
                }
            }
            _ => {}
        }
        Action::Continue
    }

    /// The one place where a request ends: its record is completed and counted.
    fn on_log(&mut self) {
        let Some(worker) = &self.0.worker else { return };
        worker.streams.borrow_mut().remove(&self.0.id);
        let mut state = self.0.state.borrow_mut();
        if state.request.is_none() {
            // Envoy ended the request by itself: its head never came here.
            let request = Request::new(
                Rc::clone(&worker.settings),
                Rc::clone(&worker.shared),
                self.0.id,
                host::request_head().unwrap_or_default(),
            );
            request.note(|record| record.reason = Reason::NotSeen);
            state.request = Some(Rc::new(request));
        }
        if let (Phase::Deciding(_), Some(request)) = (&state.phase, &state.request) {
            if host::is_answered() {
                request.note(|record| record.reason = Reason::EndedByEnvoy);
            }
        }
        write_record(&state);
        if let Some(request) = &state.request {
            let (outcome, reason) = request.note(|record| (record.outcome, record.reason));
            worker.count(outcome.name(), reason);
        }
    }
}
