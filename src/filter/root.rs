//! The root: one configuration, its shared state, and the callouts' callbacks.

use super::host;
use super::stream::{Stream, StreamCore, Streams};
use crate::callout::CalloutError;
use crate::gate::{Settings, Shared, VerifiedBy};
use crate::reason::Reason;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// A tick at once: how a stream hands work to the root, which alone may send callouts.
const SOON: Duration = Duration::from_millis(1);
/// A tick while a first body is due.
const WATCHING: Duration = Duration::from_millis(250);
/// A tick when nothing is to be done.
const IDLE: Duration = Duration::from_secs(60);

/// What the root and its streams share.
pub(super) struct Worker {
    pub(super) settings: Rc<Settings>,
    pub(super) shared: Rc<Shared>,
    pub(super) streams: Streams,
    counters: RefCell<BTreeMap<Reason, u32>>,
    signature_counters: RefCell<BTreeMap<VerifiedBy, u32>>,
    /// Whether the host has shown that it brings bodies after a pause at the head.
    brings_bodies: Cell<bool>,
    /// The period of the tick that is under way: setting it anew would put the tick off.
    armed: Cell<Duration>,
}

impl Worker {
    /// Counts a request that ended for `reason`. The names are a closed list: reason codes.
    pub(super) fn count(&self, outcome: &str, reason: Reason) {
        let mut counters = self.counters.borrow_mut();
        let counter = match counters.get(&reason) {
            Some(counter) => *counter,
            None => {
                let name = format!("mcp_iap_requests.outcome.{outcome}.reason.{}", reason.code());
                let Ok(counter) = host::define_counter(&name) else { return };
                counters.insert(reason, counter);
                counter
            }
        };
        let _ = host::increment(counter, 1);
    }

    /// Counts who verified signatures since the last call.
    pub(super) fn count_signatures(&self) {
        for (by, count) in self.shared.signatures.take_counts() {
            let mut counters = self.signature_counters.borrow_mut();
            let counter = match counters.get(&by) {
                Some(counter) => *counter,
                None => {
                    let Ok(counter) = host::define_counter(&format!("mcp_iap_signatures.by.{}", by.name()))
                    else {
                        return;
                    };
                    counters.insert(by, counter);
                    counter
                }
            };
            let _ = host::increment(counter, count);
        }
    }

    /// Whether it is still open if the host has the flag that the configuration says it has.
    pub(super) fn watches_for_bodies(&self) -> bool {
        self.settings.allow_on_headers_stop_iteration && !self.brings_bodies.get()
    }

    /// The host has the flag.
    pub(super) fn body_came_after_a_pause(&self) {
        self.brings_bodies.set(true);
    }

    /// Asks for the next tick: at once for callouts, soon for streams that may be stuck.
    pub(super) fn tick(&self) {
        let period = if self.shared.callouts.is_ready() {
            SOON
        } else if self.watches_for_bodies() && !self.streams.borrow().is_empty() {
            WATCHING
        } else {
            IDLE
        };
        if period >= self.armed.get() {
            return;
        }
        self.armed.set(period);
        if host::tick_every(period).is_err() {
            host::error("mcp-iap: the host does not tick: callouts wait");
        }
    }

    fn refuse_stuck_streams(&self) {
        let waiting: Vec<_> = self.streams.borrow().values().filter_map(Weak::upgrade).collect();
        for stream in waiting {
            stream.refuse_if_stuck(self);
        }
    }

    /// Polls tasks, sends what they ask for, and polls the streams whose wait ended.
    fn advance(&self) {
        self.shared.callouts.run(host::dispatch);
        for complaint in self.shared.take_complaints() {
            host::warn(&format!("mcp-iap: {complaint}"));
        }
        for news in self.shared.take_news() {
            host::info(&format!("mcp-iap: {news}"));
        }
        for id in self.shared.callouts.take_woken() {
            let stream = self.streams.borrow().get(&id).and_then(Weak::upgrade);
            if let Some(stream) = stream {
                stream.wake();
            }
        }
    }
}

/// The root context of one plugin configuration.
#[derive(Default)]
pub(super) struct Root {
    worker: Option<Rc<Worker>>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        let Some(worker) = &self.worker else { return };
        worker.shared.set_now(host::now());
        let reply = if headers == 0 { Err(CalloutError::NotSent) } else { host::reply(body_size) };
        worker.shared.callouts.deliver(token, reply);
        worker.advance();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        // Envoy has nothing to give where the configuration is empty.
        let text = host::configuration().unwrap_or_default();
        let settings = match Settings::load(&text) {
            Ok(settings) => settings,
            Err(errors) => {
                for error in errors.0 {
                    host::error(&format!("mcp-iap: configuration refused: {error}"));
                }
                return false;
            }
        };
        host::info(&format!("mcp-iap {}: guards {}", env!("CARGO_PKG_VERSION"), settings.identifiers()));
        let shared = Rc::new(
            Shared::new(Box::new(host::Crypto::default()), &settings).with_sender(Box::new(host::Client)),
        );
        shared.set_now(host::now());
        shared.prefetch(&settings);
        self.worker = Some(Rc::new(Worker {
            settings: Rc::new(settings),
            shared,
            streams: Streams::default(),
            counters: RefCell::default(),
            signature_counters: RefCell::default(),
            brings_bodies: Cell::new(false),
            armed: Cell::new(SOON),
        }));
        host::tick_every(SOON).is_ok()
    }

    fn on_tick(&mut self) {
        let Some(worker) = &self.worker else { return };
        worker.shared.set_now(host::now());
        worker.advance();
        if worker.watches_for_bodies() {
            worker.refuse_stuck_streams();
        }
        worker.armed.set(Duration::MAX);
        worker.tick();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let worker = self.worker.as_ref().map(Rc::clone);
        Some(Box::new(Stream::new(StreamCore::new(id, worker))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
