//! From the document's rules to compiled ones; what is ambiguous or can't hold is refused.

use super::argument::Condition;
use super::pattern::Pattern;
use super::{Effect, PolicySet, Rule, Subjects, Tools, catalogue};
use crate::config::{self, Catalogue, ConfigError, Guarded};
use crate::oauth::{Scope, ScopeError};
use std::collections::BTreeSet;
use std::rc::Rc;

const MAX_ID: usize = 64;
const MAX_MESSAGE: usize = 500;

impl PolicySet {
    /// Compiles the rules of one resource. Faults are added to `errors`, with their paths.
    #[must_use]
    pub fn compile(guarded: &Guarded<'_>, issuers: &[&str], errors: &mut Vec<ConfigError>) -> Self {
        if let Some(catalogue) = guarded.catalogue {
            catalogue::check(catalogue, &guarded.path("catalogue"), errors);
        }
        let context = Context { issuers, catalogue: guarded.catalogue };
        let mut ids = BTreeSet::new();
        let mut rules = Vec::new();
        for (index, rule) in guarded.rules.iter().enumerate() {
            let path = guarded.path(&format!("rules[{index}]"));
            if !ids.insert(rule.id.as_str()) {
                errors.push(
                    fault(&path, "id", "is the id of another rule as well", "give each rule its own")
                        .value(rule.id.as_str()),
                );
            }
            rules.extend(compile_rule(rule, &path, context, errors));
        }
        Self { rules }
    }
}

/// What rules refer to.
#[derive(Clone, Copy)]
struct Context<'a> {
    issuers: &'a [&'a str],
    catalogue: Option<&'a Catalogue>,
}

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
    let config::Rule { id, allow, deny, to, scope, arguments, message } = rule;
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if id.is_empty() || id.len() > MAX_ID || !plain {
        errors.push(
            fault(path, "id", "is no usable name", "use 1 to 64 letters, digits, `-`, `_` and `.`")
                .value(id.as_str()),
        );
    }
    let (effect, field, operations) = match (allow, deny) {
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
    let config::Operations { tools, prompts, resources, read_only, destructive } = operations;
    let has_annotation = read_only.is_some() || destructive.is_some();
    if tools.is_empty() && prompts.is_empty() && resources.is_empty() && !has_annotation {
        errors.push(fault(
            path,
            field,
            "names no operation",
            "give `tools`, `prompts`, `resources`, `read_only` or `destructive`; `[\"*\"]` means all",
        ));
    }
    for (kind, names) in [("tools", tools), ("prompts", prompts), ("resources", resources)] {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
            let field = format!("{field}.{kind}[{index}]");
            errors.push(
                fault(path, &field, "matches no name", "write a name, or `*` for all").value(name.as_str()),
            );
        }
    }
    if !arguments.is_empty() && !resources.is_empty() {
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
    let annotated = catalogue::annotated(operations, effect, context.catalogue, &operations_path, errors);
    let every = ["*".to_owned()];
    let tools = Tools {
        patterns: patterns(if tools.is_empty() && has_annotation { &every } else { tools }),
        annotated,
    };
    if let Some(catalogue) = context.catalogue {
        // A deny rule may name what is not there yet.
        if effect == Effect::Allow {
            catalogue::check_tools(&operations.tools, catalogue, &operations_path, errors);
        }
        catalogue::check_arguments(arguments, catalogue, |tool| tools.include(tool), path, errors);
    }
    Some(Rule {
        id: Rc::from(id.as_str()),
        effect,
        tools,
        prompts: patterns(prompts),
        resources: patterns(resources),
        scope: compile_scope(scope.as_deref(), effect, path, errors),
        subjects: compile_subjects(to.as_ref(), path, context.issuers, errors),
        arguments: arguments
            .iter()
            .filter_map(|(name, condition)| {
                let path = format!("{path}.arguments.{name}");
                Some((Rc::from(name.as_str()), compile_condition(condition, &path, errors)?))
            })
            .collect(),
        message: message.as_deref().map(Rc::from),
    })
}

fn patterns(names: &[String]) -> Vec<Pattern> {
    names.iter().map(|name| Pattern::new(name)).collect()
}

fn compile_subjects(
    to: Option<&config::Subjects>,
    path: &str,
    issuers: &[&str],
    errors: &mut Vec<ConfigError>,
) -> Subjects {
    let Some(config::Subjects {
        issuer,
        subjects,
        client_ids,
        groups,
        kubernetes_users,
        api_keys,
        spiffe_ids,
    }) = to
    else {
        return Subjects::default();
    };
    let lists = [
        ("subjects", subjects),
        ("client_ids", client_ids),
        ("groups", groups),
        ("kubernetes_users", kubernetes_users),
        ("api_keys", api_keys),
        ("spiffe_ids", spiffe_ids),
    ];
    if issuer.is_none() && lists.iter().all(|(_, list)| list.is_none()) {
        errors.push(fault(path, "to", "names nobody", "name groups, subjects, client_ids, kubernetes_users, api_keys, spiffe_ids or an issuer, or leave `to` out for every authenticated caller"));
    }
    if let Some(issuer) = issuer.as_deref().filter(|issuer| !issuers.contains(issuer)) {
        errors.push(
            fault(path, "to.issuer", "is none of `issuers`", "use one of them, to the letter").value(issuer),
        );
    }
    for (field, list) in lists {
        if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
            errors.push(fault(
                path,
                &format!("to.{field}"),
                "can't hold: it is empty or has an empty entry",
                "name at least one, or leave it out",
            ));
        }
    }
    Subjects {
        issuer: issuer.clone(),
        subjects: subjects.clone(),
        client_ids: client_ids.clone(),
        groups: groups.clone(),
        kubernetes_users: kubernetes_users.as_deref().map(patterns),
        api_keys: api_keys.as_deref().map(patterns),
        spiffe_ids: spiffe_ids.as_deref().map(patterns),
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

fn compile_condition(
    condition: &config::ArgumentCondition,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Condition> {
    let config::ArgumentCondition { one_of, integer } = condition;
    match (one_of, integer) {
        (Some(values), None) if values.is_empty() => {
            errors.push(fault(path, "in", "can't hold: the list is empty", "name at least one value"));
            None
        }
        (Some(values), None) => Some(Condition::OneOf(values.clone())),
        (None, Some(config::IntegerRange { min: None, max: None })) => {
            errors.push(fault(path, "integer", "sets no bound", "give `min` or `max`"));
            None
        }
        (None, Some(config::IntegerRange { min, max })) => {
            if let (Some(min), Some(max)) = (min, max)
                && min > max
            {
                errors.push(fault(path, "integer", "can't hold: `min` is above `max`", "exchange them"));
                return None;
            }
            Some(Condition::Integer { min: *min, max: *max })
        }
        (None, None) => {
            errors.push(ConfigError::new(path, "is no condition", "give `in` or `integer`"));
            None
        }
        (Some(_), Some(_)) => {
            errors.push(ConfigError::new(path, "has two conditions", "give `in` or `integer`, not both"));
            None
        }
    }
}
