//! Who may do what: the rules, compiled, and the decision.
//!
//! Pure: no clock, no host. Default deny; a deny rule beats every allow rule; what can't be evaluated
//! meets no allow rule and every deny rule. [`Permit`] and [`HeadPermit`] have one maker each, so that
//! nothing is forwarded without a decision.

mod advice;
mod argument;
mod catalogue;
mod compile;
mod decide;
mod pattern;

pub use decide::{Denial, HeadPermit, Permit};

use crate::oauth::Scope;
use argument::Condition;
use catalogue::Annotated;
use pattern::Pattern;
use std::rc::Rc;

/// All rules of one configuration.
#[derive(Debug, Default)]
pub struct PolicySet {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: Rc<str>,
    effect: Effect,
    tools: Tools,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
    subjects: Subjects,
    /// Empty in deny rules.
    scope: Scope,
    arguments: Vec<(Rc<str>, Condition)>,
    message: Option<Rc<str>>,
}

/// Tools by name, of those with an annotation.
#[derive(Debug)]
struct Tools {
    patterns: Vec<Pattern>,
    annotated: Option<Annotated>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// Everything that is given must hold.
#[derive(Debug, Default)]
struct Subjects {
    issuer: Option<String>,
    subjects: Option<Vec<String>>,
    client_ids: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    kubernetes_users: Option<Vec<Pattern>>,
    api_keys: Option<Vec<Pattern>>,
    spiffe_ids: Option<Vec<Pattern>>,
}

impl Tools {
    fn include(&self, tool: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(tool))
            && self.annotated.as_ref().is_none_or(|annotated| annotated.includes(tool))
    }
}
