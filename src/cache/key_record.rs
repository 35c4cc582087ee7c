//! What the workers of one Envoy tell each other about one issuer's keys: the set as it came, when it was asked
//! for, who is asking just now, and that it failed. It stands in the host's shared data, outside of every worker's
//! memory, so what is read there is checked like an answer of the issuer: a record that is malformed or ahead of
//! the clock is none, and the set is parsed anew by each worker.

use super::keys::MAX_RETRY_AFTER;
use crate::time::Timestamp;
use std::rc::Rc;
use std::time::Duration;

/// The largest record, in bytes; a larger key set is fetched by each worker. Records are never deleted.
const MAX_RECORD: usize = 256 * 1024;
/// The first byte of a record of this form.
const FORM: u8 = 2;
/// How often a change is tried when others change the record at the same time.
const MAX_TRIES: usize = 8;

/// Data that all workers of one Envoy see, by key; nothing can be deleted from it.
pub trait SharedData {
    /// What stands at `key`, and its version.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Puts `value` at `key` if what stands there still has this version, `None` where there was nothing.
    fn set(&self, key: &str, value: &[u8], version: Option<u32>) -> Stored;
}

/// How a change of shared data ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It stands there.
    Done,
    /// Somebody else changed it meanwhile.
    Changed,
    /// There is no shared data.
    Absent,
}

/// A host whose workers share nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSharedData;

impl SharedData for NoSharedData {
    fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Stored {
        Stored::Absent
    }
}

/// What the workers know together. A time of zero means never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRecord {
    /// When the set was asked for.
    pub asked_at: Timestamp,
    /// When the last fetch failed; zero after one that did not.
    pub failed_at: Timestamp,
    /// When a request may ask again after that.
    pub retry_at: Timestamp,
    /// When a set was asked for that came without a usable key; zero after one with any.
    pub withdrawn_at: Timestamp,
    /// Until then somebody is asking.
    pub leased_until: Timestamp,
    /// The JWK Set as it came; empty for none.
    pub document: Vec<u8>,
}

impl KeyRecord {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        for time in [self.asked_at, self.failed_at, self.retry_at, self.withdrawn_at, self.leased_until] {
            out.extend(time.0.to_le_bytes());
        }
        out.extend_from_slice(&self.document);
        out
    }

    /// Takes a record apart. None of its times may be ahead of `now`, but for a lease of at most `lease`, and for what the
    /// issuer asked for when a fetch failed.
    fn decode(bytes: &[u8], now: Timestamp, lease: Duration) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        let (times, document) = rest.split_at_checked(40)?;
        if *form != FORM || bytes.len() > MAX_RECORD {
            return None;
        }
        let mut times =
            times.chunks_exact(8).map(|time| Some(Timestamp(u64::from_le_bytes(time.try_into().ok()?))));
        let mut next = || times.next().flatten();
        let record = Self {
            asked_at: next()?,
            failed_at: next()?,
            retry_at: next()?,
            withdrawn_at: next()?,
            leased_until: next()?,
            document: document.to_vec(),
        };
        let latest = record.asked_at.max(record.failed_at).max(record.withdrawn_at);
        let is_ahead = latest.is_ahead_of(now)
            || record.retry_at.is_ahead_of(record.failed_at.plus(MAX_RETRY_AFTER))
            || record.leased_until.is_ahead_of(now.plus(lease));
        (!is_ahead).then_some(record)
    }
}

/// The record of one issuer.
pub struct KeyShare {
    data: Rc<dyn SharedData>,
    key: String,
    lease: Duration,
}

impl KeyShare {
    /// The record at `key`. Who asks has `lease` for it; then others ask.
    #[must_use]
    pub fn new(data: Rc<dyn SharedData>, key: String, lease: Duration) -> Self {
        Self { data, key, lease }
    }

    /// The record as it stands, empty where there is none.
    #[must_use]
    pub fn read(&self, now: Timestamp) -> KeyRecord {
        self.read_version(now).0
    }

    fn read_version(&self, now: Timestamp) -> (KeyRecord, Option<u32>) {
        match self.data.get(&self.key) {
            Some((bytes, version)) => {
                (KeyRecord::decode(&bytes, now, self.lease).unwrap_or_default(), Some(version))
            }
            None => (KeyRecord::default(), None),
        }
    }

    /// Whether we are the one to ask: for the length of a lease, or until [`Self::publish`] or [`Self::fail`].
    /// Where nothing is shared, always.
    #[must_use]
    pub fn lease(&self, now: Timestamp) -> bool {
        let (mut record, version) = self.read_version(now);
        if record.leased_until > now {
            return false;
        }
        record.leased_until = now.plus(self.lease);
        self.data.set(&self.key, &record.encode(), version) != Stored::Changed
    }

    /// Gives what was asked for at `asked_at` to the others, unless they have a later set.
    pub fn publish(&self, document: &[u8], asked_at: Timestamp, now: Timestamp) {
        self.change(now, |record| {
            record.leased_until = Timestamp(0);
            let is_larger = document.len().saturating_add(64) > MAX_RECORD;
            if record.asked_at < asked_at && !is_larger {
                *record = KeyRecord { asked_at, document: document.to_vec(), ..KeyRecord::default() };
            }
        });
    }

    /// Tells the others that a fetch failed just now, when a request may ask again, and if the set came without a
    /// usable key, when it was asked for.
    pub fn fail(&self, now: Timestamp, retry_at: Timestamp, withdrawn_at: Option<Timestamp>) {
        self.change(now, |record| {
            record.leased_until = Timestamp(0);
            record.failed_at = now;
            record.retry_at = retry_at;
            record.withdrawn_at = withdrawn_at.unwrap_or(record.withdrawn_at);
        });
    }

    fn change(&self, now: Timestamp, change: impl Fn(&mut KeyRecord)) {
        for _ in 0..MAX_TRIES {
            let (mut record, version) = self.read_version(now);
            change(&mut record);
            if self.data.set(&self.key, &record.encode(), version) != Stored::Changed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;
    use proptest::prelude::*;
    use std::cell::RefCell;

    /// One place, with versions as Envoy counts them.
    #[derive(Default)]
    struct Data(RefCell<Option<(Vec<u8>, u32)>>);

    impl SharedData for Data {
        fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
            self.0.borrow().clone()
        }

        fn set(&self, _: &str, value: &[u8], version: Option<u32>) -> Stored {
            let mut place = self.0.borrow_mut();
            if place.as_ref().map(|(_, version)| *version) != version {
                return Stored::Changed;
            }
            *place = Some((value.to_vec(), version.unwrap_or_default().saturating_add(1)));
            Stored::Done
        }
    }

    const LEASE: Duration = Duration::from_secs(6);

    fn at(seconds: u64) -> Timestamp {
        UnixTime(seconds).into()
    }

    fn two() -> (Rc<Data>, KeyShare, KeyShare) {
        let data = Rc::new(Data::default());
        let share = || KeyShare::new(Rc::clone(&data) as Rc<dyn SharedData>, "k".into(), LEASE);
        let (a, b) = (share(), share());
        (data, a, b)
    }

    #[test]
    fn one_asks_and_the_others_take() {
        let (_, a, b) = two();
        assert!(a.lease(at(100)));
        assert!(!b.lease(at(100)) && !a.lease(at(105)));
        a.publish(b"keys", at(100), at(101));
        let record = b.read(at(101));
        assert_eq!((record.document.as_slice(), record.asked_at), (&b"keys"[..], at(100)));
        assert!(b.lease(at(101)), "who is done is asked for no more");
        b.publish(b"older", at(99), at(102));
        assert_eq!(a.read(at(102)).document, b"keys");
    }

    #[test]
    fn a_failure_is_known_to_all_and_keeps_the_keys() {
        let (_, a, b) = two();
        a.publish(b"keys", at(100), at(100));
        assert!(a.lease(at(200)));
        a.fail(at(201), at(202), None);
        let record = b.read(at(201));
        assert_eq!((record.failed_at, record.retry_at, record.document.len()), (at(201), at(202), 4));
        assert!(b.lease(at(201)));
        b.publish(b"new", at(201), at(202));
        assert_eq!(a.read(at(202)).failed_at, Timestamp(0));
    }

    #[test]
    fn a_lease_ends_by_itself() {
        let (_, a, b) = two();
        assert!(a.lease(at(100)));
        assert!(!b.lease(Timestamp(105_999)));
        assert!(b.lease(at(106)), "who fell is waited for no longer");
    }

    #[test]
    fn of_two_who_read_the_same_one_gets_it() {
        let (data, a, _) = two();
        let before = data.get("k");
        assert!(a.lease(at(100)));
        assert_eq!(data.set("k", b"late", before.map(|(_, version)| version)), Stored::Changed);
    }

    #[test]
    fn what_is_ahead_of_the_clock_is_no_record() {
        let now = at(1000);
        let (failed_at, retry_at) = (at(1000), at(1300));
        let good = KeyRecord {
            asked_at: at(1004),
            leased_until: at(1010),
            failed_at,
            retry_at,
            ..KeyRecord::default()
        };
        assert!(KeyRecord::decode(&good.encode(), now, LEASE).is_some());
        for bad in [
            KeyRecord { asked_at: at(1006), ..KeyRecord::default() },
            KeyRecord { failed_at: at(1006), ..KeyRecord::default() },
            KeyRecord { retry_at: at(2000), ..KeyRecord::default() },
            KeyRecord { failed_at: at(1000), retry_at: at(1306), ..KeyRecord::default() },
            KeyRecord { withdrawn_at: at(1006), ..KeyRecord::default() },
            KeyRecord { leased_until: at(1012), ..KeyRecord::default() },
        ] {
            assert_eq!(KeyRecord::decode(&bad.encode(), now, LEASE), None, "{bad:?}");
        }
        let (data, a, _) = two();
        data.set("k", &KeyRecord { leased_until: Timestamp(u64::MAX), ..good }.encode(), None);
        assert!(a.lease(now), "a lease without end keeps nobody from asking");
    }

    #[test]
    fn records_are_bounded() {
        let (data, a, b) = two();
        let large = vec![b' '; MAX_RECORD];
        assert!(a.lease(at(100)));
        a.publish(&large, at(100), at(101));
        assert_eq!(b.read(at(101)), KeyRecord::default(), "each fetches it for itself");
        assert!(data.get("k").unwrap().0.len() < 100 && b.lease(at(101)));
        let document = vec![b' '; MAX_RECORD.saturating_sub(64)];
        a.publish(&document, at(102), at(103));
        assert_eq!(b.read(at(103)).document.len(), document.len());
    }

    proptest! {
        #[test]
        fn a_record_comes_back_and_rubbish_is_none(bytes in prop::collection::vec(any::<u8>(), 0..80), a in 0..9u64) {
            let record = KeyRecord { asked_at: Timestamp(a), document: bytes.clone(), ..KeyRecord::default() };
            prop_assert_eq!(KeyRecord::decode(&record.encode(), at(1), LEASE), Some(record));
            let decoded = KeyRecord::decode(&bytes, at(1), LEASE);
            prop_assert!(decoded.is_none() || bytes.first() == Some(&FORM));
        }
    }
}
