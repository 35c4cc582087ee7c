//! A second set of rules that decides nothing: what it would have decided is compared with what was decided, counted,
//! and recorded where it differs.
//!
//! It is asked behind the decision, on the same inputs, and has no way back to it. What it may cost is bounded: a
//! request that would cost more is counted as an error and not looked at. Rates are not counted.

use super::request::Request;
use crate::audit::Outcome;
use crate::mcp::Arguments;
use crate::policy::{Call, Denial};
use crate::reason::Reason;
use std::cell::Cell;

/// How many rules are looked at for one request, less where its arguments are long: each may be read by each rule.
const MAX_RULES: usize = 1_000;
const LONG: usize = 4_096;

/// How what would have been decided differs from what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Not at all.
    None,
    /// It would have been refused.
    WouldDeny,
    /// It would have been allowed.
    WouldAllow,
    /// It can't be told: a condition can't be evaluated, or to tell it costs too much.
    Error,
}

impl Difference {
    const ALL: [Self; 4] = [Self::None, Self::WouldDeny, Self::WouldAllow, Self::Error];

    /// As it stands in the counter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::Error => "error",
        }
    }
}

/// How many requests differed how.
#[derive(Default)]
pub struct Differences([Cell<u64>; 4]);

impl Differences {
    fn count(&self, difference: Difference) {
        let counts = Difference::ALL.iter().zip(&self.0);
        for (_, count) in counts.filter(|(known, _)| **known == difference) {
            count.set(count.get().saturating_add(1));
        }
    }

    /// Those since the last call.
    pub fn take(&self) -> impl Iterator<Item = (Difference, u64)> {
        let counts = Difference::ALL.into_iter().zip(&self.0).map(|(known, count)| (known, count.take()));
        counts.filter(|(_, count)| *count > 0)
    }
}

impl Request {
    /// Compares what was decided of a call, `denied` or not, with what the shadow rules say.
    pub(super) fn compare(&self, call: &Call<'_>, denied: Option<&Denial>) {
        let Ok(resource) = self.resource() else { return };
        let Some(shadow) = &resource.shadow else { return };
        // Rates are the live rules' alone: but for them it was allowed.
        let is_allowed =
            denied.is_none_or(|denial| matches!(denial.reason, Reason::RateLimited | Reason::Overloaded));
        let long = call.arguments.map_or(0, Arguments::size).div_euclid(LONG);
        let rules = MAX_RULES.div_euclid(long.saturating_add(1));
        let decision = if shadow.looks_at_most(call, rules) { shadow.foretell(call) } else { None };
        let (difference, outcome, reason, rule) = match &decision {
            // At the head not everything is known.
            None if call.arguments.is_none() => return,
            None => (Difference::Error, None, None, None),
            Some(Ok(permit)) => {
                let difference = if is_allowed { Difference::None } else { Difference::WouldAllow };
                (difference, Some(Outcome::Allowed), Some(permit.reason()), permit.rule())
            }
            Some(Err(denial)) => {
                let difference = match denial.reason {
                    Reason::ConditionError => Difference::Error,
                    _ if is_allowed => Difference::WouldDeny,
                    _ => Difference::None,
                };
                (difference, Some(Outcome::Refused), Some(denial.reason), denial.rule.as_ref())
            }
        };
        self.shared().differences.count(difference);
        if difference != Difference::None {
            self.note(|record| record.note_shadow(outcome, reason, rule.map(|rule| &**rule)));
        }
    }
}
