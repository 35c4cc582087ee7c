//! How often a caller may do what a rule allows: the rate that the rule sets, and the trait of who counts. The
//! counting itself is elsewhere, where clock and shared data are.

use super::sentence::Sentence;
use super::{Denial, PolicySet, Rule};
use crate::identity::Caller;
use crate::mcp::Operation;
use crate::reason::Reason;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How many rules with a rate one resource may have: each may be asked for one call.
pub(super) const MAX_RATES: usize = 64;

/// Of how many rules with a global rate one request may need to be counted: Envoy makes a descriptor for each.
pub const MAX_TOGETHER: usize = 4;
/// The method that asks for several things at once.
const LISTEN: &str = "subscriptions/listen";

/// A rule's rate, for each of its callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many calls at once, and in `per`.
    pub calls: u32,
    /// The time as the document writes it.
    pub per: Rc<str>,
    /// In how many nanoseconds one call comes back.
    pub interval: u64,
    /// Whether a rate limit service counts, for all Envoys together: see [`Limiter::take`].
    pub is_global: bool,
}

impl Rate {
    pub(super) fn new(calls: u32, per: &str, time: Duration, is_global: bool) -> Self {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { calls, per: Rc::from(per), interval: nanoseconds.div_ceil(u64::from(calls.max(1))), is_global }
    }

    /// `per`, in seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        crate::time::parse_duration(&self.per).map_or(0, |time| time.as_secs())
    }

    /// For the caller who used it up, where the rule has no words of its own.
    pub(super) fn told(&self) -> String {
        format!("at most {} calls per {}", self.calls, self.per)
    }
}

/// Why no call could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The rate is used up; when there is a call again.
    UsedUp(Duration),
    /// It can't be counted.
    Unknown,
}

/// Who counts the calls that rules with a rate allow.
pub trait Limiter {
    /// What [`Self::take`] would say just now; takes nothing.
    ///
    /// # Errors
    /// Nothing is left, or it can't be told.
    fn look(&self, rule: &str, rate: &Rate, caller: &Caller) -> Result<(), NotTaken>;

    /// Takes one call of this caller's from what the rate of the rule leaves. Of one that is counted elsewhere it takes
    /// nothing, and sees to it that it will be counted there.
    ///
    /// # Errors
    /// Nothing is left, or it can't be told.
    fn take(&self, rule: &str, rate: &Rate, caller: &Caller) -> Result<(), NotTaken>;

    /// Gives one back: the request is refused after all.
    fn give_back(&self, rule: &str, rate: &Rate, caller: &Caller);
}

/// Where nobody counts, a rule with a rate allows nothing.
pub(super) struct NobodyCounts;

impl Limiter for NobodyCounts {
    fn look(&self, _: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        Err(NotTaken::Unknown)
    }

    fn take(&self, _: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        Err(NotTaken::Unknown)
    }

    fn give_back(&self, _: &str, _: &Rate, _: &Caller) {}
}

/// Of which rules the caller has used up the rate.
pub trait Spent {
    /// Whether it is that of this rule.
    fn has(&self, rule: &Rc<str>, rate: &Rate, caller: &Caller) -> bool;
}

/// Of these.
impl Spent for Vec<Rc<str>> {
    fn has(&self, rule: &Rc<str>, _: &Rate, _: &Caller) -> bool {
        self.contains(rule)
    }
}

/// Of none.
#[derive(Clone, Copy, Debug)]
pub struct Unspent;

impl Spent for Unspent {
    fn has(&self, _: &Rc<str>, _: &Rate, _: &Caller) -> bool {
        false
    }
}

/// Of those of which the limiter says so, each asked once. Who has used up many costs no more than who has one.
pub(super) struct Asked<'a> {
    limiter: &'a dyn Limiter,
    rules: RefCell<Vec<(Rc<str>, bool)>>,
    /// When there is a call again of the first that has one.
    wait: Cell<Option<Duration>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(limiter: &'a dyn Limiter) -> Self {
        Self { limiter, rules: RefCell::default(), wait: Cell::default() }
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait.get()
    }

    /// The rule has nothing left, for so long.
    pub(super) fn note(&self, rule: &Rc<str>, wait: Duration) {
        self.wait.set(Some(self.wait.get().map_or(wait, |known| known.min(wait))));
        let mut rules = self.rules.borrow_mut();
        rules.retain(|(known, _)| known != rule);
        rules.push((Rc::clone(rule), true));
    }
}

impl Spent for Asked<'_> {
    fn has(&self, rule: &Rc<str>, rate: &Rate, caller: &Caller) -> bool {
        let known =
            self.rules.borrow().iter().find(|(known, _)| known == rule).map(|(_, is_spent)| *is_spent);
        known.unwrap_or_else(|| match self.limiter.look(rule, rate, caller) {
            Err(NotTaken::UsedUp(wait)) => {
                self.note(rule, wait);
                true
            }
            // What can't be told is told by taking.
            Ok(()) | Err(NotTaken::Unknown) => {
                self.rules.borrow_mut().push((Rc::clone(rule), false));
                false
            }
        })
    }
}

/// The rules with a rate that allow one request; a request with several operations may need several.
#[derive(Default)]
pub(super) struct Limited<'r>(Vec<(&'r Rule, &'r Rate)>);

impl<'r> Limited<'r> {
    pub(super) fn add(&mut self, rule: &'r Rule) {
        if let Some(rate) = &rule.rate
            && !self.0.iter().any(|(known, _)| known.id == rule.id)
        {
            self.0.push((rule, rate));
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        more.0.into_iter().for_each(|(rule, _)| self.add(rule));
    }

    /// One call from each, or none from any.
    pub(super) fn take(&self, caller: &Caller, limiter: &dyn Limiter) -> Result<(), (&'r Rule, NotTaken)> {
        for (place, (rule, rate)) in self.0.iter().enumerate() {
            if let Err(why) = limiter.take(&rule.id, rate, caller) {
                for (taken, rate) in self.0.get(..place).unwrap_or_default() {
                    limiter.give_back(&taken.id, rate, caller);
                }
                return Err((rule, why));
            }
        }
        Ok(())
    }
}

impl PolicySet {
    /// The ids of all rules.
    pub fn ids(&self) -> impl Iterator<Item = &Rc<str>> {
        self.rules.iter().map(|rule| &rule.id)
    }

    /// The ids of the rules with a rate, and it.
    pub fn rates(&self) -> impl Iterator<Item = (&Rc<str>, &Rate)> {
        self.rules.iter().filter_map(|rule| Some((&rule.id, rule.rate.as_ref()?)))
    }

    /// The rules with a global rate of which one request may need several, or else the first that there is: a
    /// `subscriptions/listen` may name resources and tasks of each, and where a rule names a target for the exchange, a
    /// rule for that target must allow it as well.
    #[must_use]
    pub fn counted_together(&self) -> Vec<&Rc<str>> {
        let global =
            || self.rules.iter().filter(|rule| rule.rate.as_ref().is_some_and(|rate| rate.is_global));
        let may_listen = |rule: &&Rule| {
            let is_about = !rule.resources.is_empty() || !rule.tasks.is_empty();
            is_about || rule.names_method(LISTEN, Operation::Task(""))
        };
        let listening: Vec<_> = global().filter(may_listen).map(|rule| &rule.id).collect();
        let least = if self.rules.iter().any(|rule| rule.exchange.is_some()) { 2 } else { 1 };
        if listening.len() >= least {
            return listening;
        }
        global().take(least).map(|rule| &rule.id).collect()
    }

    /// The refusal by a rule whose rate was counted elsewhere and is used up; when there is a call again.
    #[must_use]
    pub fn used_up(&self, id: &str, retry_after: Option<Duration>) -> Denial {
        let rule = self.rules.iter().find(|rule| *rule.id == *id);
        let own = rule.and_then(|rule| rule.message.as_deref().map(Sentence::from));
        let told = || Some(Sentence::from(rule?.rate.as_ref()?.told()));
        Denial {
            rule: rule.map(|rule| Rc::clone(&rule.id)),
            message: own.or_else(told),
            retry_after,
            ..Reason::RateLimited.into()
        }
    }
}
