//! A line of the access log as a case: what a record does not have is not known.

use super::case::{Case, What, Who};
use mcp_iap::audit::{MAX_GROUPS, MAX_NAME};
use mcp_iap::reason::Reason;
use serde::Deserialize;
use serde_json::Value;

/// A record, as far as rules ask for what stands in it (docs/audit.md).
#[derive(Deserialize)]
struct Record {
    schema: u32,
    decision: String,
    outcome: String,
    reason: String,
    rule: Option<String>,
    protected_resource: Option<String>,
    caller: Option<RecordedCaller>,
    method: Option<String>,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    task: Option<String>,
}

#[derive(Deserialize)]
struct RecordedCaller {
    issuer: Option<String>,
    #[serde(default)]
    subject: String,
    kubernetes_user: Option<String>,
    api_key: Option<String>,
    spiffe_id: Option<String>,
    client_id: Option<String>,
    groups: Vec<String>,
    #[serde(default)]
    scope: String,
}

/// What was decided then.
pub struct Then {
    pub outcome: String,
    pub reason: String,
    pub rule: Option<String>,
}

/// Reads a line of the access log, or a record by itself; `None` for what is neither.
pub fn read(text: &str) -> Option<Result<(Case, Then), String>> {
    let line: Value = serde_json::from_str(text).ok()?;
    let record = match &line["mcp_iap"] {
        Value::Array(records) => records.first().cloned(),
        Value::Object(_) => Some(line["mcp_iap"].clone()),
        _ if line.get("schema").is_some() => Some(line.clone()),
        _ => return None,
    };
    let Some(record) = record else { return Some(Err("the line has no record".to_owned())) };
    Some(of(&line, record))
}

fn of(line: &Value, record: Value) -> Result<(Case, Then), String> {
    let Record {
        schema,
        decision,
        outcome,
        reason,
        rule,
        protected_resource,
        caller,
        method,
        tool,
        prompt,
        resource,
        task,
    } = serde_json::from_value(record).map_err(|error| format!("is no record: {error}"))?;
    if schema != 1 {
        return Err(format!("has schema {schema}, which is not known here"));
    }
    let before = || Err(format!("{decision}: was {outcome} ({reason}) before rules were asked"));
    if rule.is_none() && precedes_rules(&reason) {
        return before();
    }
    let Some(RecordedCaller {
        issuer,
        subject,
        kubernetes_user,
        api_key,
        spiffe_id,
        client_id,
        groups,
        scope,
    }) = caller
    else {
        return before();
    };
    // A name that is cut is another one, or the beginning of several.
    let is_cut = |text: &str| text.len() > MAX_NAME.saturating_sub(char::MAX.len_utf8());
    let names = [&issuer, &Some(subject.clone()), &kubernetes_user, &api_key, &spiffe_id, &client_id];
    let names = names.into_iter().flatten().chain([&scope]);
    if names.map(String::as_str).any(is_cut) {
        return Err(format!(
            "{decision}: the caller's names or scopes may be cut in the record: who called is not known"
        ));
    }
    let has_more_groups = groups.len() >= MAX_GROUPS || groups.iter().any(|group| is_cut(group));
    let time = line["time"].as_str().map(|time| match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    });
    let case = Case {
        name: decision,
        resource: protected_resource,
        caller: Who {
            issuer,
            subject,
            client_id,
            groups,
            kubernetes_user,
            api_key,
            spiffe_id,
            scope,
            claims: Default::default(),
        },
        call: What { method, tool, prompt, resource, task, arguments: None },
        time,
        source: line["source"].as_str().and_then(|source| source.parse().ok()),
        headers: Default::default(),
        expect: None,
        is_recorded: true,
        has_more_groups,
        is_spent: reason == Reason::RateLimited.code(),
    };
    Ok((case, Then { outcome, reason, rule }))
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
