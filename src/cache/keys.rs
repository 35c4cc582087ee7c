//! The keys of one issuer over time: fresh, stale, or to be fetched.
//!
//! An unknown `kid` asks for a new fetch at once, so that a rotation loses no request. One that a fetch
//! did not bring is remembered for a while; and since a stranger can make up any number of them, such
//! fetches keep a distance, in which nobody is told that a key does not exist. Keys outlive a provider that is down for a bounded time.

use crate::jose::KeySet;
use crate::time::UnixTime;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// For so long keys are used without asking again; then they are fetched anew while they are used.
const TIME_TO_LIVE: Duration = Duration::from_secs(600);
/// For so long beyond that they are used while the provider can't be asked.
const STALE: Duration = Duration::from_secs(3600);
/// A `kid` that a fetch did not bring is taken for unknown so long.
const UNKNOWN_KEY: Duration = Duration::from_secs(10);
/// After a fetch that did not bring the `kid` it was made for, the next such one waits so long.
const UNKNOWN_KEY_DISTANCE: Duration = Duration::from_secs(1);
/// How many unknown `kid`s are remembered; the oldest goes first.
const MAX_UNKNOWN: usize = 64;
/// How long a `kid` may be that is looked for, in bytes.
const MAX_KID: usize = 256;
/// A failed fetch is tried again after so long at the earliest.
const RETRY: Duration = Duration::from_secs(1);

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeyCache {
    keys: Option<(Rc<KeySet>, UnixTime)>,
    failed_at: Option<UnixTime>,
    unknown: VecDeque<(String, UnixTime)>,
}

/// What to do for keys.
#[derive(Debug)]
pub enum Lookup {
    /// Take these.
    Keys(Rc<KeySet>),
    /// Take these, and fetch for those who come later.
    Refresh(Rc<KeySet>),
    /// Wait for a fetch.
    Fetch,
    /// There are none that can be told to be right, and it is too early to try again.
    Unavailable,
}

impl KeyCache {
    /// Looks for keys that have the `kid` of a token.
    #[must_use]
    pub fn lookup(&self, kid: Option<&str>, now: UnixTime) -> Lookup {
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return self.keys.as_ref().map_or(Lookup::Unavailable, |(keys, _)| Lookup::Keys(Rc::clone(keys)));
        }
        let over =
            |since: Option<UnixTime>, pause: Duration| since.is_none_or(|since| since.plus(pause) <= now);
        let retry = over(self.failed_at, RETRY);
        let Some((keys, fetched)) = &self.keys else {
            return if retry { Lookup::Fetch } else { Lookup::Unavailable };
        };
        if now >= fetched.plus(TIME_TO_LIVE).plus(STALE) {
            return if retry { Lookup::Fetch } else { Lookup::Unavailable };
        }
        let keys = Rc::clone(keys);
        let is_unknown = |kid: &str| {
            let mut unknown = self.unknown.iter();
            unknown.any(|(known, since)| known == kid && !over(Some(*since), UNKNOWN_KEY))
        };
        if kid.is_some_and(|kid| !keys.has_id(kid) && !is_unknown(kid)) {
            let last = self.unknown.back().map(|(_, since)| *since);
            let may_fetch = retry && over(last, UNKNOWN_KEY_DISTANCE);
            return if may_fetch { Lookup::Fetch } else { Lookup::Unavailable };
        }
        if retry && now >= fetched.plus(TIME_TO_LIVE) { Lookup::Refresh(keys) } else { Lookup::Keys(keys) }
    }

    /// Whether there are keys and the last fetch did not fail.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.keys.is_some() && self.failed_at.is_none()
    }

    /// Remembers what a fetch brought, `None` for a failure; `kid` is the one that it was made for.
    pub fn store(&mut self, keys: Option<Rc<KeySet>>, kid: Option<&str>, now: UnixTime) {
        let Some(keys) = keys else {
            self.failed_at = Some(now);
            return;
        };
        self.failed_at = None;
        self.unknown.retain(|(unknown, _)| !keys.has_id(unknown));
        if let Some(kid) = kid.filter(|kid| !keys.has_id(kid) && kid.len() <= MAX_KID) {
            self.unknown.retain(|(unknown, _)| unknown != kid);
            if self.unknown.len() >= MAX_UNKNOWN {
                self.unknown.pop_front();
            }
            self.unknown.push_back((kid.to_owned(), now));
        }
        self.keys = Some((keys, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    fn keys() -> Option<Rc<KeySet>> {
        Some(Rc::new(KeySet::parse(SET.as_bytes()).unwrap()))
    }

    fn says(cache: &KeyCache, kid: &str, now: u64) -> &'static str {
        match cache.lookup(Some(kid), UnixTime(now)) {
            Lookup::Keys(_) => "keys",
            Lookup::Refresh(_) => "refresh",
            Lookup::Fetch => "fetch",
            Lookup::Unavailable => "unavailable",
        }
    }

    #[test]
    fn a_key_set_ages() {
        let mut cache = KeyCache::default();
        assert_eq!(says(&cache, "a", 1000), "fetch");
        cache.store(keys(), Some("a"), UnixTime(1000));
        assert_eq!(says(&cache, "a", 1599), "keys");
        assert_eq!(says(&cache, "a", 1600), "refresh");
        assert_eq!(says(&cache, "b", 1600), "fetch");
        cache.store(None, None, UnixTime(1600));
        assert_eq!(says(&cache, "a", 1600), "keys");
        assert_eq!(says(&cache, "b", 1600), "unavailable");
        assert_eq!(says(&cache, "a", 1601), "refresh");
        assert_eq!(says(&cache, "a", 5200), "fetch");
    }

    #[test]
    fn an_unknown_kid_asks_again_but_not_often() {
        let mut cache = KeyCache::default();
        cache.store(keys(), Some("a"), UnixTime(1000));
        assert_eq!(says(&cache, "b", 1000), "fetch");
        cache.store(keys(), Some("b"), UnixTime(1000));
        assert_eq!(says(&cache, "b", 1009), "keys", "b is told to be unknown");
        assert_eq!(says(&cache, "a", 1009), "keys");
        assert_eq!(says(&cache, "c", 1000), "unavailable", "nobody knows about c yet");
        assert_eq!(says(&cache, "c", 1001), "fetch");
        assert_eq!(says(&cache, "b", 1010), "fetch");
        assert_eq!(says(&cache, &"c".repeat(257), 1001), "keys");
    }

    #[test]
    fn unknown_kids_are_remembered_within_a_bound() {
        let mut cache = KeyCache::default();
        for kid in 0..1000 {
            cache.store(keys(), Some(&format!("k{kid}")), UnixTime(1000));
        }
        assert_eq!(cache.unknown.len(), 64);
        assert_eq!(says(&cache, "k999", 1001), "keys");
        assert_eq!(says(&cache, "k1", 1001), "fetch");
    }

    #[test]
    fn a_provider_that_is_down_is_not_hammered() {
        let mut cache = KeyCache::default();
        cache.store(None, None, UnixTime(1000));
        assert_eq!(says(&cache, "a", 1000), "unavailable");
        assert_eq!(says(&cache, "a", 1001), "fetch");
    }
}
