//! How much somebody has used of what he may use in a time: token buckets, which the workers share.
//!
//! Shared data can't be deleted, so there is a fixed number of slots for all there ever are, and a slot holds a fixed
//! number of buckets. A bucket that is full again is the same as none and makes room. Where all of a slot are in use,
//! a further one shares or replaces the one that is used least ([`Crowded`]). Which slot is somebody's is a digest with
//! a random salt: nobody can choose to be in another's.

use super::{Digest, SharedData, Stored, digest};
use crate::time::Timestamp;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How many buckets there are in a slot.
const BUCKETS: usize = 16;
/// How often a change is tried: each try that fails is a change of another worker's that did not.
const MAX_TRIES: u32 = 64;
/// Nobody waits longer than that for a bucket to be full.
const MAX_DEBT: u64 = 25 * 3_600 * 1_000_000_000;

/// How much a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many calls it holds.
    pub calls: u32,
    /// In how many nanoseconds it fills by one.
    pub interval: u64,
}

impl Size {
    fn capacity(self) -> u64 {
        u64::from(self.calls).saturating_mul(self.interval)
    }
}

/// What became of a try to take one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is taken.
    One,
    /// The bucket is empty; when there is one again.
    Not(Duration),
    /// It can't be told: others changed the slot all the time, or the host has no randomness.
    Unknown,
}

/// What becomes of a bucket for which a slot has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowded {
    /// It is the same as the one that is used least: what both have is less than two of their own.
    Shares,
    /// The one that is used least is forgotten: nobody pays for what others did.
    Replaces,
}

/// The buckets of all there are of one kind.
pub struct Buckets {
    data: Rc<dyn SharedData>,
    /// Begins the names of all places in the shared data.
    name: &'static str,
    slots: u16,
    crowded: Crowded,
    salt: Cell<Option<[u8; 32]>>,
    /// Where nothing is shared: this worker's own slots, none or all.
    own: RefCell<Vec<Vec<u8>>>,
}

/// One slot: when it was written, and of each bucket that is not full, whose it is and in how many nanoseconds from
/// then on it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Slot {
    at: Timestamp,
    debts: Vec<(u64, u64)>,
}

impl Buckets {
    /// Calls of callers by rules, at most 4.4 MB; none is in use yet but those that `data` has.
    #[must_use]
    pub fn of_rates(data: Rc<dyn SharedData>) -> Self {
        Self::new(data, "mcp_iap.rate.1", 16_384, Crowded::Shares)
    }

    /// Failures to authenticate, at most 1.1 MB.
    #[must_use]
    pub fn of_failures(data: Rc<dyn SharedData>) -> Self {
        Self::new(data, "mcp_iap.failures.1", 4_096, Crowded::Replaces)
    }

    /// The same of those that strangers name, at most 0.3 MB.
    #[must_use]
    pub fn of_claimed_failures(data: Rc<dyn SharedData>) -> Self {
        Self::new(data, "mcp_iap.claimed.1", 1_024, Crowded::Replaces)
    }

    fn new(data: Rc<dyn SharedData>, name: &'static str, slots: u16, crowded: Crowded) -> Self {
        Self { data, name, slots, crowded, salt: Cell::default(), own: RefCell::default() }
    }

    /// Takes one call from the bucket of this owner, named by all that tells it from others.
    pub fn take(&self, owner: &[&[u8]], size: Size, now: Timestamp) -> Taken {
        self.change(owner, now, true, |slot, tag| slot.take(tag, size, now, self.crowded))
    }

    /// What [`Self::take`] would say; changes nothing.
    pub fn look(&self, owner: &[&[u8]], size: Size, now: Timestamp) -> Taken {
        self.change(owner, now, false, |slot, tag| {
            let taken = slot.take(tag, size, now, self.crowded);
            if taken == Taken::One {
                slot.give_back(tag, size, self.crowded);
            }
            taken
        })
    }

    /// Puts back what was taken for a request that is refused after all.
    pub fn give_back(&self, owner: &[&[u8]], size: Size, now: Timestamp) {
        self.change(owner, now, true, |slot, tag| {
            slot.give_back(tag, size, self.crowded);
            Taken::One
        });
    }

    fn change(
        &self,
        owner: &[&[u8]],
        now: Timestamp,
        is_kept: bool,
        change: impl Fn(&mut Slot, u64) -> Taken,
    ) -> Taken {
        let Some((place, tag)) = self.place(owner) else { return Taken::Unknown };
        let key = format!("{}.{place:04x}", self.name);
        for _ in 0..MAX_TRIES {
            let (bytes, version) = match self.data.get(&key) {
                Some((bytes, version)) => (bytes, Some(version)),
                None => (self.own.borrow().get(usize::from(place)).cloned().unwrap_or_default(), None),
            };
            let mut slot = Slot::decode(&bytes).unwrap_or_default();
            let was_put_back = slot.settle(now);
            let taken = change(&mut slot, tag);
            // Of a refusal and of a look nothing remains, but that the clock goes on from here.
            let is_changed = is_kept && taken == Taken::One;
            if !is_changed && !was_put_back {
                return taken;
            }
            let bytes = slot.encode();
            match self.data.set(&key, &bytes, version) {
                Stored::Done => return taken,
                Stored::Changed => {}
                Stored::Absent => {
                    let mut own = self.own.borrow_mut();
                    own.resize_with(usize::from(self.slots), Vec::new);
                    if let Some(slot) = own.get_mut(usize::from(place)) {
                        *slot = bytes;
                    }
                    return taken;
                }
            }
        }
        Taken::Unknown
    }

    /// Slot and tag of an owner.
    fn place(&self, owner: &[&[u8]]) -> Option<(u16, u64)> {
        let salt = self.salt()?;
        let digest: Digest = digest([salt.as_slice()].into_iter().chain(owner.iter().copied()));
        let (place, rest) = digest.split_first_chunk::<2>()?;
        let (tag, _) = rest.split_first_chunk::<8>()?;
        Some((u16::from_le_bytes(*place).checked_rem(self.slots)?, u64::from_le_bytes(*tag)))
    }

    /// The salt that all workers have: whoever needs it first makes it.
    fn salt(&self) -> Option<[u8; 32]> {
        if let Some(salt) = self.salt.get() {
            return Some(salt);
        }
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).ok()?;
        let key = format!("{}.salt", self.name);
        for _ in 0..MAX_TRIES {
            let shared = self.data.get(&key);
            let version = shared.as_ref().map(|(_, version)| *version);
            let known = shared.and_then(|(bytes, _)| <[u8; 32]>::try_from(bytes).ok());
            let salt = match known {
                Some(salt) => salt,
                None if self.data.set(&key, &fresh, version) == Stored::Changed => continue,
                None => fresh,
            };
            self.salt.set(Some(salt));
            return Some(salt);
        }
        None
    }
}

impl Slot {
    /// Up to `now`: what is full again goes. Whether the clock was put back since: then nothing was refilled.
    fn settle(&mut self, now: Timestamp) -> bool {
        let was_put_back = self.at.is_ahead_of(now);
        let passed = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        for (_, debt) in &mut self.debts {
            *debt = debt.saturating_sub(passed);
        }
        self.debts.retain(|(_, debt)| *debt > 0);
        self.at = if was_put_back { now } else { self.at.max(now) };
        was_put_back
    }

    /// Where the bucket with this tag is: its own, a new one, or where there is no room the one that is used least.
    fn place(&mut self, tag: u64, crowded: Crowded) -> usize {
        let count = self.debts.len();
        match self.debts.iter().position(|(known, _)| *known == tag) {
            Some(place) => place,
            None if count < BUCKETS => {
                self.debts.push((tag, 0));
                count
            }
            None => {
                let debts = self.debts.iter_mut().enumerate();
                let Some((place, least)) = debts.min_by_key(|(_, (_, debt))| *debt) else { return 0 };
                if crowded == Crowded::Replaces {
                    *least = (tag, 0);
                }
                place
            }
        }
    }

    fn take(&mut self, tag: u64, size: Size, now: Timestamp, crowded: Crowded) -> Taken {
        let place = self.place(tag, crowded);
        let Some((_, debt)) = self.debts.get_mut(place) else { return Taken::Unknown };
        let after = debt.saturating_add(size.interval);
        let missing = after.saturating_sub(size.capacity());
        if missing == 0 {
            *debt = after;
            return Taken::One;
        }
        // Of two workers' clocks the later one counts.
        Taken::Not(Duration::from_nanos(missing).saturating_add(self.at.since(now)))
    }

    fn give_back(&mut self, tag: u64, size: Size, crowded: Crowded) {
        let place = self.place(tag, crowded);
        if let Some((_, debt)) = self.debts.get_mut(place) {
            *debt = debt.saturating_sub(size.interval);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.at.0.to_le_bytes().to_vec();
        for (tag, debt) in self.debts.iter().filter(|(_, debt)| *debt > 0) {
            out.extend(tag.to_le_bytes());
            out.extend(debt.to_le_bytes());
        }
        out
    }

    /// What is no slot is none: somebody else wrote there.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let (pairs, []) = words.as_chunks::<2>() else { return None };
        if pairs.len() > BUCKETS {
            return None;
        }
        let debt =
            |[tag, debt]: &[[u8; 8]; 2]| (u64::from_le_bytes(*tag), u64::from_le_bytes(*debt).min(MAX_DEBT));
        Some(Self { at: Timestamp(u64::from_le_bytes(*at)), debts: pairs.iter().map(debt).collect() })
    }
}
