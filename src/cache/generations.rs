//! What was used last, bounded by number and by size.
//!
//! Two generations: one fills, and when it is full becomes the older one, in the place of what was that before.
//! What is used moves over. So what nobody used goes all at once, nothing is searched for what to evict, and no use
//! costs more than a look into two maps.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// How much is held at least; at most twice as much is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many entries.
    pub entries: usize,
    /// How many bytes, by the weight that is told for each.
    pub bytes: usize,
}

/// Values by their keys, each with its weight.
pub(super) struct Generations<K, T> {
    room: Room,
    newer: Generation<K, T>,
    older: Generation<K, T>,
}

struct Generation<K, T> {
    entries: HashMap<K, (T, usize)>,
    bytes: usize,
}

impl<K: Copy + Eq + Hash, T> Generations<K, T> {
    pub(super) fn new(room: Room) -> Self {
        Self { room, newer: Generation::default(), older: Generation::default() }
    }

    /// The value of `key`, which is used now.
    pub(super) fn get(&mut self, key: &K) -> Option<&T> {
        if !self.newer.entries.contains_key(key) {
            let (value, bytes) = self.older.remove(key)?;
            self.put(*key, value, bytes);
        }
        self.newer.entries.get(key).map(|(value, _)| value)
    }

    /// Keeps `value` for `key`. What weighs more than all the room is not kept.
    pub(super) fn insert(&mut self, key: K, value: T, bytes: usize) {
        self.remove(&key);
        self.put(key, value, bytes);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.newer.remove(key);
        self.older.remove(key);
    }

    /// How many are held, and what they weigh.
    pub(super) fn size(&self) -> Room {
        Room {
            entries: self.newer.entries.len().saturating_add(self.older.entries.len()),
            bytes: self.newer.bytes.saturating_add(self.older.bytes),
        }
    }

    fn put(&mut self, key: K, value: T, weight: usize) {
        if self.room.entries == 0 || weight > self.room.bytes {
            return;
        }
        let bytes = self.newer.bytes.saturating_add(weight);
        if self.newer.entries.len() >= self.room.entries || bytes > self.room.bytes {
            // The emptied one keeps its memory: the next generation needs as much.
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.entries.clear();
            self.newer.bytes = 0;
        }
        self.newer.bytes = self.newer.bytes.saturating_add(weight);
        self.newer.entries.insert(key, (value, weight));
    }
}

impl<K: Eq + Hash, T> Generation<K, T> {
    fn remove(&mut self, key: &K) -> Option<(T, usize)> {
        let (value, weight) = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(weight);
        Some((value, weight))
    }
}

impl<K, T> Default for Generation<K, T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: usize, bytes: usize) -> Generations<u64, u64> {
        Generations::new(Room { entries, bytes })
    }

    #[test]
    fn holds_as_many_as_there_is_room_for_and_at_most_twice_as_many() {
        let mut kept = of(10, 1_000);
        assert!(kept.size().entries == 0 && kept.get(&0).is_none());
        for number in 0..1_000 {
            kept.insert(number, number, 1);
            assert!(kept.size().entries <= 20);
            for recent in number.saturating_sub(9)..=number {
                let in_either =
                    [&kept.newer, &kept.older].into_iter().find_map(|one| one.entries.get(&recent));
                assert_eq!(in_either, Some(&(recent, 1)));
            }
        }
        assert!(kept.get(&0).is_none());
    }

    #[test]
    fn what_is_used_stays() {
        let mut kept = of(10, 1_000);
        kept.insert(u64::MAX, 7, 1);
        for number in 0..1_000 {
            kept.insert(number, 0, 1);
            assert!(number % 5 > 0 || kept.get(&u64::MAX) == Some(&7), "{number}");
        }
    }

    #[test]
    fn without_room_nothing_is_held() {
        let mut kept = of(0, 1_000);
        kept.insert(1, 1, 0);
        assert!(kept.size().entries == 0 && kept.get(&1).is_none());
    }

    /// However large they are, and however often one moves or is replaced.
    #[test]
    fn large_ones_take_the_room_of_more() {
        let mut kept = of(10, 1_000);
        for number in 0..1_000_u64 {
            kept.insert(number % 30, number, 300);
            kept.get(&(number.wrapping_mul(7) % 30));
            for one in [&kept.newer, &kept.older] {
                let bytes: usize = one.entries.values().map(|(_, weight)| weight).sum();
                assert_eq!(one.bytes, bytes);
                assert!(bytes <= 1_000);
            }
        }
        kept.insert(99, 1, 1_001);
        assert!(kept.get(&99).is_none(), "larger than all the room");
    }
}
