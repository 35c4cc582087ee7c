//! Who fails to authenticate, how often, and what comes of it: counted by the address that a request comes from and by
//! the subject of its credential, over all workers of this Envoy.
//!
//! A subject that a token names is counted apart where nothing verifies it or the token is for another audience, and
//! nothing comes of it but an alert: else whoever knows a name, or was given a token for himself, could lock its owner out.

use super::limits::owner;
use super::request::Request;
use crate::cache::{Buckets, SharedData, Size, Taken};
use crate::callout::{Outbox, SingleFlight};
use crate::config::{self, ConfigError, OnFailures};
use crate::identity::Caller;
use crate::jose::Jws;
use crate::policy::Denial;
use crate::reason::Reason;
use crate::time::{Timestamp, parse_duration};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

const MAX_THRESHOLD: u32 = 10_000;
const MAX_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// How long a refusal is held where failures are to be slow: at least so long, and less than a step more.
const HELD: Duration = Duration::from_secs(2);
const STEP: u64 = 100;
/// How many refusals of one step a worker holds; those beyond go at once. Each holds its head.
const MAX_HELD: usize = 16;

/// What comes of failures.
#[derive(Clone, Copy, Debug)]
pub struct FailureSettings {
    /// How many, and how fast they are forgotten; `None` where none are counted.
    size: Option<Size>,
    source: OnFailures,
    subject: OnFailures,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// An address; of IPv6 the first 64 bits.
    Source,
    /// The subject of a credential that is verified.
    Subject,
    /// The subject that a token names which is not verified, or is for another audience.
    ClaimedSubject,
}

/// Whose the credential is that did not hold, as far as that is known.
pub(super) enum Suspect {
    Verified(Rc<Caller>),
    Claimed { issuer: String, subject: String },
}

/// The failures of one root.
pub struct Failures {
    buckets: Buckets,
    /// Of what strangers choose: it takes no room from the others.
    claimed: Buckets,
    held: SingleFlight<u64, ()>,
    counts: [Cell<u64>; 3],
    clock: Rc<Cell<Timestamp>>,
}

impl Who {
    const ALL: [Self; 3] = [Self::Source, Self::Subject, Self::ClaimedSubject];

    /// As it stands in records and in the counter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Subject => "subject",
            Self::ClaimedSubject => "claimed_subject",
        }
    }
}

impl FailureSettings {
    pub(super) fn compile(written: &config::FailedAuthentication, errors: &mut Vec<ConfigError>) -> Self {
        let config::FailedAuthentication { threshold, window, source, subject } = written;
        let mut fault = |field: &str, reason: &str, fix: String, value: String| {
            let path = format!("failed_authentication.{field}");
            errors.push(ConfigError::new(path, reason.to_owned(), fix).value(value));
        };
        if *threshold > MAX_THRESHOLD {
            let fix = "use 1 to 10000, or 0 to count none".to_owned();
            fault("threshold", "is out of bounds", fix, threshold.to_string());
        }
        let time = match parse_duration(window) {
            Ok(time) if (Duration::from_secs(1)..=MAX_WINDOW).contains(&time) => time,
            Ok(_) => {
                fault("window", "is out of bounds", "use `1s` to `24h`".to_owned(), window.clone());
                MAX_WINDOW
            }
            Err(wanted) => {
                fault("window", "is no duration", format!("write {wanted}"), window.clone());
                MAX_WINDOW
            }
        };
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let size = (*threshold > 0).then(|| Size {
            calls: *threshold,
            interval: nanoseconds.div_ceil(u64::from((*threshold).max(1))),
        });
        Self { size, source: *source, subject: *subject }
    }

    fn comes_of(&self, who: Who) -> OnFailures {
        match who {
            Who::Source => self.source,
            Who::Subject => self.subject,
            Who::ClaimedSubject => OnFailures::Alert,
        }
    }
}

impl Failures {
    pub(super) fn new(data: Rc<dyn SharedData>, clock: Rc<Cell<Timestamp>>) -> Self {
        let (held, counts) = (SingleFlight::default(), <[Cell<u64>; 3]>::default());
        let claimed = Buckets::of_claimed_failures(Rc::clone(&data));
        Self { buckets: Buckets::of_failures(data), claimed, held, counts, clock }
    }

    /// How many failures of whom reached the threshold, or came beyond it, since the last call.
    pub fn take_counts(&self) -> impl Iterator<Item = (Who, u64)> {
        let counts = Who::ALL.into_iter().zip(&self.counts).map(|(who, count)| (who, count.take()));
        counts.filter(|(_, count)| *count > 0)
    }

    fn of(&self, who: Who) -> &Buckets {
        if who == Who::ClaimedSubject { &self.claimed } else { &self.buckets }
    }

    /// Counts a failure; whether that is the threshold, or beyond it.
    fn count(&self, who: Who, name: [&[u8]; 4], size: Size, now: Timestamp) -> bool {
        with_owner(who, name, size, |owner| self.of(who).take(owner, size, now));
        let is_reached = self.is_reached(who, name, size, now).is_some();
        let counts = Who::ALL.iter().zip(&self.counts);
        for (_, count) in counts.filter(|(known, _)| is_reached && **known == who) {
            count.set(count.get().saturating_add(1));
        }
        is_reached
    }

    /// How long the threshold stays reached; `None` where it is not, or where that can't be told.
    fn is_reached(&self, who: Who, name: [&[u8]; 4], size: Size, now: Timestamp) -> Option<Duration> {
        match with_owner(who, name, size, |owner| self.of(who).look(owner, size, now)) {
            Taken::Not(wait) => Some(wait),
            Taken::One | Taken::Unknown => None,
        }
    }
}

/// A threshold that the configuration changes begins anew.
fn with_owner<T>(who: Who, name: [&[u8]; 4], size: Size, act: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (calls, interval) = (size.calls.to_le_bytes(), size.interval.to_le_bytes());
    let [a, b, c, d] = name;
    act(&[who.name().as_bytes(), &calls, &interval, a, b, c, d])
}

impl Request {
    /// Refuses what comes from an address that is blocked.
    pub(super) fn check_source(&self) -> Result<(), Denial> {
        self.check_blocked(Who::Source, || self.source(), |source| [source, b"", b"", b""])
    }

    /// Refuses a caller who is blocked.
    pub(super) fn check_subject(&self, caller: &Caller) -> Result<(), Denial> {
        self.check_blocked(Who::Subject, || Some(owner(caller)), |owner| *owner)
    }

    fn check_blocked<T>(
        &self,
        who: Who,
        find: impl FnOnce() -> Option<T>,
        name: impl FnOnce(&T) -> [&[u8]; 4],
    ) -> Result<(), Denial> {
        let settings = &self.settings.failures;
        let Some(size) = settings.size.filter(|_| settings.comes_of(who) == OnFailures::Block) else {
            return Ok(());
        };
        let wait =
            find().and_then(|found| self.failures().is_reached(who, name(&found), size, self.shared().now()));
        wait.map_or(Ok(()), |wait| Err(Denial { retry_after: Some(wait), ..Reason::TooManyFailures.into() }))
    }

    /// Counts a request that was refused for this reason, if that is a failure, and holds it where it is to be slow.
    pub(super) async fn note_failure(&self, reason: Reason) {
        let settings = &self.settings.failures;
        let Some(size) = settings.size.filter(|_| reason.is_failed_authentication()) else { return };
        let (source, suspect) = (self.source(), self.suspect.take());
        let whose = suspect.as_ref().map(|suspect| match suspect {
            Suspect::Verified(caller) => (Who::Subject, owner(caller)),
            Suspect::Claimed { issuer, subject } => {
                (Who::ClaimedSubject, [issuer, subject, "", ""].map(str::as_bytes))
            }
        });
        let source = source.as_deref().map(|source| (Who::Source, [source, b"", b"", b""]));
        let mut is_slow = false;
        for (who, name) in source.into_iter().chain(whose) {
            if self.failures().count(who, name, size, self.shared().now()) {
                self.note(|record| record.note_failing(who.name()));
                is_slow |= settings.comes_of(who) == OnFailures::Slow;
            }
        }
        if is_slow {
            self.hold().await;
        }
    }

    /// One task for all who are held until the same moment.
    async fn hold(&self) {
        let Failures { held, clock, .. } = self.failures();
        let (began, clock) = (self.shared().now(), Rc::clone(clock));
        let until = began.plus(HELD).0.div_ceil(STEP).saturating_mul(STEP);
        let task = |outbox: Outbox| async move {
            // A clock that is put back holds nobody.
            while (began.0..until).contains(&clock.get().0) {
                outbox.tick().await;
            }
        };
        if let Ok(wait) = held.join(&self.shared().callouts, until, Some(self.stream()), MAX_HELD, task) {
            let _ = wait.await;
        }
    }

    /// What is counted of the address that the request comes from, as the host determines it.
    fn source(&self) -> Option<Vec<u8>> {
        Some(match self.sender().address()?.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
        })
    }

    /// The credential is this caller's and does not count. A token for another audience is with whoever serves that: it
    /// says no more of its sender than one that anybody made.
    pub(super) fn suspect_known(&self, caller: &Rc<Caller>, reason: Reason) {
        self.suspect.replace(Some(match reason {
            Reason::WrongAudience => {
                Suspect::Claimed { issuer: caller.issuer.to_string(), subject: caller.subject.clone() }
            }
            _ => Suspect::Verified(Rc::clone(caller)),
        }));
    }

    pub(super) fn suspect_claimed(&self, jws: &Jws<'_>) {
        let claimed = jws.claimed_issuer().zip(jws.claimed_subject());
        let claimed = claimed.map(|(issuer, subject)| Suspect::Claimed {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        });
        self.suspect.replace(claimed);
    }

    fn failures(&self) -> &Failures {
        &self.shared().failures
    }
}
