//! Rules against the catalogue: which tools an annotation stands for, and which names and arguments of a
//! rule can't be meant.
//!
//! Everything here happens when a configuration is loaded; what an MCP server says of its own tools is
//! never asked.

use super::Effect;
use super::pattern::Pattern;
use crate::config::{ArgumentCondition, Catalogue, ConfigError, Operations, Scalar, Tool, nearest};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

const DIGEST: &str = "sha256:";

/// The tools that a rule's annotations stand for.
#[derive(Debug, PartialEq)]
pub(super) struct Annotated {
    names: BTreeSet<String>,
    effect: Effect,
}

impl Annotated {
    /// Of an allow rule the tools that are known to be so; of a deny rule all but those that are known to
    /// be otherwise.
    pub(super) fn includes(&self, tool: &str) -> bool {
        self.names.contains(tool) == (self.effect == Effect::Allow)
    }
}

/// Checks what a catalogue says of itself.
pub(super) fn check(catalogue: &Catalogue, path: &str, errors: &mut Vec<ConfigError>) {
    for (name, tool) in &catalogue.tools {
        let path = format!("{path}.tools.{name}");
        if tool.read_only && tool.destructive == Some(true) {
            let reason = "is read-only and destructive";
            errors.push(ConfigError::new(format!("{path}.destructive"), reason, "decide for one"));
        }
        let is_digest = |digest: &str| {
            digest.strip_prefix(DIGEST).is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
            })
        };
        if let Some(digest) = tool.digest.as_deref().filter(|digest| !is_digest(digest)) {
            let fix =
                "leave it as `mcp-iap init` wrote it, `sha256:` and 64 hexadecimal digits, or leave it out";
            errors.push(ConfigError::new(format!("{path}.digest"), "is no digest", fix).value(digest));
        }
    }
}

/// What `read_only` and `destructive` of a rule stand for; `None` where it has neither.
pub(super) fn annotated(
    operations: &Operations,
    effect: Effect,
    catalogue: Option<&Catalogue>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Annotated> {
    let Operations { read_only, destructive, .. } = operations;
    let field = match (read_only, destructive) {
        (None, None) => return None,
        (Some(_), _) => "read_only",
        (None, Some(_)) => "destructive",
    };
    let path = format!("{path}.{field}");
    let Some(catalogue) = catalogue else {
        let reason = "has no meaning without a `catalogue`, which says so of each tool";
        errors.push(ConfigError::new(path, reason, "let `mcp-iap init` write one, or name the tools"));
        return None;
    };
    let holds = |tool: &Tool| {
        read_only.is_none_or(|wanted| tool.read_only == wanted)
            && destructive.is_none_or(|wanted| tool.is_destructive() == wanted)
    };
    let of_tools = |tool: &Tool| holds(tool) == (effect == Effect::Allow);
    let names: BTreeSet<String> =
        catalogue.tools.iter().filter(|(_, tool)| of_tools(tool)).map(|(name, _)| name.clone()).collect();
    if !catalogue.tools.values().any(holds) {
        errors.push(ConfigError::new(
            path,
            "is said of no tool of the catalogue",
            "mend the rule or the catalogue",
        ));
    }
    Some(Annotated { names, effect })
}

/// Refuses patterns that fit no tool of the catalogue.
pub(super) fn check_tools(
    tools: &[String],
    catalogue: &Catalogue,
    path: &str,
    errors: &mut Vec<ConfigError>,
) {
    for (index, text) in tools.iter().enumerate().filter(|(_, text)| *text != "*") {
        let pattern = Pattern::new(text);
        if catalogue.tools.keys().any(|name| pattern.matches(name)) {
            continue;
        }
        let fix = match nearest(text, catalogue.tools.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a tool of the catalogue, or bring the catalogue up to date".to_owned(),
        };
        let path = format!("{path}.tools[{index}]");
        errors.push(ConfigError::new(path, "is no tool of the catalogue", fix).value(text.as_str()));
    }
}

/// What the catalogue knows of the arguments of a rule's tools.
pub(super) struct Schemas<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Schemas<'a> {
    /// `None` where the arguments of one of the tools are not known, so that none can be called wrong, or where
    /// the rule's tools are none of the catalogue, which is told of them.
    pub(super) fn of(catalogue: &'a Catalogue, is_about: impl Fn(&str) -> bool) -> Option<Self> {
        let about = catalogue.tools.iter().filter(|(name, _)| is_about(name));
        let schemas = about.map(|(_, tool)| tool.input_schema.as_ref()?.get("properties")?.as_object());
        let schemas: Vec<_> = schemas.collect::<Option<_>>()?;
        (!schemas.is_empty()).then_some(Self(schemas))
    }

    fn properties(&self, argument: &str) -> Vec<&'a Value> {
        self.0.iter().filter_map(|schema| schema.get(argument)).collect()
    }

    /// Refuses an argument that none of the tools has, for this reason.
    fn check_name(&self, argument: &str, path: &str, reason: &str, errors: &mut Vec<ConfigError>) {
        if self.properties(argument).is_empty() {
            let known = self.0.iter().flat_map(|schema| schema.keys()).map(String::as_str);
            let fix = match nearest(argument, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name one of their arguments, or bring the catalogue up to date".to_owned(),
            };
            errors.push(ConfigError::new(path, reason, fix));
        }
    }

    /// Refuses a `when` that reads arguments that no tool of the rule has.
    pub(super) fn check_read<'b>(
        &self,
        arguments: impl Iterator<Item = &'b String>,
        path: &str,
        errors: &mut Vec<ConfigError>,
    ) {
        for argument in arguments.collect::<BTreeSet<_>>() {
            let reason = format!("reads `args.{argument}`, an argument of none of the rule's tools");
            self.check_name(argument, &format!("{path}.when"), &reason, errors);
        }
    }

    /// Refuses conditions on arguments that no tool of the rule has, or has with another type.
    pub(super) fn check_conditions(
        &self,
        arguments: &BTreeMap<String, ArgumentCondition>,
        path: &str,
        errors: &mut Vec<ConfigError>,
    ) {
        for (name, condition) in arguments {
            let path = format!("{path}.arguments.{name}");
            self.check_name(name, &path, "is an argument of none of the rule's tools", errors);
            let properties = self.properties(name);
            if !properties.is_empty() && !properties.iter().any(|property| can_hold(condition, property)) {
                let types =
                    properties.iter().filter_map(|property| property.get("type")).map(Value::to_string);
                let types: BTreeSet<String> = types.collect();
                let types = types.into_iter().collect::<Vec<_>>().join(", ");
                let reason = format!("can't hold: by the catalogue the argument's type is {types}");
                errors.push(ConfigError::new(path, reason, "write a condition for that type"));
            }
        }
    }
}

/// Whether an argument with this schema can meet the condition, as far as `type` tells.
fn can_hold(condition: &ArgumentCondition, property: &Value) -> bool {
    let Some(types) = property.get("type") else { return true };
    let takes = |name: &str| match types {
        Value::Array(types) => types.iter().any(|one| one == name),
        one => one == name,
    };
    let takes_integer = takes("integer") || takes("number");
    let fits = |value: &Scalar| match value {
        Scalar::Text(_) => takes("string"),
        Scalar::Integer(_) => takes_integer,
        Scalar::Bool(_) => takes("boolean"),
    };
    let ArgumentCondition { one_of, glob, prefix, integer, number, boolean, present: _ } = condition;
    one_of.as_ref().is_none_or(|values| values.iter().any(fits))
        && (glob.is_none() && prefix.is_none() || takes("string"))
        && (integer.is_none() && number.is_none() || takes_integer)
        && (boolean.is_none() || takes("boolean"))
}
