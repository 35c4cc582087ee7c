//! Which signatures have held: digests of token and key together, and nothing else.
//!
//! That a signature holds is a property of token and key, so it needs no lifetime: a key that is withdrawn
//! or replaced is not looked up any more, or has another digest, and issuer, times and audience are checked
//! for each request anew. A broken signature is not remembered: who makes them up would fill the room of
//! the good ones, and saves nobody much.

use std::collections::HashSet;
use std::mem;

/// SHA-256 over key and token ([`crate::jose::Signed::digest`]).
pub type Digest = [u8; 32];

/// The most digests that may be configured: within 10 MiB.
pub const MAX_TOKENS: usize = 100_000;

/// The digests that were used last, at least `capacity` of them and at most twice as many.
///
/// Two sets: one fills, and when it is full takes the other's place, which is emptied and fills next. What is
/// met in the older one moves into the newer. So the ones that nobody used go all at once, and no use of one
/// costs more than a look into two sets.
#[derive(Debug)]
pub struct TokenCache {
    capacity: usize,
    newer: HashSet<Digest>,
    older: HashSet<Digest>,
}

impl TokenCache {
    /// Room for this many digests; none is remembered for zero.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.min(MAX_TOKENS), newer: HashSet::new(), older: HashSet::new() }
    }

    /// Whether this signature has held.
    pub fn contains(&mut self, digest: &Digest) -> bool {
        if self.newer.contains(digest) {
            return true;
        }
        let is_known = self.older.contains(digest);
        if is_known {
            self.insert(*digest);
        }
        is_known
    }

    /// Remembers that this signature holds.
    pub fn insert(&mut self, digest: Digest) {
        if self.capacity == 0 {
            return;
        }
        if self.newer.len() >= self.capacity {
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.insert(digest);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newer.len().saturating_add(self.older.len())
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.older.is_empty()
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
        assert!(cache.is_empty() && !cache.contains(&digest(0)));
        for number in 0..1000 {
            cache.insert(digest(number));
            assert!(cache.len() <= 20);
            assert!(
                (number.saturating_sub(9)..=number)
                    .all(|recent| cache.newer.contains(&digest(recent))
                        || cache.older.contains(&digest(recent)))
            );
        }
        assert!(!cache.contains(&digest(0)));
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = TokenCache::new(10);
        cache.insert(digest(u64::MAX));
        for number in 0..1000 {
            cache.insert(digest(number));
            assert!(number % 5 > 0 || cache.contains(&digest(u64::MAX)), "{number}");
        }
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut cache = TokenCache::new(0);
        cache.insert(digest(1));
        assert!(cache.is_empty() && !cache.contains(&digest(1)));
    }
}
