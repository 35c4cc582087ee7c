//! Shadow rules: what they would have decided is told and counted, and nothing that they do changes an answer.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::gate::DECISION;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;
use support::flow::{Ended, NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const LIVE: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - { id: reads, allow: { tools: ['get_*'] } }
  - { id: scales, allow: { tools: [scale] }, arguments: { n: { integer: { max: 3 } } }, message: At most three. }
  - { id: seldom, allow: { tools: [seldom] }, rate: { calls: 1, per: 1h } }
  - { id: never, deny: { tools: [get_secret] } }
";

fn provider(path: &str) -> Result<Reply, CalloutError> {
    support::flow::provider(&ISSUER, path)
}

fn with(shadow: &str) -> Worker {
    Worker::new(&format!("{LIVE}shadow_rules:\n{shadow}"))
}

fn send(worker: &Worker, tool: &str, arguments: &Value) -> Ended {
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 300, "team": "web"});
    let params = json!({"name": tool, "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).to_string();
    worker.post(&ISSUER.es256(&claims), &[], body.as_bytes(), &provider)
}

fn counts(worker: &Worker) -> BTreeMap<&'static str, u64> {
    worker.shared.differences.take().map(|(difference, count)| (difference.name(), count)).collect()
}

/// What stands in an answer and a record beside the shadow and what differs each time.
fn visible(ended: &Ended) -> (Option<(u16, Value)>, Value) {
    let answer = ended.answer.as_ref().map(|answer| {
        let mut body: Value = serde_json::from_str(&answer.body).unwrap();
        body["error"]["data"]["decision"].take();
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| *name != DECISION).collect();
        (answer.status, json!([body, format!("{headers:?}")]))
    });
    let mut record = ended.record.clone();
    let members = record.as_object_mut().unwrap();
    members.remove("shadow");
    members.remove("decision");
    members.remove("waited_ms");
    members.remove("attributes");
    (answer, record)
}

fn calls() -> Vec<(&'static str, Value)> {
    vec![
        ("get_x", json!({})),
        ("get_secret", json!({})),
        ("scale", json!({"n": 3})),
        ("scale", json!({"n": 4})),
        ("drop", json!({})),
        ("seldom", json!({})),
        ("seldom", json!({})),
    ]
}

#[test]
fn no_shadow_changes_an_answer() {
    let plain: Vec<_> = {
        let worker = Worker::new(LIVE);
        let ended = calls().into_iter().map(|(tool, arguments)| send(&worker, tool, &arguments));
        ended.map(|ended| visible(&ended)).collect()
    };
    for shadow in [
        "  []",
        "  - { id: no, deny: { tools: ['*'] } }",
        "  - { id: all, allow: { tools: ['*'] } }",
        "  - { id: seldom, allow: { tools: [seldom] }, rate: { calls: 1, per: 24h } }",
        "  - { id: never, deny: { tools: ['*'] }, when: args.absent == 1 }",
        "  - { id: other, allow: { tools: ['*'] }, scope: another, message: Of the shadow. }",
        "  - { id: claim, allow: { tools: ['*'] }, to: { claims: { team: [web] } } }",
    ] {
        let worker = with(shadow);
        let ended: Vec<_> =
            calls().into_iter().map(|(tool, arguments)| visible(&send(&worker, tool, &arguments))).collect();
        assert_eq!(ended, plain, "{shadow}");
    }
}

#[test]
fn differences_are_recorded_and_counted() {
    let worker = with(
        "  - { id: team, allow: { tools: ['*'] }, to: { claims: { team: [web] } } }
  - { id: no-scaling, deny: { tools: [scale] } }
  - { id: asks, deny: { tools: [get_y] }, when: args.absent == 1 }",
    );
    let rows = [
        ("get_x", json!({}), None),
        (
            "scale",
            json!({"n": 3}),
            Some(json!({"outcome": "refused", "reason": "denied_by_rule", "rule": "no-scaling"})),
        ),
        ("scale", json!({"n": 4}), None),
        ("drop", json!({}), Some(json!({"outcome": "allowed", "reason": "allowed", "rule": "team"}))),
        ("get_secret", json!({}), Some(json!({"outcome": "allowed", "reason": "allowed", "rule": "team"}))),
        (
            "get_y",
            json!({}),
            Some(json!({"outcome": "refused", "reason": "condition_error", "rule": "asks"})),
        ),
        ("seldom", json!({}), None),
        // Refused for its rate alone, which the shadow does not count.
        ("seldom", json!({}), None),
    ];
    for (tool, arguments, expected) in rows {
        let ended = send(&worker, tool, &arguments);
        assert_eq!(ended.record.get("shadow"), expected.as_ref(), "{tool} {arguments}");
    }
    let expected = [("error", 1), ("none", 4), ("would_allow", 2), ("would_deny", 1)];
    assert_eq!(counts(&worker), expected.into_iter().collect());
    assert_eq!(counts(&worker), BTreeMap::new());
}

/// The rate of a shadow rule takes nothing, least of all from the live rule of the same name.
#[test]
fn a_shadow_counts_no_calls() {
    let worker = with("  - { id: seldom, allow: { tools: [seldom, get_x] }, rate: { calls: 1, per: 1h } }");
    for _ in 0..5 {
        assert_eq!(send(&worker, "get_x", &json!({})).record.get("shadow"), None);
    }
    assert!(send(&worker, "seldom", &json!({})).answer.is_none());
}

/// Rules that would take long are not asked; the answer does not wait for them.
#[test]
fn what_would_take_long_is_not_looked_at() {
    let rule = |number: usize| {
        format!(
            "  - {{ id: r{number}, allow: {{ tools: ['*'] }}, arguments: {{ a: {{ glob: ['*x*y*z{number}'] }} }} }}\n"
        )
    };
    let shadow: String = (0..1_000).map(rule).collect();
    let worker = with(&shadow);
    let short = send(&worker, "get_x", &json!({"a": "x"}));
    assert_eq!(short.record["shadow"]["outcome"], "refused");
    let long = json!({"a": "xy".repeat(400_000)});
    let began = Instant::now();
    let ended = send(&worker, "get_x", &long);
    let took = began.elapsed();
    assert!(ended.answer.is_none());
    assert_eq!(ended.record["shadow"], json!({"outcome": "error"}));
    assert_eq!(counts(&worker), [("error", 1), ("would_deny", 1)].into_iter().collect());
    let plain = Worker::new(LIVE);
    send(&plain, "get_x", &json!({}));
    let began = Instant::now();
    send(&plain, "get_x", &long);
    assert!(took < began.elapsed() * 3, "{took:?}");
}
