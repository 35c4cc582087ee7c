//! Rules that are valid and yet probably not meant: one that another leaves nothing to decide, one that is
//! open to everybody, a deny rule for a tool that nobody knows.
//!
//! Found when a document is checked, never when a request is decided. Refusing these would be wrong: a
//! freeze that leaves every allow rule without effect is what a deny rule is for.

use super::pattern::Pattern;
use super::{Effect, PolicySet, Rule, Subjects};
use crate::config::{ConfigError, Guarded, nearest};

impl PolicySet {
    /// What the author of these rules should look at again; `several_issuers`: whether tokens of more than
    /// one count.
    #[must_use]
    pub fn advise(&self, guarded: &Guarded<'_>, several_issuers: bool) -> Vec<ConfigError> {
        let mut advice = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let path = guarded.rule_path(index, "");
            let before = self.rules.get(..index).unwrap_or_default();
            if let Some(other) = self.rules.iter().find(|other| other.denies_all_of(rule)) {
                let reason = format!("never allows anything: rule `{}` denies all of it", other.id);
                advice.push(ConfigError::new(&path, reason, "remove it, or narrow the deny rule"));
            } else if let Some(other) = before.iter().find(|other| other.decides_all_of(rule)) {
                let reason = format!("never decides: rule `{}` before it covers all of it", other.id);
                advice.push(ConfigError::new(&path, reason, "remove it, or put it first"));
            } else {
                advice.extend(self.dead_exchange(rule, &path));
            }
            if rule.is_open_to_all() {
                let reason = "allows every tool to every authenticated caller";
                advice.push(ConfigError::new(&path, reason, "name tools, or callers with `to`"));
            }
            if several_issuers && rule.effect == Effect::Allow && rule.subjects.names_without_issuer() {
                let reason = "names callers of any issuer: a group or a subject is unique within one only";
                advice.push(ConfigError::new(format!("{path}.to"), reason, "name the `issuer` as well"));
            }
            advice.extend(unknown_tools(rule, guarded, &path));
        }
        advice
    }
}

impl PolicySet {
    /// What an allow rule exchanges for a target for which rules never allow it: the call is judged for that one as well.
    fn dead_exchange(&self, rule: &Rule, path: &str) -> Option<ConfigError> {
        let named = rule.exchange.as_deref()?;
        let denies =
            |other: &&Rule| other.effect == Effect::Deny && other.is_for(named) && other.covers_for_any(rule);
        let reason = if let Some(other) = self.rules.iter().find(denies) {
            format!("never allows anything: rule `{}` denies all of it for that target", other.id)
        } else {
            let may_allow = |other: &Rule| {
                other.effect == Effect::Allow
                    && other.is_for(named)
                    && other.exchange.as_deref().is_none_or(|exchange| exchange == named)
                    && may_meet(&other.tools.patterns, &rule.tools.patterns)
            };
            if self.rules.iter().any(may_allow) {
                return None;
            }
            "never allows anything: no rule allows it for that target".to_owned()
        };
        let fix = "name another target, or have a rule allow it for this one";
        Some(ConfigError::new(format!("{path}.exchange"), reason, fix).value(named))
    }
}

/// Whether one of `theirs` may name what one of `ours` does: certain is only what has no `*`.
fn may_meet(ours: &[Pattern], theirs: &[Pattern]) -> bool {
    // A rule about methods, say, may be about tools.
    ours.is_empty()
        || theirs.is_empty()
        || theirs
            .iter()
            .any(|pattern| pattern.literal().is_none_or(|name| ours.iter().any(|own| own.matches(name))))
}

/// Literal names in a deny rule that the catalogue does not have.
fn unknown_tools(rule: &Rule, guarded: &Guarded<'_>, path: &str) -> Vec<ConfigError> {
    let Some(catalogue) = guarded.catalogue.filter(|_| rule.effect == Effect::Deny) else {
        return Vec::new();
    };
    let literal = rule.tools.patterns.iter().enumerate().filter_map(|(index, p)| Some((index, p.literal()?)));
    let unknown = literal.filter(|(_, name)| !catalogue.tools.contains_key(*name));
    let advice = unknown.map(|(index, name)| {
        let fix = match nearest(name, catalogue.tools.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "leave it, if it is for a tool to come".to_owned(),
        };
        let path = format!("{path}.deny.tools[{index}]");
        ConfigError::new(path, "is no tool of the catalogue", fix).value(name)
    });
    advice.collect()
}

impl Rule {
    fn denies_all_of(&self, other: &Self) -> bool {
        self.effect == Effect::Deny && other.effect == Effect::Allow && self.covers(other)
    }

    fn decides_all_of(&self, later: &Self) -> bool {
        self.effect == later.effect && self.covers(later)
    }

    /// Whether it counts for calls for this target.
    fn is_for(&self, target: &str) -> bool {
        self.targets.as_ref().is_none_or(|ours| ours.iter().any(|own| own == target))
    }

    /// Whether every call that the other rule is about is one that this rule decides.
    fn covers(&self, other: &Self) -> bool {
        let covers_targets = self.targets.as_ref().is_none_or(|ours| {
            other.targets.as_ref().is_some_and(|theirs| theirs.iter().all(|name| ours.contains(name)))
        });
        covers_targets && self.covers_for_any(other)
    }

    /// The same, whatever targets the two are for.
    fn covers_for_any(&self, other: &Self) -> bool {
        // What an annotation stands for is compared only with the same names, or with all.
        let covers_tools = self.tools.annotated.is_none()
            || other.tools.patterns.is_empty()
            || (self.tools.patterns == other.tools.patterns && self.tools.annotated == other.tools.annotated);
        // Once its rate is used up, the next rule decides; not where that is counted elsewhere.
        self.rate.as_ref().is_none_or(|rate| rate.is_global)
            && self.arguments.is_empty()
            // For the target that the other names it may not hold.
            && (self.exchange.is_none() || self.exchange == other.exchange)
            && other.scope.covers(&self.scope)
            && covers_tools
            && cover(&self.tools.patterns, &other.tools.patterns)
            && cover(&self.prompts, &other.prompts)
            && cover(&self.resources, &other.resources)
            && cover(&self.tasks, &other.tasks)
            && cover(&self.methods, &other.methods)
            && self.subjects.cover(&other.subjects)
            && match (&self.time, &other.time) {
                (None, _) => true,
                (Some(ours), Some(theirs)) => ours.covers(theirs),
                (Some(_), None) => false,
            }
            && self.when.as_ref().is_none_or(|ours| other.when.as_ref().is_some_and(|theirs| ours.is(theirs)))
    }

    fn is_open_to_all(&self) -> bool {
        self.effect == Effect::Allow
            && self.arguments.is_empty()
            && self.scope.is_empty()
            && self.time.is_none()
            && self.when.is_none()
            && self.targets.is_none()
            && (self.tools.annotated.is_none()
                && self.tools.patterns.iter().any(|pattern| pattern.matches(&Pattern::new("*").every_name()))
                || self.methods.iter().any(|pattern| pattern.matches("tools/call")))
            && self.subjects.cover(&Subjects::default())
    }
}

/// Whether each pattern of `others` is within one of `ours`.
fn cover(ours: &[Pattern], others: &[Pattern]) -> bool {
    others.iter().map(Pattern::every_name).all(|every| ours.iter().any(|pattern| pattern.matches(&every)))
}

impl Subjects {
    /// Whether every caller of the others is one of these.
    fn cover(&self, others: &Self) -> bool {
        let Self {
            issuer,
            subjects,
            client_ids,
            groups,
            scopes,
            claims,
            source,
            headers,
            kubernetes_users,
            api_keys,
            spiffe_ids,
        } = self;
        let named = |ours: &Option<Vec<Pattern>>, theirs: &Option<Vec<Pattern>>| {
            ours.as_ref().is_none_or(|ours| theirs.as_ref().is_some_and(|theirs| cover(ours, theirs)))
        };
        let within = |ours: &Option<Vec<String>>, theirs: &Option<Vec<String>>| {
            ours.as_ref().is_none_or(|ours| {
                theirs.as_ref().is_some_and(|theirs| theirs.iter().all(|entry| ours.contains(entry)))
            })
        };
        (issuer.is_none() || *issuer == others.issuer)
            && within(subjects, &others.subjects)
            && within(client_ids, &others.client_ids)
            && within(groups, &others.groups)
            && named(kubernetes_users, &others.kubernetes_users)
            && within(scopes, &others.scopes)
            && claims.iter().all(|(path, ours)| {
                others
                    .claims
                    .iter()
                    .any(|(other, theirs)| path == other && theirs.iter().all(|value| ours.contains(value)))
            })
            && headers.iter().all(|(name, ours)| {
                others
                    .headers
                    .iter()
                    .any(|(other, theirs)| name == other && theirs.iter().all(|value| ours.contains(value)))
            })
            && source.as_ref().is_none_or(|ours| {
                others.source.as_ref().is_some_and(|theirs| {
                    theirs.iter().all(|network| ours.iter().any(|our| our.covers(network)))
                })
            })
            && named(api_keys, &others.api_keys)
            && named(spiffe_ids, &others.spiffe_ids)
    }

    fn names_without_issuer(&self) -> bool {
        let Self {
            issuer, subjects, client_ids, groups, claims, kubernetes_users, api_keys, spiffe_ids, ..
        } = self;
        let is_another = kubernetes_users.is_some() || api_keys.is_some() || spiffe_ids.is_some();
        let names = subjects.is_some() || client_ids.is_some() || groups.is_some() || !claims.is_empty();
        issuer.is_none() && !is_another && names
    }
}
