//! `mcp-iap schema`: the JSON Schema of the configuration, made from its types.

use mcp_iap::config::Config;
use std::process::ExitCode;

pub fn run() -> ExitCode {
    match serde_json::to_string_pretty(&schemars::schema_for!(Config)) {
        Ok(schema) => {
            println!("{schema}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mcp-iap: {error}");
            ExitCode::FAILURE
        }
    }
}
