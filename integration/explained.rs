//! What `mcp-iap explain` says of a request, against what the filter decided: they must never differ.

use crate::client::Request;
use crate::envoy::{Envoy, scratch};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_iap::reason::Reason;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether rules were asked, by the record's reason: what comes before has none of them.
fn is_of_rules(reason: &str) -> bool {
    reason == Reason::Allowed.code()
        || reason == Reason::UnknownMethod.code()
        || Reason::ALL
            .iter()
            .filter(|known| (Reason::NoRuleAllows..=Reason::ConditionError).contains(known))
            .any(|known| known.code() == reason)
}

fn explain(policy: &Path, calls: &str) -> Value {
    let file = scratch().join("call.json");
    fs::write(&file, calls).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    let output = command.args(["explain", "-o", "json"]).arg(policy).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}: {calls}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn same(explained: &Value, record: &Value) {
    let decision = if record["outcome"] == "allowed" { "allow" } else { "deny" };
    assert_eq!(explained["decision"], decision, "{explained}\n{record}");
    // By the record alone it may be known that it is refused, but not why.
    if explained["reason"].is_null() {
        return;
    }
    for (field, said, recorded) in [
        ("reason", &explained["reason"], &record["reason"]),
        ("rule", &explained["rule"], &record["rule"]),
        ("argument", &explained["argument"], &record["argument"]),
    ] {
        assert_eq!(said, recorded, "{field}: {explained}\n{record}");
    }
}

/// By the line of the access log alone: where it suffices, explain says the same, and nowhere something else.
pub fn line_is_explained(envoy: &Envoy, line: &Value) {
    let record = &line["mcp_iap"][0];
    let reason = record["reason"].as_str().unwrap_or_default();
    if record["caller"].is_null() || record["method"].is_null() || !is_of_rules(reason) {
        return;
    }
    let explained = explain(&envoy.configuration(), &line.to_string());
    if explained["decision"] != "undecided" {
        same(&explained, record);
    }
}

/// By the request itself, of which everything is known. Whether there was something to compare.
pub fn request_is_explained(envoy: &Envoy, request: &Request, line: &Value) -> bool {
    let record = &line["mcp_iap"][0];
    let reason = record["reason"].as_str().unwrap_or_default();
    let (Some(claims), Ok(message)) = (claims(request), serde_json::from_slice::<Value>(&request.body))
    else {
        return false;
    };
    if record["method"].is_null() || !is_of_rules(reason) {
        return false;
    }
    let headers = request.headers.iter().filter_map(|(name, value)| {
        Some((name.to_ascii_lowercase(), json!(String::from_utf8(value.clone()).ok()?)))
    });
    let groups = match &claims["groups"] {
        Value::String(group) => json!([group]),
        Value::Array(_) => claims["groups"].clone(),
        _ => json!([]),
    };
    let client_id = if claims["client_id"].is_null() { &claims["azp"] } else { &claims["client_id"] };
    let mut call = json!({"method": message["method"]});
    for field in ["tool", "prompt", "resource", "task"] {
        if !record[field].is_null() {
            call[field] = record[field].clone();
        }
    }
    if message["params"]["arguments"].is_object()
        && matches!(message["method"].as_str(), Some("tools/call" | "prompts/get"))
    {
        call["arguments"] = message["params"]["arguments"].clone();
    }
    let time = line["time"].as_str().unwrap().split('.').next().unwrap();
    let case = json!({"name": "request", "caller": {"issuer": claims["iss"], "subject": claims["sub"],
        "client_id": client_id, "groups": groups, "scope": claims["scope"].as_str().unwrap_or_default(), "claims": claims},
        "call": call, "time": format!("{time}Z"), "source": line["source"],
        "headers": headers.collect::<serde_json::Map<_, _>>()});
    same(&explain(&envoy.configuration(), &json!({"cases": [case]}).to_string()), record);
    true
}

fn claims(request: &Request) -> Option<Value> {
    let (_, value) = request.headers.iter().find(|(name, _)| name == "authorization")?;
    let token = std::str::from_utf8(value).ok()?.split(' ').next_back()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}
