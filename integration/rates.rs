//! Rates of rules on a real Envoy: what two workers let pass together, what the others are told, and what a change of
//! the configuration leaves.

use crate::client::Answer;
use crate::dynamic::{Dynamic, document, module};
use crate::envoy::Changes;
use crate::stub::{Reply, Stub};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, post, provide};
use serde_json::json;
use std::time::Duration;

const RULES: &str = "  - id: scales
    allow: { tools: [scale, get_flip] }
    rate: { calls: 20, per: 1m }
    message: Slowly, please.
  - { id: quick, allow: { tools: [quick] }, rate: { calls: 1, per: 2s } }
";

fn token_of(subject: &str) -> String {
    let mut claims = claims(&["dev"]);
    claims["sub"] = json!(subject);
    KEYS.es256(&claims)
}

fn send(port: u16, token: &str, tool: &str) -> Answer {
    post(token, call(tool, &json!({}))).send(port)
}

/// All at once.
fn together(port: u16, count: usize, token: &str, tool: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..count).map(|_| scope.spawn(|| send(port, token, tool))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn a_hundred_parallel_calls_pass_as_often_as_the_rate_says() {
    let configuration = format!(
        "resource: {RESOURCE}\nissuers:\n  - {{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}\nrules:\n{RULES}"
    );
    let world = World::new(&Changes { configuration: Some(configuration), ..Changes::default() });
    let port = world.envoy.port;
    let (dana, sam) = (token_of("dana"), token_of("sam"));
    // The keys are here; this rule's bucket is another.
    let first = send(port, &dana, "quick");
    assert_eq!(first.status, 200, "{first:?}");
    world.upstream.forget();
    let answers = together(port, 100, &dana, "scale");
    let count = passed(&answers);
    assert!((20..=22).contains(&count), "{count} passed");
    assert_eq!(world.upstream.seen().len(), count);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, refused.reason().as_deref()), (429, Some("rate_limited")), "{refused:?}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{wait}");
        let body: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!((&body["error"]["code"], &body["id"]), (&json!(429), &json!(1)));
        assert_eq!(body["error"]["message"], "Slowly, please.");
    }
    let stats = world.envoy.admin("/stats").unwrap();
    for worker in ["worker_0", "worker_1"] {
        let name = format!(".{worker}.downstream_cx_total: ");
        let line = stats.lines().find(|line| line.starts_with("listener.127") && line.contains(&name));
        assert!(line.is_some_and(|line| !line.ends_with(": 0")), "{worker} had a part in it: {stats}");
    }
    let lines = world.envoy.access_lines(101);
    let records: Vec<_> = lines.iter().map(|line| &line["mcp_iap"][0]).collect();
    assert_eq!(records.len(), 101);
    let refused: Vec<_> = records.iter().filter(|record| record["reason"] == "rate_limited").collect();
    assert_eq!(refused.len(), 100 - count);
    assert!(refused.iter().all(|record| record["outcome"] == "refused" && record["rule"] == "scales"));
    let metrics = world.envoy.admin("/stats/prometheus").unwrap();
    let counted = format!("mcp_iap_requests{{outcome=\"refused\",reason=\"rate_limited\"}} {}", 100 - count);
    assert!(metrics.contains(&counted), "no {counted}: {metrics}");
    // Somebody else has a bucket of his own, the same caller through another client has not.
    assert_eq!(send(port, &sam, "scale").status, 200);
    let mut claims = claims(&["dev"]);
    claims["client_id"] = json!("another");
    assert_eq!(send(port, &KEYS.es256(&claims), "scale").status, 429);
}

/// Who waits as long as he is told passes, once.
#[test]
fn after_the_wait_a_call_passes_again() {
    let configuration = format!(
        "resource: {RESOURCE}\nissuers:\n  - {{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}\nrules:\n{RULES}"
    );
    let world = World::new(&Changes { configuration: Some(configuration), ..Changes::default() });
    let (port, dana) = (world.envoy.port, token_of("dana"));
    assert_eq!(send(port, &dana, "quick").status, 200);
    for round in 0..3 {
        let refused = send(port, &dana, "quick");
        assert_eq!(refused.status, 429, "{round}: {refused:?}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_secs(wait));
        assert_eq!(passed(&together(port, 10, &dana, "quick")), 1, "{round}");
    }
    assert_eq!(world.upstream.seen().len(), 4);
}

/// A new document goes on counting, unless it changes the rate.
#[test]
fn a_reload_keeps_what_is_used_up() {
    let provider = Stub::start(provide);
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let with = |rules: &str, more: &str| document(provider.port, rules, more);
    let gate = Dynamic::start(&Changes::default(), &with(RULES, ""), upstream.port);
    let (port, dana) = (gate.envoy.port, token_of("dana"));
    assert_eq!(passed(&together(port, 30, &dana, "scale")), 20);
    let is_allowed = |tool: &str| send(port, &dana, tool).status == 200;
    let more = "  - { id: new, allow: { tools: [new] } }\n";
    assert!(gate.render(&with(RULES, more), upstream.port, &module()).status.success());
    gate.wait("the new rule", Duration::from_secs(20), || is_allowed("new"));
    let count = passed(&together(port, 30, &dana, "scale"));
    assert!(count <= 3, "{count} passed: one comes back in three seconds");
    let faster = RULES.replace("calls: 20", "calls: 25");
    assert!(
        gate.render(
            &with(&faster, "  - { id: newer, allow: { tools: [newer] } }\n"),
            upstream.port,
            &module()
        )
        .status
        .success()
    );
    gate.wait("the newer rule", Duration::from_secs(20), || is_allowed("newer"));
    assert_eq!(passed(&together(port, 40, &dana, "scale")), 25);
}
