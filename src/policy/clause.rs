//! The clauses of a rule, one by one: which one, and whether a call meets it.
//!
//! A clause that can't be evaluated is met by no allow rule and by every deny rule.

use super::attribute::Attribute;
use super::call::Call;
use super::{Effect, Rule};
use crate::reason::Reason;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;

/// One condition of a rule beside the operation, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause<'r> {
    /// `to.issuer`
    Issuer,
    /// `to.subjects`
    Subjects,
    /// `to.client_ids`
    ClientIds,
    /// `to.groups`
    Groups,
    /// `to.kubernetes_users`
    KubernetesUsers,
    /// `to.api_keys`
    ApiKeys,
    /// `to.spiffe_ids`
    SpiffeIds,
    /// `to.scopes`
    Scopes,
    /// `to.claims`, the one at this path.
    Claim(&'r str),
    /// `to.source`
    Source,
    /// `to.headers`, the one with this name.
    Header(&'r str),
    /// `target` of the operations.
    Target,
    /// `exchange`, of a call that is judged for the target which another rule names there.
    Exchange,
    /// `arguments`, the one with this name.
    Argument(&'r Rc<str>),
    /// `time`
    Time,
    /// `when`
    When,
    /// `rate`
    Rate,
}

/// As it stands in the document.
impl fmt::Display for Clause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer => f.write_str("to.issuer"),
            Self::Subjects => f.write_str("to.subjects"),
            Self::ClientIds => f.write_str("to.client_ids"),
            Self::Groups => f.write_str("to.groups"),
            Self::KubernetesUsers => f.write_str("to.kubernetes_users"),
            Self::ApiKeys => f.write_str("to.api_keys"),
            Self::SpiffeIds => f.write_str("to.spiffe_ids"),
            Self::Scopes => f.write_str("to.scopes"),
            Self::Claim(path) => write!(f, "to.claims.{path}"),
            Self::Source => f.write_str("to.source"),
            Self::Header(name) => write!(f, "to.headers.{name}"),
            Self::Target => f.write_str("target"),
            Self::Exchange => f.write_str("exchange"),
            Self::Argument(name) => write!(f, "arguments.{name}"),
            Self::Time => f.write_str("time"),
            Self::When => f.write_str("when"),
            Self::Rate => f.write_str("rate"),
        }
    }
}

impl Clause<'_> {
    /// How far a rule came that fails here: of two rules the nearer one has the larger number.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Issuer => 0,
            Self::Subjects => 1,
            Self::ClientIds => 2,
            Self::Groups => 3,
            Self::KubernetesUsers => 4,
            Self::ApiKeys => 5,
            Self::SpiffeIds => 6,
            Self::Scopes => 7,
            Self::Claim(_) => 8,
            Self::Source => 9,
            Self::Header(_) => 10,
            Self::Target => 11,
            Self::Exchange => 12,
            Self::Argument(_) => 13,
            Self::Time => 14,
            Self::When => 15,
            Self::Rate => 16,
        }
    }
}

/// Whether a call meets a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does not; why.
    Fails(Reason),
    /// What the clause is about is absent or of another kind; which.
    Unevaluated(Reason),
    /// What the clause is about is not known yet, or was not recorded.
    Unknown,
}

impl Verdict {
    pub(super) fn of(holds: bool, reason: Reason) -> Self {
        if holds { Self::Holds } else { Self::Fails(reason) }
    }
}

/// Whether a call meets a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'r> {
    /// It does; of a deny rule, with the first clause that could not be evaluated.
    Holds(Option<(Clause<'r>, Reason)>),
    /// It does not: the first clause that fails.
    Fails(Clause<'r>, Reason),
    /// Neither can be said: the first clause on what is not known.
    Unknown(Clause<'r>),
}

impl Rule {
    /// Whether a call that the rule is about meets it. Looks no further than the first clause that fails.
    pub(super) fn state(&self, call: &Call<'_>) -> State<'_> {
        let (mut unknown, mut unevaluated) = (None, None);
        let failed = self.visit(call, &mut |clause, verdict| match (verdict, self.effect) {
            (Verdict::Holds, _) => ControlFlow::Continue(()),
            (Verdict::Unknown, _) => {
                unknown.get_or_insert(clause);
                ControlFlow::Continue(())
            }
            (Verdict::Unevaluated(reason), Effect::Deny) => {
                unevaluated.get_or_insert((clause, reason));
                ControlFlow::Continue(())
            }
            (Verdict::Unevaluated(reason), Effect::Allow) | (Verdict::Fails(reason), _) => {
                ControlFlow::Break((clause, reason))
            }
        });
        match (failed, unknown) {
            (ControlFlow::Break((clause, reason)), _) => State::Fails(clause, reason),
            (ControlFlow::Continue(()), Some(clause)) => State::Unknown(clause),
            (ControlFlow::Continue(()), None) => State::Holds(unevaluated),
        }
    }

    /// Shows each clause with its verdict, until it is enough.
    pub(super) fn visit<'r, B>(
        &'r self,
        call: &Call<'_>,
        visit: &mut impl FnMut(Clause<'r>, Verdict) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.subjects.visit(call, visit)?;
        if let Some(targets) = &self.targets {
            let verdict = match call.target {
                Some(target) => {
                    Verdict::of(targets.iter().any(|named| named == target), Reason::NoRuleAllows)
                }
                None => Verdict::Unknown,
            };
            visit(Clause::Target, verdict)?;
        }
        if let (true, Some(named)) = (call.is_exchanged, &self.exchange) {
            visit(Clause::Exchange, Verdict::of(call.target == Some(&**named), Reason::NoRuleAllows))?;
        }
        for (name, condition) in &self.arguments {
            let verdict = match call.arguments {
                Some(arguments) => match arguments.get(name) {
                    None if !call.knows(Attribute::Argument(name)) => Verdict::Unknown,
                    // To some servers it is there, to others it is not.
                    None if arguments.has_variant_of(name) => Verdict::Unevaluated(Reason::KeyVariant),
                    raw => condition.check(raw),
                },
                None => Verdict::Unknown,
            };
            visit(Clause::Argument(name), verdict)?;
        }
        if let Some(window) = &self.time {
            let verdict = match call.now {
                Some(now) => Verdict::of(window.holds(now), Reason::OutsideTimeWindow),
                None => Verdict::Unknown,
            };
            visit(Clause::Time, verdict)?;
        }
        if let Some(when) = &self.when {
            visit(Clause::When, when.check(call))?;
        }
        // Who lacks the scope takes nothing.
        if let Some(rate) = &self.rate
            && call.caller.scope.covers(&self.scope)
            && call.spent.has(&self.id, rate, call.caller)
        {
            visit(Clause::Rate, Verdict::Fails(Reason::RateLimited))?;
        }
        ControlFlow::Continue(())
    }
}
