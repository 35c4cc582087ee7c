//! `mcp-iap test`: files of cases against the policies that they name, and what differs.

use super::case::Case;
use super::judgement::{Asked, judge};
use super::junit;
use super::written::Cases;
use crate::Output;
use crate::check;
use crate::fault::{Fault, conclude, say};
use crate::run::terminal::{Colour, Style, escape, escape_json};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

/// How often files are looked at that are watched.
const PERIOD: Duration = Duration::from_millis(300);

#[derive(Args)]
pub struct Options {
    /// Files of cases, YAML or JSON.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The configuration whose rules are asked, instead of the one that each file names.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Writes the results as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Stays, and tests again whenever a file changes; Ctrl-C ends it.
    #[arg(long)]
    watch: bool,
    /// Asks the `shadow_rules`, which decide nothing, instead of the rules.
    #[arg(long)]
    shadow: bool,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// One case that was put to its policy.
struct Tested {
    file: String,
    name: String,
    differences: Vec<String>,
    /// `allow`, `deny` or `undecided`, for which reason, and by which rule.
    decided: (&'static str, Option<&'static str>, Option<String>),
}

pub fn run(options: &Options) -> ExitCode {
    if !options.watch {
        return once(options);
    }
    loop {
        let seen = changed(options);
        once(options);
        if let Err(fault) = say("waiting for a change\n") {
            return fault.report(Path::new(""));
        }
        while changed(options) == seen {
            sleep(PERIOD);
        }
    }
}

fn once(options: &Options) -> ExitCode {
    let mut results = Vec::new();
    for file in &options.files {
        match tested(file, options.policy.as_deref(), options.shadow) {
            Ok(more) => results.extend(more),
            Err((path, fault)) => return fault.report(&path),
        }
    }
    let style = Style::of_stdout();
    let mut text: String = results.iter().map(|result| told(result, options.output, style)).collect();
    let failed = results.iter().filter(|result| !result.differences.is_empty()).count();
    if let Output::Text = options.output {
        text += &format!("{} passed, {failed} failed\n", results.len().saturating_sub(failed));
    }
    if let Some(path) = &options.junit {
        let each = results.iter().map(|Tested { file, name, differences, decided: _ }| junit::Result {
            file,
            name,
            differences,
        });
        if let Err(error) = std::fs::write(path, junit::document(&each.collect::<Vec<_>>())) {
            return Fault::Usage(format!("{}: {error}", path.display())).report(path);
        }
    }
    conclude(&text, if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(result: &Tested, output: Output, style: Style) -> String {
    let Tested { file, name, differences, decided: (decision, reason, rule) } = result;
    match output {
        Output::Json => {
            let line = json!({"file": file, "case": name, "ok": differences.is_empty(), "differences": differences,
                "decision": decision, "reason": reason, "rule": rule});
            escape_json(&line.to_string()) + "\n"
        }
        Output::Text if differences.is_empty() => String::new(),
        Output::Text => {
            let head = format!("{} {}: {}\n", style.paint(Colour::Red, "FAIL"), escape(file), escape(name));
            let each = differences.iter().map(|difference| format!("    {}\n", escape(difference)));
            head + &each.collect::<String>()
        }
    }
}

/// The policy that a file of cases is for: beside the file.
fn policy_of(file: &Path, cases: &Cases, given: Option<&Path>) -> Option<PathBuf> {
    match given {
        Some(policy) => Some(policy.to_owned()),
        None => Some(file.parent()?.join(cases.policy.as_ref()?)),
    }
}

fn read(file: &Path) -> Result<Cases, (PathBuf, Fault)> {
    let unusable = |why: String| (file.to_owned(), Fault::Usage(format!("{}: {why}", file.display())));
    let text = check::read(file).map_err(|error| unusable(error.to_string()))?;
    Cases::read(&String::from_utf8_lossy(&text)).map_err(unusable)
}

fn tested(file: &Path, given: Option<&Path>, asks_shadow: bool) -> Result<Vec<Tested>, (PathBuf, Fault)> {
    let cases = read(file)?;
    let unusable = |why: String| (file.to_owned(), Fault::Usage(format!("{}: {why}", file.display())));
    let policy = policy_of(file, &cases, given)
        .ok_or_else(|| unusable("names no `policy`: write it there, or give --policy".to_owned()))?;
    let policies = super::load(&policy).map_err(|fault| (policy, fault))?;
    let test = |case: &Case| {
        let expected =
            case.expect.as_ref().ok_or_else(|| format!("{}: expects nothing: write `expect`", case.name))?;
        let judgement = Asked::by(case, &policies, asks_shadow)
            .and_then(|asked| judge(case, &asked))
            .map_err(|why| format!("{}: {why}", case.name))?;
        let differences = judgement.differences(expected);
        let told = differences.into_iter().map(|(field, expected, seen)| {
            let why = if field == "decision" { judgement.why() } else { String::new() };
            format!("{field}: expected {expected}, is {seen}{why}")
        });
        Ok(Tested {
            file: file.display().to_string(),
            name: case.name.clone(),
            differences: told.collect(),
            decided: (judgement.decision.name(), judgement.reason, judgement.rule.clone()),
        })
    };
    cases.cases.iter().map(|case| test(case).map_err(&unusable)).collect()
}

/// When each file was last written that counts.
fn changed(options: &Options) -> Vec<Option<SystemTime>> {
    let policies =
        options.files.iter().filter_map(|file| policy_of(file, &read(file).ok()?, options.policy.as_deref()));
    let files = options.files.iter().cloned().chain(policies);
    files.map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()).collect()
}
