//! The audit record: what one request was, who made it, how it was decided and why.
//!
//! One record a request, on every path; Envoy's access log writes it (`docs/audit.md`). It never holds
//! a token, or text that a caller chose beyond names and the arguments that are listed, all cut to a bound.

mod arguments;

use crate::identity::{Caller, CallerKind};
use crate::mcp::{Arguments, Era, Operation};
use crate::policy::Denial;
use crate::reason::Reason;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

/// The record's version; a field is only ever added within one.
pub const SCHEMA: u32 = 1;

/// How much of a name that a caller chose is kept, in bytes.
const MAX_NAME: usize = 256;
/// How many of the caller's groups are kept.
const MAX_GROUPS: usize = 32;
/// What most records take, in bytes.
const USUAL_SIZE: usize = 1024;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Went to the upstream.
    Allowed,
    /// Was answered here with an error.
    Refused,
    /// Was answered here with a document.
    Answered,
    /// Ended without a decision: the client left, or Envoy ended it.
    Aborted,
}

impl Outcome {
    /// As it stands in the record and in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Aborted => "aborted",
        }
    }
}

/// One record, as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    schema: u32,
    /// Names this decision; refusals carry it as well.
    pub decision: String,
    /// How it ended.
    #[serde(serialize_with = "outcome")]
    pub outcome: Outcome,
    /// Why.
    #[serde(serialize_with = "code")]
    pub reason: Reason,
    /// The rule that allowed or denied it, or came nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The argument that failed; never its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<String>,
    /// The scope that the request needs, where the token lacks a name of it and the request nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The identifier of the resource that the request is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    protected_resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "caller")]
    caller: Option<Rc<Caller>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<&'static str>,
    /// The HTTP method; also of what is no call.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// Values of arguments, of those that are listed.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "arguments::serialize")]
    arguments: arguments::Clear,
    /// What shadow rules would have decided, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Box<ShadowRecord>>,
    /// The token that the upstream gets, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<ExchangeRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<ListedRecord>,
    /// The status with which the upstream refused, or answered too early; absent where it did neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
}

/// A caller as a record names it.
struct CallerRecord<'a>(&'a Caller);

impl Serialize for CallerRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Caller { issuer, subject, client_id, groups, scope, .. } = self.0;
        let mut members = serializer.serialize_map(None)?;
        // Absent for a token's caller.
        let kind = self.0.kind();
        if kind != CallerKind::Token {
            members.serialize_entry("kind", kind.name())?;
        }
        let known = |text: &'_ str| !text.is_empty();
        let texts = [
            ("issuer", Some(&**issuer).filter(|text| known(text))),
            ("subject", Some(subject.as_str()).filter(|text| known(text))),
            ("client_id", client_id.as_deref()),
            ("kubernetes_user", self.0.kubernetes_user()),
            ("api_key", self.0.api_key()),
            ("spiffe_id", self.0.spiffe_id()),
        ];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            members.serialize_entry(name, cut(text))?;
        }
        members.serialize_entry("groups", &Groups(groups))?;
        if !scope.is_empty() {
            members.serialize_entry("scope", cut(scope.as_str()))?;
        }
        members.end()
    }
}

#[derive(Clone, Debug, Serialize)]
struct ExchangeRecord {
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    /// Whether it was remembered, a token or a refusal.
    cached: bool,
    /// How long it was waited for, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<u64>,
    /// How it failed: one of a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// Whose it is, by the target's API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_user: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ShadowRecord {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// Entries of the lists in an answer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ListedRecord {
    shown: usize,
    hidden: usize,
}

struct Groups<'a>(&'a [String]);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().take(MAX_GROUPS).map(|group| cut(group)))
    }
}

fn caller<S: Serializer>(caller: &Option<Rc<Caller>>, serializer: S) -> Result<S::Ok, S::Error> {
    caller.as_deref().map(CallerRecord).serialize(serializer)
}

fn outcome<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.name())
}

fn code<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.code())
}

impl Record {
    /// The record of a request of which nothing is known yet.
    #[must_use]
    pub fn new(decision: String) -> Self {
        Self {
            schema: SCHEMA,
            decision,
            outcome: Outcome::Aborted,
            reason: Reason::ClientGone,
            rule: None,
            argument: None,
            scope: None,
            protected_resource: None,
            caller: None,
            era: None,
            http_method: None,
            method: None,
            tool: None,
            prompt: None,
            resource: None,
            task: None,
            arguments: Vec::new(),
            shadow: None,
            exchange: None,
            listed: None,
            upstream_status: None,
        }
    }

    /// Notes the HTTP method.
    pub fn note_http_method(&mut self, method: &str) {
        self.http_method = Some(cut(method).to_owned());
    }

    /// Notes which resource the request is for.
    pub fn note_protected_resource(&mut self, identifier: &str) {
        self.protected_resource = Some(cut(identifier).to_owned());
    }

    /// Notes who calls.
    pub fn note_caller(&mut self, caller: Rc<Caller>) {
        self.caller = Some(caller);
    }

    /// Who calls, where that is known.
    #[must_use]
    pub fn caller(&self) -> Option<&Rc<Caller>> {
        self.caller.as_ref()
    }

    /// Notes the entries of one more list: how many the caller sees, and how many he does not.
    pub fn note_listed(&mut self, shown: usize, hidden: usize) {
        let so_far = self.listed.unwrap_or_default();
        self.listed = Some(ListedRecord {
            shown: so_far.shown.saturating_add(shown),
            hidden: so_far.hidden.saturating_add(hidden),
        });
    }

    /// Notes the JSON-RPC method.
    pub fn note_method(&mut self, method: &str) {
        if !method.is_empty() {
            self.method = Some(cut(method).to_owned());
        }
    }

    /// Notes what the request is about; of several operations, the one that decided.
    pub fn note_operation(&mut self, operation: Operation<'_>) {
        let name = |name: &str| if name.is_empty() { None } else { Some(cut(name).to_owned()) };
        (self.tool, self.prompt, self.resource, self.task) = (None, None, None, None);
        match operation {
            Operation::Open | Operation::Unknown => {}
            Operation::Tool(tool) => self.tool = name(tool),
            Operation::Prompt(prompt) => self.prompt = name(prompt),
            Operation::Resource(uri) => self.resource = name(uri),
            Operation::Task(id) => self.task = name(id),
        }
    }

    /// Notes the values of the arguments with these names. `is_credential`: whether a text has what proves this caller.
    pub fn note_arguments(
        &mut self,
        listed: &[Rc<str>],
        arguments: &Arguments<'_>,
        is_credential: &dyn Fn(&str) -> bool,
    ) {
        self.arguments = arguments::clear(listed, arguments, is_credential);
    }

    /// Notes what shadow rules would have decided; `None` where that can't be told.
    pub fn note_shadow(&mut self, outcome: Option<Outcome>, reason: Option<Reason>, rule: Option<&str>) {
        self.shadow = Some(Box::new(ShadowRecord {
            outcome: outcome.map_or("error", Outcome::name),
            reason: reason.map(Reason::code),
            rule: rule.map(str::to_owned),
        }));
    }

    /// Notes which family of revisions the request follows.
    pub fn note_era(&mut self, era: Era) {
        self.era = Some(era.name());
    }

    /// Notes for which target a token was asked for, whether it was remembered, how long that took, and how it failed.
    pub fn note_exchange(
        &mut self,
        target: &str,
        is_cached: bool,
        took: Duration,
        error: Option<&'static str>,
    ) {
        let waited_ms = (!is_cached).then(|| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let target = cut(target).to_owned();
        self.exchange =
            Some(ExchangeRecord { target, cached: is_cached, waited_ms, error, kubernetes_user: None });
    }

    /// Notes whose the token for the target is, by its API server.
    pub fn note_exchange_user(&mut self, user: Option<&str>) {
        if let Some(exchange) = &mut self.exchange {
            exchange.kubernetes_user = user.map(|user| cut(user).to_owned());
        }
    }

    /// Notes that the request is allowed.
    pub fn note_allowed(&mut self, reason: Reason, rule: Option<&str>) {
        self.outcome = Outcome::Allowed;
        self.reason = reason;
        self.rule = rule.map(str::to_owned);
    }

    /// Notes that the request is refused.
    pub fn note_denial(&mut self, denial: &Denial) {
        self.outcome = Outcome::Refused;
        self.reason = denial.reason;
        self.rule = denial.rule.as_deref().map(str::to_owned);
        self.argument = denial.argument.as_deref().map(|name| cut(name).to_owned());
        self.scope = (!denial.scope.is_empty()).then(|| denial.scope.to_string());
    }

    /// The record as one JSON object on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = Vec::with_capacity(USUAL_SIZE);
        let is_written = serde_json::to_writer(&mut line, self).is_ok();
        String::from_utf8(line).ok().filter(|_| is_written).unwrap_or_default()
    }

    /// The record as it is written when the request leaves the gate.
    #[must_use]
    pub fn write(&self) -> Written {
        Written { json: self.to_json(), outcome: self.outcome, reason: self.reason }
    }
}

/// A record that is written, to which nothing comes but what the upstream answers.
#[derive(Debug)]
pub struct Written {
    json: String,
    /// How the request ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
}

impl Written {
    /// One JSON object on one line.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Adds the upstream's status, as the last member.
    pub fn add_upstream_status(&mut self, status: u16) {
        if self.json.pop() == Some('}') {
            let _ = write!(self.json, ",\"upstream_status\":{status}}}");
        }
    }
}

/// Cuts a name at a character's end.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json() {
        let mut record = Record::new("d".into());
        record.note_operation(Operation::Tool("a\n\"b"));
        let text = record.to_json();
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["tool"], "a\n\"b");
        assert_eq!((&json["outcome"], &json["reason"]), (&"aborted".into(), &"client_gone".into()));
    }

    #[test]
    fn what_the_upstream_answers_is_added_as_it_would_have_been_written() {
        let mut record = Record::new("d".into());
        let mut written = record.write();
        written.add_upstream_status(502);
        record.upstream_status = Some(502);
        assert_eq!(written.json(), record.to_json());
    }

    #[test]
    fn names_are_cut_at_a_characters_end() {
        assert_eq!(cut(&"é".repeat(200)).len(), 256);
        assert_eq!(cut(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
