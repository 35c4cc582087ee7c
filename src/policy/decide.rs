//! The decision: deny rules first, then the first allow rule that matches, else the scope with which one
//! would, else the reason of the nearest one.

use super::argument::Unmet;
use super::pattern::Pattern;
use super::{Effect, PolicySet, Rule, Subjects};
use crate::identity::Caller;
use crate::mcp::{Arguments, Operation};
use crate::oauth::Scope;
use crate::reason::Reason;
use std::rc::Rc;

/// Proof that a request may go on. Only [`PolicySet::decide`] makes one, and [`PolicySet::health`] for
/// what is configured to be open to everybody.
#[derive(Debug)]
pub struct Permit {
    reason: Reason,
    rule: Option<Rc<str>>,
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
    /// The argument that failed.
    pub argument: Option<Rc<str>>,
    /// What a token must have for this very request, where it lacks nothing else.
    pub scope: Scope,
    /// For the caller; may hold what the caller sent, so it is never logged.
    pub message: Option<String>,
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self { reason, rule: None, operation: 0, argument: None, scope: Scope::default(), message: None }
    }
}

impl PolicySet {
    /// Decides whether `caller` may do all of `operations` with `arguments`.
    ///
    /// # Errors
    /// The denial of the first operation that is not allowed; where scopes are all that lacks, of the first
    /// that lacks one, with the scope that all of them need.
    pub fn decide(
        &self,
        caller: &Caller,
        operations: &[Operation<'_>],
        arguments: &Arguments<'_>,
    ) -> Result<Permit, Denial> {
        let mut permit = Permit { reason: Reason::Allowed, rule: None };
        let (mut scope, mut lacking) = (Scope::default(), None);
        for (operation, named) in
            operations.iter().enumerate().filter(|(_, named)| **named != Operation::Open)
        {
            let rule = self
                .nearest(caller, *named, arguments, &scope)
                .map_err(|denial| Denial { operation, ..denial })?;
            scope.extend(&rule.scope);
            if !caller.scope.covers(&rule.scope) {
                lacking.get_or_insert((operation, rule));
            }
            permit.rule = Some(Rc::clone(&rule.id));
        }
        match lacking {
            None => Ok(permit),
            Some((operation, rule)) => Err(Denial { operation, ..rule.lacks(scope) }),
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
        Permit { reason: Reason::Health, rule: None }
    }

    /// Decides by what a head tells (`Mcp-Method`, `Mcp-Name`), where arguments are not known yet:
    /// refuses only what no arguments could make allowed. `operations` is `None` for a client that
    /// sends no such headers.
    ///
    /// # Errors
    /// The denial of the first operation that can't be allowed.
    pub fn decide_head(
        &self,
        caller: &Caller,
        operations: Option<&[Operation<'_>]>,
    ) -> Result<HeadPermit, Denial> {
        let operations = operations.unwrap_or_default();
        let about = |operation| self.rules.iter().filter(move |rule| rule.is_about(caller, operation));
        if operations.iter().all(|operation| about(*operation).all(|rule| rule.arguments.is_empty())) {
            // Whatever the arguments are, the decision is this.
            return self.decide(caller, operations, &Arguments::default()).map(|_| HeadPermit(()));
        }
        for operation in operations.iter().filter(|operation| **operation != Operation::Open) {
            let mut about = about(*operation);
            if let Some(rule) =
                about.clone().find(|rule| rule.effect == Effect::Deny && rule.arguments.is_empty())
            {
                return Err(rule.denies());
            }
            if !about.any(|rule| rule.effect == Effect::Allow) {
                return Err(Reason::NoRuleAllows.into());
            }
        }
        Ok(HeadPermit(()))
    }

    /// The allow rule that is met but for scopes, of several the one of which the fewest lack: of none where
    /// the caller may do this. `with`: what he is told to ask for anyway.
    fn nearest(
        &self,
        caller: &Caller,
        operation: Operation<'_>,
        arguments: &Arguments<'_>,
        with: &Scope,
    ) -> Result<&Rule, Denial> {
        let is_lacking = |name: &&str| !caller.scope.contains(name) && !with.contains(name);
        let mut nearest: Option<(usize, &Rule)> = None;
        let mut unmet = None;
        for rule in self.rules.iter().filter(|rule| rule.is_about(caller, operation)) {
            match (rule.effect, rule.first_unmet(arguments)) {
                (Effect::Deny, _) => {
                    if let Some(denial) = rule.denial(arguments) {
                        return Err(denial);
                    }
                }
                (Effect::Allow, None) => {
                    let lacking = rule.scope.names().filter(is_lacking).count();
                    if nearest.is_none_or(|(fewest, _)| lacking < fewest) {
                        nearest = Some((lacking, rule));
                    }
                }
                (Effect::Allow, Some((name, why))) => {
                    unmet.get_or_insert_with(|| rule.unmet(&name, &why));
                }
            }
        }
        match nearest {
            Some((_, rule)) => Ok(rule),
            None => Err(unmet.unwrap_or_else(|| Reason::NoRuleAllows.into())),
        }
    }
}

impl Rule {
    fn is_about(&self, caller: &Caller, operation: Operation<'_>) -> bool {
        let denies = self.effect == Effect::Deny;
        let is_named = match operation {
            Operation::Tool(name) => self.tools.include(name),
            Operation::Prompt(name) => self.prompts.iter().any(|pattern| pattern.matches(name)),
            Operation::Resource(uri) => self.resources.iter().any(|pattern| pattern.matches_uri(uri, denies)),
            Operation::Task(_) | Operation::Open => false,
        };
        is_named && self.subjects.include(caller)
    }

    /// Whether a deny rule holds: a condition that can't be evaluated counts as met, and its argument is
    /// named to the caller.
    fn denial(&self, arguments: &Arguments<'_>) -> Option<Denial> {
        let mut unevaluated = None;
        for (name, condition) in &self.arguments {
            match condition.check(arguments.get(name)) {
                Ok(()) => {}
                Err(unmet) if matches!(unmet.reason, Reason::ArgumentMissing | Reason::ArgumentType) => {
                    unevaluated.get_or_insert(name);
                }
                Err(_) => return None,
            }
        }
        Some(Denial { argument: unevaluated.map(Rc::clone), ..self.denies() })
    }

    fn first_unmet(&self, arguments: &Arguments<'_>) -> Option<(Rc<str>, Unmet)> {
        self.arguments.iter().find_map(|(name, condition)| {
            condition.check(arguments.get(name)).err().map(|unmet| (Rc::clone(name), unmet))
        })
    }

    fn denies(&self) -> Denial {
        Denial {
            rule: Some(Rc::clone(&self.id)),
            message: self.message.as_deref().map(str::to_owned),
            ..Reason::DeniedByRule.into()
        }
    }

    fn lacks(&self, scope: Scope) -> Denial {
        let own = self.message.as_deref().map(str::to_owned);
        Denial {
            rule: Some(Rc::clone(&self.id)),
            message: Some(own.unwrap_or_else(|| format!("needs a token with the scope {scope}"))),
            scope,
            ..Reason::InsufficientScope.into()
        }
    }

    fn unmet(&self, name: &Rc<str>, unmet: &Unmet) -> Denial {
        let own = self.message.as_deref().map(str::to_owned);
        Denial {
            rule: Some(Rc::clone(&self.id)),
            argument: Some(Rc::clone(name)),
            message: Some(own.unwrap_or_else(|| format!("{name}: {}", unmet.text))),
            ..unmet.reason.into()
        }
    }
}

impl Subjects {
    fn include(&self, caller: &Caller) -> bool {
        let Self { issuer, subjects, client_ids, groups, kubernetes_users, api_keys, spiffe_ids } = self;
        let is_named = |list: &Option<Vec<Pattern>>, name: Option<&str>| {
            list.as_ref()
                .is_none_or(|list| name.is_some_and(|name| list.iter().any(|entry| entry.matches(name))))
        };
        let holds = |list: &Option<Vec<String>>, value: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|entry| entry == value))
        };
        issuer.as_ref().is_none_or(|issuer| **issuer == *caller.issuer)
            && holds(subjects, &caller.subject)
            && (client_ids.is_none() || caller.client_id.as_deref().is_some_and(|id| holds(client_ids, id)))
            && groups.as_ref().is_none_or(|groups| groups.iter().any(|group| caller.groups.contains(group)))
            && is_named(kubernetes_users, caller.kubernetes_user())
            && is_named(api_keys, caller.api_key())
            && is_named(spiffe_ids, caller.spiffe_id())
    }
}
