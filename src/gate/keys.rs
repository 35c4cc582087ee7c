//! The keys of all issuers of one root: found for requests, fetched for all who wait and ahead of their end, and
//! shared with the other workers of the same Envoy, of which one asks.
//!
//! A request whose keys are here costs a look into the cache. Everything else is the work of tasks: each takes
//! what another worker brought meanwhile, waits while one asks, or asks itself.

use super::issuer::{IssuerSettings, Keys};
use super::messages::{Message, Messages};
use crate::cache::{KeyCache, KeyShare, Lookup, SharedData};
use crate::callout::{
    Callouts, Full, KeySource, KeysError, NoKeys, Outbox, SingleFlight, StreamId, Wait, fetch_keys,
};
use crate::jose::KeySet;
use crate::reason::Reason;
use crate::time::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

/// How many fetches one request waits for: one that was under way may have begun before its key was there.
const MAX_FETCHES: usize = 3;
/// How many requests may wait for an issuer's keys: each holds its head, of up to 60 KiB by Envoy's default.
const MAX_WAITING: usize = 2_000;
/// How many of them with a `kid` that is not known: strangers can make it up, and hold them through the cooldown.
const MAX_WAITING_FOR_A_KID: usize = 256;
/// How long a worker that asks is waited for beyond the timeout.
const GRACE: Duration = Duration::from_secs(1);
/// How often a worker looks for what others brought, while nobody asks.
const LOOK: Duration = Duration::from_secs(1);

/// The keys of all issuers that have public ones.
#[derive(Default)]
pub struct KeyStore {
    clock: Rc<Cell<Timestamp>>,
    issuers: BTreeMap<usize, IssuerKeys>,
    flights: SingleFlight<usize, Result<(), KeysError>>,
    looked_at: Cell<Timestamp>,
    messages: Messages<KeysError>,
}

struct IssuerKeys {
    source: Rc<KeySource>,
    cache: RefCell<KeyCache>,
    share: KeyShare,
    fetches: RefCell<BTreeMap<&'static str, u64>>,
}

/// Which set a task is to bring.
struct Wish {
    /// One that was asked for after this; `None` for any.
    after: Option<Timestamp>,
    /// Or one that has this `kid`. Such a wish keeps to the cooldown.
    kid: Option<String>,
    /// Whether a request wishes it.
    is_asked: bool,
}

/// What a task does next.
enum Step {
    Done,
    Wait,
    Ask,
    Fail(KeysError),
}

impl KeyStore {
    pub(super) fn new(
        issuers: &[IssuerSettings],
        data: &Rc<dyn SharedData>,
        clock: Rc<Cell<Timestamp>>,
    ) -> Self {
        let mut spread = [0];
        // Without randomness the workers go at the same time, and one of them asks.
        let _ = getrandom::fill(&mut spread);
        let fetched = issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Fetched(source, times) => Some((issuer.index, source, *times)),
            Keys::Configured(_) => None,
        });
        let keys = fetched.map(|(index, source, times)| {
            let lease = times.timeout.saturating_add(GRACE);
            let issuer = IssuerKeys {
                source: Rc::clone(source),
                cache: RefCell::new(KeyCache::new(times, spread[0])),
                share: KeyShare::new(Rc::clone(data), record_key(source), lease),
                fetches: RefCell::default(),
            };
            (index, issuer)
        });
        Self { clock, issuers: keys.collect(), ..Self::default() }
    }

    /// What is to be logged since the last call: each failure, since fetches that fail keep a distance.
    #[must_use]
    pub fn take_messages(&self) -> Vec<Message> {
        self.messages.take()
    }

    /// How many fetches ended how since the last call: issuer, `ok` or [`KeysError::name`], count.
    #[must_use]
    pub fn take_fetches(&self) -> Vec<(&str, &'static str, u64)> {
        let of = |issuer: &'_ IssuerKeys| issuer.fetches.take();
        let issuers = self.issuers.values().map(|issuer| (issuer.source.issuer.as_str(), of(issuer)));
        issuers.flat_map(|(name, fetches)| fetches.into_iter().map(move |(how, n)| (name, how, n))).collect()
    }

    /// How old each issuer's key set is, in seconds, where there is one.
    pub fn ages(&self) -> impl Iterator<Item = (&str, u64)> {
        self.issuers.values().filter_map(|issuer| {
            let asked_at = issuer.cache.borrow().asked_at()?;
            Some((issuer.source.issuer.as_str(), self.clock.get().since(asked_at).as_secs()))
        })
    }

    /// Starts what is due without anybody asking: the first fetch, and each one ahead of the keys' end. To be
    /// called at each tick.
    pub fn tick(self: &Rc<Self>, callouts: &Callouts) {
        let now = self.clock.get();
        let looked_at = self.looked_at.get();
        let looks = now.since(looked_at) >= LOOK || looked_at.is_ahead_of(now);
        if looks {
            self.looked_at.set(now);
        }
        for (index, issuer) in &self.issuers {
            if looks {
                issuer.take_what_others_brought(now);
            }
            let (due, after) = {
                let mut cache = issuer.cache.borrow_mut();
                cache.forget_what_is_ahead(now);
                (cache.due(), cache.asked_at())
            };
            if due <= now && !self.flights.is_under_way(index) {
                let wish = Wish { after, kid: None, is_asked: false };
                // Where a bound is reached the next tick tries again.
                drop(self.fly(callouts, *index, None, MAX_WAITING, wish));
            }
        }
    }

    /// How long until something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let idle = self.issuers.iter().filter(|(index, _)| !self.flights.is_under_way(index));
        let due = idle.map(|(_, issuer)| issuer.cache.borrow().due()).min()?;
        Some(due.since(self.clock.get()))
    }

    /// The keys of the issuer at this place of the configuration, for a token with this `kid`.
    ///
    /// # Errors
    /// There are none that can be told to be right, or too many wait for them.
    pub(super) async fn find(
        self: &Rc<Self>,
        callouts: &Callouts,
        index: usize,
        kid: Option<&str>,
        stream: StreamId,
    ) -> Result<Rc<KeySet>, Reason> {
        let mut arrived = self.clock.get();
        let issuer = self.issuers.get(&index).ok_or(Reason::Internal)?;
        let mut has_failed = false;
        for _ in 0..=MAX_FETCHES {
            let now = self.clock.get();
            if arrived.is_ahead_of(now) {
                arrived = now;
            }
            let lookup = issuer.cache.borrow_mut().lookup(kid, arrived, now);
            let (room, wish) = match lookup {
                Lookup::Keys(keys) => return Ok(keys),
                Lookup::Unavailable => break,
                _ if has_failed => break,
                Lookup::Fetch => {
                    let after = issuer.cache.borrow().asked_at();
                    (MAX_WAITING, Wish { after, kid: None, is_asked: true })
                }
                Lookup::FetchKid => {
                    let kid = kid.map(str::to_owned);
                    (MAX_WAITING_FOR_A_KID, Wish { after: Some(arrived), kid, is_asked: true })
                }
            };
            let flight =
                self.fly(callouts, index, Some(stream), room, wish).map_err(|_| Reason::Overloaded)?;
            has_failed = !matches!(flight.await, Ok(Ok(())));
        }
        Err(Reason::IdentityProviderUnavailable)
    }

    fn fly(
        self: &Rc<Self>,
        callouts: &Callouts,
        index: usize,
        stream: Option<StreamId>,
        room: usize,
        wish: Wish,
    ) -> Result<Wait<Result<(), KeysError>>, Full> {
        let store = Rc::clone(self);
        self.flights.join(callouts, index, stream, room, |outbox| store.fetch(outbox, index, wish))
    }

    /// The task that brings keys.
    async fn fetch(self: Rc<Self>, outbox: Outbox, index: usize, wish: Wish) -> Result<(), KeysError> {
        let issuer = self.issuers.get(&index).ok_or(KeysError::NotFetched)?;
        let began = self.clock.get();
        loop {
            match issuer.step(&wish, began, self.clock.get()) {
                Step::Done => return Ok(()),
                Step::Fail(error) => return Err(error),
                Step::Wait => outbox.tick().await,
                Step::Ask => break,
            }
        }
        let asked_at = self.clock.get();
        let fetched = fetch_keys(outbox, Rc::clone(&issuer.source), || self.clock.get()).await;
        let now = self.clock.get();
        let about = format!("keys of {} through cluster {}", issuer.source.issuer, issuer.source.cluster);
        let outcome = fetched.as_ref().map_or_else(|NoKeys { error, .. }| error.name(), |_| "ok");
        let mut fetches = issuer.fetches.borrow_mut();
        let count = fetches.entry(outcome).or_default();
        *count = count.saturating_add(1);
        let mut cache = issuer.cache.borrow_mut();
        match fetched {
            Ok((keys, document)) => {
                // A refresh that goes well is no news.
                if !cache.is_well() {
                    self.messages.keep(Message::News(format!("{about}: {} usable", keys.len())));
                }
                cache.store(keys, asked_at);
                issuer.share.publish(&document, asked_at, now);
                Ok(())
            }
            Err(NoKeys { error, wait }) => {
                self.messages.keep(Message::Complaint(format!("{about}: {error}")));
                let retry_at = KeyCache::retry_at(now, !wish.is_asked, wait);
                let withdrawn_at = (error == KeysError::NoUsableKey).then_some(asked_at);
                if let Some(at) = withdrawn_at {
                    cache.withdraw(at);
                }
                cache.fail(now, retry_at);
                issuer.share.fail(now, retry_at, withdrawn_at);
                Err(error)
            }
        }
    }
}

impl IssuerKeys {
    fn step(&self, wish: &Wish, began: Timestamp, now: Timestamp) -> Step {
        let leased_until = self.take_what_others_brought(now);
        let cache = self.cache.borrow();
        let is_newer = cache.asked_at() > wish.after;
        if cache.is_usable(now) && (is_newer || wish.kid.as_deref().is_some_and(|kid| cache.has(kid))) {
            return Step::Done;
        }
        if cache.has_failed_since(began) || !cache.may_retry(now) {
            return Step::Fail(KeysError::Elsewhere);
        }
        let is_early = wish.kid.is_some() && now < cache.cooldown_ends();
        if is_early || leased_until > now || !self.share.lease(now) { Step::Wait } else { Step::Ask }
    }

    /// Answers until when somebody else is asking.
    fn take_what_others_brought(&self, now: Timestamp) -> Timestamp {
        let record = self.share.read(now);
        let mut cache = self.cache.borrow_mut();
        cache.forget_what_is_ahead(now);
        if Some(record.asked_at) > cache.asked_at()
            && let Some(keys) = KeySet::parse(&record.document)
        {
            cache.store(Rc::new(keys), record.asked_at);
        }
        if record.withdrawn_at > Timestamp(0) {
            cache.withdraw(record.withdrawn_at);
        }
        if record.failed_at > Timestamp(0) {
            cache.fail(record.failed_at, record.retry_at);
        }
        record.leased_until
    }
}

/// Where the record of a source stands in the shared data. It names all that decides where keys come from: no
/// configuration reads what belongs to another issuer, and one that is loaded anew finds its keys.
fn record_key(source: &KeySource) -> String {
    let mut key = "mcp_iap.keys.".to_owned();
    for byte in source.digest() {
        let _ = write!(key, "{byte:02x}");
    }
    key
}
