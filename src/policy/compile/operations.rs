//! What a rule is about: names and patterns of tools, prompts, resources, tasks and methods.

use super::super::pattern::Pattern;
use super::super::{Effect, Tools, catalogue};
use super::patterns;
use crate::config::{self, Catalogue, ConfigError, Target, nearest};
use crate::mcp::shape;

/// How long a pattern may be, in bytes.
const MAX_PATTERN: usize = 1_024;

pub(super) struct Operations {
    pub(super) tools: Tools,
    pub(super) prompts: Vec<Pattern>,
    pub(super) resources: Vec<Pattern>,
    pub(super) tasks: Vec<Pattern>,
    pub(super) methods: Vec<Pattern>,
}

pub(super) fn compile(
    written: &config::Operations,
    effect: Effect,
    catalogue: Option<&Catalogue>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Operations {
    let config::Operations { tools, prompts, resources, tasks, methods, target: _, read_only, destructive } =
        written;
    let has_annotation = read_only.is_some() || destructive.is_some();
    let kinds = [
        ("tools", tools),
        ("prompts", prompts),
        ("resources", resources),
        ("tasks", tasks),
        ("methods", methods),
    ];
    if kinds.iter().all(|(_, names)| names.is_empty()) && !has_annotation {
        errors.push(ConfigError::new(
            path,
            "names no operation",
            "give `tools`, `prompts`, `resources`, `tasks`, `methods`, `read_only` or `destructive`; `[\"*\"]` means all",
        ));
    }
    for (kind, names) in kinds {
        for (index, name) in names.iter().enumerate() {
            let (reason, fix) = if name.is_empty() {
                ("matches no name", "write a name, or `*` for all")
            } else if name.len() > MAX_PATTERN {
                ("is too long", "write at most 1024 bytes")
            } else {
                continue;
            };
            let shown = if name.is_empty() { name.as_str() } else { "..." };
            errors.push(ConfigError::new(format!("{path}.{kind}[{index}]"), reason, fix).value(shown));
        }
    }
    for (index, method) in methods.iter().enumerate() {
        if let Some((reason, fix)) = misnamed(method, effect) {
            errors.push(
                ConfigError::new(format!("{path}.methods[{index}]"), reason, fix).value(method.as_str()),
            );
        }
    }
    let annotated = catalogue::annotated(written, effect, catalogue, path, errors);
    let every = ["*".to_owned()];
    let tools = Tools {
        patterns: patterns(if tools.is_empty() && has_annotation { &every } else { tools }),
        annotated,
    };
    Operations {
        tools,
        prompts: patterns(prompts),
        resources: patterns(resources),
        tasks: patterns(tasks),
        methods: patterns(methods),
    }
}

/// A rule's targets are some of those that there are.
pub(super) fn check_targets(names: &[String], targets: &[Target], path: &str, errors: &mut Vec<ConfigError>) {
    let path = format!("{path}.target");
    if names.is_empty() {
        let fix = "name at least one, or leave it out";
        errors.push(ConfigError::new(path, "can't hold: it is empty", fix));
        return;
    }
    for (index, name) in names.iter().enumerate() {
        errors.extend(unknown_target(name, targets, || format!("{path}[{index}]")));
    }
}

/// Whether this is a target whose token the upstream may get for what a rule allows.
pub(super) fn check_exchange(
    name: &str,
    effect: Effect,
    targets: &[Target],
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> bool {
    let path = || format!("{path}.exchange");
    let error = if effect == Effect::Deny {
        let reason = "can't be meant in a deny rule: for what is refused no token is asked for";
        let fix =
            "give it to the allow rules that it is for; `deny.target` says for which targets is refused";
        Some(ConfigError::new(path(), reason, fix).value(name))
    } else {
        unknown_target(name, targets, path)
    };
    let is_usable = error.is_none();
    errors.extend(error);
    is_usable
}

fn unknown_target(name: &str, targets: &[Target], path: impl Fn() -> String) -> Option<ConfigError> {
    let known = || targets.iter().map(|target| target.name.as_str());
    if known().any(|known| known == name) {
        return None;
    }
    if targets.is_empty() {
        let fix = "add `token_exchange.targets`, or leave it out";
        return Some(ConfigError::new(path(), "names a target, and there are none", fix).value(name));
    }
    let fix = match nearest(name, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "use the name of one of them".to_owned(),
    };
    let reason = "is none of the `targets` of `token_exchange`";
    Some(ConfigError::new(path(), reason, fix).value(name))
}

/// Why a rule can't be about this method.
fn misnamed(method: &str, effect: Effect) -> Option<(&'static str, &'static str)> {
    const OPEN: &str =
        "is open to every authenticated caller, and a client needs it to find out how to speak";
    match (method, effect) {
        ("server/discover", _) => Some((OPEN, "leave it out")),
        (name, Effect::Allow) if shape(name).is_some_and(|shape| shape.is_open()) => {
            Some(("is open to every authenticated caller", "leave it out; a deny rule can close it"))
        }
        _ => None,
    }
}
