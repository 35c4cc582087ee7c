//! What a caller may see of a list: every entry but those that no arguments could make allowed.
//!
//! Three-valued, as the decision at the head is: what depends on arguments that nobody gave yet could be allowed. A
//! scope that is all that lacks hides nothing from callers who can ask for a token that has it.

use super::call::Call;
use super::clause::State;
use super::decide::Judgement;
use super::pattern::Pattern;
use super::{Effect, PolicySet};
use crate::identity::{Caller, CallerKind};
use crate::mcp::{Entry, Operation};
use crate::reason::Reason;

/// By which methods an entry is used.
fn methods(entry: Entry<'_>) -> &'static [&'static str] {
    match entry {
        Entry::Tool(_) => &["tools/call"],
        Entry::Prompt(_) => &["prompts/get"],
        Entry::Resource(_) | Entry::Template(_) => {
            &["resources/read", "resources/subscribe", "subscriptions/listen"]
        }
    }
}

impl PolicySet {
    /// Whether some request for this entry could be allowed. Of `call` the caller, where and when he asks are taken,
    /// and as far as they are known the arguments and the target; its operations are not.
    #[must_use]
    pub fn could_allow(&self, call: &Call<'_>, entry: Entry<'_>) -> bool {
        let operation = match entry {
            Entry::Tool(name) => Operation::Tool(name),
            Entry::Prompt(name) => Operation::Prompt(name),
            Entry::Resource(uri) => Operation::Resource(uri),
            Entry::Template(template) if !template.contains('{') => Operation::Resource(template),
            Entry::Template(template) => {
                let template = Pattern::of_template(template);
                let every = template.every_name();
                let could =
                    |method| self.could_expand(&Call { method, operations: &[], ..*call }, &template, &every);
                return methods(entry).iter().any(|method| could(method));
            }
        };
        methods(entry).iter().any(|method| {
            match self.judge(&Call { method, operations: &[operation], ..*call }) {
                Judgement::Allowed(..) => true,
                Judgement::Undecided => {
                    can_step_up(call.caller)
                        || self.has_scope_for(&Call { method, operations: &[operation], ..*call })
                }
                Judgement::Denied(denial) => {
                    denial.reason == Reason::InsufficientScope && can_step_up(call.caller)
                }
            }
        })
    }

    /// Whether a rule that may allow it asks for no scope that the caller lacks.
    fn has_scope_for(&self, call: &Call<'_>) -> bool {
        let about = call.operations.iter().flat_map(|operation| self.about(call.method, *operation));
        about.filter(|rule| rule.effect == Effect::Allow).any(|rule| {
            call.caller.scope.covers(&rule.scope) && !matches!(rule.state(call), State::Fails(..))
        })
    }

    /// Whether some URI of a template could be allowed: no deny rule is about all of them, and an allow rule is
    /// about one. `every_uri` stands for all of them.
    fn could_expand(&self, call: &Call<'_>, template: &Pattern, every_uri: &str) -> bool {
        let names_method = |rule: &super::Rule| rule.names_method(call.method, Operation::Resource(""));
        let is_denied = |call: &Call<'_>| {
            self.rules.iter().any(|rule| {
                let is_about = || rule.resources.iter().any(|pattern| pattern.covers_template(every_uri));
                rule.effect == Effect::Deny
                    && (names_method(rule) || is_about())
                    && matches!(rule.state(call), State::Holds(_))
            })
        };
        !is_denied(call)
            && self.rules.iter().any(|rule| {
                let is_about = || rule.resources.iter().any(|pattern| pattern.meets_template(template));
                rule.effect == Effect::Allow
                    && (names_method(rule) || is_about())
                    && (call.caller.scope.covers(&rule.scope) || can_step_up(call.caller))
                    && !matches!(rule.state(call), State::Fails(..))
                    && rule.exchange.as_deref().is_none_or(|named| {
                        !is_denied(&Call { target: Some(named), is_exchanged: true, ..*call })
                    })
            })
    }
}

/// Whether a client can get the caller a token with more scopes: for a key or a workload there is none.
fn can_step_up(caller: &Caller) -> bool {
    matches!(caller.kind(), CallerKind::Token | CallerKind::Anonymous)
}
