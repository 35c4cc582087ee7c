//! What a service answered, for as long as it counts: yes and no alike, bounded by number and by size.
//!
//! Use it through [`crate::callout::Answers`], which asks for what is not here. The key is a [`digest`] of all
//! that the answer depends on, with a name of its kind first; no secret stands in it. Whoever stores says until
//! when an answer counts and what it weighs; the clock is passed in.

use super::generations::{Generations, Room};
use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// SHA-256.
pub type Digest = [u8; 32];

/// SHA-256 over these fields, each with its length, so that no two lists of fields have the same.
#[must_use]
pub fn digest<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// Answers that still count.
pub struct ResultCache<T>(Generations<Digest, Entry<T>>);

struct Entry<T> {
    value: T,
    asked_at: Timestamp,
    counts_until: Timestamp,
}

impl<T: Clone> ResultCache<T> {
    /// An empty one.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self(Generations::new(room))
    }

    /// The answer to `key` that counts at `now`, and when it was asked for.
    pub fn get(&mut self, key: &Digest, now: Timestamp) -> Option<(T, Timestamp)> {
        let Entry { value, asked_at, counts_until } = self.0.get(key)?;
        if now < *counts_until && !asked_at.is_ahead_of(now) {
            return Some((value.clone(), *asked_at));
        }
        self.0.remove(key);
        None
    }

    /// Remembers `value` for `key`, asked for at `asked_at`, until `counts_until`. What weighs more than all the
    /// room is not remembered.
    pub fn insert(
        &mut self,
        key: Digest,
        value: T,
        bytes: usize,
        asked_at: Timestamp,
        counts_until: Timestamp,
    ) {
        self.0.insert(key, Entry { value, asked_at, counts_until }, bytes);
    }

    /// Forgets the answer to `key`.
    pub fn remove(&mut self, key: &Digest) {
        self.0.remove(key);
    }

    /// How many answers are held, and what they weigh.
    #[must_use]
    pub fn size(&self) -> Room {
        self.0.size()
    }
}

/// How many, never what: keys tell who asked, values may be secrets.
impl<T: Clone> fmt::Debug for ResultCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultCache").field("entries", &self.0.size().entries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_000_000);
    const ROOM: Room = Room { entries: 10, bytes: 1_000 };

    fn key(number: u64) -> Digest {
        digest([&number.to_le_bytes()[..]])
    }

    fn until(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_counts_until_its_end_and_not_beyond() {
        let mut cache = ResultCache::new(ROOM);
        cache.insert(key(1), Ok("yes"), 10, NOW, until(10));
        cache.insert(key(2), Err("no"), 10, NOW, until(2));
        assert_eq!(cache.get(&key(1), NOW), Some((Ok("yes"), NOW)));
        assert_eq!(cache.get(&key(2), until(1)), Some((Err("no"), NOW)));
        assert_eq!(cache.get(&key(2), until(2)), None);
        assert_eq!(cache.get(&key(3), NOW), None);
        assert_eq!(cache.get(&key(1), until(10)), None);
        assert_eq!(cache.size(), Room { entries: 0, bytes: 0 }, "what does not count is dropped when met");
    }

    #[test]
    fn an_answer_that_was_asked_for_in_the_future_does_not_count() {
        let mut cache = ResultCache::new(ROOM);
        cache.insert(key(1), (), 1, until(3_600), until(7_200));
        assert_eq!(cache.get(&key(1), NOW), None, "the clock was put back");
    }

    #[test]
    fn the_newest_answer_counts() {
        let mut cache = ResultCache::new(ROOM);
        cache.insert(key(1), "old", 10, NOW, until(10));
        for number in 2..=11 {
            cache.insert(key(number), "other", 10, NOW, until(10));
        }
        cache.insert(key(1), "new", 10, NOW, until(10));
        cache.remove(&key(2));
        assert_eq!(cache.get(&key(1), NOW).map(|(value, _)| value), Some("new"));
        assert_eq!(cache.get(&key(2), NOW), None);
        cache.remove(&key(1));
        assert_eq!(cache.get(&key(1), NOW), None, "no older one comes back");
    }

    #[test]
    fn number_and_size_are_bounded_and_what_is_used_stays() {
        for (bytes, most) in [(1, Room { entries: 20, bytes: 20 }), (300, Room { entries: 6, bytes: 1_800 })]
        {
            let mut cache = ResultCache::new(ROOM);
            cache.insert(key(u64::MAX), u64::MAX, bytes, NOW, until(10));
            for number in 0..1_000 {
                cache.insert(key(number), number, bytes, NOW, until(10));
                assert_eq!(cache.get(&key(number), NOW), Some((number, NOW)));
                assert!(cache.get(&key(u64::MAX), NOW).is_some(), "{number}");
                let size = cache.size();
                assert!(size.entries <= most.entries && size.bytes <= most.bytes, "{size:?}");
                assert_eq!(size.bytes, size.entries * bytes);
            }
            assert_eq!(cache.get(&key(0), NOW), None);
        }
        let mut cache = ResultCache::new(ROOM);
        cache.insert(key(1), (), 1_001, NOW, until(10));
        assert_eq!(cache.get(&key(1), NOW), None, "what is larger than all the room");
        let mut none = ResultCache::new(Room { entries: 0, bytes: 1_000 });
        none.insert(key(1), (), 1, NOW, until(10));
        assert_eq!(none.get(&key(1), NOW), None);
    }

    #[test]
    fn a_digest_tells_fields_apart() {
        assert_ne!(digest([&b"ab"[..], b"c"]), digest([&b"a"[..], b"bc"]));
        assert_ne!(digest([&b"a"[..]]), digest([&b"a"[..], b""]));
    }

    #[test]
    fn it_shows_no_secret() {
        let mut cache = ResultCache::new(ROOM);
        cache.insert(key(1), Secret::new(b"hunter2".to_vec()), 7, NOW, until(10));
        assert_eq!(format!("{cache:?}"), "ResultCache { entries: 1, .. }");
    }
}
