//! One record while its request is decided: what is noted of it, and how it is written.

use super::attributes::{Attributes, Shown};
use super::line::Line;
use super::parts::{Digested, ExchangeRecord, ListedRecord, SessionRecord, ShadowRecord};
use super::{Outcome, SCHEMA, Secrets, Written, arguments, caller, cut};
use crate::identity::Caller;
use crate::mcp::{Arguments, Era, Operation, traceparent};
use crate::policy::{Attribute, Call, Denial};
use crate::reason::Reason;
use crate::secret::Secret;
use std::rc::Rc;
use std::time::Duration;

/// The fields of which a record has one.
const OPERANDS: [&str; 4] = ["tool", "prompt", "resource", "task"];

/// One record, as it is written.
#[derive(Clone, Debug)]
pub struct Record {
    /// Names this decision; refusals carry it as well.
    pub decision: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The rule that allowed or denied it, or came nearest.
    rule: Option<String>,
    /// The argument that failed; never its value.
    argument: Option<String>,
    /// The scope that the request needs, where the token lacks a name of it and the request nothing else.
    scope: Option<String>,
    /// The identifier of the resource that the request is for.
    protected_resource: Option<String>,
    caller: Option<Rc<Caller>>,
    era: Option<&'static str>,
    /// The HTTP method; also of what is no call.
    http_method: Option<String>,
    method: Option<String>,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    task: Option<String>,
    /// The trace that it belongs to.
    traceparent: Option<String>,
    /// Values of arguments, of those that are listed.
    arguments: arguments::Clear,
    /// The fields in which something is masked, beside arguments.
    masked: Vec<&'static str>,
    /// Of all arguments, as they were written.
    digest: Option<Box<Digested>>,
    /// Of what the threshold of failed authentications is reached.
    failing: Vec<&'static str>,
    /// The session that it is of.
    session: Option<Box<SessionRecord>>,
    /// What rules read of it.
    attributes: Option<Box<Attributes>>,
    /// What shadow rules would have decided, where it differs.
    shadow: Option<Box<ShadowRecord>>,
    /// The token that the upstream gets, or why there is none.
    exchange: Option<ExchangeRecord>,
    listed: Option<ListedRecord>,
    /// How long services were waited for, in milliseconds.
    waits: Vec<(&'static str, u64)>,
    /// The status with which the upstream refused, or answered too early; absent where it did neither.
    pub upstream_status: Option<u16>,
}

impl Record {
    /// The record of a request of which nothing is known yet.
    #[must_use]
    pub fn new(decision: String) -> Self {
        Self {
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
            traceparent: None,
            arguments: Vec::new(),
            masked: Vec::new(),
            digest: None,
            failing: Vec::new(),
            session: None,
            attributes: None,
            shadow: None,
            exchange: None,
            listed: None,
            waits: Vec::new(),
            upstream_status: None,
        }
    }

    /// Notes the HTTP method.
    pub fn note_http_method(&mut self, method: &str, secrets: &Secrets<'_>) {
        self.http_method = self.shown("http_method", method, secrets);
    }

    /// A text that a caller chose, as it may stand in this field; `None` where it is empty.
    fn shown(&mut self, field: &'static str, text: &str, secrets: &Secrets<'_>) -> Option<String> {
        let hidden = secrets.hide(text);
        if hidden.is_some() {
            self.masked.push(field);
        }
        let text = hidden.as_deref().unwrap_or(text);
        (!text.is_empty()).then(|| cut(text).to_owned())
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
        let so_far = self.listed.get_or_insert_default();
        so_far.shown = so_far.shown.saturating_add(shown);
        so_far.hidden = so_far.hidden.saturating_add(hidden);
    }

    /// Notes one more message of a stream in whose place an error went on, and the rest as it was.
    pub fn note_replaced(&mut self) {
        let so_far = self.listed.get_or_insert_default();
        so_far.replaced = so_far.replaced.saturating_add(1);
    }

    /// Notes the JSON-RPC method.
    pub fn note_method(&mut self, method: &str, secrets: &Secrets<'_>) {
        self.method = self.shown("method", method, secrets);
    }

    /// Notes what the request is about; of several operations, the one that decided.
    pub fn note_operation(&mut self, operation: Operation<'_>, secrets: &Secrets<'_>) {
        (self.tool, self.prompt, self.resource, self.task) = (None, None, None, None);
        self.masked.retain(|field| !OPERANDS.contains(field));
        match operation {
            Operation::Open | Operation::Unknown => {}
            Operation::Tool(name) => self.tool = self.shown("tool", name, secrets),
            Operation::Prompt(name) => self.prompt = self.shown("prompt", name, secrets),
            Operation::Resource(uri) => self.resource = self.shown("resource", uri, secrets),
            Operation::Task(id) => self.task = self.shown("task", id, secrets),
        }
    }

    /// Notes the trace that it belongs to (W3C Trace Context); the first that is one counts.
    pub fn note_trace(&mut self, text: Option<&str>) {
        if self.traceparent.is_none() {
            self.traceparent = text.and_then(traceparent).map(str::to_owned);
        }
    }

    /// Notes that a service of this kind was waited for.
    pub fn note_wait(&mut self, what: &'static str, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match self.waits.iter_mut().find(|(known, _)| *known == what) {
            _ if took == 0 => {}
            Some((_, so_far)) => *so_far = so_far.saturating_add(took),
            None => self.waits.push((what, took)),
        }
    }

    /// Notes the values of the arguments with these names.
    pub fn note_arguments(&mut self, listed: &[Rc<str>], arguments: &Arguments<'_>, secrets: &Secrets<'_>) {
        self.arguments = arguments::clear(listed, arguments, secrets);
    }

    /// Which fields are masked: who reads the record can't tell them from others.
    fn write_masked(&self, line: &mut Line) {
        let arguments = arguments::masked_names(&self.arguments).map(|name| format!("arguments.{name}"));
        let attributes = self.attributes.iter().flat_map(|attributes| attributes.masked()).cloned();
        let plain = self.masked.iter().map(|field| (*field).to_owned());
        let fields: Vec<_> = plain.chain(arguments).chain(attributes).collect();
        if !fields.is_empty() {
            line.texts("masked", fields.iter().map(String::as_str));
        }
    }

    /// Notes a digest of the arguments as they are written.
    pub fn note_digest(&mut self, key: &Secret, written: &[u8]) {
        self.digest = Some(Box::new(Digested::of(key, written)));
    }

    /// Notes the session by a digest of its id, with this key where there is one.
    pub fn note_session(&mut self, key: Option<&Secret>, id: &[u8]) {
        self.session = Some(Box::new(SessionRecord::of(key, id)));
    }

    /// Notes what of a call is read by rules, as far as that may be shown.
    pub fn note_attributes(
        &mut self,
        reads: &mut dyn Iterator<Item = Attribute<'_>>,
        call: &Call<'_>,
        shown: &Shown<'_>,
        secrets: &Secrets<'_>,
    ) {
        self.attributes =
            Attributes::of(reads, call, shown, secrets).filter(|read| !read.is_empty()).map(Box::new);
    }

    /// Notes of what the threshold of failed authentications is reached.
    pub fn note_failing(&mut self, who: &'static str) {
        self.failing.push(who);
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
        let mut line = Line::new();
        line.plain("schema", SCHEMA);
        line.text("decision", &self.decision);
        line.text("outcome", self.outcome.name());
        line.text("reason", self.reason.code());
        line.known_text("rule", self.rule.as_deref());
        line.known_text("argument", self.argument.as_deref());
        line.known_text("scope", self.scope.as_deref());
        line.known_text("protected_resource", self.protected_resource.as_deref());
        if let Some(caller) = &self.caller {
            line.object("caller", |line| caller::write(caller, line));
        }
        let names = [
            ("era", self.era),
            ("http_method", self.http_method.as_deref()),
            ("method", self.method.as_deref()),
            ("tool", self.tool.as_deref()),
            ("prompt", self.prompt.as_deref()),
            ("resource", self.resource.as_deref()),
            ("task", self.task.as_deref()),
            ("traceparent", self.traceparent.as_deref()),
        ];
        for (name, text) in names {
            line.known_text(name, text);
        }
        if !self.arguments.is_empty() {
            line.object("arguments", |line| arguments::write(&self.arguments, line));
        }
        if let Some(attributes) = &self.attributes {
            line.object("attributes", |line| attributes.write(line));
        }
        self.write_masked(&mut line);
        if let Some(digest) = &self.digest {
            line.object("arguments_digest", |line| digest.write(line));
        }
        if let Some(session) = &self.session {
            line.object("session", |line| session.write(line));
        }
        if !self.failing.is_empty() {
            line.texts("failing", self.failing.iter().copied());
        }
        if let Some(shadow) = &self.shadow {
            line.object("shadow", |line| shadow.write(line));
        }
        if let Some(exchange) = &self.exchange {
            line.object("exchange", |line| exchange.write(line));
        }
        if let Some(listed) = self.listed {
            line.object("listed", |line| listed.write(line));
        }
        if !self.waits.is_empty() {
            line.object("waited_ms", |line| {
                for (what, took) in &self.waits {
                    line.plain(what, took);
                }
            });
        }
        line.known_number("upstream_status", self.upstream_status.map(u64::from));
        line.end()
    }

    /// The record as it is written when the request leaves the gate.
    #[must_use]
    pub fn write(&self) -> Written {
        Written {
            json: self.to_json(),
            decision: self.decision.clone(),
            outcome: self.outcome,
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Masks;
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json() {
        let mut record = Record::new("d".into());
        record.note_operation(Operation::Tool("a\n\"b"), &Masks::none().and(None));
        let text = record.to_json();
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["tool"], "a\n\"b");
        assert_eq!((&json["outcome"], &json["reason"]), (&"aborted".into(), &"client_gone".into()));
    }

    /// Of several operations the one that decided is noted last: what is masked is of that.
    #[test]
    fn what_is_masked_is_named() {
        let (masks, token) = (Masks::none(), "eyJh.eyJz.c2ln");
        let secrets = masks.and(None);
        let mut record = Record::new("d".into());
        record.note_http_method(&format!("x{token}"), &secrets);
        record.note_method("tools/call", &secrets);
        record.note_operation(Operation::Tool(token), &secrets);
        record.note_operation(Operation::Resource(&format!("x:/{token}/")), &secrets);
        let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!(json["masked"], serde_json::json!(["http_method", "resource"]));
        assert_eq!(
            (&json["http_method"], &json["resource"]),
            (&"x***REDACTED***".into(), &"x:/***REDACTED***/".into())
        );
        record.note_operation(Operation::Open, &secrets);
        assert!(!record.to_json().contains("resource"), "{record:?}");
    }
}
