//! Who counts calls: each rule with a rate and each of its callers has a bucket, which all workers of this Envoy
//! share.
//!
//! Whose a bucket is says the credential: a token its issuer and subject, whatever client it came through, so that
//! another client is no new bucket. A rate that the configuration changes begins anew, one that it leaves goes on.

use super::request::Request;
use crate::cache::{Buckets, Size, Taken};
use crate::identity::{Caller, CallerKind};
use crate::policy::{Limiter, NotTaken, Rate};
use crate::time::Timestamp;

/// The buckets, for a request that is for this resource.
pub(super) struct Limits<'a> {
    buckets: &'a Buckets,
    resource: &'a str,
    now: Timestamp,
}

impl Request {
    pub(super) fn limits(&self) -> Limits<'_> {
        Limits {
            buckets: &self.shared().buckets,
            resource: self.resource().map(|resource| resource.protected.identifier()).unwrap_or_default(),
            now: self.shared().now(),
        }
    }
}

impl Limits<'_> {
    fn of<T>(&self, rule: &str, rate: &Rate, caller: &Caller, act: impl FnOnce(&[&[u8]], Size) -> T) -> T {
        let [kind, issuer, which, name] = who(caller).map(str::as_bytes);
        let [resource, rule, per] = [self.resource, rule, &rate.per].map(str::as_bytes);
        let calls = rate.calls.to_le_bytes();
        let owner = [resource, rule, &calls, per, kind, issuer, which, name];
        act(&owner, Size { calls: rate.calls, interval: rate.interval })
    }
}

/// All that tells one caller from others, whatever client it came through.
pub(super) fn who(caller: &Caller) -> [&str; 4] {
    let kind = caller.kind();
    let [which, name] = match kind {
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
    [kind.name(), &caller.issuer, which, name]
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
        told(self.of(rule, rate, caller, |owner, size| self.buckets.look(owner, size, self.now)))
    }

    fn take(&self, rule: &str, rate: &Rate, caller: &Caller) -> Result<(), NotTaken> {
        told(self.of(rule, rate, caller, |owner, size| self.buckets.take(owner, size, self.now)))
    }

    fn give_back(&self, rule: &str, rate: &Rate, caller: &Caller) {
        self.of(rule, rate, caller, |owner, size| self.buckets.give_back(owner, size, self.now));
    }
}
