//! Envoy's metrics of this filter. They live as long as Envoy and are found by name, so every name is of a closed
//! list: reason codes, kinds of failures, and the configuration's issuers.

use super::host;
use crate::gate::{Difference, News, Shared, VerifiedBy, Who};
use crate::reason::Reason;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a metric counts or measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Requests(&'static str, Reason),
    Signatures(VerifiedBy),
    /// What others were asked about tokens, and what came of it.
    Judged(&'static str, &'static str),
    KeyFetches(&'static str, String),
    KeyAge(String),
    TokenExchanges(&'static str),
    Shadow(Difference),
    ListEntries(&'static str),
    Failing(Who),
    Remembered(&'static str),
}

/// The metrics that were defined, with the host's number for each.
#[derive(Default)]
pub(super) struct Metrics(RefCell<BTreeMap<Name, u32>>);

impl Metrics {
    /// Counts a request that ended for `reason`.
    pub(super) fn count_request(&self, outcome: &'static str, reason: Reason) {
        self.add(Name::Requests(outcome, reason), 1);
    }

    /// Counts entries of lists: those that callers see, and those that they do not.
    pub(super) fn count_listed(&self, news: &News) {
        for (result, count) in [("shown", news.shown), ("hidden", news.hidden)] {
            if count > 0 {
                self.add(Name::ListEntries(result), u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
    }

    /// Counts who verified signatures since the last call.
    pub(super) fn count_signatures(&self, shared: &Shared) {
        for (by, count) in shared.signatures.take_counts() {
            self.add(Name::Signatures(by), count);
        }
    }

    /// Counts what API servers and issuers were asked about tokens since the last call.
    pub(super) fn count_judged(&self, shared: &Shared) {
        for ((what, result), count) in shared.judges.take_counts() {
            self.add(Name::Judged(what, result), count);
        }
    }

    /// Counts fetches of keys since the last call, and tells how old the keys are.
    pub(super) fn tell_of_keys(&self, shared: &Shared) {
        for (issuer, result, count) in shared.keys.take_fetches() {
            self.add(Name::KeyFetches(result, issuer.to_owned()), count);
        }
        for (issuer, seconds) in shared.keys.ages() {
            if let Some(gauge) = self.defined(Name::KeyAge(issuer.to_owned())) {
                let _ = host::record(gauge, seconds);
            }
        }
    }

    /// Counts exchanges of tokens since the last call.
    pub(super) fn count_exchanges(&self, shared: &Shared) {
        for (result, count) in shared.exchange.take_counts() {
            self.add(Name::TokenExchanges(result), count);
        }
    }

    /// Counts what shadow rules would have decided since the last call.
    pub(super) fn count_shadow(&self, shared: &Shared) {
        for (difference, count) in shared.differences.take() {
            self.add(Name::Shadow(difference), count);
        }
    }

    /// Counts answers about tokens that were remembered since the last call.
    pub(super) fn count_remembered(&self, shared: &Shared) {
        for (of, count) in shared.remembered.take() {
            self.add(Name::Remembered(of), count);
        }
    }

    /// Counts failed authentications at the threshold and beyond it since the last call.
    pub(super) fn count_failing(&self, shared: &Shared) {
        for (who, count) in shared.failures.take_counts() {
            self.add(Name::Failing(who), count);
        }
    }

    fn add(&self, name: Name, count: u64) {
        if let Some(counter) = self.defined(name) {
            let _ = host::increment(counter, count);
        }
    }

    fn defined(&self, name: Name) -> Option<u32> {
        let mut metrics = self.0.borrow_mut();
        if let Some(metric) = metrics.get(&name) {
            return Some(*metric);
        }
        let metric = name.define().ok()?;
        metrics.insert(name, metric);
        Some(metric)
    }
}

impl Name {
    /// `stats_tags` of the shipped files make tags of what stands behind the first dot.
    fn define(&self) -> Result<u32, host::Status> {
        match self {
            Self::Requests(outcome, reason) => {
                host::define_counter(&format!("mcp_iap_requests.outcome.{outcome}.reason.{}", reason.code()))
            }
            Self::Signatures(by) => host::define_counter(&format!("mcp_iap_signatures.by.{}", by.name())),
            Self::Judged(what, result) => host::define_counter(&format!("mcp_iap_{what}.result.{result}")),
            Self::KeyFetches(result, issuer) => {
                host::define_counter(&format!("mcp_iap_key_fetches.result.{result}.issuer.{issuer}"))
            }
            Self::TokenExchanges(result) => {
                host::define_counter(&format!("mcp_iap_token_exchanges.result.{result}"))
            }
            Self::Shadow(difference) => {
                host::define_counter(&format!("mcp_iap_shadow.difference.{}", difference.name()))
            }
            Self::ListEntries(result) => {
                host::define_counter(&format!("mcp_iap_list_entries.result.{result}"))
            }
            Self::Remembered(of) => host::define_counter(&format!("mcp_iap_remembered.of.{of}")),
            Self::Failing(who) => host::define_counter(&format!("mcp_iap_failing.by.{}", who.name())),
            Self::KeyAge(issuer) => host::define_gauge(&format!("mcp_iap_key_age_seconds.issuer.{issuer}")),
        }
    }
}
