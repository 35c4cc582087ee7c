//! Failed authentications on a real Envoy: two workers count together, and an address is slow or blocked.

use crate::client::Answer;
use crate::envoy::Changes;
use crate::failures::eventually;
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, post};
use serde_json::json;
use std::time::{Duration, Instant};

fn world(failed_authentication: &str) -> World {
    let document = format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}
rules: [{{ id: reads, allow: {{ tools: ['get_*'] }} }}]
failed_authentication: {failed_authentication}
"
    );
    World::new(&Changes { configuration: Some(document), ..Changes::default() })
}

fn send(world: &World, token: &str) -> Answer {
    post(token, call("get_pods", &json!({}))).send(world.envoy.port)
}

fn good() -> String {
    KEYS.es256(&claims(&["dev"]))
}

#[test]
fn an_address_that_fails_is_blocked_by_both_workers_and_told_of() {
    let world = world("{ source: block, threshold: 5, window: 10s }");
    assert_eq!(send(&world, &good()).status, 200);
    world.upstream.forget();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..30).map(|_| scope.spawn(|| send(&world, "x.y.z"))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let failed = answers.iter().filter(|answer| answer.status == 401).count();
    // Who is being looked at just now is let through; two workers.
    assert!((5..=7).contains(&failed), "{failed}");
    let refused = send(&world, &good());
    assert_eq!(
        (refused.status, refused.reason().as_deref()),
        (429, Some("too_many_failures")),
        "{refused:?}"
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    assert!(world.upstream.seen().is_empty());
    let stats = world.envoy.admin("/stats").unwrap();
    for worker in ["worker_0", "worker_1"] {
        let name = format!(".{worker}.downstream_cx_total: ");
        let line = stats.lines().find(|line| line.starts_with("listener.127") && line.contains(&name));
        assert!(line.is_some_and(|line| !line.ends_with(": 0")), "{worker} had a part in it: {stats}");
    }
    std::thread::sleep(Duration::from_secs(wait));
    assert_eq!(send(&world, &good()).status, 200);
    let lines = world.envoy.access_lines(33);
    let records = || lines.iter().map(|line| &line["mcp_iap"][0]);
    let of = |reason: &str| records().filter(|record| record["reason"] == reason).count();
    assert_eq!((of("allowed"), of("malformed_token"), of("too_many_failures")), (2, failed, 31 - failed));
    assert_eq!(records().filter(|record| record["failing"] == json!(["source"])).count(), failed - 4);
    let counted = format!("mcp_iap_failing{{by=\"source\"}} {}", failed - 4);
    eventually(&counted, || world.envoy.admin("/stats/prometheus").unwrap().contains(&counted));
}

#[test]
fn refusals_are_slow_and_a_client_that_does_not_wait_has_its_record() {
    let world = world("{ source: slow, threshold: 1 }");
    let held = || {
        let began = Instant::now();
        let answer = send(&world, "x.y.z");
        assert_eq!((answer.status, answer.reason().as_deref()), (401, Some("malformed_token")));
        began.elapsed()
    };
    assert!(held() >= Duration::from_secs(2));
    let began = Instant::now();
    assert_eq!(send(&world, &good()).status, 200);
    assert!(began.elapsed() < Duration::from_secs(1));
    let connection = post("x.y.z", call("get_pods", &json!({}))).start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(300));
    drop(connection);
    let lines = world.envoy.access_lines(3);
    let reasons: Vec<_> = lines.iter().map(|line| line["mcp_iap"][0]["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["malformed_token", "allowed", "malformed_token"]);
    assert_eq!(lines[2]["mcp_iap"][0]["outcome"], "refused");
}
