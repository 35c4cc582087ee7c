//! `mcp-iap check FILE`: the configuration as the filter reads it, with all its faults.

use crate::Output;
use mcp_iap::config::{ConfigError, Errors};
use mcp_iap::gate::Settings;
use serde_json::json;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

const UNUSABLE: u8 = 2;

pub fn run(file: &Path, output: Output) -> ExitCode {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("mcp-iap: {}: {error}", file.display());
            return ExitCode::from(UNUSABLE);
        }
    };
    let result = Settings::load(&text);
    match output {
        Output::Text => print_text(file, &result),
        Output::Json => print_json(file, &result),
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    Ok(text)
}

fn print_text(file: &Path, result: &Result<Settings, Errors>) {
    let file = file.display();
    match result {
        Ok(settings) => println!("{file}: ok, guards {}", settings.resource.identifier()),
        Err(Errors(errors)) => {
            for ConfigError { path, value, reason, fix } in errors {
                let path = if path.is_empty() { "the document" } else { path };
                println!("{file}: {path}");
                if let Some(value) = value {
                    println!("    value   {value}");
                }
                println!("    reason  {reason}");
                println!("    fix     {fix}");
            }
            println!("{} {}", errors.len(), if errors.len() == 1 { "error" } else { "errors" });
        }
    }
}

fn print_json(file: &Path, result: &Result<Settings, Errors>) {
    let errors: Vec<_> = match result {
        Ok(_) => Vec::new(),
        Err(Errors(errors)) => errors
            .iter()
            .map(|ConfigError { path, value, reason, fix }| json!({"path": path, "value": value, "reason": reason, "fix": fix}))
            .collect(),
    };
    println!("{}", json!({"file": file.display().to_string(), "ok": errors.is_empty(), "errors": errors}));
}
