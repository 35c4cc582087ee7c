//! One stream (one HTTP request): pauses it, brings head and body to the gate, carries out its exit.
//!
//! A stream is paused from its head until the gate has decided. Continue is answered in two cases only:
//! the gate's exits, head and body. A body that ends with trailers never shows its end in the body's
//! callback, so trailers end it too; MCP has none, and what stands in them would reach the upstream.

use super::host;
use super::root::Worker;
use crate::audit::Record;
use crate::callout::StreamId;
use crate::gate::{Answer, Cors, Exit, Request};
use crate::head::One;
use crate::reason::Reason;
use crate::upstream::UpstreamCredential;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{self, Poll, Waker};

/// The streams of a root that wait for something.
pub(super) type Streams = RefCell<BTreeMap<StreamId, Weak<StreamCore>>>;

/// What the host holds for a stream.
pub(super) struct Stream(Rc<StreamCore>);

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

/// How far a stream is.
#[derive(Default)]
enum Phase {
    #[default]
    New,
    Deciding(Rc<Request>, Pin<Box<dyn Future<Output = Exit>>>),
    /// Left the gate; of the request only its record is kept.
    Forwarded(Record, Option<Cors>),
    Answered(Record),
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
        if matches!(state.phase, Phase::Forwarded(..)) { Action::Continue } else { Action::Pause }
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
            Phase::Forwarded(..) => return Action::Continue,
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
        worker.metrics.count_signatures(&worker.shared);
        let action = match polled {
            Poll::Ready(Exit::Forward(forward)) => {
                // A head that is gone went without a credential.
                if state.head_released || set_credential(&request, forward.credential()) {
                    self.leave(worker, state, Phase::Forwarded(request.record(), request.cors.clone()));
                    Action::Continue
                } else {
                    self.refuse(worker, state, &request, Reason::Internal)
                }
            }
            Poll::Ready(Exit::Answer(answer)) => self.answer(worker, state, &request, &answer),
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
            worker.tick();
        }
        action
    }

    /// Refuses for what the gate does not see.
    fn refuse(&self, worker: &Worker, state: &mut State, request: &Request, reason: Reason) -> Action {
        self.answer(worker, state, request, &Answer::refuse_late(request, reason))
    }

    fn answer(&self, worker: &Worker, state: &mut State, request: &Request, answer: &Answer) -> Action {
        self.leave(worker, state, Phase::Answered(request.record()));
        if host::answer(answer).is_err() {
            // The stream stays paused: nothing is forwarded, Envoy's timeout ends it.
            host::error("mcp-iap: the host did not send an answer");
        }
        Action::Pause
    }

    /// Out of the gate: the flow and the head, with the token in it, are dropped. The record is written
    /// now, since lines of long streams are, and before an answer, whose line may be.
    fn leave(&self, worker: &Worker, state: &mut State, phase: Phase) {
        worker.streams.borrow_mut().remove(&self.id);
        if let Phase::Forwarded(record, _) | Phase::Answered(record) = &phase {
            write_record(record);
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
    fn response(&self, worker: &Worker) {
        let mut state = self.state.borrow_mut();
        let released = state.head_released;
        match &mut state.phase {
            Phase::Forwarded(record, cors) => {
                record.upstream_status = host::upstream_status();
                if let Some(cors) = cors
                    && show_to_page(cors).is_err()
                {
                    host::error("mcp-iap: the host did not set a header of an answer");
                }
            }
            // Without the flag an upstream may answer a head alone: not before its body is decided.
            Phase::Deciding(request, _) if released => {
                let request = Rc::clone(request);
                if let Some(status) = host::upstream_status() {
                    request.note(|record| record.upstream_status = Some(status));
                    self.refuse(worker, &mut state, &request, Reason::UpstreamAnsweredEarly);
                }
            }
            _ => {}
        }
    }

    /// The one place where a request ends: its record is completed, written and counted.
    fn end(&self, worker: &Worker) {
        worker.streams.borrow_mut().remove(&self.id);
        let state = self.state.borrow();
        let undecided = |request: &Request, reason| {
            let mut record = request.record();
            record.reason = reason;
            record
        };
        let record = match &state.phase {
            Phase::Forwarded(record, _) | Phase::Answered(record) => record.clone(),
            Phase::Deciding(request, _) if host::is_answered() => undecided(request, Reason::EndedByEnvoy),
            Phase::Deciding(request, _) => undecided(request, Reason::ClientGone),
            // Envoy ended the request by itself: its head never came here.
            Phase::New => undecided(&self.request(worker), Reason::NotSeen),
        };
        write_record(&record);
        worker.metrics.count_request(record.outcome.name(), record.reason);
    }
}

/// An upstream's answer, to be read by a page: what the upstream said of that itself is replaced.
fn show_to_page(cors: &Cors) -> Result<(), host::Status> {
    for (name, value) in cors.headers() {
        host::set_response_header(name, &value)?;
    }
    host::add_response_header(Cors::VARY.0, Cors::VARY.1)
}

/// The inbound credentials go, whatever comes in their place.
fn set_credential(request: &Request, credential: &UpstreamCredential) -> bool {
    let proxy = "proxy-authorization";
    let proxy_is_gone = request.head.one(proxy) == One::Absent || host::remove_header(proxy).is_ok();
    proxy_is_gone && host::set_authorization(credential.authorization()).is_ok()
}

fn write_record(record: &Record) {
    if host::set_audit_record(&record.to_json()).is_err() {
        host::error("mcp-iap: the host did not take an audit record");
    }
}

impl Context for Stream {}

/// Without a configuration the host sends no requests; should it, none goes on.
impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.0.worker.as_ref().map_or(Action::Pause, |worker| self.0.begin(worker, end_of_stream))
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.worker.as_ref().map_or(Action::Pause, |worker| self.0.body(worker, size, end_of_stream))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let refuse = || Err(Reason::Trailers);
        self.0.worker.as_ref().map_or(Action::Pause, |worker| self.0.complete(worker, refuse))
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(worker) = &self.0.worker {
            self.0.response(worker);
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Some(worker) = &self.0.worker {
            self.0.end(worker);
        }
    }
}
