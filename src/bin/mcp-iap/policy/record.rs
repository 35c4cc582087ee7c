//! A line of the access log as a case: what a record does not have is not known, and what may have been cut or masked
//! in it is taken for that.

use super::case::{Case, What, Who};
use crate::audit::entry::{Entry, Line, read as read_line};
use mcp_iap::audit::{
    AttributesDocument, CallerDocument, Document, MASK, MAX_GROUPS, MAX_NAME, written_length,
};
use mcp_iap::reason::Reason;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest that a character is written in a record, in bytes: a text that is shorter than the bound by that was
/// not cut.
const LONGEST_CHARACTER: usize = 6;

/// What rules read, by the kinds of it.
const KINDS: [&str; 3] = ["claims", "headers", "arguments"];

/// What was decided then.
pub struct Then {
    pub outcome: String,
    pub reason: String,
    pub rule: Option<String>,
}

/// Reads a line of the access log, or a record by itself; `None` for what is neither.
pub fn read(text: &str) -> Option<Result<(Case, Then), String>> {
    match read_line(text.as_bytes()) {
        Line::Entry(entry) => {
            let cut = cut(&entry);
            let read = case(*entry).map_err(|before| before.to_string());
            Some(read.and_then(|(case, then)| match cut.as_slice() {
                [] => Ok((case, then)),
                cut => Err(format!("{}: may be cut in the record: {}", case.name, cut.join(", "))),
            }))
        }
        Line::WithoutRecord(_) => Some(Err("the line has no record".to_owned())),
        Line::OtherSchema(schema) => Some(Err(format!("has schema {schema}, which is not known here"))),
        Line::Unknown(_) => None,
    }
}

/// No rule was asked about a request.
#[derive(Debug)]
pub struct Before {
    decision: String,
    pub outcome: String,
    pub reason: String,
}

impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { decision, outcome, reason } = self;
        write!(f, "{decision}: was {outcome} ({reason}) before rules were asked")
    }
}

/// A record as a case.
pub fn case(entry: Entry) -> Result<(Case, Then), Before> {
    let Entry { around, record } = entry;
    let Document {
        schema: _,
        decision,
        outcome,
        reason,
        rule,
        argument: _,
        scope: _,
        protected_resource,
        caller,
        era: _,
        http_method: _,
        method,
        tool,
        prompt,
        resource,
        task,
        arguments,
        shadow: _,
        exchange: _,
        listed: _,
        upstream_status: _,
        traceparent: _,
        waited_ms: _,
        answer: _,
        masked,
        arguments_digest: _,
        session: _,
        attributes,
        failing: _,
    } = record;
    let is_before = rule.is_none() && precedes_rules(&reason);
    let Some(caller) = caller.filter(|_| !is_before) else {
        return Err(Before { decision, outcome, reason });
    };
    let CallerDocument {
        kind: _,
        issuer,
        subject,
        kubernetes_user,
        api_key,
        spiffe_id,
        client_id,
        groups,
        scope,
        actors: _,
        actors_incomplete: _,
    } = caller;
    let AttributesDocument { values, absent, not_whole } = attributes.unwrap_or_default();
    let mut read: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (name, value) in values {
        if let Some((kind, rest)) = name.split_once('.')
            && !masked.contains(&name)
            && !not_whole.contains(&name)
        {
            let kind = KINDS.iter().find(|known| **known == kind).copied().unwrap_or_default();
            read.entry(kind).or_default().insert(rest.to_owned(), value);
        }
    }
    let [claims, headers, more] = KINDS.map(|kind| read.remove(kind).unwrap_or_default());
    // One that is masked is none that is known.
    let is_masked = |name: &str| masked.iter().any(|field| field.strip_prefix("arguments.") == Some(name));
    let is_known = |(name, value): &(String, Value)| is_certain(value) && !is_masked(name);
    let time = around.time.map(|time| match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time,
    });
    let case = Case {
        entry: decision.clone(),
        name: decision,
        resource: protected_resource,
        has_all_groups: groups.len() < MAX_GROUPS && !groups.iter().any(|group| may_be_cut(group)),
        caller: Who {
            issuer,
            subject: subject.unwrap_or_default(),
            client_id,
            groups,
            kubernetes_user,
            api_key,
            spiffe_id,
            scope: scope.unwrap_or_default(),
            claims,
        },
        call: What {
            method,
            tool,
            prompt,
            resource,
            task,
            arguments: Some(arguments.into_iter().filter(is_known).chain(more).collect()),
        },
        time,
        source: around.source.and_then(|source| source.parse().ok()),
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect(),
        absent,
        expect: None,
        is_recorded: true,
        is_spent: reason == Reason::RateLimited.code(),
    };
    Ok((case, Then { outcome, reason, rule }))
}

/// The names in a record that may be longer than what stands there: another rule may be about them.
pub fn cut(entry: &Entry) -> Vec<String> {
    let record = &entry.record;
    let mut names = vec![
        ("method", record.method.as_deref()),
        ("tool", record.tool.as_deref()),
        ("prompt", record.prompt.as_deref()),
        ("resource", record.resource.as_deref()),
        ("task", record.task.as_deref()),
    ];
    if let Some(caller) = &record.caller {
        names.extend([
            ("caller.issuer", caller.issuer.as_deref()),
            ("caller.subject", caller.subject.as_deref()),
            ("caller.client_id", caller.client_id.as_deref()),
            ("caller.kubernetes_user", caller.kubernetes_user.as_deref()),
            ("caller.api_key", caller.api_key.as_deref()),
            ("caller.spiffe_id", caller.spiffe_id.as_deref()),
            ("caller.scope", caller.scope.as_deref()),
        ]);
    }
    let is_masked = |field: &str| record.masked.iter().any(|masked| masked == field);
    let is_cut = |field: &str, name: &Option<&str>| is_masked(field) || name.is_some_and(may_be_cut);
    names.into_iter().filter(|(field, name)| is_cut(field, name)).map(|(field, _)| field.to_owned()).collect()
}

/// Whether a name may be longer than what is recorded of it.
fn may_be_cut(name: &str) -> bool {
    // A name is cut at a character's end, and of no character more than three bytes are lost.
    name.len().saturating_add(3) >= MAX_NAME
}

/// Whether an argument was just what is recorded of it: not cut, not masked, and no number that stands there as a text.
fn is_certain(value: &Value) -> bool {
    let Value::String(text) = value else { return true };
    let written: usize = text.chars().map(written_length).sum();
    // By how it is written: one beyond all that a parser of numbers takes was sent as a number all the same.
    let is_written_so =
        text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.parse::<f64>().is_ok();
    let may_be_number = text.parse::<i64>().is_err() && is_written_so;
    written.saturating_add(LONGEST_CHARACTER) <= MAX_NAME && text != MASK && !may_be_number
}

/// Whether a request with a known caller is refused so without asking a rule: its message can't be read, or a target
/// of it is none.
fn precedes_rules(code: &str) -> bool {
    const BEFORE: &[Reason] = &[
        Reason::BodyTooLarge,
        Reason::ContentEncoding,
        Reason::ContentType,
        Reason::InvalidJson,
        Reason::TooDeep,
        Reason::TooManyMembers,
        Reason::DuplicateKey,
        Reason::KeyVariant,
        Reason::Batch,
        Reason::InvalidMessage,
        Reason::AmbiguousUri,
        Reason::Trailers,
        Reason::UnexpectedBody,
        Reason::HeaderMismatch,
        Reason::MissingMeta,
        Reason::UnsupportedProtocolVersion,
        Reason::UnknownTarget,
    ];
    BEFORE.iter().any(|reason| reason.code() == code)
}
