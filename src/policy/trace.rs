//! Why a call is decided as it is: each rule, and the first of its clauses that fails. For people who look at
//! a policy; a request is decided without it.

use super::call::Call;
use super::clause::{Clause, State, Verdict};
use super::{Effect, PolicySet, Rate, Rule};
use crate::mcp::Operation;
use crate::reason::Reason;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

/// What one rule says of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The rule.
    pub rule: Rc<str>,
    /// Whether it allows; else it denies.
    pub allows: bool,
    /// What it says.
    pub says: Says,
    /// How often it allows that.
    pub rate: Option<Rate>,
}

/// What a rule says of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It is about other operations.
    Nothing,
    /// It matches. Of a deny rule, the clause that could not be evaluated, as it stands in the document.
    Matches(Option<String>),
    /// It would, with a scope that the token lacks.
    LacksScope,
    /// It does not: the first clause that fails, and why. And the first before it on what is not known, which may have
    /// failed already.
    Fails(String, Reason, Option<String>),
    /// It can't be said: the first clause on what is not known.
    Unknown(String),
}

impl PolicySet {
    /// What each rule says of one operation of a call, in their order.
    #[must_use]
    pub fn trace(&self, call: &Call<'_>, operation: Operation<'_>) -> Vec<Traced> {
        let about: Vec<Rc<str>> =
            self.about(call.method, operation).map(|rule| Rc::clone(&rule.id)).collect();
        let operations = [operation];
        let call = Call { operations: &operations, ..*call };
        let each = self.rules.iter().map(|rule| {
            let allows = rule.effect == Effect::Allow;
            let says = match rule.state(&call) {
                _ if !about.contains(&rule.id) => Says::Nothing,
                State::Holds(_) if allows && !call.caller.scope.covers(&rule.scope) => Says::LacksScope,
                State::Holds(unevaluated) => Says::Matches(unevaluated.map(|(clause, _)| clause.to_string())),
                State::Fails(clause, reason) => {
                    Says::Fails(clause.to_string(), reason, rule.unknown_before(&call))
                }
                State::Unknown(clause) => Says::Unknown(clause.to_string()),
            };
            Traced { rule: Rc::clone(&rule.id), allows, says, rate: rule.rate.clone() }
        });
        each.collect()
    }
}

impl PolicySet {
    /// What is not known of a call, and would tell whether one of the rules about this operation is met; as a record
    /// names it (docs/audit.md), in the order in which it is missed.
    #[must_use]
    pub fn missing(&self, call: &Call<'_>, operation: Operation<'_>) -> Vec<String> {
        let operations = [operation];
        let call = Call { operations: &operations, ..*call };
        let mut missing = Vec::new();
        for rule in self.about(call.method, operation) {
            if !matches!(rule.state(&call), State::Unknown(_)) {
                continue;
            }
            let _: ControlFlow<()> = rule.visit(&call, &mut |clause, verdict| {
                if verdict == Verdict::Unknown {
                    missing.extend(rule.attributes(clause, &call));
                }
                ControlFlow::Continue(())
            });
        }
        let mut seen = BTreeSet::new();
        missing.retain(|name: &String| seen.insert(name.clone()));
        missing
    }
}

impl Rule {
    /// What a clause is about that is not known.
    fn attributes(&self, clause: Clause<'_>, call: &Call<'_>) -> Vec<String> {
        vec![match clause {
            Clause::When => return self.when.as_ref().map(|when| when.unknown(call)).unwrap_or_default(),
            Clause::Groups => "caller.groups".to_owned(),
            Clause::Source => "source".to_owned(),
            Clause::Target => "exchange.target".to_owned(),
            Clause::Claim(path) => format!("claims.{path}"),
            Clause::Header(name) => format!("headers.{name}"),
            // The others are told as the document names them: `arguments.NAME`, `time`.
            clause => clause.to_string(),
        }]
    }

    /// The first clause on what is not known, of those before the one that fails.
    fn unknown_before(&self, call: &Call<'_>) -> Option<String> {
        let found = self.visit(call, &mut |clause, verdict| match verdict {
            Verdict::Unknown => ControlFlow::Break(Some(clause.to_string())),
            Verdict::Unevaluated(_) if self.effect == Effect::Deny => ControlFlow::Continue(()),
            Verdict::Holds => ControlFlow::Continue(()),
            Verdict::Fails(_) | Verdict::Unevaluated(_) => ControlFlow::Break(None),
        });
        found.break_value().flatten()
    }
}
