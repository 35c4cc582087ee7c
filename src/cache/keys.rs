//! The keys of one issuer over time: fresh, stale, or to be fetched.
//!
//! An unknown `kid` asks for a new fetch at once, so that a rotation loses no request; if the key is not
//! there then, unknown ones wait for the cooldown, since a stranger can make up any number of them.
//! Keys outlive a provider that is down for a bounded time.

use crate::jose::KeySet;
use crate::time::UnixTime;
use std::rc::Rc;
use std::time::Duration;

/// For so long keys are used without asking again; then they are fetched anew while they are used.
const TIME_TO_LIVE: Duration = Duration::from_secs(600);
/// For so long beyond that they are used while the provider can't be asked.
const STALE: Duration = Duration::from_secs(3600);
/// After a fetch that did not bring the `kid` it was made for, unknown ones wait so long.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(10);
/// A failed fetch is tried again after so long at the earliest.
const RETRY: Duration = Duration::from_secs(1);

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeyCache {
    keys: Option<(Rc<KeySet>, UnixTime)>,
    failed_at: Option<UnixTime>,
    missed_at: Option<UnixTime>,
}

/// What to do for keys.
#[derive(Debug)]
pub enum Lookup {
    /// Take these.
    Keys(Rc<KeySet>),
    /// Take these, and fetch for those who come later.
    Refresh(Rc<KeySet>),
    /// Fetch; if that fails, take these, if there are any.
    Fetch(Option<Rc<KeySet>>),
    /// There are none, and it is too early to try again.
    Unavailable,
}

impl KeyCache {
    /// Looks for keys that have the `kid` of a token.
    #[must_use]
    pub fn lookup(&self, kid: Option<&str>, now: UnixTime) -> Lookup {
        let over =
            |since: Option<UnixTime>, pause: Duration| since.is_none_or(|since| since.plus(pause) <= now);
        let retry = over(self.failed_at, RETRY);
        let Some((keys, fetched)) = &self.keys else {
            return if retry { Lookup::Fetch(None) } else { Lookup::Unavailable };
        };
        if now >= fetched.plus(TIME_TO_LIVE).plus(STALE) {
            return if retry { Lookup::Fetch(None) } else { Lookup::Unavailable };
        }
        let keys = Rc::clone(keys);
        let is_known = kid.is_none_or(|kid| keys.has_id(kid));
        if !is_known && retry && over(self.missed_at, UNKNOWN_KEY_COOLDOWN) {
            Lookup::Fetch(Some(keys))
        } else if retry && now >= fetched.plus(TIME_TO_LIVE) {
            Lookup::Refresh(keys)
        } else {
            Lookup::Keys(keys)
        }
    }

    /// Remembers what a fetch brought, `None` for a failure; `kid` is the one that it was made for.
    pub fn store(&mut self, keys: Option<Rc<KeySet>>, kid: Option<&str>, now: UnixTime) {
        let Some(keys) = keys else {
            self.failed_at = Some(now);
            return;
        };
        self.failed_at = None;
        self.missed_at = kid.filter(|kid| !keys.has_id(kid)).map(|_| now);
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
            Lookup::Fetch(Some(_)) => "fetch or keys",
            Lookup::Fetch(None) => "fetch",
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
        assert_eq!(says(&cache, "b", 1600), "fetch or keys");
        cache.store(None, None, UnixTime(1600));
        assert_eq!(says(&cache, "a", 1600), "keys");
        assert_eq!(says(&cache, "b", 1600), "keys");
        assert_eq!(says(&cache, "a", 1601), "refresh");
        assert_eq!(says(&cache, "a", 5200), "fetch");
    }

    #[test]
    fn an_unknown_kid_asks_again_but_not_often() {
        let mut cache = KeyCache::default();
        cache.store(keys(), Some("a"), UnixTime(1000));
        assert_eq!(says(&cache, "b", 1000), "fetch or keys");
        cache.store(keys(), Some("b"), UnixTime(1000));
        assert_eq!(says(&cache, "b", 1009), "keys");
        assert_eq!(says(&cache, "a", 1009), "keys");
        assert_eq!(says(&cache, "c", 1010), "fetch or keys");
    }

    #[test]
    fn a_provider_that_is_down_is_not_hammered() {
        let mut cache = KeyCache::default();
        cache.store(None, None, UnixTime(1000));
        assert_eq!(says(&cache, "a", 1000), "unavailable");
        assert_eq!(says(&cache, "a", 1001), "fetch");
    }
}
