//! `mcp-iap check FILE`: the configuration as the filter reads it, with all its faults; of an Envoy
//! configuration the text that it gives to the filter.

use crate::Output;
use mcp_iap::config::{ConfigError, Errors};
use mcp_iap::gate::Settings;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a command that can't be carried out.
pub const UNUSABLE: u8 = 2;

pub fn run(file: &Path, output: Output) -> ExitCode {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("mcp-iap: {}: {error}", file.display());
            return ExitCode::from(UNUSABLE);
        }
    };
    let result = match configurations(&text) {
        Some(texts) => {
            texts.iter().map(|text| Settings::load(text.as_bytes())).collect::<Result<Vec<_>, _>>()
        }
        None => Settings::load(&text).map(|settings| vec![settings]),
    };
    match output {
        Output::Text => print_text(file, &result),
        Output::Json => print_json(file, &result),
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The configurations inside an Envoy configuration: of each Wasm plugin the text of its StringValue.
/// `None` for every other document.
pub fn configurations(text: &[u8]) -> Option<Vec<String>> {
    fn walk(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let is_plugin = members.contains_key("vm_config");
                let text = value.pointer("/configuration/value").and_then(Value::as_str);
                into.extend(text.filter(|_| is_plugin).map(str::to_owned));
                members.values().for_each(|value| walk(value, into));
            }
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, into)),
            _ => {}
        }
    }
    let document: Value = serde_saphyr::from_str(std::str::from_utf8(text).ok()?).ok()?;
    let mut found = Vec::new();
    walk(&document, &mut found);
    if found.is_empty() { None } else { Some(found) }
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

fn print_text(file: &Path, result: &Result<Vec<Settings>, Errors>) {
    match result {
        Ok(all) => {
            let file = file.display();
            for settings in all {
                println!("{file}: ok, guards {}", settings.resource.identifier());
            }
        }
        Err(errors) => print!("{}", faults(file, errors)),
    }
}

/// All faults, for people.
pub fn faults(file: &Path, Errors(errors): &Errors) -> String {
    let mut text = String::new();
    for ConfigError { path, value, reason, fix } in errors {
        let path = if path.is_empty() { "the document" } else { path };
        let _ = writeln!(text, "{}: {path}", file.display());
        if let Some(value) = value {
            let _ = writeln!(text, "    value   {value}");
        }
        let _ = writeln!(text, "    reason  {reason}\n    fix     {fix}");
    }
    let _ = writeln!(text, "{} {}", errors.len(), if errors.len() == 1 { "error" } else { "errors" });
    text
}

fn print_json(file: &Path, result: &Result<Vec<Settings>, Errors>) {
    let errors: Vec<_> = match result {
        Ok(_) => Vec::new(),
        Err(Errors(errors)) => errors
            .iter()
            .map(|ConfigError { path, value, reason, fix }| json!({"path": path, "value": value, "reason": reason, "fix": fix}))
            .collect(),
    };
    println!("{}", json!({"file": file.display().to_string(), "ok": errors.is_empty(), "errors": errors}));
}
