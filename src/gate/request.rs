//! One request as the gate sees it, and the state that requests of one root share.

use super::admit::admit;
use super::cors::Cors;
use super::issuer::{IssuerSettings, Keys};
use super::refusal::Answer;
use super::resource::{self, ResourceSettings};
use super::settings::Settings;
use super::signatures::Signatures;
use crate::audit::{Outcome, Record};
use crate::cache::{KeyCache, Lookup};
use crate::callout::{Callouts, KeySource, KeysError, Outbox, SingleFlight, StreamId, fetch_keys};
use crate::head::Head;
use crate::jose::{HostCrypto, KeySet, Sender, Unproven, Verifier};
use crate::mcp::{Era, Message, Operation};
use crate::policy::{Denial, Permit};
use crate::reason::Reason;
use crate::time::UnixTime;
use crate::upstream::UpstreamCredential;
use std::cell::{Cell, RefCell};
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
    sender: Box<dyn Sender>,
    now: Cell<UnixTime>,
    keys: RefCell<Vec<KeyCache>>,
    key_flights: SingleFlight<usize, Result<Rc<KeySet>, KeysError>>,
    complaints: RefCell<Vec<String>>,
    news: RefCell<Vec<String>>,
}

/// How many fetches one request waits for: one that was under way may have begun before its key was there.
const MAX_FETCHES: usize = 3;

/// How many complaints, and how much news, are kept until somebody logs them.
const MAX_MESSAGES: usize = 16;

impl Shared {
    /// With this host's crypto, and room for as many verified tokens as the limits say.
    #[must_use]
    pub fn new(host: Box<dyn HostCrypto>, settings: &Settings) -> Self {
        let signatures = Signatures::new(host, settings.limits.cached_tokens);
        Self {
            callouts: Callouts::default(),
            signatures,
            sender: Box::new(Unproven),
            now: Cell::default(),
            keys: RefCell::default(),
            key_flights: SingleFlight::default(),
            complaints: RefCell::default(),
            news: RefCell::default(),
        }
    }

    /// With this host's word on who sends a request: it is asked while the request's flow is polled, and
    /// answers for its connection.
    #[must_use]
    pub fn with_sender(self, sender: Box<dyn Sender>) -> Self {
        Self { sender, ..self }
    }

    /// Sets the clock. To be called by the owner in each callback before anything is polled.
    pub fn set_now(&self, now: UnixTime) {
        self.now.set(now);
    }

    /// What the operator should read in the log, since the last call. Holds no secret.
    #[must_use]
    pub fn take_complaints(&self) -> Vec<String> {
        self.complaints.take()
    }

    /// What went well again, or for the first time, since the last call. Holds no secret.
    #[must_use]
    pub fn take_news(&self) -> Vec<String> {
        self.news.take()
    }

    /// Starts a fetch of every issuer's keys, so that the first request finds them.
    pub fn prefetch(self: &Rc<Self>, settings: &Settings) {
        for issuer in &settings.issuers {
            if let Keys::Fetched(source) = &issuer.keys {
                self.refresh(issuer.index, source, true);
            }
        }
    }

    /// Starts a fetch that nobody waits for. Where a bound is reached the next request asks again.
    fn refresh(self: &Rc<Self>, issuer: usize, source: &Rc<KeySource>, is_prefetch: bool) {
        let shared = Rc::clone(self);
        let start = |outbox| shared.fetch(outbox, issuer, source, None, is_prefetch);
        drop(self.key_flights.join(&self.callouts, issuer, None, start));
    }

    fn lookup(&self, issuer: usize, kid: Option<&str>) -> Lookup {
        self.cache(issuer, |cache| cache.lookup(kid, self.now.get())).unwrap_or(Lookup::Unavailable)
    }

    /// The keys of the issuer at this place of the configuration.
    fn cache<T>(&self, issuer: usize, use_it: impl FnOnce(&mut KeyCache) -> T) -> Option<T> {
        let mut caches = self.keys.borrow_mut();
        if caches.len() <= issuer {
            caches.resize_with(issuer.saturating_add(1), KeyCache::default);
        }
        caches.get_mut(issuer).map(use_it)
    }

    /// The task that fetches the keys of an issuer and remembers them. A prefetch that fails is not
    /// remembered: the provider may be starting beside us.
    fn fetch(
        self: Rc<Self>,
        outbox: Outbox,
        issuer: usize,
        source: &Rc<KeySource>,
        kid: Option<String>,
        is_prefetch: bool,
    ) -> impl Future<Output = Result<Rc<KeySet>, KeysError>> + use<> {
        let source = Rc::clone(source);
        async move {
            let fetched = fetch_keys(outbox, Rc::clone(&source)).await;
            let about = format!("keys of {} through cluster {}", source.issuer, source.cluster);
            match &fetched {
                Err(error) => keep(&self.complaints, format!("{about}: {error}")),
                // A refresh that goes well is no news.
                Ok(keys) if self.cache(issuer, |cache| cache.is_well()) != Some(true) => {
                    keep(&self.news, format!("{about}: {} usable", keys.len()));
                }
                Ok(_) => {}
            }
            if fetched.is_ok() || !is_prefetch {
                let keys = fetched.clone().ok();
                self.cache(issuer, |cache| cache.store(keys, kid.as_deref(), self.now.get()));
            }
            fetched
        }
    }
}

/// Keeps a message until somebody logs it.
fn keep(messages: &RefCell<Vec<String>>, message: String) {
    let mut messages = messages.borrow_mut();
    if messages.len() < MAX_MESSAGES {
        messages.push(message);
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
    era: Cell<Option<Era>>,
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
        let mut record = Record::new(decision_id());
        if let Some(method) = head.one(":method").text() {
            record.note_http_method(method);
        }
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
            era: Cell::new(None),
        }
    }

    /// Decides the request and notes the outcome: the one place through which every exit passes.
    pub async fn run(self: Rc<Self>) -> Exit {
        let exit = match admit(&self).await {
            Ok(exit) => exit,
            Err(denial) => {
                self.note(|record| record.note_denial(&denial));
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

    /// The page that asks, if one does.
    pub(super) fn cors(&self) -> Result<Option<&Cors>, Reason> {
        self.origin.map(|()| self.cors.as_ref())
    }

    pub(super) fn verifier(&self) -> &dyn Verifier {
        &self.shared.signatures
    }

    pub(super) fn sender(&self) -> &dyn Sender {
        &*self.shared.sender
    }

    pub(super) fn now(&self) -> UnixTime {
        self.shared.now.get()
    }

    pub(super) fn note_message(&self, message: &Message<'_>) {
        self.message_id.replace(message.id.map(str::to_owned));
        let first = message.operations().ok().and_then(|operations| operations.first().copied());
        self.note(|record| {
            record.note_method(&message.method);
            record.note_operation(first.unwrap_or(Operation::Open));
        });
    }

    /// Of several operations the record names the one that is denied.
    pub(super) fn note_decision(&self, operations: &[Operation<'_>], decision: &Result<Permit, Denial>) {
        let denied = decision.as_ref().err().and_then(|denial| operations.get(denial.operation));
        if let Some(operation) = denied {
            self.note(|record| record.note_operation(*operation));
        }
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
        let source = match &issuer.keys {
            Keys::Configured(keys) => return Ok(Rc::clone(keys)),
            Keys::Fetched(source) => source,
        };
        let issuer = issuer.index;
        for _ in 0..MAX_FETCHES {
            match self.shared.lookup(issuer, kid) {
                Lookup::Keys(keys) => return Ok(keys),
                Lookup::Refresh(keys) => {
                    self.shared.refresh(issuer, source, false);
                    return Ok(keys);
                }
                Lookup::Unavailable => return Err(Reason::IdentityProviderUnavailable),
                Lookup::Fetch => {}
            }
            let (shared, kid) = (Rc::clone(&self.shared), kid.map(str::to_owned));
            let start = |outbox| shared.fetch(outbox, issuer, source, kid, false);
            let flights = &self.shared.key_flights;
            let flight = flights.join(&self.shared.callouts, issuer, Some(self.stream), start);
            let fetched = match flight {
                Ok(flight) => flight.await.unwrap_or(Err(KeysError::NotFetched)),
                Err(_) => return Err(Reason::Overloaded),
            };
            // What it brought is in the cache, which knows whether it was fetched for this `kid`.
            if fetched.is_err() {
                return Err(Reason::IdentityProviderUnavailable);
            }
        }
        Err(Reason::IdentityProviderUnavailable)
    }
}

/// 128 random bits in hexadecimal.
fn decision_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness the id is zero: it correlates records and guards nothing.
    let _ = getrandom::fill(&mut bytes);
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
