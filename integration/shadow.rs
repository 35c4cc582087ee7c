//! Shadow rules on a real Envoy: rules that would refuse everything, and rules that would allow everything, change no
//! answer; records and counters tell what they would have done.

use crate::client::Request;
use crate::envoy::Changes;
use crate::failures::eventually;
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, post};
use serde_json::{Value, json};

const RULES: &str = "rules:
  - { id: reads, allow: { tools: ['get_*'] }, to: { groups: [dev] } }
  - { id: few, allow: { tools: [few] }, rate: { calls: 1, per: 1h } }
";

fn world(more: &str) -> World {
    let configuration = format!(
        "resource: {RESOURCE}\nissuers:\n  - {{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}\n{RULES}{more}"
    );
    World::new(&Changes { configuration: Some(configuration), concurrency: Some(1), ..Changes::default() })
}

fn requests() -> Vec<Request> {
    let token = KEYS.es256(&claims(&["dev"]));
    let send = |tool: &str| post(&token, call(tool, &json!({})));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let mut requests: Vec<_> = ["get_x", "drop", "few", "few"].map(send).into();
    requests.push(post(&token, list));
    requests.push(post("no.token.atall", call("get_x", &json!({}))));
    requests
}

/// Status and reason of each request, what the upstream saw, and the records' shadows.
fn run(world: &World) -> (Vec<(u16, Option<String>)>, usize, Vec<Value>) {
    let answers = requests().iter().map(|request| request.send(world.envoy.port)).collect::<Vec<_>>();
    let answers = answers.iter().map(|answer| (answer.status, answer.reason())).collect();
    let lines = world.envoy.access_lines(6);
    let shadows = lines.iter().map(|line| line["mcp_iap"][0]["shadow"].clone()).collect();
    (answers, world.upstream.seen().len(), shadows)
}

fn counted(world: &World, difference: &str, count: u32) {
    let line = format!("mcp_iap_shadow{{difference=\"{difference}\"}} {count}");
    eventually(&line, || world.envoy.admin("/stats/prometheus").is_some_and(|stats| stats.contains(&line)));
}

#[test]
fn a_shadow_that_refuses_everything_changes_no_answer() {
    let (plain, forwarded, _) = run(&world(""));
    let reasons = plain.iter().map(|(_, reason)| reason.as_deref());
    let expected = [None, Some("no_rule_allows"), None, Some("rate_limited"), None, Some("malformed_token")];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);

    let denies = world("shadow_rules:\n  - { id: nothing, deny: { tools: ['*'], methods: ['*'] } }\n");
    let (answers, seen, shadows) = run(&denies);
    assert_eq!((&answers, seen), (&plain, forwarded));
    let would = json!({"outcome": "refused", "reason": "denied_by_rule", "rule": "nothing"});
    // Refused either way, but for the rate, and where no rules were asked.
    assert_eq!(shadows, [would.clone(), Value::Null, would.clone(), would.clone(), would, Value::Null]);
    counted(&denies, "would_deny", 4);
    counted(&denies, "none", 1);

    let allows = world(
        "shadow_rules:\n  - { id: all, allow: { tools: ['*'] }, scope: another, message: none }\n  - { id: really, allow: { tools: ['*'] } }\n",
    );
    let (answers, seen, shadows) = run(&allows);
    assert_eq!((answers, seen), (plain, forwarded));
    let would = json!({"outcome": "allowed", "reason": "allowed", "rule": "really"});
    assert_eq!(shadows, [Value::Null, would, Value::Null, Value::Null, Value::Null, Value::Null]);
    counted(&allows, "would_allow", 1);
}
