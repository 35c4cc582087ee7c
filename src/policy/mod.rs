//! Who may do what: the rules, compiled, and the decision.
//!
//! Pure: no clock, no host. Default deny; a deny rule beats every allow rule; what can't be evaluated
//! meets no allow rule and every deny rule. [`Permit`] and [`HeadPermit`] have one maker each, so that
//! nothing is forwarded without a decision.

mod advice;
mod argument;
mod attribute;
mod call;
mod catalogue;
mod clause;
mod compile;
mod decide;
mod index;
mod listed;
mod network;
mod pattern;
mod rate;
mod sentence;
mod subjects;
mod trace;
mod when;
mod window;

pub use attribute::{Attribute, Read};
pub use call::{Call, Known};
pub use clause::{Clause, State, Verdict};
pub use decide::{Denial, HeadPermit, Permit};
pub use pattern::Pattern;
pub use rate::{Limiter, MAX_TOGETHER, NotTaken, Rate, Spent, Unspent};
pub use sentence::Sentence;
pub use trace::{Says, Traced};
pub use window::{parse_instant, utc_offset};

use crate::oauth::Scope;
use argument::Condition;
use catalogue::Annotated;
use index::Index;
use std::rc::Rc;
use subjects::Subjects;
use when::When;
use window::Window;

/// All rules of one configuration.
#[derive(Debug, Default)]
pub struct PolicySet {
    rules: Vec<Rule>,
    index: Indexes,
}

/// The rules by what they are about.
#[derive(Debug, Default)]
struct Indexes {
    tools: Index,
    prompts: Index,
    resources: Index,
    tasks: Index,
    methods: Index,
}

#[derive(Debug)]
struct Rule {
    id: Rc<str>,
    effect: Effect,
    tools: Tools,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
    tasks: Vec<Pattern>,
    methods: Vec<Pattern>,
    subjects: Subjects,
    /// Of `token_exchange`.
    targets: Option<Vec<String>>,
    /// Empty in deny rules.
    scope: Scope,
    arguments: Vec<(Rc<str>, Condition)>,
    time: Option<Window>,
    when: Option<When>,
    /// None in deny rules.
    rate: Option<Rate>,
    /// Of `token_exchange` the target whose token the upstream gets; none in deny rules.
    exchange: Option<Rc<str>>,
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

impl Indexes {
    fn new(rules: &[Rule]) -> Self {
        fn index(rules: &[Rule], patterns: fn(&Rule) -> &[Pattern], whole_names: bool) -> Index {
            let each = rules.iter().zip(0_u32..);
            let each =
                each.flat_map(|(rule, place)| patterns(rule).iter().map(move |pattern| (pattern, place)));
            Index::new(each, whole_names)
        }
        Self {
            tools: index(rules, |rule| &rule.tools.patterns, true),
            prompts: index(rules, |rule| &rule.prompts, true),
            // A deny rule is about its URI with a query as well.
            resources: index(rules, |rule| &rule.resources, false),
            tasks: index(rules, |rule| &rule.tasks, true),
            methods: index(rules, |rule| &rule.methods, true),
        }
    }
}

impl Tools {
    fn include(&self, tool: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(tool))
            && self.annotated.as_ref().is_none_or(|annotated| annotated.includes(tool))
    }
}
