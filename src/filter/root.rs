//! The root: one configuration, its shared state, and the callouts' callbacks.

use super::host;
use super::metrics::Metrics;
use super::stream::Streams;
use crate::callout::CalloutError;
use crate::gate::{Message, Settings, Shared};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// A tick at once: for what a stream's callback leaves to the root.
const SOON: Duration = Duration::from_millis(1);
/// A tick while a first body is due.
const WATCHING: Duration = Duration::from_millis(250);
/// A tick while another worker fetches keys.
const SHARING: Duration = Duration::from_millis(20);
/// A tick when nothing is to be done: to take keys that another worker fetched, and to tell how old they are.
const IDLE: Duration = Duration::from_secs(5);

/// What the root and its streams share.
pub(super) struct Worker {
    root_id: u32,
    pub(super) settings: Rc<Settings>,
    pub(super) shared: Rc<Shared>,
    pub(super) streams: Streams,
    pub(super) metrics: Metrics,
    /// Whether it was said that a global rate seems not to be counted.
    pub(super) told_of_uncounted: Cell<bool>,
    /// Whether the host has shown that it brings bodies after a pause at the head.
    brings_bodies: Cell<bool>,
    /// The period of the tick that is under way: setting it anew would put the tick off.
    armed: Cell<Duration>,
}

impl Worker {
    /// Whether it is still open if the host has the flag that the configuration says it has.
    pub(super) fn watches_for_bodies(&self) -> bool {
        self.settings.allow_on_headers_stop_iteration && !self.brings_bodies.get()
    }

    /// The host has the flag.
    pub(super) fn body_came_after_a_pause(&self) {
        self.brings_bodies.set(true);
    }

    /// Asks for the next tick: at once for callouts, soon for what another worker fetches and for streams that
    /// may be stuck, in time for keys that are to be fetched.
    pub(super) fn tick(&self) {
        let callouts = &self.shared.callouts;
        let watches = self.watches_for_bodies() && !self.streams.borrow().is_empty();
        let idle = if watches { WATCHING } else { IDLE };
        let period = if callouts.is_ready() || callouts.has_woken() {
            SOON
        } else if callouts.waits_for_tick() {
            SHARING
        } else {
            self.shared.keys.next_due().map_or(idle, |due| due.clamp(SHARING, idle))
        };
        if period >= self.armed.get() {
            return;
        }
        self.armed.set(period);
        if host::tick_every(period).is_err() {
            host::error("mcp-iap: the host does not tick: callouts wait");
        }
    }

    /// Sends, for the stream whose callback this is, what tasks ask for: as the root, to which the replies come.
    /// What the tasks have to say waits for the root's next callback.
    pub(super) fn send(&self, stream: u32) {
        if host::become_context(self.root_id).is_ok() {
            self.shared.callouts.run(host::dispatch);
        }
        if host::become_context(stream).is_err() {
            host::error("mcp-iap: the host does not go back to a stream");
        }
        self.tick();
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
        let Shared { keys, judges, exchange, .. } = &*self.shared;
        for message in [keys.take_messages(), judges.take_messages(), exchange.take_messages()].concat() {
            match message {
                Message::Complaint(text) => host::warn(&format!("mcp-iap: {text}")),
                Message::News(text) => host::info(&format!("mcp-iap: {text}")),
            }
        }
        self.metrics.count_signatures(&self.shared);
        self.metrics.count_judged(&self.shared);
        self.metrics.tell_of_keys(&self.shared);
        self.metrics.count_exchanges(&self.shared);
        self.metrics.count_shadow(&self.shared);
        self.metrics.count_failing(&self.shared);
        self.metrics.count_remembered(&self.shared);
        for id in self.shared.callouts.take_woken() {
            let stream = self.streams.borrow().get(&id).and_then(Weak::upgrade);
            if let Some(stream) = stream {
                stream.wake();
            }
        }
    }
}

/// The root context of one plugin configuration.
pub(super) struct Root {
    id: u32,
    worker: RefCell<Option<Rc<Worker>>>,
}

impl Root {
    /// Without a configuration yet.
    pub(super) fn new(id: u32) -> Self {
        Self { id, worker: RefCell::default() }
    }

    /// What it shares with its streams, once it is configured.
    pub(super) fn worker(&self) -> Option<Rc<Worker>> {
        self.worker.borrow().as_ref().map(Rc::clone)
    }

    /// Reads the configuration; whether it is good.
    pub(super) fn configure(&self) -> bool {
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
        if !settings.require_auth {
            host::warn("mcp-iap: `require_auth` is `false`: everybody passes as `anonymous`");
        }
        let crypto = Box::new(host::Crypto::default());
        let shared =
            Rc::new(Shared::new(crypto, &host::shared_data(), &settings).with_sender(Box::new(host::Client)));
        self.worker.replace(Some(Rc::new(Worker {
            root_id: self.id,
            settings: Rc::new(settings),
            shared,
            streams: Streams::default(),
            metrics: Metrics::default(),
            told_of_uncounted: Cell::new(false),
            brings_bodies: Cell::new(false),
            armed: Cell::new(SOON),
        })));
        host::tick_every(SOON).is_ok()
    }

    /// The period has passed.
    pub(super) fn tick(&self) {
        let Some(worker) = self.worker() else { return };
        worker.shared.set_now(host::now());
        worker.shared.callouts.tick();
        worker.shared.keys.tick(&worker.shared.callouts);
        worker.advance();
        if worker.watches_for_bodies() {
            worker.refuse_stuck_streams();
        }
        worker.armed.set(Duration::MAX);
        worker.tick();
    }

    /// The reply to the callout `token`; without headers it was cut off.
    pub(super) fn reply(&self, token: u32, headers: u32, body_size: usize) {
        let Some(worker) = self.worker() else { return };
        worker.shared.set_now(host::now());
        let max_reply = worker.shared.callouts.max_reply(token);
        let reply = if headers == 0 { Err(CalloutError::CutOff) } else { host::reply(body_size, max_reply) };
        worker.shared.callouts.deliver(token, reply);
        worker.advance();
        worker.tick();
    }
}
