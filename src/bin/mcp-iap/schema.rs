//! `mcp-iap schema`: the JSON Schema of the configuration, made from its types.

use mcp_iap::config::Config;
use serde_json::Value;
use std::process::ExitCode;

pub fn run() -> ExitCode {
    let mut schema = schemars::schema_for!(Config).to_value();
    without_null(&mut schema);
    match serde_json::to_string_pretty(&schema) {
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
            members.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        _ => {}
    }
}
