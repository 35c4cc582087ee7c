//! `mcp-iap check FILE`: the configuration as the filter reads it, with all its faults, and with advice on
//! what is valid but probably not meant; of an Envoy configuration, or of manifests for Istio, the text that they give to
//! the filter, and whether the two fit.

mod around;
mod bypass;
mod drift;
mod envoy;
mod manifests;
mod mesh;
mod rate_limit;
mod source;

use crate::Output;
use crate::environment::Environment;
use crate::fault::{complain, conclude};
use crate::run::terminal::{escape, escape_json};
use clap::Args;
use mcp_iap::config::{self, Config, ConfigError, Errors};
use mcp_iap::gate::Settings;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit code of a command that can't be carried out.
pub const UNUSABLE: u8 = 2;

#[derive(Args)]
pub struct Options {
    /// The configuration, YAML or JSON, or the Envoy configuration or manifests for Istio that it stands in; `-` for
    /// standard input.
    file: PathBuf,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Warnings fail as well, with exit code 1.
    #[arg(long)]
    strict: bool,
    /// The MCP server whose tools the catalogue is compared with.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// A header for the MCP server, `NAME: VALUE`, where it asks for one.
    #[arg(long = "header", value_name = "HEADER", requires = "upstream")]
    headers: Vec<String>,
    /// Certificate authorities in PEM for the MCP server, instead of the system's.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    ca: Option<PathBuf>,
}

/// What was found of one file.
#[derive(Default)]
struct Findings {
    /// What each accepted document guards.
    guards: Vec<String>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
    /// What was not looked at, and is right where it was said to be.
    notes: Vec<ConfigError>,
}

pub fn run(options: &Options) -> ExitCode {
    let Options { file, output, strict, upstream, headers, ca } = options;
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => {
            complain(format_args!("mcp-iap: {}: {error}", file.display()));
            return ExitCode::from(UNUSABLE);
        }
    };
    let mut findings = Findings::default();
    let manifests = manifests::read(&text);
    let envoy = if manifests.is_some() { None } else { envoy::plugins(&text) };
    if upstream.is_some() && (manifests.is_some() || envoy.is_some()) {
        complain("mcp-iap: --upstream is for the document by itself, not for the configuration around it");
        return ExitCode::from(UNUSABLE);
    }
    match envoy {
        Some((envoy, plugins)) if plugins.is_empty() && envoy::is_part(&envoy) => {
            let reason = "has the filter in a file of its own, which is not seen here";
            let fix = "check that file: `mcp-iap check DIR/filter.yaml` where `render envoy --xds-dir DIR` wrote it";
            findings.errors.push(ConfigError::new("", reason, fix));
        }
        Some((_, plugins)) if plugins.is_empty() => {
            let reason = "is an Envoy configuration without a filter of mcp-iap";
            let fix = "paste what `mcp-iap render envoy --filter` prints; the document stands in a `google.protobuf.StringValue`";
            findings.errors.push(ConfigError::new("", reason, fix));
        }
        Some((bootstrap, plugins)) => {
            for plugin in plugins {
                let environment = Environment::of_plugin(&plugin.config);
                if let Some((settings, config)) = findings.check(plugin.document.as_bytes(), &environment) {
                    source::check(&bootstrap, &plugin, &settings.by_source(&config), &mut findings);
                    envoy::compare(&bootstrap, &plugin, &settings, &mut findings);
                    around::check(&bootstrap, &plugin, &settings, &mut findings);
                    rate_limit::check(&bootstrap, &plugin, &settings, &mut findings);
                }
            }
            bypass::check(&bootstrap, &mut findings);
            around::unseen(&bootstrap, &mut findings);
        }
        None if manifests.is_some() => manifests::check(&manifests.unwrap_or_default(), &mut findings),
        None => {
            if let (Some((_, config)), Some(upstream)) =
                (findings.check(&text, &Environment::default()), upstream)
                && let Err(fault) = drift::compare(&config, upstream, headers, ca.as_deref(), &mut findings)
            {
                return fault.report(file);
            }
        }
    }
    let text = match output {
        Output::Text => findings.to_text(file),
        Output::Json => escape_json(&findings.to_json(file).to_string()) + "\n",
    };
    let fails = !findings.errors.is_empty() || (*strict && !findings.warnings.is_empty());
    conclude(&text, if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Findings {
    fn check(&mut self, text: &[u8], environment: &Environment) -> Option<(Settings, Config)> {
        let compiled = config::load(text)
            .and_then(|config| Ok((Settings::compile(&config, &|name| environment.get(name))?, config)));
        match compiled {
            Ok((settings, config)) => {
                self.warnings.extend(settings.advise(&config));
                let told = if environment.is_given() { &mut self.notes } else { &mut self.warnings };
                told.extend(environment.unset());
                self.guards.push(settings.identifiers());
                Some((settings, config))
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
        for note in &self.notes {
            describe(&mut text, file, "note", note);
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
            "errors": list(&self.errors), "warnings": list(&self.warnings), "notes": list(&self.notes)})
    }
}

/// The documents inside an Envoy configuration or manifests for Istio; `None` for every other text.
pub fn configurations(text: &[u8]) -> Option<Vec<String>> {
    if let Some(manifests) = manifests::read(text) {
        return Some(manifests::documents(&manifests));
    }
    let (_, plugins) = envoy::plugins(text)?;
    Some(plugins.into_iter().map(|plugin| plugin.document).collect())
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

/// A server or an author chose what stands in it, and a terminal obeys control characters.
fn describe(text: &mut String, file: &Path, kind: &str, finding: &ConfigError) {
    let ConfigError { path, value, reason, fix } = finding;
    let path = if path.is_empty() { "the document" } else { path };
    let _ = writeln!(text, "{}: {}", file.display(), escape(path));
    if let Some(value) = value {
        // It is JSON.
        let _ = writeln!(text, "    value   {}", escape_json(value));
    }
    let _ = writeln!(text, "    {kind:<7} {}\n    fix     {}", escape(reason), escape(fix));
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
