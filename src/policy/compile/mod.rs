//! From the document's rules to compiled ones; what is ambiguous or can't hold is refused.

mod arguments;
mod operations;
mod subjects;

use super::catalogue::{self, Schemas};
use super::pattern::Pattern;
use super::rate::{MAX_RATES, MAX_TOGETHER, Rate};
use super::when::{Fault, When};
use super::window::Window;
use super::{Effect, Indexes, PolicySet, Rule};
use crate::config::{self, Catalogue, ConfigError, Guarded, Target};
use crate::oauth::{Scope, ScopeError};
use crate::time::parse_duration;
use operations::Operations;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const MAX_ID: usize = 64;
const MAX_MESSAGE: usize = 500;
/// Each costs time that the live rules' answer waits for.
const MAX_SHADOW: usize = 1_000;
const MAX_CALLS: u64 = 1_000_000;
const MAX_PER: Duration = Duration::from_hours(24);
/// What rate limit services count in, in seconds (`RateLimitResponse.RateLimit.Unit` of Envoy's protocol, up to a day).
const UNITS: [u64; 4] = [1, 60, 3600, 86_400];

impl PolicySet {
    /// Compiles the rules of one resource. Faults are added to `errors`, with their paths.
    #[must_use]
    pub fn compile(guarded: &Guarded<'_>, issuers: &[&str], errors: &mut Vec<ConfigError>) -> Self {
        if let Some(catalogue) = guarded.catalogue.filter(|_| !guarded.is_shadow()) {
            catalogue::check(catalogue, &guarded.path("catalogue"), errors);
        }
        let targets = guarded.token_exchange.and_then(|exchange| exchange.targets.as_deref()).unwrap_or(&[]);
        let context = Context {
            issuers,
            catalogue: guarded.catalogue,
            trusted_headers: guarded.trusted_headers,
            targets,
        };
        let mut ids = BTreeSet::new();
        let mut rules = Vec::new();
        for (index, rule) in guarded.rules.iter().enumerate() {
            let path = guarded.rule_path(index, "");
            if !ids.insert(rule.id.as_str()) {
                errors.push(
                    fault(&path, "id", "is the id of another rule as well", "give each rule its own")
                        .value(rule.id.as_str()),
                );
            }
            rules.extend(compile_rule(rule, &path, context, errors));
        }
        if rules.iter().filter(|rule: &&Rule| rule.rate.is_some()).count() > MAX_RATES {
            let fix = "give one to rules with several tools; at most 64";
            errors.push(ConfigError::new(guarded.path(guarded.rules_field), "have too many rates", fix));
        }
        if guarded.is_shadow() && rules.len() > MAX_SHADOW {
            let fix = "try at most 1000 at one time";
            errors.push(ConfigError::new(guarded.path(guarded.rules_field), "are too many", fix));
        }
        let index = Indexes::new(&rules);
        let policies = Self { rules, index };
        if !guarded.is_shadow() {
            check_counted_together(&policies, guarded, errors);
        }
        policies
    }

    /// The paths of what in these rules asks for the client's address.
    #[must_use]
    pub fn by_source(&self, guarded: &Guarded<'_>) -> Vec<String> {
        let mut paths = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let path = |field: &str| guarded.rule_path(index, field);
            paths.extend(rule.subjects.source.is_some().then(|| path("to.source")));
            paths.extend(rule.when.as_ref().is_some_and(When::reads_source).then(|| path("when")));
        }
        paths
    }

    /// The claims that rules read, by their paths, each once.
    pub fn claim_paths(&self) -> impl Iterator<Item = &Rc<str>> {
        self.rules.iter().flat_map(|rule| {
            let read = rule.when.iter().flat_map(When::claims);
            rule.subjects.claims.iter().map(|(path, _)| path).chain(read)
        })
    }
}

/// What rules refer to.
#[derive(Clone, Copy)]
struct Context<'a> {
    issuers: &'a [&'a str],
    catalogue: Option<&'a Catalogue>,
    trusted_headers: &'a [String],
    targets: &'a [Target],
}

#[cold]
#[inline(never)]
fn fault(path: &str, field: &str, reason: &str, fix: &str) -> ConfigError {
    ConfigError::new(format!("{path}.{field}"), reason, fix)
}

fn compile_rule(
    rule: &config::Rule,
    path: &str,
    context: Context<'_>,
    errors: &mut Vec<ConfigError>,
) -> Option<Rule> {
    // Every field is named, so that a new one can't be forgotten here.
    let config::Rule { id, allow, deny, to, scope, arguments, time, when, rate, exchange, message } = rule;
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if id.is_empty() || id.len() > MAX_ID || !plain {
        errors.push(
            fault(path, "id", "is no usable name", "use 1 to 64 letters, digits, `-`, `_` and `.`")
                .value(id.as_str()),
        );
    }
    let (effect, field, written) = match (allow, deny) {
        (Some(operations), None) => (Effect::Allow, "allow", operations),
        (None, Some(operations)) => (Effect::Deny, "deny", operations),
        (None, None) => {
            errors.push(ConfigError::new(
                path,
                "neither allows nor denies anything",
                "give `allow` or `deny`",
            ));
            return None;
        }
        (Some(_), Some(_)) => {
            errors.push(ConfigError::new(path, "both allows and denies", "make two rules of it"));
            return None;
        }
    };
    if !arguments.is_empty() && !written.resources.is_empty() {
        errors.push(fault(
            path,
            "arguments",
            "can't hold for `resources`, which have no arguments",
            "make a rule of its own for the resources",
        ));
    }
    if message
        .as_ref()
        .is_some_and(|message| message.len() > MAX_MESSAGE || message.chars().any(char::is_control))
    {
        errors.push(fault(
            path,
            "message",
            "is too long or has control characters",
            "write one line of at most 500 bytes",
        ));
    }
    let operations_path = format!("{path}.{field}");
    let operations = operations::compile(written, effect, context.catalogue, &operations_path, errors);
    let Operations { tools, prompts, resources, tasks, methods } = operations;
    if let Some(names) = &written.target {
        operations::check_targets(names, context.targets, &operations_path, errors);
    }
    let when = when.as_deref().and_then(|text| match When::compile(text, context.trusted_headers) {
        Ok(when) => Some(when),
        Err(Fault { reason, fix }) => {
            errors.push(fault(path, "when", &reason, &fix).value(text));
            None
        }
    });
    if let Some(catalogue) = context.catalogue {
        // A deny rule may name what is not there yet.
        if effect == Effect::Allow {
            catalogue::check_tools(&written.tools, catalogue, &operations_path, errors);
        }
        // A method by itself is about tools too.
        let schemas = Schemas::of(catalogue, |tool| tools.include(tool)).filter(|_| methods.is_empty());
        if let Some(schemas) = schemas {
            schemas.check_conditions(arguments, path, errors);
            if prompts.is_empty() {
                schemas.check_read(when.iter().flat_map(When::arguments), path, errors);
            }
        }
    }
    Some(Rule {
        id: Rc::from(id.as_str()),
        effect,
        tools,
        prompts,
        resources,
        tasks,
        methods,
        scope: compile_scope(scope.as_deref(), effect, path, errors),
        targets: written.target.clone(),
        subjects: subjects::compile(to.as_ref(), path, context, errors),
        arguments: arguments
            .iter()
            .filter_map(|(name, condition)| {
                let path = format!("{path}.arguments.{name}");
                Some((Rc::from(name.as_str()), arguments::compile(condition, &path, errors)?))
            })
            .collect(),
        time: compile_time(time.as_ref(), path, errors),
        when,
        rate: compile_rate(rate.as_ref(), effect, path, errors),
        exchange: exchange.as_deref().and_then(|name| {
            operations::check_exchange(name, effect, context.targets, path, errors).then(|| Rc::from(name))
        }),
        message: message.as_deref().map(Rc::from),
    })
}

fn compile_time(
    written: Option<&config::TimeWindow>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Window> {
    match Window::compile(written?) {
        Ok(window) => Some(window),
        Err((field, reason, fix)) => {
            let dot = if field.is_empty() { "" } else { "." };
            errors.push(fault(path, &format!("time{dot}{field}"), reason, &fix));
            None
        }
    }
}

fn compile_rate(
    written: Option<&config::RateLimit>,
    effect: Effect,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Rate> {
    let config::RateLimit { calls, per, global } = written?;
    let time = parse_duration(per);
    let (field, reason, fix) = match (effect, *calls, &time) {
        (Effect::Deny, ..) => (
            "rate",
            "can't be meant in a deny rule: who calls more often would be spared",
            "give it to the allow rules that it is for",
        ),
        (_, 0, _) => ("rate.calls", "allows nothing", "remove the rule, or write `deny`"),
        (_, count, _) if count > MAX_CALLS => ("rate.calls", "is out of bounds", "use 1 to 1000000"),
        (_, _, Err(_)) => {
            ("rate.per", "is no duration", "write a whole number with a unit: `10s`, `1m` or `1h`")
        }
        (_, _, Ok(time)) if !(Duration::from_secs(1)..=MAX_PER).contains(time) => {
            ("rate.per", "is out of bounds", "use `1s` to `24h`")
        }
        (_, _, Ok(time)) if *global && !UNITS.contains(&time.as_secs()) => {
            ("rate.per", "is no unit of a rate limit service", "use `1s`, `1m`, `1h` or `24h`")
        }
        _ => return Some(Rate::new(u32::try_from(*calls).ok()?, per, time.ok()?, *global)),
    };
    let error = fault(path, field, reason, fix);
    errors.push(match field {
        "rate.calls" => error.value(*calls),
        "rate.per" => error.value(per.as_str()),
        _ => error,
    });
    None
}

/// What Envoy can't count would be refused at each such request.
fn check_counted_together(policies: &PolicySet, guarded: &Guarded<'_>, errors: &mut Vec<ConfigError>) {
    let rules = policies.counted_together();
    if rules.len() > MAX_TOGETHER {
        let named: Vec<_> = rules.iter().take(MAX_TOGETHER + 1).map(|rule| format!("`{rule}`")).collect();
        let reason = format!(
            "have {} rules with a global rate that may all allow one `subscriptions/listen`, of which Envoy counts {MAX_TOGETHER} \
             at most: {}",
            rules.len(),
            named.join(", ")
        );
        let fix = "make one rule of several, or take `global` from those for resources and tasks";
        errors.push(ConfigError::new(guarded.path(guarded.rules_field), reason, fix));
    }
}

fn patterns(names: &[String]) -> Vec<Pattern> {
    names.iter().map(|name| Pattern::new(name)).collect()
}

/// A list that must not be empty, nor have an empty entry.
fn check_list(list: &[String], path: &str, errors: &mut Vec<ConfigError>) {
    if list.is_empty() || list.iter().any(String::is_empty) {
        let reason = "can't hold: it is empty or has an empty entry";
        errors.push(ConfigError::new(path, reason, "name at least one, or leave it out"));
    }
}

fn compile_scope(text: Option<&str>, effect: Effect, path: &str, errors: &mut Vec<ConfigError>) -> Scope {
    let Some(text) = text else { return Scope::default() };
    let (reason, fix) = match Scope::asked(text) {
        Ok(_) if effect == Effect::Deny => (
            "can't be meant in a deny rule: who lacks a scope would be spared",
            "give it to the allow rules that it is for",
        ),
        Ok(scope) => return scope,
        Err(ScopeError::Malformed) => (
            "is no scope",
            "write names of ASCII without quotes and backslashes, with one space between (RFC 6749 section 3.3)",
        ),
        Err(ScopeError::Repeated) => ("has a name twice", "write each once"),
        Err(ScopeError::OfflineAccess) => {
            ("has `offline_access`, which is for refresh tokens and none of a resource's scopes", "remove it")
        }
        Err(ScopeError::TooLong) => ("is too long for a header", "use at most 500 bytes"),
    };
    errors.push(fault(path, "scope", reason, fix).value(text));
    Scope::default()
}
