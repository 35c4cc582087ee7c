//! What rules read stands in the record of the request, as far as it may: of live and shadow rules, of requests that are
//! allowed and refused; the session and those who act for the caller as well.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const DOCUMENT: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
trusted_headers: [x-device, x-country]
rules:
  - { id: teams, allow: { tools: [get_x] }, to: { claims: { team: [web] } } }
  - { id: far, allow: { tools: ['get_*'] }, to: { claims: { level: [9] } }, arguments: { n: { integer: { max: 3 } } } }
  - { id: other, allow: { tools: [drop] }, to: { claims: { never: [read] } } }
  - { id: plain, allow: { tools: [plain] }, arguments: { n: { present: true } } }
shadow_rules:
  - { id: managed, allow: { tools: ['get_*'] }, when: 'headers[\"x-device\"] == \"managed\" && args.m == 1' }
";

fn provider(path: &str) -> Result<Reply, CalloutError> {
    support::flow::provider(&ISSUER, path)
}

fn record(document: &str, more: &Value, headers: &[(&str, &str)], body: Option<Value>) -> Value {
    let worker = Worker::new(document);
    let mut claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 300, "team": "web"});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let authorization = format!("Bearer {}", ISSUER.es256(&claims));
    let mut head = vec![(":path", "/mcp"), ("authorization", authorization.as_str())];
    head.extend(if body.is_some() {
        vec![(":method", "POST"), ("content-type", "application/json")]
    } else {
        vec![(":method", "DELETE")]
    });
    head.extend(headers);
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    worker.run(&head, Ok(body.as_bytes()), &provider).record
}

fn call(tool: &str, arguments: &Value) -> Option<Value> {
    let params = json!({"name": tool, "arguments": arguments});
    Some(json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}))
}

fn with(audit: &str) -> String {
    format!("{DOCUMENT}audit: {audit}\n")
}

#[test]
fn what_the_rules_read_that_are_about_the_call_stands_in_the_record() {
    let arguments = || json!({"n": 5, "secret": "s"});
    let device = [("x-device", "managed"), ("x-country", "de")];
    let seen = record(DOCUMENT, &json!({}), &device, call("get_x", &arguments()));
    assert_eq!(seen["outcome"], "allowed");
    let wanted =
        json!({"values": {"claims.team": "web", "headers.x-device": "managed"}, "absent": ["claims.level"]});
    assert_eq!(seen["attributes"], wanted);
    // Refused, by another rule than reads it.
    let seen = record(DOCUMENT, &json!({"team": ["a", "b"]}), &[], call("get_y", &arguments()));
    assert_eq!(seen["reason"], "claim_mismatch");
    assert_eq!(seen["attributes"], json!({"absent": ["claims.level", "headers.x-device"]}));
    // Arguments where that is wanted; none are read here.
    for (audit, wanted) in [
        ("{ attributes: none }", Value::Null),
        ("{ attributes: no_arguments, clear_arguments: [m] }", json!(["claims.level", "arguments.m"])),
        ("{ attributes: all }", json!(["claims.level", "arguments.m"])),
    ] {
        let seen = record(&with(audit), &json!({}), &device, call("get_x", &arguments()));
        assert_eq!(seen["attributes"]["absent"], wanted, "{audit}");
        let has_value = audit.contains("all");
        assert_eq!(seen["attributes"]["values"]["arguments.n"] == 5, has_value, "{audit}");
        assert!(!seen.to_string().contains("secret"), "{seen}");
    }
    let masked = "{ attributes: all, mask_attributes: ['CLAIMS.*', headers.x-device, arguments.n] }";
    let seen = record(&with(masked), &json!({}), &device, call("get_x", &arguments()));
    assert_eq!(seen["masked"], json!(["claims.team", "arguments.n", "headers.x-device"]));
    let values = seen["attributes"]["values"].as_object().unwrap();
    assert!(values.len() == 3 && values.values().all(|value| value == "***REDACTED***"), "{seen}");
}

#[test]
fn where_nothing_is_read_nothing_stands_there() {
    for (document, tool) in
        [(DOCUMENT, "plain"), (DOCUMENT, "unknown"), (&with("{ clear_arguments: [x] }"), "plain")]
    {
        let seen = record(document, &json!({}), &[], call(tool, &json!({"n": 1})));
        assert_eq!(seen["attributes"], Value::Null, "{tool}");
    }
}

/// A refusal by the head alone has what its head tells.
#[test]
fn a_head_that_is_refused_has_what_was_read_of_it() {
    let document = format!("{DOCUMENT}allow_on_headers_stop_iteration: false\n");
    let head = [("mcp-method", "tools/call"), ("mcp-name", "drop"), ("mcp-protocol-version", "2026-07-28")];
    let seen = record(&document, &json!({}), &head, call("drop", &json!({})));
    assert_eq!((&seen["reason"], &seen["method"]), (&json!("claim_mismatch"), &Value::Null));
    assert_eq!(seen["attributes"], json!({"absent": ["claims.never"]}));
}

#[test]
fn a_session_is_told_by_a_digest() {
    let id = [("mcp-session-id", "s3cret-session")];
    let seen = record(DOCUMENT, &json!({}), &id, call("plain", &json!({"n": 1})));
    let plain = seen["session"]["sha256"].as_str().unwrap();
    // `printf s3cret-session | sha256sum`
    assert_eq!(plain, "6f8c447853807638e5919636df46765f78c176c61bc40df0437a0174dc489f94");
    let ended = record(DOCUMENT, &json!({}), &id, None);
    assert_eq!(ended["session"]["sha256"], plain, "{ended}");
    assert!(!seen.to_string().contains("s3cret"));
    // Of a stranger nothing is digested, and of two headers neither.
    let stranger = record(DOCUMENT, &json!({"aud": "x"}), &id, call("plain", &json!({})));
    assert_eq!((&stranger["reason"], &stranger["session"]), (&json!("wrong_audience"), &Value::Null));
    let two = [id[0], ("mcp-session-id", "b")];
    assert_eq!(record(DOCUMENT, &json!({}), &two, call("plain", &json!({})))["session"], Value::Null);
}

#[test]
fn those_who_act_stand_beside_the_caller() {
    let act = json!({"sub": "agent", "client_id": "c", "note": "s3cret", "act": {"sub": "first", "iss": "https://i"}});
    let seen = record(DOCUMENT, &json!({"act": act}), &[], call("plain", &json!({"n": 1})));
    let wanted = json!([{"subject": "agent", "client_id": "c"}, {"issuer": "https://i", "subject": "first"}]);
    assert_eq!((&seen["caller"]["actors"], &seen["caller"]["actors_incomplete"]), (&wanted, &Value::Null));
    assert!(!seen.to_string().contains("s3cret"));
    // Whatever stands there, the token counts as before, and the record does not grow.
    let deep = (0..20)
        .fold(json!({"sub": "x".repeat(100_000 / 20)}), |act, _| json!({"sub": "x".repeat(300), "act": act}));
    for act in [json!("agent"), json!(null), json!([1]), json!({"sub": {}}), deep] {
        let seen = record(DOCUMENT, &json!({"act": act}), &[], call("plain", &json!({"n": 1})));
        assert_eq!(
            (&seen["outcome"], &seen["caller"]["actors_incomplete"]),
            (&json!("allowed"), &json!(true))
        );
        assert!(seen.to_string().len() < 4_096);
    }
    assert_eq!(
        record(DOCUMENT, &json!({}), &[], call("plain", &json!({"n": 1})))["caller"]["actors"],
        Value::Null
    );
}
