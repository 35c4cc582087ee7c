//! The audit record: what one request was, who made it, how it was decided and why.
//!
//! One record a request, on every path; Envoy's access log writes it (`docs/audit.md`). It never holds
//! a token, or text that a caller chose beyond names and the arguments that are listed, all cut to a bound.

mod arguments;
#[cfg(not(target_arch = "wasm32"))]
mod document;
mod line;
mod mask;

#[cfg(not(target_arch = "wasm32"))]
pub use document::{
    AnswerDocument, CallerDocument, DigestDocument, Document, ExchangeDocument, ListedDocument,
    ShadowDocument, WaitedDocument,
};

use crate::identity::{Caller, CallerKind};
use crate::mcp::{Arguments, Era, Operation, Told, traceparent};
use crate::policy::Denial;
use crate::reason::Reason;
use crate::secret::Secret;
use hmac_sha256::HMAC;
use line::Line;
pub use line::written_length;
pub use mask::{Form, MASK, Masks, Secrets};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

/// The record's version; a field is only ever added within one.
pub const SCHEMA: u32 = 1;

/// How much of a name that a caller chose is kept, in bytes.
pub const MAX_NAME: usize = 256;
/// How many of the caller's groups are kept.
pub const MAX_GROUPS: usize = 32;
/// The fields of which a record has one.
const OPERANDS: [&str; 4] = ["tool", "prompt", "resource", "task"];
/// How much of arguments is digested, in bytes.
const DIGESTED: usize = 16 * 1024;

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
    /// Every outcome there is.
    pub const ALL: [Self; 4] = [Self::Allowed, Self::Refused, Self::Answered, Self::Aborted];

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

#[derive(Clone, Debug)]
struct ExchangeRecord {
    target: String,
    /// Whether it was remembered, a token or a refusal.
    cached: bool,
    /// How long it was waited for, in milliseconds.
    waited_ms: Option<u64>,
    /// How it failed: one of a closed list.
    error: Option<&'static str>,
    /// Whose it is, by the target's API server.
    kubernetes_user: Option<String>,
}

impl ExchangeRecord {
    fn write(&self, line: &mut Line) {
        line.known_text("target", Some(self.target.as_str()).filter(|target| !target.is_empty()));
        line.plain("cached", self.cached);
        line.known_number("waited_ms", self.waited_ms);
        line.known_text("error", self.error);
        line.known_text("kubernetes_user", self.kubernetes_user.as_deref());
    }
}

#[derive(Clone, Debug)]
struct ShadowRecord {
    outcome: &'static str,
    reason: Option<&'static str>,
    rule: Option<String>,
}

/// A digest of arguments, and how long all of them are.
#[derive(Clone, Debug)]
struct Digested {
    hmac: [u8; 32],
    bytes: usize,
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Entries of the lists in an answer.
#[derive(Clone, Copy, Debug, Default)]
struct ListedRecord {
    shown: usize,
    hidden: usize,
    /// Messages of a stream in whose place an error went on.
    replaced: usize,
}

/// A caller as a record names it.
fn write_caller(caller: &Caller, line: &mut Line) {
    let Caller { issuer, subject, client_id, groups, scope, .. } = caller;
    let known = |text| Some(text).filter(|text: &&str| !text.is_empty());
    // Absent for a token's caller.
    let kind = caller.kind();
    line.known_text("kind", (kind != CallerKind::Token).then(|| kind.name()));
    let texts = [
        ("issuer", known(issuer)),
        ("subject", known(subject)),
        ("client_id", client_id.as_deref()),
        ("kubernetes_user", caller.kubernetes_user()),
        ("api_key", caller.api_key()),
        ("spiffe_id", caller.spiffe_id()),
    ];
    for (name, text) in texts {
        line.known_text(name, text.map(cut));
    }
    line.texts("groups", groups.iter().take(MAX_GROUPS).map(|group| cut(group)));
    line.known_text("scope", known(scope.as_str()).map(cut));
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
        let fields: Vec<_> = self.masked.iter().map(|field| (*field).to_owned()).chain(arguments).collect();
        if !fields.is_empty() {
            line.texts("masked", fields.iter().map(String::as_str));
        }
    }

    /// Notes a digest of the arguments as they are written.
    pub fn note_digest(&mut self, key: &Secret, written: &[u8]) {
        let hmac = HMAC::mac(written.get(..DIGESTED).unwrap_or(written), key.expose());
        self.digest = Some(Box::new(Digested { hmac, bytes: written.len() }));
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
            line.object("caller", |line| write_caller(caller, line));
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
        self.write_masked(&mut line);
        if let Some(Digested { hmac, bytes }) = self.digest.as_deref() {
            line.object("arguments_digest", |line| {
                line.text("hmac_sha256", &hex(hmac));
                line.plain("bytes", bytes);
            });
        }
        if !self.failing.is_empty() {
            line.texts("failing", self.failing.iter().copied());
        }
        if let Some(shadow) = &self.shadow {
            line.object("shadow", |line| {
                line.text("outcome", shadow.outcome);
                line.known_text("reason", shadow.reason);
                line.known_text("rule", shadow.rule.as_deref());
            });
        }
        if let Some(exchange) = &self.exchange {
            line.object("exchange", |line| exchange.write(line));
        }
        if let Some(ListedRecord { shown, hidden, replaced }) = self.listed {
            line.object("listed", |line| {
                line.plain("shown", shown);
                line.plain("hidden", hidden);
                if replaced > 0 {
                    line.plain("replaced", replaced);
                }
            });
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

/// A record that is written, to which nothing comes but what the upstream answers.
#[derive(Debug)]
pub struct Written {
    json: String,
    /// Names this decision.
    pub decision: String,
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
        self.add(format_args!("\"upstream_status\":{status}"));
    }

    /// Adds how the upstream answered, as the last member; whether there is something to be told.
    pub fn add_answer(&mut self, told: Told) -> bool {
        match told {
            Told::Good => return false,
            Told::Error(code) => self.add(format_args!("\"answer\":{{\"error\":{code}}}")),
            Told::ToolError => self.add(format_args!("\"answer\":{{\"is_error\":true}}")),
            Told::Unread => self.add(format_args!("\"answer\":{{\"unread\":true}}")),
        }
        true
    }

    fn add(&mut self, member: std::fmt::Arguments<'_>) {
        if self.json.pop() == Some('}') {
            let _ = write!(self.json, ",{member}}}");
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
