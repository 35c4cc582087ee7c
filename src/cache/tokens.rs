//! Verified tokens: what is known of each, by the SHA-256 of its text, and never the text.
//!
//! That a signature holds is a property of token and key, so it needs no lifetime here: whoever takes an entry
//! asks whether its key is still the issuer's, and asks for times, audience and sender for each request anew.
//! A token that does not hold is not remembered: who makes them up would fill the room of the good ones, and
//! saves nobody much.

use std::collections::HashMap;
use std::mem;

/// SHA-256 of a token.
pub type Digest = [u8; 32];

/// The most tokens that may be configured.
pub const MAX_TOKENS: usize = 100_000;

/// How many bytes a token may take on average: 10,000 stay within 5 MiB.
const BYTES_EACH: usize = 440;

/// The tokens that were used last: at least `capacity` of them and at most twice as many, fewer where they
/// are larger than most.
///
/// Two maps: one fills, and when it is full takes the other's place, which is emptied and fills next. What is
/// met in the older one moves into the newer. So the ones that nobody used go all at once, and no use of one
/// costs more than a look into two maps.
#[derive(Debug)]
pub struct TokenCache<T> {
    capacity: usize,
    newer: Generation<T>,
    older: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    entries: HashMap<Digest, Entry<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }
}

impl<T: Clone> TokenCache<T> {
    /// Room for this many tokens; none is remembered for zero.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.min(MAX_TOKENS),
            newer: Generation::default(),
            older: Generation::default(),
        }
    }

    /// What is known of a token.
    pub fn get(&mut self, digest: &Digest) -> Option<T> {
        if let Some(entry) = self.newer.entries.get(digest) {
            return Some(entry.value.clone());
        }
        let Entry { value, bytes } = self.older.entries.remove(digest)?;
        self.older.bytes = self.older.bytes.saturating_sub(bytes);
        self.insert(*digest, value.clone(), bytes);
        Some(value)
    }

    /// Remembers a token of which so many bytes are known.
    pub fn insert(&mut self, digest: Digest, value: T, bytes: usize) {
        if self.capacity == 0 {
            return;
        }
        let is_full = self.newer.entries.len() >= self.capacity
            || self.newer.bytes.saturating_add(bytes) > self.capacity.saturating_mul(BYTES_EACH);
        if is_full {
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.entries.clear();
            self.newer.bytes = 0;
        }
        if let Some(replaced) = self.newer.entries.insert(digest, Entry { value, bytes }) {
            self.newer.bytes = self.newer.bytes.saturating_sub(replaced.bytes);
        }
        self.newer.bytes = self.newer.bytes.saturating_add(bytes);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newer.entries.len().saturating_add(self.older.entries.len())
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newer.entries.is_empty() && self.older.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn remembers_as_many_as_it_has_room_for_and_at_most_twice_as_many() {
        let mut cache = TokenCache::new(10);
        assert!(cache.is_empty() && cache.get(&digest(0)).is_none());
        for number in 0..1000 {
            cache.insert(digest(number), number, 1);
            assert!(cache.len() <= 20);
            for recent in number.saturating_sub(9)..=number {
                let entry =
                    cache.newer.entries.get(&digest(recent)).or(cache.older.entries.get(&digest(recent)));
                assert_eq!(entry.map(|entry| entry.value), Some(recent));
            }
        }
        assert!(cache.get(&digest(0)).is_none());
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = TokenCache::new(10);
        cache.insert(digest(u64::MAX), 7, 1);
        for number in 0..1000 {
            cache.insert(digest(number), 0, 1);
            assert!(number % 5 > 0 || cache.get(&digest(u64::MAX)) == Some(7), "{number}");
        }
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut cache = TokenCache::new(0);
        cache.insert(digest(1), (), 0);
        assert!(cache.is_empty() && cache.get(&digest(1)).is_none());
    }

    /// However large they are, and however often one moves or is replaced.
    #[test]
    fn large_ones_take_the_room_of_more() {
        let mut cache = TokenCache::new(10);
        for number in 0..1000_u64 {
            cache.insert(digest(number % 30), number, BYTES_EACH * 5);
            cache.get(&digest(number.wrapping_mul(7) % 30));
            let of = |generation: &Generation<u64>| {
                let bytes: usize = generation.entries.values().map(|entry| entry.bytes).sum();
                assert_eq!(generation.bytes, bytes);
                assert!(bytes <= BYTES_EACH * 10);
            };
            of(&cache.newer);
            of(&cache.older);
        }
        // One that is larger than the whole room is remembered until the next comes.
        cache.insert(digest(99), 1, BYTES_EACH * 11);
        assert_eq!((cache.newer.entries.len(), cache.get(&digest(99))), (1, Some(1)));
    }
}
