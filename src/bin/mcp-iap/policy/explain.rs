//! `mcp-iap explain`: rule by rule, what a policy says of a call, and the first clause that fails of each.

use super::case::{Case, Decision};
use super::judgement::{Asked, Judgement, judge};
use super::listing::Listing;
use super::record::{self, Then};
use super::written::Cases;
use crate::Output;
use crate::check;
use crate::fault::{Fault, complain, say};
use crate::run::terminal::{Colour, Style, escape, escape_json};
use clap::Args;
use mcp_iap::config::nearest;
use mcp_iap::policy::{Says, Traced};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// How many names of cases are told where none is the one that was asked for.
const MAX_NAMES: usize = 20;

#[derive(Args)]
pub struct Options {
    /// The configuration, YAML or JSON, or the Envoy configuration that it stands in.
    policy: PathBuf,
    /// The calls: a file of cases, as `mcp-iap test` takes it, or lines of the access log; `-` for standard input.
    calls: PathBuf,
    /// The case with this name alone.
    #[arg(long)]
    case: Option<String>,
    /// A server's answer to `tools/list` or another list, as JSON or as an event stream, or the `result` of one: tells
    /// which of its entries the caller of each call sees, and why the others are hidden.
    #[arg(long, value_name = "ANSWER")]
    list: Option<PathBuf>,
    /// Asks the `shadow_rules`, which decide nothing, instead of the rules.
    #[arg(long)]
    shadow: bool,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(options: &Options) -> ExitCode {
    match explain(options) {
        Ok(code) => code,
        Err(fault) => fault.report(&options.policy),
    }
}

fn explain(options: &Options) -> Result<ExitCode, Fault> {
    let Options { policy, calls, case: wanted, list, shadow, output } = options;
    let policies = super::load(policy)?;
    let text = check::read(calls).map_err(|error| Fault::Usage(format!("{}: {error}", calls.display())))?;
    let text = String::from_utf8_lossy(&text);
    let calls: Vec<Result<(Case, Option<Then>), String>> =
        if text.lines().any(|line| record::read(line).is_some()) {
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            let read = |(number, line): (usize, &str)| {
                let read =
                    record::read(line).unwrap_or_else(|| Err("is no line of the access log".to_owned()));
                read.map(|(case, then)| (case, Some(then)))
                    .map_err(|fault| format!("{}: line {number}: {fault}", calls.display()))
            };
            lines.map(read).collect()
        } else {
            let cases =
                Cases::read(&text).map_err(|fault| Fault::Usage(format!("{}: {fault}", calls.display())))?;
            cases.cases.into_iter().map(|case| Ok((case, None))).collect()
        };
    let list = list
        .as_ref()
        .map(|file| check::read(file).map_err(|error| Fault::Usage(format!("{}: {error}", file.display()))));
    let list = list.transpose()?;
    let mut explained = 0_usize;
    let mut names: Vec<String> = Vec::new();
    for call in calls {
        let (case, then) = match call {
            Ok(call) => call,
            Err(fault) => {
                complain(format_args!("mcp-iap: {}", escape(&fault)));
                continue;
            }
        };
        if wanted.as_ref().is_some_and(|wanted| *wanted != case.name && *wanted != case.entry) {
            if names.last() != Some(&case.entry) {
                names.push(case.entry);
            }
            continue;
        }
        let of_case = |fault| Fault::Usage(format!("{}: {fault}", case.name));
        let asked = Asked::by(&case, &policies, *shadow).map_err(of_case)?;
        explained = explained.saturating_add(1);
        if let Some(answer) = &list {
            let listing = Listing::of(answer, &case, &asked).map_err(of_case)?;
            match output {
                Output::Text => say(&listing.to_text(&case, Style::of_stdout()))?,
                Output::Json => say(&(escape_json(&listing.to_json(&case).to_string()) + "\n"))?,
            }
            continue;
        }
        let judgement = judge(&case, &asked).map_err(of_case)?;
        match output {
            Output::Text => say(&to_text(&case, &judgement, then.as_ref(), Style::of_stdout()))?,
            Output::Json => {
                let mut line = judgement.to_json();
                line["name"] = json!(case.name);
                line["has_more_groups"] = json!(case.lacks_groups());
                if let Some(Then { outcome, reason, rule }) = &then {
                    line["recorded"] = json!({"outcome": outcome, "reason": reason, "rule": rule});
                }
                say(&(escape_json(&line.to_string()) + "\n"))?;
            }
        }
    }
    if explained == 0 {
        return Err(Fault::Usage(match wanted {
            Some(wanted) if !names.is_empty() => no_such(wanted, &names),
            _ => "there is no call to explain".to_owned(),
        }));
    }
    Ok(ExitCode::SUCCESS)
}

/// No case has the name, but these are there.
fn no_such(wanted: &str, names: &[String]) -> String {
    let near = nearest(wanted, names.iter().map(String::as_str));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let mut text = format!("there is no case `{wanted}`{near}\nthere are:");
    for name in names.iter().take(MAX_NAMES) {
        let _ = write!(text, "\n  {name}");
    }
    if let Some(more @ 1..) = names.len().checked_sub(MAX_NAMES) {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

fn to_text(case: &Case, judgement: &Judgement, then: Option<&Then>, style: Style) -> String {
    let mut text = format!(
        "{}: {} calls {}\n",
        escape(&case.name),
        escape(&case.caller.subject),
        escape(&judgement.call)
    );
    if case.lacks_groups() {
        text.push_str("  the record may not have all of the caller's groups\n");
    }
    rules_to_text(&mut text, &judgement.rules, style);
    if let (Some(target), false) = (&judgement.target, judgement.rules_for_target.is_empty()) {
        let _ =
            writeln!(text, "  with a token for {}, for which rules must allow it as well:", escape(target));
        rules_to_text(&mut text, &judgement.rules_for_target, style);
    }
    let rule = judgement.rule.as_deref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    let decision = match judgement.decision {
        Decision::Allow => style.paint(Colour::Green, "allowed"),
        Decision::Deny => style.paint(Colour::Red, "refused"),
        Decision::Undecided => style.paint(Colour::Yellow, "undecided"),
    };
    let _ = match (judgement.decision, judgement.reason) {
        (Decision::Deny, Some(reason)) => {
            let told = escape(judgement.message.as_deref().unwrap_or_default());
            writeln!(text, "{decision}{rule}: {reason}; the caller is told \"{told}\"")
        }
        (Decision::Deny, None) => {
            writeln!(text, "{decision}{rule}: for which reason depends on what is not known")
        }
        (Decision::Undecided, _) => writeln!(text, "{decision}: it depends on what is not known"),
        _ => writeln!(text, "{decision}{rule}"),
    };
    if let Some(Then { outcome, reason, rule }) = then {
        let rule = rule.as_deref().map(|rule| format!(" by {}", escape(rule))).unwrap_or_default();
        let _ = writeln!(text, "then it was {}{rule}: {}", escape(outcome), escape(reason));
    }
    text
}

/// What each rule says, a line each.
fn rules_to_text(text: &mut String, rules: &[Traced], style: Style) {
    let width = rules.iter().map(|traced| traced.rule.len()).max().unwrap_or_default();
    for Traced { rule, allows, says, rate } in rules {
        let effect = if *allows { "allow" } else { "deny " };
        let says = match says {
            Says::Nothing => "is about other operations".to_owned(),
            Says::Matches(None) => {
                let often = rate.as_ref().map(|rate| {
                    format!(
                        ", at most {} calls per {}{}",
                        rate.calls,
                        rate.per,
                        if rate.is_global { ", counted for all Envoys" } else { "" }
                    )
                });
                style.paint(Colour::Cyan, "matches") + &often.unwrap_or_default()
            }
            Says::Matches(Some(clause)) => format!("matches: `{}` can't be evaluated", escape(clause)),
            Says::LacksScope => "matches but for its `scope`".to_owned(),
            Says::Fails(clause, reason, unknown) => {
                let before = unknown
                    .as_ref()
                    .map(|clause| format!(", if not before at `{}`, which is not known", escape(clause)));
                format!("fails at `{}` ({}){}", escape(clause), reason.code(), before.unwrap_or_default())
            }
            Says::Unknown(clause) => format!("depends on `{}`, which is not known", escape(clause)),
        };
        let _ = writeln!(text, "  {effect} {rule:<width$}  {says}");
    }
}
