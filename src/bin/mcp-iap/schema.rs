//! `mcp-iap schema`: the JSON Schema of the configuration or of the audit record, made from its types; and that of a file of cases.

use crate::fault::{complain, conclude};
use crate::policy::written::File;
use clap::{Args, ValueEnum};
use mcp_iap::audit::Document;
use mcp_iap::config::Config;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Args)]
pub struct Options {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Of {
    /// The document that the filter is given.
    #[default]
    Configuration,
    /// The record of one request.
    AuditRecord,
    /// A file of cases, as `mcp-iap test` takes it.
    Cases,
}

pub fn run(options: &Options) -> ExitCode {
    let schema = match options.of {
        Of::Configuration => schemars::schema_for!(Config),
        Of::AuditRecord => schemars::schema_for!(Document),
        Of::Cases => schemars::schema_for!(File),
    };
    let mut schema = schema.to_value();
    without_null(&mut schema);
    match serde_json::to_string_pretty(&schema) {
        Ok(schema) => conclude(&(schema + "\n"), ExitCode::SUCCESS),
        Err(error) => {
            complain(format_args!("mcp-iap: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What can be left out can't be null: a field that is there has a value.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    members.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(any)) = members.get_mut("anyOf") {
                any.retain(|one| one["type"] != "null");
                if let [Value::Object(one)] = any.as_slice() {
                    let one = one.clone();
                    members.remove("anyOf");
                    members.extend(one);
                }
            }
            if members.get("default") == Some(&Value::Null) {
                members.remove("default");
            }
            // The values of a map, which may be null where that is said.
            let others = members.iter_mut().filter(|(name, _)| *name != "additionalProperties");
            others.for_each(|(_, schema)| without_null(schema));
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        _ => {}
    }
}
