//! One request as the gate sees it, and the state that requests of one root share.

use super::admit::admit;
use super::audit_settings::AuditSettings;
use super::cors::Cors;
use super::exchange::{Exchange, Used};
use super::failures::{Failures, Suspect};
use super::global_rate::GlobalRate;
use super::issuer::{IssuerSettings, Keys};
use super::judges::Judges;
use super::keys::KeyStore;
use super::lists::Answered;
use super::random::Random;
use super::refusal::Answer;
use super::remembered::Remembered;
use super::resource::{self, ResourceSettings};
use super::settings::Settings;
use super::shadow::Differences;
use super::signatures::Signatures;
use super::token::Tokens;
use crate::audit::{Outcome, Record, Secrets};
use crate::cache::{Buckets, SharedData};
use crate::callout::{Callouts, StreamId};
use crate::head::Head;
use crate::identity::Caller;
use crate::jose::{HostCrypto, KeySet, Sender, Unproven};
use crate::mcp::{Arguments, Era, Message, Operation};
use crate::policy::{Call, Denial, Known, Permit, Unspent};
use crate::reason::Reason;
use crate::time::{Timestamp, UnixTime};
use crate::upstream::UpstreamCredential;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// What all requests of one root share. It belongs to the root, never to a static: several
/// configurations share a VM.
pub struct Shared {
    /// Tasks that make callouts.
    pub callouts: Callouts,
    /// Who verifies signatures.
    pub signatures: Signatures,
    tokens: Tokens,
    random: Random,
    /// The issuers' keys.
    pub keys: Rc<KeyStore>,
    /// The tokens for upstreams.
    pub exchange: Rc<Exchange>,
    /// What others said of tokens.
    pub judges: Judges,
    /// Answers that were remembered.
    pub remembered: Remembered,
    pub(super) buckets: Buckets,
    /// Who fails to authenticate.
    pub failures: Failures,
    /// How much of lists is held, in bytes.
    pub(super) held_lists: Cell<usize>,
    /// What shadow rules would have decided otherwise.
    pub differences: Differences,
    sender: Box<dyn Sender>,
    clock: Rc<Cell<Timestamp>>,
}

impl Shared {
    /// With this host's crypto and shared data, and room for as many verified tokens as the limits say.
    #[must_use]
    pub fn new(host: Box<dyn HostCrypto>, data: &Rc<dyn SharedData>, settings: &Settings) -> Self {
        let clock: Rc<Cell<Timestamp>> = Rc::default();
        Self {
            callouts: Callouts::default(),
            signatures: Signatures::new(host),
            tokens: Tokens::new(settings.limits.cached_tokens),
            random: Random::default(),
            sender: Box::new(Unproven),
            judges: Judges::new(&clock),
            buckets: Buckets::of_rates(Rc::clone(data)),
            failures: Failures::new(Rc::clone(data), Rc::clone(&clock)),
            held_lists: Cell::default(),
            differences: Differences::default(),
            remembered: Remembered::default(),
            keys: Rc::new(KeyStore::new(&settings.issuers, data, Rc::clone(&clock))),
            exchange: Rc::new(Exchange::new(Rc::clone(&clock))),
            clock,
        }
    }

    /// With this host's word on who sends a request: it is asked while the request's flow is polled, and
    /// answers for its connection.
    #[must_use]
    pub fn with_sender(self, sender: Box<dyn Sender>) -> Self {
        Self { sender, ..self }
    }

    /// Who sends, of the request that the host is at just now.
    pub(super) fn sender(&self) -> &dyn Sender {
        &*self.sender
    }

    /// The time as it was set.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.get()
    }

    /// Sets the clock. To be called by the owner in each callback before anything is polled.
    pub fn set_now(&self, now: impl Into<Timestamp>) {
        self.clock.set(now.into());
    }
}

/// One request.
pub struct Request {
    /// The configuration.
    pub settings: Rc<Settings>,
    /// The head as it came.
    pub head: Head,
    resource: Result<Rc<ResourceSettings>, Reason>,
    shared: Rc<Shared>,
    stream: StreamId,
    record: RefCell<Record>,
    body: RefCell<Body>,
    released: RefCell<Option<UpstreamCredential>>,
    message_id: RefCell<Option<String>>,
    /// What proves the caller, once that is verified.
    credential: OnceCell<Box<str>>,
    era: Cell<Option<Era>>,
    used: Cell<Option<Used>>,
    pub(super) suspect: RefCell<Option<Suspect>>,
    pub(super) handed: RefCell<Option<Rc<GlobalRate>>>,
    pub(super) answer: Cell<Answered>,
    /// The page that asks, where it is one and may.
    pub cors: Option<Cors>,
    origin: Result<(), Reason>,
}

/// A request's body. It stays with the host until the gate wants it: a stranger's body costs us nothing.
enum Body {
    Arriving,
    Complete(Box<dyn FnOnce() -> Result<Vec<u8>, Reason>>),
    Taken,
}

/// How a request leaves the gate.
pub enum Exit {
    /// To the upstream.
    Forward(Forward),
    /// Back to the client.
    Answer(Answer),
}

/// A request that may go to the upstream. Takes proof of a decision and a credential to be made.
pub struct Forward {
    permit: Permit,
    credential: UpstreamCredential,
}

impl Forward {
    pub(super) fn new(permit: Permit, credential: UpstreamCredential) -> Self {
        Self { permit, credential }
    }

    /// What the upstream is given.
    #[must_use]
    pub fn credential(&self) -> &UpstreamCredential {
        &self.credential
    }
}

impl Request {
    /// A request with this head, `stream` to the host.
    #[must_use]
    pub fn new(settings: Rc<Settings>, shared: Rc<Shared>, stream: StreamId, head: Head) -> Self {
        // Without randomness it is zero: it correlates records and guards nothing.
        let decision = shared.random.id().unwrap_or_else(|| "0".repeat(32));
        let mut record = Record::new(decision);
        if let Some(method) = head.one(":method").text() {
            record.note_http_method(method, &settings.audit.masks.and(None));
        }
        record.note_trace(head.one("traceparent").text());
        let resource = resource::find(&settings.resources, &head);
        let own = resource.as_ref().ok().map(|resource| &resource.protected);
        if let Some(resource) = own {
            record.note_protected_resource(resource.identifier());
        }
        let is_allowed = |origin: &str| {
            settings.allowed_origins.iter().any(|allowed| allowed == origin)
                || own.is_some_and(|resource| resource.origin() == origin)
        };
        let (cors, origin) = match Cors::of(&head, is_allowed) {
            Ok(cors) => (cors, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        Self {
            cors,
            origin,
            settings,
            head,
            resource,
            shared,
            stream,
            record: RefCell::new(record),
            body: RefCell::new(Body::Arriving),
            released: RefCell::new(None),
            message_id: RefCell::new(None),
            credential: OnceCell::new(),
            era: Cell::new(None),
            used: Cell::new(None),
            suspect: RefCell::default(),
            handed: RefCell::new(None),
            answer: Cell::new(Answered::Unknown),
        }
    }

    /// Decides the request and notes the outcome: the one place through which every exit passes.
    pub async fn run(self: Rc<Self>) -> Exit {
        let exit = match admit(&self).await {
            Ok(exit) => exit,
            Err(denial) => {
                self.note(|record| record.note_denial(&denial));
                self.note_failure(denial.reason).await;
                return Exit::Answer(Answer::refuse(&self, &denial));
            }
        };
        self.note(|record| match &exit {
            Exit::Forward(forward) => {
                record.note_allowed(forward.permit.reason(), forward.permit.rule().map(|rule| &**rule));
            }
            Exit::Answer(answer) => {
                record.outcome = Outcome::Answered;
                record.reason = answer.reason;
            }
        });
        exit
    }

    /// The body is complete: `read` gives it, or the reason for which it is refused. The first call
    /// counts.
    pub fn complete_body(&self, read: impl FnOnce() -> Result<Vec<u8>, Reason> + 'static) {
        let mut body = self.body.borrow_mut();
        if matches!(*body, Body::Arriving) {
            *body = Body::Complete(Box::new(read));
        }
    }

    /// Whether nothing of the body is to come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !matches!(*self.body.borrow(), Body::Arriving)
    }

    /// Where the head may go on before the body is decided: with this credential. Once.
    #[must_use]
    pub fn take_released_head(&self) -> Option<UpstreamCredential> {
        self.released.take()
    }

    /// The audit record alone, for a request that has left the gate.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// The audit record so far, to be read or added to.
    pub fn note<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.borrow_mut())
    }

    /// The request's id as it is written in the message, where one was read.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        self.message_id.borrow().clone()
    }

    /// The era, where it is known.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.era.get()
    }

    /// The resource that the request is for.
    ///
    /// # Errors
    /// It is for none: why.
    pub fn resource(&self) -> Result<&ResourceSettings, Reason> {
        self.resource.as_deref().map_err(|reason| *reason)
    }

    /// The same, for what outlives the request.
    pub(super) fn shared_resource(&self) -> Option<Rc<ResourceSettings>> {
        self.resource.as_ref().ok().map(Rc::clone)
    }

    /// Whether it goes on with a token that was issued for the upstream: then it hears of a 401.
    #[must_use]
    pub fn has_issued_token(&self) -> bool {
        self.used.get().is_some()
    }

    /// The upstream answered 401. Where it did so to a token that was issued for it, that is forgotten, and the
    /// client is answered this instead: its own token is not at fault, and the upstream's challenge not for it.
    #[must_use]
    pub fn refused_by_upstream(&self) -> Option<Answer> {
        let used = self.used.take()?;
        self.shared.exchange.refused_by_upstream(&used);
        self.note(|record| record.upstream_status = Some(401));
        Some(Answer::refuse_late(self, Reason::UpstreamRefusedCredential))
    }

    pub(super) fn note_used(&self, used: Used) {
        self.used.set(Some(used));
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    /// The page that asks, if one does.
    pub(super) fn cors(&self) -> Result<Option<&Cors>, Reason> {
        self.origin.map(|()| self.cors.as_ref())
    }

    pub(super) fn signatures(&self) -> &Signatures {
        &self.shared.signatures
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    pub(super) fn sender(&self) -> &dyn Sender {
        self.shared.sender()
    }

    /// The request as rules see it, as far as its head tells.
    pub(super) fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'a str,
        operations: &'a [Operation<'a>],
        arguments: Option<&'a Arguments<'a>>,
    ) -> Call<'a> {
        Call {
            caller,
            known: Known::ALL,
            method,
            operations,
            arguments,
            target: None,
            is_exchanged: false,
            head: Some(&self.head),
            sender: Some(self.sender()),
            now: Some(self.now()),
            spent: &Unspent,
        }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.shared.now().unix()
    }

    pub(super) fn note_message(&self, message: &Message<'_>, operations: &[Operation<'_>]) {
        self.message_id.replace(message.id.map(str::to_owned));
        let AuditSettings { clear_arguments: listed, digest_key, .. } = &self.settings.audit;
        let secrets = self.secrets();
        self.note(|record| {
            record.note_method(&message.method, &secrets);
            record.note_operation(operations.first().copied().unwrap_or(Operation::Open), &secrets);
            record.note_trace(message.traceparent.as_deref());
            if !listed.is_empty() {
                record.note_arguments(listed, &message.arguments, &secrets);
            }
            if let (Some(key), Some(written)) = (digest_key, message.written_arguments) {
                record.note_digest(key, written);
            }
        });
    }

    /// What must not stand in the record, or be told. A credential that nobody verified is none: who may choose it could
    /// mask with it what he calls.
    pub(super) fn secrets(&self) -> Secrets<'_> {
        self.settings.audit.masks.and(self.credential.get().map(|credential| &**credential))
    }

    /// Notes what proves the caller.
    pub(super) fn note_credential(&self, verified: &str) {
        let _ = self.credential.set(verified.into());
    }

    /// Of several operations the record names the one that is denied.
    pub(super) fn note_decision(&self, operations: &[Operation<'_>], decision: &Result<Permit, Denial>) {
        let denied = decision.as_ref().err().and_then(|denial| operations.get(denial.operation));
        if let Some(operation) = denied {
            let secrets = self.secrets();
            self.note(|record| record.note_operation(*operation, &secrets));
        }
    }

    /// What was asked for at `began` is here, or is known not to come.
    pub(super) fn note_wait(&self, what: &'static str, began: Timestamp) {
        self.note(|record| record.note_wait(what, self.shared.now().since(began)));
    }

    /// Whether its answer is read for errors.
    #[must_use]
    pub fn reads_answer(&self) -> bool {
        self.settings.audit.read_answers && self.message_id.borrow().is_some()
    }

    pub(super) fn note_era(&self, era: Era) {
        self.era.set(Some(era));
        self.note(|record| record.note_era(era));
    }

    pub(super) fn release_head(&self, credential: UpstreamCredential) {
        self.released.replace(Some(credential));
    }

    pub(super) async fn body(&self) -> Result<Vec<u8>, Reason> {
        poll_fn(|_| if self.is_complete() { Poll::Ready(()) } else { Poll::Pending }).await;
        match self.body.replace(Body::Taken) {
            Body::Complete(read) => read(),
            Body::Arriving | Body::Taken => Err(Reason::Internal),
        }
    }

    /// The keys of an issuer, for a token with this `kid`.
    pub(super) async fn keys(
        &self,
        issuer: &IssuerSettings,
        kid: Option<&str>,
    ) -> Result<Rc<KeySet>, Reason> {
        match &issuer.keys {
            Keys::Configured(keys) => Ok(Rc::clone(keys)),
            Keys::Fetched(..) => {
                let began = self.shared.now();
                let keys = self.shared.keys.find(&self.shared.callouts, issuer.index, kid, self.stream).await;
                self.note_wait("keys", began);
                keys
            }
        }
    }
}
