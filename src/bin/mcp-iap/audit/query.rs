//! Which records are wanted: what is asked for on the command line, all of which must hold.

use super::entry::{Seen, millis};
use clap::Args;
use mcp_iap::audit::{CallerDocument, Document, Outcome};
use mcp_iap::policy::Pattern;
use mcp_iap::reason::Reason;
use mcp_iap::time::parse_duration;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Of what is named several times, one must hold; all that is named must.
#[derive(Args, Clone, Debug, Default)]
pub struct Query {
    /// How it went: `allowed`, `refused`, `failed` (no answer, or one of 400 and above), `ok` (the others), or an HTTP
    /// status, like `403` or `5xx`.
    #[arg(long, value_parser = Status::parse)]
    status: Vec<Status>,
    /// How the gate ended it: `allowed`, `refused`, `answered` or `aborted`.
    #[arg(long, value_parser = outcome)]
    outcome: Vec<String>,
    /// Reason code.
    #[arg(long, value_parser = reason)]
    reason: Vec<String>,
    /// Subject, Kubernetes user, API key, SPIFFE ID or client; `*` stands for anything.
    #[arg(long, value_parser = pattern)]
    user: Vec<Pattern>,
    /// Tool; `*` stands for anything.
    #[arg(long, value_parser = pattern)]
    tool: Vec<Pattern>,
    /// The rule that allowed, denied or came nearest; `*` stands for anything.
    #[arg(long, value_parser = pattern)]
    rule: Vec<Pattern>,
    /// From then on: an instant (`2026-11-21T10:00:00Z`), or how long ago (`1h`, `7d`).
    #[arg(long, value_parser = instant)]
    since: Option<i64>,
    /// Before then, in the same way.
    #[arg(long, value_parser = instant)]
    until: Option<i64>,
    /// The decision with this id, which a refusal names as well.
    #[arg(long)]
    decision: Vec<String>,
}

/// What can be asked of how a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Failed,
    Outcome(Outcome),
    /// An HTTP status.
    Exact(u16),
    /// The hundreds of one.
    Class(u16),
}

impl Status {
    fn parse(text: &str) -> Result<Self, String> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        match (text, class, text.parse()) {
            ("ok", ..) => Ok(Self::Ok),
            ("failed", ..) => Ok(Self::Failed),
            ("allowed", ..) => Ok(Self::Outcome(Outcome::Allowed)),
            ("refused", ..) => Ok(Self::Outcome(Outcome::Refused)),
            (_, Some(class @ 1..=5), _) => Ok(Self::Class(class)),
            (_, _, Ok(status @ (0 | 100..=599))) => Ok(Self::Exact(status)),
            _ => Err("is none of allowed, refused, failed, ok, a status like 403, or 4xx".to_owned()),
        }
    }

    fn holds(self, seen: &Seen) -> bool {
        let status = seen.around.status;
        match self {
            // Of a line that has neither it can't be told.
            Self::Ok => (seen.record.is_some() || status.is_some()) && !has_failed(seen),
            Self::Failed => has_failed(seen),
            Self::Outcome(outcome) => {
                seen.record.as_ref().is_some_and(|record| record.outcome == outcome.name())
            }
            Self::Exact(wanted) => status == Some(wanted),
            Self::Class(class) => status.is_some_and(|status| status / 100 == class),
        }
    }
}

/// Whether the client did not get what it asked for, be it by the gate, the upstream, Envoy or its own doing.
fn has_failed(seen: &Seen) -> bool {
    let is_bad = |status: u16| status == 0 || status >= 400;
    let says_so = |record: &Document| {
        let is_served = matches!(record.outcome.as_str(), "allowed" | "answered");
        let is_error =
            record.answer.is_some_and(|answer| answer.error.is_some() || answer.is_error == Some(true));
        !is_served || is_error || record.upstream_status.is_some_and(is_bad)
    };
    seen.around.status.is_some_and(is_bad) || seen.record.as_ref().is_some_and(says_so)
}

fn outcome(text: &str) -> Result<String, String> {
    match Outcome::ALL.iter().find(|outcome| outcome.name() == text) {
        Some(outcome) => Ok(outcome.name().to_owned()),
        None => Err(format!("is none of {}", Outcome::ALL.map(Outcome::name).join(", "))),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if Reason::ALL.iter().any(|reason| reason.code() == text) {
        return Ok(text.to_owned());
    }
    Err("is no reason code: docs/reason-codes.md has them all".to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Ok(Pattern::new(text))
}

/// An instant, or how long before now, in milliseconds since the epoch.
fn instant(text: &str) -> Result<i64, String> {
    if let Some(millis) = millis(text) {
        return Ok(millis);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let ago = match days {
        Some(days) => Some(DAY.saturating_mul(days)),
        None => parse_duration(text).ok(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago =
        ago.ok_or("write an instant like `2026-11-21T10:00:00Z`, or how long ago: `30m`, `1h`, `7d`")?;
    Ok(i64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or_default())
}

/// What a query tells an index: no record but those with one of these values is wanted.
pub struct Narrowed<'q> {
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Columns, each with the values of which one must stand there.
    pub exact: Vec<(&'static str, Vec<&'q str>)>,
    /// Names of which one must be among those of the caller.
    pub users: Option<Vec<&'q str>>,
}

impl Query {
    /// Whether a line is wanted. One without a record is where its status is asked for, and nothing that stands in
    /// records.
    pub fn holds(&self, seen: &Seen) -> bool {
        let Self { status, since, until, .. } = self;
        let is_in_time = |millis: Option<i64>| match (since, until, millis) {
            (None, None, _) => true,
            (_, _, None) => false,
            (since, until, Some(millis)) => {
                since.is_none_or(|since| since <= millis) && until.is_none_or(|until| millis < until)
            }
        };
        let has_status = status.iter().any(|status| status.holds(seen));
        is_in_time(seen.around.millis)
            && match &seen.record {
                Some(record) => (status.is_empty() || has_status) && self.holds_for(record),
                None => has_status && self.asks_for_no_record(),
            }
    }

    fn asks_for_no_record(&self) -> bool {
        let Self { status: _, outcome, reason, user, tool, rule, since: _, until: _, decision } = self;
        [outcome, reason, decision].into_iter().all(Vec::is_empty)
            && [user, tool, rule].into_iter().all(Vec::is_empty)
    }

    fn holds_for(&self, record: &Document) -> bool {
        let Self { status: _, outcome, reason, user, tool, rule, since: _, until: _, decision } = self;
        let is_one = |wanted: &[String], is: &str| wanted.is_empty() || wanted.iter().any(|one| one == is);
        let fits = |wanted: &[Pattern], is: Option<&str>| {
            wanted.is_empty() || is.is_some_and(|is| wanted.iter().any(|one| one.matches(is)))
        };
        let is_by = |caller: &CallerDocument| {
            names(caller).into_iter().flatten().any(|name| user.iter().any(|one| one.matches(name)))
        };
        is_one(outcome, &record.outcome)
            && is_one(reason, &record.reason)
            && is_one(decision, &record.decision)
            && fits(tool, record.tool.as_deref())
            && fits(rule, record.rule.as_deref())
            && (user.is_empty() || record.caller.as_ref().is_some_and(is_by))
    }

    /// Whether it asks for times: then a record without one can't be told to be wanted.
    pub fn asks_for_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// What of it whole values tell.
    pub fn narrowed(&self) -> Narrowed<'_> {
        let Self { status: _, outcome, reason, user, tool, rule, since, until, decision } = self;
        let exact = [
            ("outcome", Some(texts(outcome))),
            ("reason", Some(texts(reason))),
            ("decision", Some(texts(decision))),
            ("tool", literals(tool)),
            ("rule", literals(rule)),
        ];
        let exact = exact.into_iter().filter_map(|(column, values)| Some((column, values?)));
        Narrowed {
            since: *since,
            until: *until,
            exact: exact.filter(|(_, values)| !values.is_empty()).collect(),
            users: literals(user).filter(|users| !users.is_empty()),
        }
    }
}

fn texts(wanted: &[String]) -> Vec<&str> {
    wanted.iter().map(String::as_str).collect()
}

/// All of them, where each is a whole name.
fn literals(wanted: &[Pattern]) -> Option<Vec<&str>> {
    wanted.iter().map(Pattern::literal).collect()
}

/// What a caller is known by, in the order of the index's columns.
pub fn names(caller: &CallerDocument) -> [Option<&str>; 5] {
    let CallerDocument { subject, kubernetes_user, api_key, spiffe_id, client_id, .. } = caller;
    [subject, kubernetes_user, api_key, spiffe_id, client_id].map(Option::as_deref)
}
