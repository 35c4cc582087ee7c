//! A rate that counts for all Envoys together: Envoy's own rate limit filter, behind this one, asks a rate limit service.
//! The gate hands on by which rules a call is allowed and whose it is; it counts nothing, and hears of a refusal.
//!
//! What is handed on stands in filter state, not in a header: no client can set it, and no server sees it.

use super::refusal::Answer;
use super::request::Request;
use crate::cache::digest;
use crate::policy::{Denial, MAX_TOGETHER};
use crate::reason::Reason;
use crate::secret::Secret;
use hmac_sha256::HMAC;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

/// A descriptor's keys, in their order, and the properties in which Envoy finds their values
/// (`filter_state["wasm.mcp_iap_rate_rule"]`).
pub type Descriptor = [(&'static str, &'static str); 3];

/// The descriptors that Envoy makes of a request, one for each rule that is handed on: it leaves out what has no value.
pub const DESCRIPTORS: [Descriptor; MAX_TOGETHER] = [
    descriptor("mcp_iap_rate_rule"),
    descriptor("mcp_iap_rate_rule_2"),
    descriptor("mcp_iap_rate_rule_3"),
    descriptor("mcp_iap_rate_rule_4"),
];

const RESOURCE: &str = "mcp_iap_rate_resource";
const CALLER: &str = "mcp_iap_rate_caller";

const fn descriptor(rule: &'static str) -> Descriptor {
    [("resource", RESOURCE), ("rule", rule), ("caller", CALLER)]
}

/// What the key digests here: it digests arguments as well.
const KIND: &[u8] = b"caller of a global rate ";
/// How much of the digest names a caller, in bytes.
const DIGEST: usize = 16;
/// The longest wait that is told.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// What the rate limit filter is told of a call that it must count.
#[derive(Debug)]
pub struct GlobalRate {
    resource: String,
    /// At least one.
    rules: Vec<Rc<str>>,
    caller: String,
}

impl GlobalRate {
    /// A call that this rule of a resource allows; `owner` is whose it is, of which a digest is handed on. By a `key` nobody
    /// without it can tell whose the digest is by trying names; all Envoys that count together have the same.
    pub(super) fn new(resource: &str, rule: &str, owner: &[&[u8]], key: Option<&Secret>) -> Self {
        let mut whose = digest(owner.iter().copied());
        if let Some(key) = key {
            whose = HMAC::mac([KIND, &whose].concat(), key.expose());
        }
        let mut caller = String::with_capacity(2 * DIGEST);
        for byte in whose.iter().take(DIGEST) {
            let _ = write!(caller, "{byte:02x}");
        }
        Self { resource: resource.to_owned(), rules: vec![Rc::from(rule)], caller }
    }

    /// The same, counted by one rule more; `None` where Envoy makes no further descriptor.
    pub(super) fn and(&self, rule: &str) -> Option<Self> {
        let Self { resource, rules, caller } = self;
        if rules.len() >= DESCRIPTORS.len() {
            return None;
        }
        let rules = rules.iter().cloned().chain([Rc::from(rule)]).collect();
        Some(Self { resource: resource.clone(), rules, caller: caller.clone() })
    }

    /// The rule whose rate it is; of several the first.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.first().map_or("", |rule| &**rule)
    }

    fn first(&self) -> Option<&Rc<str>> {
        self.rules.first()
    }

    /// Properties and their values, as [`DESCRIPTORS`] names them.
    pub fn properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let rules =
            DESCRIPTORS.iter().zip(&self.rules).map(|([_, (_, property), _], rule)| (*property, &**rule));
        [(RESOURCE, &*self.resource), (CALLER, &*self.caller)].into_iter().chain(rules)
    }
}

impl Request {
    /// What Envoy's rate limit filter must be told of it, where a rule with a global rate allows it.
    #[must_use]
    pub fn global_rate(&self) -> Option<Rc<GlobalRate>> {
        self.handed.borrow().clone()
    }

    /// Envoy answered it by itself, with these response code details: what the client is answered where the rate limit
    /// filter refused; which of several rates is used up it does not tell. `wait`: its `X-RateLimit-Reset`, in seconds.
    #[must_use]
    pub fn refused_for_rate(&self, details: &[u8], wait: Option<&str>) -> Option<Answer> {
        let handed = self.global_rate()?;
        let denial = match details {
            b"request_rate_limited" => {
                let wait = wait.and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
                let policies = &self.resource().ok()?.policies;
                policies.used_up(handed.rule(), wait.map(|wait| wait.min(MAX_WAIT)))
            }
            b"rate_limiter_error" => {
                Denial { rule: handed.first().cloned(), ..Reason::RateLimitUnavailable.into() }
            }
            _ => return None,
        };
        Some(Answer::refuse_late(self, denial))
    }
}
