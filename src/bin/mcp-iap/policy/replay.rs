//! `mcp-iap replay`: what another policy would have decided of the requests in an access log.
//!
//! A record has not everything that a request had. What it lacks is not guessed: where a decision depends on it, it is
//! undecidable, and said to be by what (`policy::Known`, the same evaluation as in `explain`).

mod verdict;

use crate::Output;
use crate::audit::{entry::Entry, sources};
use crate::fault::Fault;
use crate::run::terminal::{escape, escape_json};
use clap::Args;
use mcp_iap::gate::Settings;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verdict::{NO_RESOURCE, Replayed, Would, replay};

/// How many examples are shown of each kind of change.
const EXAMPLES: usize = 5;
/// How many kinds of calls are told apart.
const MAX_KINDS: usize = 10_000;

#[derive(Args)]
pub struct Options {
    /// The configuration to ask, YAML or JSON, or the Envoy configuration that it stands in.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Files of the access log, also rotated and compressed ones (gzip), in any order; `-` for standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How the result is written: a summary, or each record and then the counts.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(options: &Options) -> ExitCode {
    replay_all(options).unwrap_or_else(|fault| fault.report(&options.config))
}

fn replay_all(options: &Options) -> Result<ExitCode, Fault> {
    let policies = super::load(&options.config)?;
    let mut summary = Summary::default();
    let mut counts = sources::Counts::default();
    let mut out = BufWriter::new(io::stdout().lock());
    for path in sources::in_order(&options.files)? {
        let name = path.display().to_string();
        let (text, _) = sources::open(&path, 0).map_err(|error| Fault::Usage(format!("{name}: {error}")))?;
        sources::each(text, &name, &mut counts, &mut |_, seen, _| {
            let Some(entry) = seen.into_entry() else { return Ok(()) };
            let about = Example::of(&entry);
            let resource = entry.record.protected_resource.clone();
            let replayed = replay(entry, &policies);
            if matches!(options.output, Output::Json) {
                writeln!(out, "{}", escape_json(&to_json(&about, &replayed).to_string()))
                    .map_err(|error| Fault::of_stdout(&error))?;
            }
            summary.add(about, resource, &replayed);
            Ok(())
        })?;
    }
    match options.output {
        Output::Text => write!(out, "{}", summary.to_text(&options.config)),
        Output::Json => writeln!(out, "{}", summary.to_json()),
    }
    .and_then(|()| out.flush())
    .map_err(|error| Fault::of_stdout(&error))?;
    counts.tell();
    if counts.records == 0 {
        return Err(Fault::Usage("there is no record to replay".to_owned()));
    }
    if summary.changes() || counts.broken > 0 {
        return Ok(ExitCode::FAILURE);
    }
    match summary.is_decided() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Fault::Undecided(summary.why_undecided(&policies))),
    }
}

/// What of a record is shown.
#[derive(Clone, Debug)]
struct Example {
    decision: String,
    time: String,
    caller: String,
    call: String,
}

impl Example {
    fn of(entry: &Entry) -> Self {
        let record = &entry.record;
        let method = record.method.as_deref().or(record.http_method.as_deref()).unwrap_or("-");
        let operand = record.operand().map(|(_, name)| format!(" {name}")).unwrap_or_default();
        Self {
            decision: record.decision.clone(),
            time: entry.around.time.clone().unwrap_or_default(),
            caller: record.caller.as_ref().map_or("-", |caller| caller.name()).to_owned(),
            call: format!("{method}{operand}"),
        }
    }
}

/// Requests of which one can say the same: what was decided, what would be, and by what or for what reason.
#[derive(Default)]
struct Kind {
    count: u64,
    examples: Vec<Example>,
}

#[derive(Default)]
struct Summary {
    /// By change and by why.
    kinds: BTreeMap<(&'static str, String), Kind>,
    /// Undecidable ones by what was not recorded; of one record it may be several.
    missing: BTreeMap<String, u64>,
    total: BTreeMap<&'static str, u64>,
    rated: u64,
    /// What records are for that the document does not have; some of them.
    strange: BTreeSet<String>,
}

/// What can come of a record, in the order in which it is told.
const CHANGES: [&str; 8] = [
    "allowed->denied",
    "denied->allowed",
    "allowed->undecidable",
    "denied->undecidable",
    "denied->denied otherwise",
    "allowed->allowed",
    "denied->denied",
    "not asked",
];

/// Those of them that say how it would be decided.
const DECIDED: [&str; 5] =
    ["allowed->denied", "denied->allowed", "denied->denied otherwise", "allowed->allowed", "denied->denied"];

fn change(replayed: &Replayed) -> &'static str {
    let Replayed { was_allowed, reason, would } = replayed;
    match (was_allowed, would) {
        (_, Would::NotAsked) => "not asked",
        (true, Would::Deny { .. }) => "allowed->denied",
        (false, Would::Allow { .. }) => "denied->allowed",
        (true, Would::Undecidable(_)) => "allowed->undecidable",
        (false, Would::Undecidable(_)) => "denied->undecidable",
        (true, Would::Allow { .. }) => "allowed->allowed",
        (false, Would::Deny { reason: Some(new), .. }) if new != reason => "denied->denied otherwise",
        (false, Would::Deny { .. }) => "denied->denied",
    }
}

fn why(replayed: &Replayed) -> String {
    let by = |rule: &Option<String>| rule.as_deref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    match &replayed.would {
        Would::NotAsked => replayed.reason.clone(),
        Would::Allow { rule, .. } => format!("allowed{}", by(rule)),
        Would::Deny { reason, rule } => {
            format!(
                "{}{}",
                reason.as_deref().unwrap_or("denied, why depends on what is not recorded"),
                by(rule)
            )
        }
        Would::Undecidable(missing) => format!("depends on {}", missing.join(", ")),
    }
}

impl Summary {
    fn add(&mut self, about: Example, resource: Option<String>, replayed: &Replayed) {
        let change = change(replayed);
        if let Would::Undecidable(missing) = &replayed.would
            && missing.iter().any(|name| name == NO_RESOURCE)
            && self.strange.len() < EXAMPLES
        {
            self.strange.extend(resource);
        }
        let count = self.total.entry(change).or_default();
        *count = count.saturating_add(1);
        if let Would::Undecidable(missing) = &replayed.would {
            for name in missing {
                let name = if self.missing.len() < MAX_KINDS { name } else { "others" };
                let count = self.missing.entry(name.to_owned()).or_default();
                *count = count.saturating_add(1);
            }
        }
        self.rated = self
            .rated
            .saturating_add(u64::from(matches!(replayed.would, Would::Allow { is_rated: true, .. })));
        let why = if self.kinds.len() < MAX_KINDS { why(replayed) } else { "others".to_owned() };
        let kind = self.kinds.entry((change, why)).or_default();
        kind.count = kind.count.saturating_add(1);
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(about);
        }
    }

    fn count(&self, change: &str) -> u64 {
        self.total.get(change).copied().unwrap_or_default()
    }

    /// Whether some request would be decided differently for certain.
    fn changes(&self) -> bool {
        self.count("allowed->denied") > 0 || self.count("denied->allowed") > 0
    }

    /// Whether of some request it can be said how it would be decided.
    fn is_decided(&self) -> bool {
        DECIDED.iter().any(|change| self.count(change) > 0)
    }

    fn why_undecided(&self, policies: &[Settings]) -> String {
        if self.missing.is_empty() {
            return "of no record it can be said how it would be decided: no rule was asked about any"
                .to_owned();
        }
        let mut why = "of no record it can be said how it would be decided".to_owned();
        if !self.strange.is_empty() {
            let named: Vec<&str> = self.strange.iter().map(String::as_str).collect();
            let own: Vec<String> = policies.iter().map(Settings::identifiers).collect();
            why += &format!(": they are for {}, the document guards {}", named.join(", "), own.join(", "));
        }
        why
    }

    fn to_text(&self, config: &Path) -> String {
        let total: u64 = self.total.values().sum();
        let mut text = format!("{total} records against {}\n\n", escape(&config.display().to_string()));
        for change in CHANGES {
            let count = self.count(change);
            if count == 0 {
                continue;
            }
            let _ = writeln!(text, "{count:>8}  {change}");
            let is_told = !matches!(change, "allowed->allowed" | "denied->denied" | "not asked");
            for ((_, why), kind) in self.kinds.iter().filter(|((of, _), _)| *of == change && is_told) {
                let _ = writeln!(text, "{:>10}{:>6}  {}", "", kind.count, escape(why));
                for Example { decision, time, caller, call } in &kind.examples {
                    let time = time.get(..19).unwrap_or(time);
                    let _ = writeln!(
                        text,
                        "{:18}{}  {}  {}  {}",
                        "",
                        escape(time),
                        escape(caller),
                        escape(call),
                        escape(decision)
                    );
                }
            }
        }
        if !self.missing.is_empty() {
            text.push_str("\nnot recorded, and decisive:\n");
            for (name, count) in &self.missing {
                let _ = writeln!(text, "{count:>8}  {}", escape(name));
            }
        }
        if self.rated > 0 {
            let _ = writeln!(
                text,
                "\n{} would be allowed by a rule with a `rate`, which is not counted here",
                self.rated
            );
        }
        text
    }

    fn to_json(&self) -> String {
        let line = json!({"summary": {"changes": self.total, "missing": self.missing, "rated": self.rated}});
        escape_json(&line.to_string())
    }
}

fn to_json(about: &Example, replayed: &Replayed) -> serde_json::Value {
    let (would, reason, rule, missing) = match &replayed.would {
        Would::NotAsked => ("not_asked", None, None, None),
        Would::Allow { rule, .. } => ("allow", None, rule.clone(), None),
        Would::Deny { reason, rule } => ("deny", reason.clone(), rule.clone(), None),
        Would::Undecidable(missing) => ("undecidable", None, None, Some(missing)),
    };
    let Example { decision, time, caller, call } = about;
    json!({"decision": decision, "time": time, "caller": caller, "call": call,
        "was": {"allowed": replayed.was_allowed, "reason": replayed.reason},
        "would": {"decision": would, "reason": reason, "rule": rule, "missing": missing},
        "change": change(replayed)})
}
