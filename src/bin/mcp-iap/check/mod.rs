//! `mcp-iap check FILE`: the configuration as the filter reads it, with all its faults, and with advice on
//! what is valid but probably not meant; of an Envoy configuration the text that it gives to the filter,
//! and whether the two fit.

mod envoy;

use crate::Output;
use mcp_iap::config::{self, ConfigError, Errors};
use mcp_iap::gate::Settings;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a command that can't be carried out.
pub const UNUSABLE: u8 = 2;

/// What was found of one file.
#[derive(Default)]
struct Findings {
    /// What each accepted document guards.
    guards: Vec<String>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

pub fn run(file: &Path, output: Output, strict: bool) -> ExitCode {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("mcp-iap: {}: {error}", file.display());
            return ExitCode::from(UNUSABLE);
        }
    };
    let mut findings = Findings::default();
    match envoy::plugins(&text) {
        Some((bootstrap, plugins)) => {
            for plugin in plugins {
                if let Some(settings) = findings.check(plugin.document.as_bytes()) {
                    envoy::compare(&bootstrap, &plugin, &settings, &mut findings);
                }
            }
        }
        None => drop(findings.check(&text)),
    }
    match output {
        Output::Text => print!("{}", findings.to_text(file)),
        Output::Json => println!("{}", findings.to_json(file)),
    }
    let fails = !findings.errors.is_empty() || (strict && !findings.warnings.is_empty());
    if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Findings {
    fn check(&mut self, text: &[u8]) -> Option<Settings> {
        let compiled = config::load(text).and_then(|config| Ok((Settings::compile(&config)?, config)));
        match compiled {
            Ok((settings, config)) => {
                self.warnings.extend(settings.advise(&config));
                self.guards.push(settings.identifiers());
                Some(settings)
            }
            Err(Errors(errors)) => {
                self.errors.extend(errors);
                None
            }
        }
    }

    fn to_text(&self, file: &Path) -> String {
        let mut text = String::new();
        if self.errors.is_empty() {
            for guards in &self.guards {
                let _ = writeln!(text, "{}: ok, guards {guards}", file.display());
            }
        } else {
            text = faults(file, &self.errors);
        }
        for warning in &self.warnings {
            describe(&mut text, file, "warning", warning);
        }
        if !self.warnings.is_empty() {
            let _ = writeln!(text, "{}", count(self.warnings.len(), "warning"));
        }
        text
    }

    fn to_json(&self, file: &Path) -> Value {
        let list = |findings: &[ConfigError]| -> Vec<Value> {
            let each = findings.iter().map(|ConfigError { path, value, reason, fix }| {
                json!({"path": path, "value": value, "reason": reason, "fix": fix})
            });
            each.collect()
        };
        json!({"file": file.display().to_string(), "ok": self.errors.is_empty(),
            "errors": list(&self.errors), "warnings": list(&self.warnings)})
    }
}

/// The text of a file, or of standard input for `-`.
pub fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    Ok(text)
}

/// All faults, for people.
pub fn faults(file: &Path, errors: &[ConfigError]) -> String {
    let mut text = String::new();
    for error in errors {
        describe(&mut text, file, "reason", error);
    }
    let _ = writeln!(text, "{}", count(errors.len(), "error"));
    text
}

fn describe(text: &mut String, file: &Path, kind: &str, finding: &ConfigError) {
    let ConfigError { path, value, reason, fix } = finding;
    let path = if path.is_empty() { "the document" } else { path };
    let _ = writeln!(text, "{}: {path}", file.display());
    if let Some(value) = value {
        let _ = writeln!(text, "    value   {value}");
    }
    let _ = writeln!(text, "    {kind:<7} {reason}\n    fix     {fix}");
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
