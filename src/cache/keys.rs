//! The keys of one issuer over time: fresh, stale, or to be fetched.
//!
//! They are fetched anew ahead of their end, by the clock and not by a request. An unknown `kid` asks for a fetch
//! too, so that a rotation loses no request; since a stranger can make up any number of them, such fetches
//! keep a distance. Nobody is told that a key does not exist unless a set without it was asked for later than his
//! request came, or he was told so shortly before. Keys outlive a provider that is down for a bounded time.

use crate::jose::KeySet;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// A `kid` that a fetch did not bring is taken for unknown so long, or for the cooldown if that is longer.
const UNKNOWN_KEY: Duration = Duration::from_secs(10);
/// How many unknown `kid`s are remembered; the oldest goes first.
const MAX_UNKNOWN: usize = 64;
/// How long a `kid` may be that is looked for, in bytes.
const MAX_KID: usize = 256;
/// After a fetch that failed a request may ask again.
const RETRY: Duration = Duration::from_secs(1);
/// Without requests, and for a `kid` that strangers make up, the pause doubles with each failure, so often at most.
const MAX_DOUBLINGS: u32 = 5;
/// An issuer that asks to be left alone for longer is asked again after this.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long keys count, and how far apart fetches are.
#[derive(Clone, Copy, Debug)]
pub struct KeyTimes {
    /// A set counts so long.
    pub cache_duration: Duration,
    /// And so long beyond that while it can't be fetched anew.
    pub stale_if_error: Duration,
    /// From one fetch to the next that an unknown `kid` may cause.
    pub cooldown: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeyCache {
    times: KeyTimes,
    /// So long before its end a set is fetched anew; each worker has its own, so that one goes ahead.
    lead: Duration,
    keys: Option<(Rc<KeySet>, Timestamp)>,
    failure: Option<Failure>,
    /// The issuer has told since that it has no key: nothing prolongs what is at hand.
    withdrawn_at: Option<Timestamp>,
    unknown: VecDeque<(String, Timestamp)>,
}

/// The last fetch failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Timestamp,
    retry_at: Timestamp,
    /// How many failed, one after the other.
    count: u32,
    /// How many of these were asked for by requests, and when the last of them failed.
    asked: Option<(u32, Timestamp)>,
}

/// How long after so many failures.
fn pause(count: u32) -> Duration {
    let doublings = count.saturating_sub(1).min(MAX_DOUBLINGS);
    RETRY.saturating_mul(2_u32.saturating_pow(doublings))
}

/// What to do for keys.
#[derive(Debug)]
pub enum Lookup {
    /// Take these.
    Keys(Rc<KeySet>),
    /// Wait for a fetch that brings any keys.
    Fetch,
    /// Wait for a fetch that may bring the `kid`.
    FetchKid,
    /// There are none that can be told to be right, and it is too early to try again.
    Unavailable,
}

impl KeyCache {
    /// No keys yet. `spread` (0 to 255) places this worker among those that fetch ahead of the end, from 30 %
    /// to 10 % before it.
    #[must_use]
    pub fn new(times: KeyTimes, spread: u8) -> Self {
        let part = f64::from(spread).mul_add(0.2 / 255.0, 0.1);
        let lead = times.cache_duration.mul_f64(part);
        Self { times, lead, keys: None, failure: None, withdrawn_at: None, unknown: VecDeque::new() }
    }

    /// Forgets what is ahead of the clock, which was put back since: how old it is can't be told.
    pub fn forget_what_is_ahead(&mut self, now: Timestamp) {
        self.keys.take_if(|(_, asked_at)| asked_at.is_ahead_of(now));
        self.failure.take_if(|failure| failure.at.is_ahead_of(now));
        self.withdrawn_at = self.withdrawn_at.map(|at| at.min(now));
        self.unknown.retain(|(_, since)| !since.is_ahead_of(now));
    }

    /// Looks for keys that have the `kid` of a token that arrived at `arrived`.
    #[must_use]
    pub fn lookup(&mut self, kid: Option<&str>, arrived: Timestamp, now: Timestamp) -> Lookup {
        self.forget_what_is_ahead(now);
        let may_retry = self.may_retry(now);
        let or_none = |lookup| if may_retry { lookup } else { Lookup::Unavailable };
        let usable = self.keys.as_ref().filter(|_| self.is_usable(now));
        let Some((keys, asked_at)) = usable.map(|(keys, asked_at)| (Rc::clone(keys), *asked_at)) else {
            return or_none(Lookup::Fetch);
        };
        let Some(kid) = kid.filter(|kid| kid.len() <= MAX_KID && !keys.has_id(kid)) else {
            return Lookup::Keys(keys);
        };
        let pause = self.times.cooldown.max(UNKNOWN_KEY);
        if self.unknown.iter().any(|(known, since)| known == kid && now < since.plus(pause)) {
            return Lookup::Keys(keys);
        }
        if asked_at > arrived {
            self.remember_unknown(kid, now);
            return Lookup::Keys(keys);
        }
        // A request waits for the cooldown's end no longer than it would for a provider.
        let is_near = self.cooldown_ends() <= now.plus(self.times.timeout);
        if is_near { or_none(Lookup::FetchKid) } else { Lookup::Unavailable }
    }

    /// When the next fetch for an unknown `kid` may be made: the cooldown after the last, and while those that requests ask
    /// for fail later and later, since strangers make such ids up. One that fails without a request puts nobody off.
    #[must_use]
    pub fn cooldown_ends(&self) -> Timestamp {
        let cooldown = self.times.cooldown;
        let fetched = self.asked_at().map_or(Timestamp(0), |asked_at| asked_at.plus(cooldown));
        let asked = self.failure.and_then(|failure| failure.asked);
        let failed = asked.map_or(Timestamp(0), |(count, at)| at.plus(cooldown.max(pause(count))));
        fetched.max(failed)
    }

    /// When the set at hand was asked for.
    #[must_use]
    pub fn asked_at(&self) -> Option<Timestamp> {
        self.keys.as_ref().map(|(_, asked_at)| *asked_at)
    }

    /// Whether keys are used: within their time, or beyond it while they can't be fetched.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let is_prolonged = self.failure.is_some() && self.withdrawn_at.is_none();
        let stale = if is_prolonged { self.times.stale_if_error } else { Duration::ZERO };
        let counts = self.times.cache_duration.saturating_add(stale);
        self.asked_at().is_some_and(|asked_at| now.since(asked_at) < counts)
    }

    /// Whether a request may ask: no fetch failed just before.
    #[must_use]
    pub fn may_retry(&self, now: Timestamp) -> bool {
        self.failure.is_none_or(|failure| failure.retry_at <= now)
    }

    /// Whether the last fetch failed, later than `began`.
    #[must_use]
    pub fn has_failed_since(&self, began: Timestamp) -> bool {
        self.failure.is_some_and(|failure| failure.at > began)
    }

    /// Whether some key has this `kid`.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.keys.as_ref().is_some_and(|(keys, _)| keys.has_id(kid))
    }

    /// Whether there are keys and the last fetch did not fail.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.keys.is_some() && self.failure.is_none()
    }

    /// When to fetch without being asked.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let ahead = self.times.cache_duration.saturating_sub(self.lead);
        let refresh = self.asked_at().map_or(Timestamp(0), |asked_at| asked_at.plus(ahead));
        let retry = self
            .failure
            .map_or(Timestamp(0), |failure| failure.at.plus(pause(failure.count)).max(failure.retry_at));
        refresh.max(retry)
    }

    /// Remembers a set that was asked for at `asked_at`, unless a later one is at hand.
    pub fn store(&mut self, keys: Rc<KeySet>, asked_at: Timestamp) {
        if self.asked_at().is_some_and(|ours| ours >= asked_at) {
            return;
        }
        self.unknown.retain(|(unknown, _)| !keys.has_id(unknown));
        self.keys = Some((keys, asked_at));
        self.failure = self.failure.filter(|failure| failure.at > asked_at);
        self.withdrawn_at = self.withdrawn_at.filter(|at| *at > asked_at);
    }

    /// Remembers that a set that was asked for at `asked_at` came without a usable key. What is at hand counts for
    /// its time, and no longer.
    pub fn withdraw(&mut self, asked_at: Timestamp) {
        if self.asked_at().is_some_and(|ours| ours <= asked_at) {
            self.withdrawn_at = self.withdrawn_at.max(Some(asked_at));
        }
    }

    /// Remembers that a fetch failed at `at`, and when a request may ask again.
    pub fn fail(&mut self, at: Timestamp, retry_at: Timestamp) {
        if self.failure.is_some_and(|failure| failure.at >= at) || self.asked_at() > Some(at) {
            return;
        }
        let count = self.failure.map_or(0, |failure| failure.count).saturating_add(1);
        let mut asked = self.failure.and_then(|failure| failure.asked);
        if retry_at > at {
            asked = Some((asked.map_or(0, |(count, _)| count).saturating_add(1), at));
        }
        self.failure = Some(Failure { at, retry_at, count, asked });
    }

    /// When a request may ask again after a fetch that failed at `at`. A prefetch keeps nobody from asking: the
    /// provider may be starting beside us. `wait`: how long the issuer asked to be left alone, which holds for all.
    #[must_use]
    pub fn retry_at(at: Timestamp, is_prefetch: bool, wait: Option<Duration>) -> Timestamp {
        let pause = if is_prefetch { Duration::ZERO } else { RETRY };
        at.plus(wait.unwrap_or_default().min(MAX_RETRY_AFTER).max(pause))
    }

    fn remember_unknown(&mut self, kid: &str, now: Timestamp) {
        self.unknown.retain(|(unknown, _)| unknown != kid);
        if self.unknown.len() >= MAX_UNKNOWN {
            self.unknown.pop_front();
        }
        self.unknown.push_back((kid.to_owned(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    const SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    const TIMES: KeyTimes = KeyTimes {
        cache_duration: Duration::from_secs(600),
        stale_if_error: Duration::from_secs(3600),
        cooldown: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
    };

    fn cache() -> KeyCache {
        KeyCache::new(TIMES, 0)
    }

    fn keys() -> Rc<KeySet> {
        Rc::new(KeySet::parse(SET.as_bytes()).unwrap())
    }

    fn at(seconds: u64) -> Timestamp {
        UnixTime(seconds).into()
    }

    fn fail(cache: &mut KeyCache, seconds: u64) {
        cache.fail(at(seconds), KeyCache::retry_at(at(seconds), false, None));
    }

    /// For a request that arrives now.
    fn says(cache: &mut KeyCache, kid: &str, now: Timestamp) -> &'static str {
        says_to(cache, kid, now, now)
    }

    fn says_to(cache: &mut KeyCache, kid: &str, arrived: Timestamp, now: Timestamp) -> &'static str {
        match cache.lookup(Some(kid), arrived, now) {
            Lookup::Keys(_) => "keys",
            Lookup::Fetch => "fetch",
            Lookup::FetchKid => "fetch kid",
            Lookup::Unavailable => "unavailable",
        }
    }

    #[test]
    fn a_key_set_ages() {
        let mut cache = cache();
        assert_eq!(says(&mut cache, "a", at(1000)), "fetch");
        cache.store(keys(), at(1000));
        assert_eq!(says(&mut cache, "a", Timestamp(1_599_999)), "keys");
        assert_eq!(says(&mut cache, "a", at(1600)), "fetch", "nobody tried to fetch it: it does not count");
        fail(&mut cache, 1600);
        assert_eq!(says(&mut cache, "a", at(1600)), "keys");
        assert_eq!(says(&mut cache, "b", at(1600)), "unavailable");
        assert_eq!(says(&mut cache, "b", at(1601)), "fetch kid");
        assert_eq!(says(&mut cache, "a", Timestamp(5_199_999)), "keys");
        assert_eq!(says(&mut cache, "a", at(5200)), "fetch");
        fail(&mut cache, 5200);
        assert_eq!(says(&mut cache, "a", at(5200)), "unavailable");
        cache.store(keys(), at(5201));
        assert_eq!(says(&mut cache, "a", at(5202)), "keys");
        assert!(cache.is_well());
    }

    #[test]
    fn without_a_stale_bound_keys_end_with_their_time() {
        let mut cache = KeyCache::new(KeyTimes { stale_if_error: Duration::ZERO, ..TIMES }, 0);
        cache.store(keys(), at(1000));
        fail(&mut cache, 1599);
        assert_eq!(says(&mut cache, "a", Timestamp(1_599_999)), "keys");
        assert_eq!(says(&mut cache, "a", at(1600)), "fetch");
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_prolong_keys() {
        let mut cache = cache();
        cache.store(keys(), at(100_000));
        assert_eq!(says(&mut cache, "a", at(99_996)), "keys");
        assert_eq!(says(&mut cache, "a", at(99_000)), "fetch");
    }

    #[test]
    fn keys_that_were_withdrawn_by_a_later_time_stay_so_until_new_ones_come() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        cache.withdraw(at(1500));
        fail(&mut cache, 1500);
        assert_eq!(says(&mut cache, "a", at(1100)), "keys", "the clock was put back");
        fail(&mut cache, 1600);
        assert_eq!(says(&mut cache, "a", at(1600)), "unavailable");
        assert_eq!(says(&mut cache, "a", at(1101)), "keys");
        cache.store(keys(), at(1102));
        fail(&mut cache, 1702);
        assert_eq!(says(&mut cache, "a", at(1702)), "keys", "stale");
    }

    #[test]
    fn an_older_set_or_failure_changes_nothing() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        cache.store(keys(), at(900));
        fail(&mut cache, 950);
        assert!(cache.asked_at() == Some(at(1000)) && cache.is_well());
        fail(&mut cache, 1100);
        cache.store(keys(), at(1050));
        assert!(!cache.is_well(), "the failure was later");
    }

    #[test]
    fn keys_are_due_ahead_of_their_end_and_not_for_all_at_once() {
        let due = |spread: u8| {
            let mut cache = KeyCache::new(TIMES, spread);
            assert_eq!(cache.due(), Timestamp(0), "a cold one at once");
            cache.store(keys(), at(1000));
            cache.due()
        };
        assert_eq!((due(0), due(255)), (at(1540), at(1420)));
        assert!(due(0) > due(100) && due(100) > due(200));
    }

    #[test]
    fn without_requests_a_provider_that_is_down_is_asked_less_and_less() {
        let mut cache = cache();
        let mut now = 1000;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            fail(&mut cache, now);
            let next = cache.due().unix().0;
            pauses.push(next.saturating_sub(now));
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn an_issuer_that_asks_to_be_left_alone_is_for_a_bounded_time() {
        for (wait, until) in [(0, 1001), (60, 1060), (100_000, 1300)] {
            let mut cache = cache();
            cache.store(keys(), at(900));
            let wait = Some(Duration::from_secs(wait));
            cache.fail(at(1000), KeyCache::retry_at(at(1000), false, wait));
            let before = Timestamp(at(until).0.saturating_sub(1));
            assert_eq!(says(&mut cache, "b", before), "unavailable");
            assert_eq!(says(&mut cache, "a", before), "keys");
            assert_eq!(says(&mut cache, "b", at(until)), "fetch kid");
            let mut cold = KeyCache::new(TIMES, 0);
            cold.fail(at(1000), KeyCache::retry_at(at(1000), true, wait));
            assert_eq!(cold.due(), at(until), "nor without requests");
        }
        assert_eq!(KeyCache::retry_at(at(1000), true, Some(Duration::from_secs(9))), at(1009));
    }

    #[test]
    fn who_makes_up_a_kid_after_each_failure_waits_longer_and_longer() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        let (mut now, mut pauses) = (1000, Vec::new());
        for _ in 0..8 {
            fail(&mut cache, now);
            let next = (now..).find(|second| says(&mut cache, "b", at(*second)) == "fetch kid").unwrap();
            // Who waits for the end of the cooldown asks then.
            let next = next.max(cache.cooldown_ends().unix().0);
            pauses.push(next.saturating_sub(now));
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(says(&mut cache, "a", at(now)), "keys");
        cache.store(keys(), at(now));
        assert_eq!(cache.cooldown_ends(), at(now).plus(TIMES.cooldown));
    }

    /// A provider was down while nobody asked, and comes back with another key.
    #[test]
    fn what_failed_without_a_request_puts_no_kid_off() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        for second in [1090, 1091, 1093, 1097] {
            cache.fail(at(second), KeyCache::retry_at(at(second), true, None));
        }
        assert_eq!(says(&mut cache, "b", at(1097)), "fetch kid");
        assert!(cache.cooldown_ends() <= at(1097));
        fail(&mut cache, 1098);
        cache.fail(at(1105), KeyCache::retry_at(at(1105), true, None));
        assert_eq!(cache.cooldown_ends(), at(1098).plus(TIMES.cooldown.max(Duration::from_secs(1))));
    }

    #[test]
    fn an_unknown_kid_asks_again_but_not_often() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        // Within the cooldown who asks waits for its end.
        assert_eq!((says(&mut cache, "b", at(1000)), cache.cooldown_ends()), ("fetch kid", at(1001)));
        cache.store(keys(), at(1001));
        assert_eq!(says(&mut cache, "b", at(1001)), "fetch kid", "it may be there since");
        assert_eq!(says_to(&mut cache, "b", at(1000), at(1002)), "keys", "b is told to be unknown");
        assert_eq!(says(&mut cache, "b", at(1011)), "keys", "and later comers too");
        assert_eq!(says(&mut cache, "a", at(1011)), "keys");
        assert_eq!(says(&mut cache, "c", at(1011)), "fetch kid", "nobody knows about c yet");
        assert_eq!(says(&mut cache, "b", at(1012)), "fetch kid");
        assert_eq!(says(&mut cache, &"c".repeat(257), at(1012)), "keys");
    }

    #[test]
    fn nobody_waits_for_a_long_cooldown() {
        let mut cache = KeyCache::new(KeyTimes { cooldown: Duration::from_secs(60), ..TIMES }, 0);
        cache.store(keys(), at(1000));
        assert_eq!(says(&mut cache, "b", at(1054)), "unavailable");
        assert_eq!(says(&mut cache, "b", at(1055)), "fetch kid");
        assert_eq!(says_to(&mut cache, "b", at(999), at(1001)), "keys");
        assert_eq!(says(&mut cache, "b", at(1060)), "keys", "unknown as long as nobody may ask");
        assert_eq!(says(&mut cache, "b", at(1061)), "fetch kid");
    }

    #[test]
    fn unknown_kids_are_remembered_within_a_bound() {
        let mut cache = cache();
        cache.store(keys(), at(1000));
        for kid in 0..1000 {
            assert_eq!(says_to(&mut cache, &format!("k{kid}"), at(999), at(1000)), "keys");
        }
        assert_eq!(cache.unknown.len(), 64);
        assert_eq!(says(&mut cache, "k999", at(1002)), "keys");
        assert_eq!(says(&mut cache, "k1", at(1002)), "fetch kid");
    }

    #[test]
    fn a_provider_that_is_down_is_not_hammered() {
        let mut cache = cache();
        cache.fail(at(1000), KeyCache::retry_at(at(1000), true, None));
        assert_eq!(says(&mut cache, "a", at(1000)), "fetch", "a prefetch does not count");
        fail(&mut cache, 1001);
        assert_eq!(says(&mut cache, "a", at(1001)), "unavailable");
        assert_eq!(says(&mut cache, "a", at(1002)), "fetch");
    }
}
