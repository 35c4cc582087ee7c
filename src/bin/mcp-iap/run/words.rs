//! Why a request was refused, in a sentence: the rule's own words, or what its caller was told. A record has
//! no argument's value, so what an argument must be is said from the rule.

use mcp_iap::audit::Document;
use mcp_iap::config::{ArgumentCondition, Rule, Scalar};
use mcp_iap::gate;
use mcp_iap::reason::Reason;
use std::collections::BTreeMap;

/// The rules by their ids.
#[derive(Debug, Default)]
pub struct Words(BTreeMap<String, Option<Rule>>);

impl Words {
    pub fn new(rules: &[&Rule]) -> Self {
        let mut by_id = BTreeMap::new();
        for rule in rules {
            // A record has the rule's id alone: of two resources' rules with one id neither is quoted.
            by_id.entry(rule.id.clone()).and_modify(|rule| *rule = None).or_insert(Some((*rule).clone()));
        }
        Self(by_id)
    }

    /// For the record of a request that was refused.
    pub fn of(&self, record: &Document) -> Option<String> {
        let reason = *Reason::ALL.iter().find(|reason| reason.code() == record.reason)?;
        let rule = record.rule.as_deref().and_then(|id| self.0.get(id)?.as_ref());
        if let Some(message) = rule.and_then(|rule| rule.message.clone()) {
            return Some(message);
        }
        if let Some(name) = record.argument.as_deref() {
            let wanted = rule.and_then(|rule| rule.arguments.get(name)).map(wanted);
            return Some(format!("{name}: {}", wanted.unwrap_or_else(|| gate::told(reason).to_owned())));
        }
        let told = gate::told(reason);
        Some(if reason == Reason::NoRuleAllows {
            format!("{told}; the caller's groups: {}", groups(record))
        } else {
            told.to_owned()
        })
    }
}

fn groups(record: &Document) -> String {
    let names = record.caller.as_ref().map(|caller| caller.groups.as_slice()).unwrap_or_default();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What an argument must be.
fn wanted(condition: &ArgumentCondition) -> String {
    if let Some(values) = &condition.one_of {
        let values = values.iter().map(|value| match value {
            Scalar::Text(text) => text.clone(),
            Scalar::Integer(number) => number.to_string(),
            Scalar::Bool(bool) => bool.to_string(),
        });
        return format!("must be one of {}", values.collect::<Vec<_>>().join(", "));
    }
    match condition.integer.map(|range| (range.min, range.max)) {
        Some((Some(min), Some(max))) => format!("must be an integer from {min} to {max}"),
        Some((Some(min), None)) => format!("must be an integer, at least {min}"),
        Some((None, Some(max))) => format!("must be an integer, at most {max}"),
        Some((None, None)) | None => "must be an integer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_said_in_the_words_of_its_rule_or_of_its_reason() {
        let document = "resource: https://r\nissuers: [{issuer: 'https://i'}]\nrules:
- { id: own, deny: { tools: [drop] }, message: ask the sre }
- { id: scale, allow: { tools: [scale] }, arguments: { replicas: { integer: { min: 0, max: 10 } }, at: { in: [web, 7, true] }, least: { integer: { min: 1 } }, most: { integer: { max: 2 } } } }
- { id: twice, deny: { tools: [a] }, message: one }
- { id: twice, deny: { tools: [b] }, message: two }
";
        let config = mcp_iap::config::load(document.as_bytes()).unwrap();
        let rules = config.rules.unwrap();
        let words = Words::new(&rules.iter().collect::<Vec<_>>());
        for (record, wanted) in [
            (json!({"reason": "denied_by_rule", "rule": "own"}), "ask the sre"),
            (json!({"reason": "denied_by_rule", "rule": "twice"}), "a rule denies this"),
            (json!({"reason": "wrong_audience"}), "the token is for another audience"),
            (json!({"reason": "no_rule_allows"}), "no rule allows this; the caller's groups: none"),
            (
                json!({"reason": "no_rule_allows", "caller": {"groups": ["a", "b"]}}),
                "no rule allows this; the caller's groups: a, b",
            ),
            (
                json!({"reason": "argument_out_of_range", "rule": "scale", "argument": "replicas"}),
                "replicas: must be an integer from 0 to 10",
            ),
            (
                json!({"reason": "argument_not_in_list", "rule": "scale", "argument": "at"}),
                "at: must be one of web, 7, true",
            ),
            (
                json!({"reason": "argument_missing", "rule": "scale", "argument": "least"}),
                "least: must be an integer, at least 1",
            ),
            (
                json!({"reason": "argument_type", "rule": "scale", "argument": "most"}),
                "most: must be an integer, at most 2",
            ),
            (
                json!({"reason": "argument_type", "rule": "gone", "argument": "x"}),
                "x: an argument has the wrong type",
            ),
        ] {
            assert_eq!(words.of(&as_read(record.clone())).as_deref(), Some(wanted), "{record}");
        }
        assert_eq!(words.of(&as_read(json!({"reason": "of_a_later_version"}))), None);
    }

    fn as_read(mut record: serde_json::Value) -> Document {
        (record["schema"], record["decision"], record["outcome"]) = (1.into(), "d".into(), "refused".into());
        serde_json::from_value(record).unwrap()
    }
}
