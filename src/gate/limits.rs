//! Who counts calls: each rule with a rate and each of its callers has a bucket, which all workers of this Envoy
//! share.
//!
//! Whose a bucket is says the credential: a token its issuer and subject, whatever client it came through, so that
//! another client is no new bucket. A rate that the configuration changes begins anew, one that it leaves goes on. A
//! global rate has no bucket here: it is noted for Envoy's rate limit filter.

use super::global_rate::GlobalRate;
use super::request::Request;
use crate::cache::{Buckets, Size, Taken};
use crate::identity::{Caller, CallerKind};
use crate::policy::{Limiter, NotTaken, Rate};
use crate::secret::Secret;
use crate::time::Timestamp;
use std::cell::RefCell;
use std::rc::Rc;

/// The buckets, for a request that is for this resource.
pub(super) struct Limits<'a> {
    buckets: &'a Buckets,
    resource: &'a str,
    digest_key: Option<&'a Secret>,
    now: Timestamp,
    handed: &'a RefCell<Option<Rc<GlobalRate>>>,
}

impl Request {
    pub(super) fn limits(&self) -> Limits<'_> {
        Limits {
            buckets: &self.shared().buckets,
            resource: self.resource().map(|resource| resource.protected.identifier()).unwrap_or_default(),
            digest_key: self.settings.audit.digest_key.as_ref(),
            now: self.shared().now(),
            handed: &self.handed,
        }
    }
}

/// All that tells one caller from others, whatever client it came through.
pub(super) fn owner(caller: &Caller) -> [&[u8]; 4] {
    let kind = caller.kind();
    let [which, name]: [&str; 2] = match kind {
        CallerKind::Anonymous => ["", ""],
        // An introspected token may be of a client alone.
        CallerKind::Token if caller.subject.is_empty() => {
            ["client", caller.client_id.as_deref().unwrap_or_default()]
        }
        CallerKind::Token => ["subject", &caller.subject],
        CallerKind::Kubernetes => ["", caller.kubernetes_user().unwrap_or_default()],
        CallerKind::ApiKey => ["", caller.api_key().unwrap_or_default()],
        CallerKind::Workload => ["", caller.spiffe_id().unwrap_or_default()],
    };
    [kind.name(), &caller.issuer, which, name].map(str::as_bytes)
}

impl Limits<'_> {
    fn of<T>(&self, rule: &str, rate: &Rate, caller: &Caller, act: impl FnOnce(&[&[u8]], Size) -> T) -> T {
        let [resource, rule, per] = [self.resource, rule, &rate.per].map(str::as_bytes);
        let calls = rate.calls.to_le_bytes();
        let [kind, issuer, which, name] = owner(caller);
        let owner = [resource, rule, &calls, per, kind, issuer, which, name];
        act(&owner, Size { calls: rate.calls, interval: rate.interval })
    }

    /// With a request goes a descriptor for each rule, as many as Envoy makes.
    fn hand_on(&self, rule: &str, caller: &Caller) -> Result<(), NotTaken> {
        let mut handed = self.handed.borrow_mut();
        let more = match &*handed {
            Some(others) => others.and(rule).ok_or(NotTaken::Unknown)?,
            None => GlobalRate::new(self.resource, rule, &owner(caller), self.digest_key),
        };
        *handed = Some(Rc::new(more));
        Ok(())
    }
}

fn told(taken: Taken) -> Result<(), NotTaken> {
    match taken {
        Taken::One => Ok(()),
        Taken::Not(wait) => Err(NotTaken::UsedUp(wait)),
        Taken::Unknown => Err(NotTaken::Unknown),
    }
}

impl Limiter for Limits<'_> {
    fn look(&self, rule: &str, rate: &Rate, caller: &Caller) -> Result<(), NotTaken> {
        if rate.is_global {
            return Ok(());
        }
        told(self.of(rule, rate, caller, |owner, size| self.buckets.look(owner, size, self.now)))
    }

    fn take(&self, rule: &str, rate: &Rate, caller: &Caller) -> Result<(), NotTaken> {
        if rate.is_global {
            return self.hand_on(rule, caller);
        }
        told(self.of(rule, rate, caller, |owner, size| self.buckets.take(owner, size, self.now)))
    }

    fn give_back(&self, rule: &str, rate: &Rate, caller: &Caller) {
        if rate.is_global {
            self.handed.take();
            return;
        }
        self.of(rule, rate, caller, |owner, size| self.buckets.give_back(owner, size, self.now));
    }
}
