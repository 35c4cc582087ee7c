//! The decision: deny rules first, then the first allow rule that matches, else the scope with which one
//! would, else the reason of the nearest one.

use super::call::Call;
use super::clause::{Clause, State};
use super::index::Merged;
use super::rate::{Asked, Limited, Limiter, NobodyCounts, NotTaken};
use super::sentence::Sentence;
use super::{Effect, PolicySet, Rule};
use crate::mcp::Operation;
use crate::oauth::Scope;
use crate::reason::Reason;
use std::rc::Rc;
use std::time::Duration;

/// Proof that a request may go on. Only [`PolicySet::decide`] makes one, and [`PolicySet::health`] for
/// what is configured to be open to everybody.
#[derive(Debug)]
pub struct Permit {
    reason: Reason,
    rule: Option<Rc<str>>,
    exchange: Option<Rc<str>>,
}

impl Permit {
    /// [`Reason::Allowed`] or [`Reason::Health`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The rule that allowed it; `None` for what is open to every authenticated caller.
    #[must_use]
    pub fn rule(&self) -> Option<&Rc<str>> {
        self.rule.as_ref()
    }

    /// The target of `token_exchange` that the rule names, where that is another one than the call is for: the upstream
    /// gets a token for this one, and it has been allowed too.
    #[must_use]
    pub fn exchange(&self) -> Option<&str> {
        self.exchange.as_deref()
    }
}

/// Proof that a request's head may go on before its body is decided, without any credential. Only
/// [`PolicySet::decide_head`] makes one.
#[derive(Debug)]
pub struct HeadPermit(());

/// Why a request is refused, with what its author may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The code.
    pub reason: Reason,
    /// The rule that denied, or the allow rule that came nearest.
    pub rule: Option<Rc<str>>,
    /// Which of the request's operations is denied, by its place among them.
    pub operation: usize,
    /// The argument that failed, of the rule's first clause that did.
    pub argument: Option<Rc<str>>,
    /// What a token must have for this very request, where it lacks nothing else.
    pub scope: Scope,
    /// For the caller; may hold what the caller sent, so it is never logged.
    pub message: Option<Sentence>,
    /// When to ask again, for [`Reason::RateLimited`].
    pub retry_after: Option<Duration>,
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        let scope = Scope::default();
        Self { reason, rule: None, operation: 0, argument: None, scope, message: None, retry_after: None }
    }
}

/// The method by which a client finds out what the server speaks; always open.
const DISCOVER: &str = "server/discover";

/// What can be said of a call, of which not everything need be known.
pub(super) enum Judgement<'r> {
    Allowed(Permit, Limited<'r>),
    Denied(Denial),
    Undecided,
}

impl PolicySet {
    /// As [`Self::decide_within`], where nobody counts: a rule with a rate allows nothing.
    ///
    /// # Errors
    /// The same.
    pub fn decide(&self, call: &Call<'_>) -> Result<Permit, Denial> {
        self.decide_within(call, &NobodyCounts)
    }

    /// Decides whether the caller may do all that the call asks for, and takes one call from each rate of the rules
    /// that allow it. Where a rate is used up, another rule may still allow. A call that is refused takes nothing.
    ///
    /// # Errors
    /// The denial of the first operation that is not allowed; where scopes are all that lacks, of the first
    /// that lacks one, with the scope that all of them need. [`Reason::Internal`] where it depends on what the
    /// call leaves unknown, [`Reason::Overloaded`] where calls can't be counted.
    pub fn decide_within(&self, call: &Call<'_>, limiter: &dyn Limiter) -> Result<Permit, Denial> {
        let spent = Asked::new(limiter);
        // Again only where between the look and the taking another took the last one.
        loop {
            let (permit, limited) = match self.judge(&Call { spent: &spent, ..*call }) {
                Judgement::Allowed(permit, limited) => (permit, limited),
                Judgement::Denied(denial) if denial.reason == Reason::RateLimited => {
                    return Err(Denial { retry_after: spent.wait(), ..denial });
                }
                Judgement::Denied(denial) => return Err(denial),
                Judgement::Undecided => return Err(Reason::Internal.into()),
            };
            match limited.take(call.caller, limiter) {
                Ok(()) => return Ok(permit),
                Err((rule, NotTaken::UsedUp(wait))) => spent.note(&rule.id, wait),
                Err((rule, NotTaken::Unknown)) => {
                    return Err(Denial { rule: Some(Rc::clone(&rule.id)), ..Reason::Overloaded.into() });
                }
            }
        }
    }

    /// What would be decided where no rate is used up but those that the call says; `None` where it depends on what
    /// the call leaves unknown.
    #[must_use]
    pub fn foretell(&self, call: &Call<'_>) -> Option<Result<Permit, Denial>> {
        match self.judge(call) {
            Judgement::Allowed(permit, _) => Some(Ok(permit)),
            Judgement::Denied(denial) => Some(Err(denial)),
            Judgement::Undecided => None,
        }
    }

    /// What a client needs at least for anything that the rules are about, to begin with: the scope of the
    /// allow rule that asks for the fewest names, of several the first (MCP 2026-07-28, "Scope Selection
    /// Strategy"). What more a call needs, its refusal tells.
    #[must_use]
    pub fn basic_scope(&self) -> Scope {
        let allow = self.rules.iter().filter(|rule| rule.effect == Effect::Allow);
        allow.map(|rule| &rule.scope).min_by_key(|scope| scope.names().count()).cloned().unwrap_or_default()
    }

    /// The permit of a health path: configured, open to everybody, without a body.
    #[must_use]
    pub fn health() -> Permit {
        Permit { reason: Reason::Health, rule: None, exchange: None }
    }

    /// Decides by what a head tells (`Mcp-Method`, `Mcp-Name`), where arguments are not known yet: refuses only
    /// what none could make allowed. A client that sends no such headers asks for nothing yet.
    ///
    /// # Errors
    /// The denial of the first operation that can't be allowed.
    pub fn decide_head(&self, call: &Call<'_>) -> Result<HeadPermit, Denial> {
        match self.judge(call) {
            Judgement::Allowed(..) | Judgement::Undecided => Ok(HeadPermit(())),
            Judgement::Denied(denial) => Err(denial),
        }
    }

    /// What is said of a call. Where what allows it names a target for the exchange, the call is judged for that target as
    /// well, which must be allowed too.
    pub(super) fn judge(&self, call: &Call<'_>) -> Judgement<'_> {
        let mut scope = Scope::default();
        let (permit, mut limited, mut lacking) = match self.judge_for_target(call, &mut scope) {
            Ok(Some(found)) => found,
            Ok(None) => return Judgement::Undecided,
            Err(denial) => return Judgement::Denied(denial),
        };
        if let Some(named) = permit.exchange() {
            let call = Call { target: Some(named), is_exchanged: true, ..*call };
            match self.judge_for_target(&call, &mut scope) {
                Ok(Some((_, more, also))) => {
                    limited.extend(more);
                    lacking = lacking.or(also);
                }
                Ok(None) => return Judgement::Undecided,
                Err(denial) => return Judgement::Denied(denial),
            }
        }
        match lacking {
            None => Judgement::Allowed(permit, limited),
            Some((operation, rule)) => Judgement::Denied(Denial { operation, ..rule.lacks(scope) }),
        }
    }

    /// The target that what allows a call names for the exchange, where it is another one than the call is for.
    #[must_use]
    pub fn exchange(&self, call: &Call<'_>) -> Option<Rc<str>> {
        let (permit, ..) = self.judge_for_target(call, &mut Scope::default()).ok()??;
        permit.exchange
    }

    /// What allows a call for one target, if the caller had the `scope`, to which is added what that takes; and the first
    /// operation and rule for which the token lacks some. `None` where it depends on what is not known.
    // Asked for at several places, and large.
    #[inline(never)]
    fn judge_for_target(&self, call: &Call<'_>, scope: &mut Scope) -> Result<Option<Allowing<'_>>, Denial> {
        let mut permit = Permit { reason: Reason::Allowed, rule: None, exchange: None };
        let mut limited = Limited::default();
        let (mut lacking, mut is_undecided) = (None, false);
        for (place, operation) in call.operations.iter().enumerate() {
            let one = call.operations.get(place..=place).unwrap_or_default();
            match self.judge_one(&Call { operations: one, ..*call }, *operation, scope) {
                Ok(Some(Found::Open)) => {}
                Ok(Some(Found::By(rule))) => {
                    scope.extend(&rule.scope);
                    if !call.caller.scope.covers(&rule.scope) {
                        lacking.get_or_insert((place, rule));
                    }
                    limited.add(rule);
                    permit.rule = Some(Rc::clone(&rule.id));
                    let named = rule.exchange.as_ref().filter(|named| call.target != Some(named));
                    permit.exchange = permit.exchange.or_else(|| named.cloned());
                }
                Ok(None) => is_undecided = true,
                Err(denial) => return Err(Denial { operation: place, ..denial }),
            }
        }
        Ok((!is_undecided).then_some((permit, limited, lacking)))
    }

    /// What allows one operation: of the allow rules that are met but for scopes the one of which the fewest
    /// lack, none where the caller may do this. `with`: what he is told to ask for anyway. `None` where it
    /// depends on what is not known.
    fn judge_one(
        &self,
        call: &Call<'_>,
        operation: Operation<'_>,
        with: &Scope,
    ) -> Result<Option<Found<'_>>, Denial> {
        let mut is_undecided = false;
        for rule in self.about(call.method, operation).filter(|rule| rule.effect == Effect::Deny) {
            match rule.state(call) {
                State::Holds(unevaluated) => return Err(rule.denies(unevaluated)),
                State::Unknown(_) => is_undecided = true,
                State::Fails(..) => {}
            }
        }
        if operation == Operation::Open {
            return Ok((!is_undecided).then_some(Found::Open));
        }
        let is_lacking = |name: &&str| !call.caller.scope.contains(name) && !with.contains(name);
        let (mut best, mut nearest): (Option<(usize, &Rule)>, Option<(u8, &Rule, Clause<'_>, Reason)>) =
            (None, None);
        // And whether it matters by which rule.
        let (mut may_be_allowed, mut names_target) = (false, false);
        for rule in self.about(call.method, operation).filter(|rule| rule.effect == Effect::Allow) {
            match rule.state(call) {
                State::Holds(_) => {
                    let lacking = rule.scope.names().filter(is_lacking).count();
                    if best.is_none_or(|(fewest, _)| lacking < fewest) {
                        best = Some((lacking, rule));
                    }
                    if lacking == 0 {
                        names_target |= rule.exchange.is_some();
                        break;
                    }
                }
                State::Unknown(_) => {
                    may_be_allowed = true;
                    names_target |= rule.exchange.is_some();
                }
                // Who counts elsewhere says so when no other rule can be asked any more.
                State::Fails(clause @ Clause::Rate, reason)
                    if rule.is_counted_elsewhere() && call.caller.scope.covers(&rule.scope) =>
                {
                    let is_certain = !is_undecided && !may_be_allowed;
                    return if is_certain { Err(rule.refuses(call, clause, reason)) } else { Ok(None) };
                }
                State::Fails(clause, reason) => {
                    if nearest.is_none_or(|(rank, ..)| clause.rank() > rank) {
                        nearest = Some((clause.rank(), rule, clause, reason));
                    }
                }
            }
        }
        match (best, nearest) {
            (Some((0, rule)), _) if !(may_be_allowed && names_target) => {
                Ok((!is_undecided).then_some(Found::By(rule)))
            }
            _ if may_be_allowed => Ok(None),
            // To wait is less than to ask for a scope.
            (_, Some((_, rule, clause, reason @ Reason::RateLimited))) => {
                Err(rule.refuses(call, clause, reason))
            }
            (Some((_, rule)), _) => Ok((!is_undecided).then_some(Found::By(rule))),
            (None, Some((_, rule, clause, reason))) => Err(rule.refuses(call, clause, reason)),
            (None, None) if operation == Operation::Unknown => Err(Reason::UnknownMethod.into()),
            (None, None) => Err(Reason::NoRuleAllows.into()),
        }
    }

    /// The rules that are about this operation, in their order.
    pub(super) fn about<'r, 'c>(
        &'r self,
        method: &'c str,
        operation: Operation<'c>,
    ) -> impl Iterator<Item = &'r Rule> {
        self.candidates(method, operation).filter(move |rule| rule.is_about(method, operation))
    }

    /// How many rules are looked at for this operation.
    #[must_use]
    pub fn considered(&self, method: &str, operation: Operation<'_>) -> usize {
        self.candidates(method, operation).count()
    }

    /// Whether no more than `most` rules are looked at for all that a call asks for.
    #[must_use]
    pub fn looks_at_most(&self, call: &Call<'_>, most: usize) -> bool {
        let all = call.operations.iter().flat_map(|operation| self.candidates(call.method, *operation));
        all.take(most.saturating_add(1)).count() <= most
    }

    fn candidates<'r, 'c>(
        &'r self,
        method: &'c str,
        operation: Operation<'c>,
    ) -> impl Iterator<Item = &'r Rule> {
        let none: [&[u32]; 3] = [&[]; 3];
        let [a, b, c] = match operation {
            Operation::Tool(name) => self.index.tools.find(name),
            Operation::Prompt(name) => self.index.prompts.find(name),
            Operation::Resource(uri) => self.index.resources.find(uri),
            Operation::Task(id) => self.index.tasks.find(id),
            Operation::Open | Operation::Unknown => none,
        };
        let [d, e, f] = if method.is_empty() { none } else { self.index.methods.find(method) };
        let places = Merged([a, b, c, d, e, f]);
        places.filter_map(|place| self.rules.get(usize::try_from(place).ok()?))
    }
}

/// What allows a call, but for the scope that a rule asks for an operation.
type Allowing<'r> = (Permit, Limited<'r>, Option<(usize, &'r Rule)>);

/// What allows an operation.
enum Found<'a> {
    /// It is open to every authenticated caller.
    Open,
    By(&'a Rule),
}

impl Rule {
    fn is_about(&self, method: &str, operation: Operation<'_>) -> bool {
        let denies = self.effect == Effect::Deny;
        let is_named = match operation {
            Operation::Tool(name) => self.tools.include(name),
            Operation::Prompt(name) => self.prompts.iter().any(|pattern| pattern.matches(name)),
            Operation::Resource(uri) => self.resources.iter().any(|pattern| pattern.matches_uri(uri, denies)),
            Operation::Task(id) => self.tasks.iter().any(|pattern| pattern.matches(id)),
            Operation::Open | Operation::Unknown => false,
        };
        is_named || self.names_method(method, operation)
    }

    pub(super) fn names_method(&self, method: &str, operation: Operation<'_>) -> bool {
        // What is not known can't be meant by a pattern. By `server/discover` a client finds out how to speak.
        let only_whole = operation == Operation::Unknown && self.effect == Effect::Allow;
        !method.is_empty()
            && method != DISCOVER
            && self.methods.iter().any(|pattern| match pattern.literal() {
                Some(name) => name == method,
                None => !only_whole && pattern.matches(method),
            })
    }

    fn is_counted_elsewhere(&self) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.is_global)
    }

    fn denies(&self, unevaluated: Option<(Clause<'_>, Reason)>) -> Denial {
        let reason = match unevaluated {
            Some((Clause::When, reason)) => reason,
            _ => Reason::DeniedByRule,
        };
        Denial {
            rule: Some(Rc::clone(&self.id)),
            argument: match unevaluated {
                Some((Clause::Argument(name), _)) => Some(Rc::clone(name)),
                _ => None,
            },
            message: self.message.as_deref().map(Sentence::from),
            ..reason.into()
        }
    }

    fn lacks(&self, scope: Scope) -> Denial {
        let own = self.message.as_deref().map(Sentence::from);
        Denial {
            rule: Some(Rc::clone(&self.id)),
            message: Some(own.unwrap_or_else(|| format!("needs a token with the scope {scope}").into())),
            scope,
            ..Reason::InsufficientScope.into()
        }
    }

    /// The refusal by the nearest allow rule, for its first clause that failed.
    fn refuses(&self, call: &Call<'_>, clause: Clause<'_>, reason: Reason) -> Denial {
        let argument = match clause {
            Clause::Argument(name) => Some(name),
            _ => None,
        };
        let told = || {
            if let (Clause::Rate, Some(rate)) = (clause, &self.rate) {
                return Some(rate.told().into());
            }
            let (name, condition) = self.arguments.iter().find(|(name, _)| Some(name) == argument)?;
            Some(condition.say(call.arguments?.get(name), reason).behind(&format!("{name}: ")))
        };
        Denial {
            rule: Some(Rc::clone(&self.id)),
            argument: argument.map(Rc::clone),
            message: self.message.as_deref().map(Sentence::from).or_else(told),
            ..reason.into()
        }
    }
}
