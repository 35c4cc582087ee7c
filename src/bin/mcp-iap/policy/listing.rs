//! What a caller sees of a server's list, entry by entry, and why the others are hidden: by the same code that filters
//! lists.

use super::case::{Case, From};
use super::judgement::Asked;
use crate::run::terminal::{Colour, Style, escape};
use mcp_iap::mcp::{Arguments, CacheScope, Entry, Events, Operation, Verdict, filter};
use mcp_iap::policy::{Call, Known, PolicySet, Says};
use mcp_iap::reason::Reason;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A list as a caller sees it.
#[derive(Debug)]
pub struct Listing {
    lines: Vec<Line>,
    /// How many entries have no name that a request could have.
    unusable: usize,
}

/// An entry; `hidden` where it is not listed.
#[derive(Debug)]
struct Line {
    name: String,
    hidden: Option<Why>,
}

/// Why an entry is hidden. Of a template nothing is told: it has no URI that a rule could be asked about.
#[derive(Debug, Default)]
struct Why {
    reason: Option<&'static str>,
    rule: Option<String>,
    clause: Option<String>,
}

impl Listing {
    /// Of a server's answer, or the `result` of one, for the caller of a case, where and when it says.
    pub fn of(answer: &[u8], case: &Case, asked: &Asked<'_>) -> Result<Self, String> {
        let event = list_among_events(answer);
        let answer = event.as_deref().unwrap_or(answer);
        let value: Value = serde_json::from_slice(answer)
            .map_err(|error| format!("the list is no JSON, and no event stream with one: {error}"))?;
        let wrapped = format!("{{\"result\":{}}}", String::from_utf8_lossy(answer));
        let message = if value.get("result").is_some() { answer } else { wrapped.as_bytes() };
        let caller = asked.caller(case)?;
        let (head, from, none) = (case.head(), From(case.source), Arguments::default());
        let call = Call {
            known: Known { arguments: true, ..case.known() },
            head: Some(&head),
            sender: case.source.is_some().then_some(&from),
            now: case.now()?,
            ..Call::of(&caller)
        };
        let mut lines = Vec::new();
        let listed = filter(message, CacheScope::Stays, &mut |entry| {
            let (Entry::Tool(name) | Entry::Prompt(name) | Entry::Resource(name) | Entry::Template(name)) =
                entry;
            let arguments = (!matches!(entry, Entry::Tool(_) | Entry::Prompt(_))).then_some(&none);
            let tool = if let Entry::Tool(name) = entry { Some(Operation::Tool(name)) } else { None };
            let target = asked.resource.outgoing.target_name_if_known(tool.as_slice(), arguments);
            let call = Call { arguments, target: target.as_deref(), ..call };
            let hidden = (!asked.rules.could_allow(&call, entry)).then(|| why(asked.rules, &call, entry));
            let is_seen = hidden.is_none();
            lines.push(Line { name: name.to_owned(), hidden });
            is_seen
        });
        let listed = listed
            .map_err(|reason| format!("the list can't be read: {}", reason.code()))?
            .ok_or("the file has no list")?;
        let told = lines.iter().filter(|line| line.hidden.is_some()).count();
        Ok(Self { lines, unusable: listed.hidden.saturating_sub(told) })
    }

    pub fn to_text(&self, case: &Case, style: Style) -> String {
        let shown = self.lines.iter().filter(|line| line.hidden.is_none()).count();
        let all = self.lines.len().saturating_add(self.unusable);
        let subject = escape(&case.caller.subject);
        let mut text = format!("{}: {subject} sees {shown} of {all}\n", escape(&case.name));
        let width =
            self.lines.iter().map(|line| escape(&line.name).chars().count()).max().unwrap_or_default();
        for Line { name, hidden } in &self.lines {
            let says = match hidden {
                None => style.paint(Colour::Green, "listed"),
                Some(Why { reason, rule, clause }) => {
                    let rule = rule.as_ref().map(|rule| format!(" by {}", escape(rule)));
                    let clause = clause.as_ref().map(|clause| format!(", at `{}`", escape(clause)));
                    let reason = reason.map(|reason| format!(": {reason}"));
                    let hidden = style.paint(Colour::Red, "hidden");
                    [Some(hidden), rule, reason, clause].into_iter().flatten().collect()
                }
            };
            let _ = writeln!(text, "  {:<width$}  {says}", escape(name));
        }
        if self.unusable > 0 {
            let _ = writeln!(text, "  and {} hidden whose names no request can have", self.unusable);
        }
        text
    }

    pub fn to_json(&self, case: &Case) -> Value {
        let entries = self.lines.iter().map(|Line { name, hidden }| match hidden {
            None => json!({"name": name, "listed": true}),
            Some(Why { reason, rule, clause }) => {
                json!({"name": name, "listed": false, "reason": reason, "rule": rule, "clause": clause})
            }
        });
        json!({"name": case.name, "entries": entries.collect::<Vec<_>>(), "unusable": self.unusable})
    }
}

/// The data of the first event with a list, as `curl` shows an answer that is an event stream.
fn list_among_events(answer: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut judge = |data: &[u8], _: Option<Reason>| {
        if found.is_none() && matches!(filter(data, CacheScope::Stays, &mut |_| true), Ok(Some(_))) {
            found = Some(data.to_vec());
        }
        Verdict::Pass
    };
    let mut events = Events::new(answer.len());
    events.push(answer, usize::MAX, &mut judge);
    events.finish(&mut judge);
    found
}

/// Why no arguments could make a request for this entry allowed.
fn why(rules: &PolicySet, call: &Call<'_>, entry: Entry<'_>) -> Why {
    let (method, operation) = match entry {
        Entry::Tool(name) => ("tools/call", Operation::Tool(name)),
        Entry::Prompt(name) => ("prompts/get", Operation::Prompt(name)),
        Entry::Resource(uri) => ("resources/read", Operation::Resource(uri)),
        Entry::Template(uri) if !uri.contains('{') => ("resources/read", Operation::Resource(uri)),
        Entry::Template(_) => return Why::default(),
    };
    let operations = [operation];
    let call = Call { method, operations: &operations, ..*call };
    let traced = rules.trace(&call, operation);
    let Some(Err(denial)) = rules.foretell(&call) else {
        // It could be allowed but for a scope, which this caller can't ask for.
        let is_near = |says: &Says| matches!(says, Says::Unknown(_) | Says::LacksScope);
        let nearest = traced.iter().find(|one| one.allows && is_near(&one.says));
        return Why {
            reason: Some(Reason::InsufficientScope.code()),
            rule: nearest.map(|one| one.rule.to_string()),
            clause: Some("scope".to_owned()),
        };
    };
    let of_rule = traced.iter().find(|one| denial.rule.as_ref() == Some(&one.rule));
    let clause = of_rule.and_then(|one| match &one.says {
        Says::Fails(clause, ..) => Some(clause.clone()),
        Says::LacksScope => Some("scope".to_owned()),
        Says::Matches(clause) => clause.clone(),
        Says::Nothing | Says::Unknown(_) => None,
    });
    Why { reason: Some(denial.reason.code()), rule: denial.rule.map(|rule| rule.to_string()), clause }
}
