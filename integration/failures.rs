//! When something fails: the identity provider, a client that leaves, bytes that are no text.

use crate::client::{Request, finish};
use crate::envoy::{Changes, free_port};
use crate::stub::Reply;
use crate::world::{KEYS, World, call, claims, post, provide};
use serde_json::json;
use std::time::{Duration, Instant};

fn good_call() -> Request {
    post(&KEYS.rs256(&claims(&["dev"])), call("get_pods", &json!({})))
}

fn on_a_closed_port(port: &'static str) -> (&'static str, String) {
    (port, format!("port_value: {}", free_port()))
}

/// Waits until `done`.
pub fn eventually(what: &str, done: impl Fn() -> bool) {
    // An Envoy compiles the module before it listens: on a busy machine that takes more than ten seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refuses_as_unavailable(world: &World, what: &str) {
    let answer = good_call().send(world.envoy.port);
    assert_eq!(answer.status, 503, "{what}: {answer:?}");
    assert_eq!(answer.reason().as_deref(), Some("identity_provider_unavailable"), "{what}");
    assert!(answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none(), "{what}");
    assert_eq!(world.record(1)["reason"], "identity_provider_unavailable", "{what}");
    assert!(world.upstream.seen().is_empty(), "{what}");
}

/// Nobody listens: Envoy answers the callout with a 503 page of its own.
#[test]
fn a_provider_that_is_down() {
    for changes in [Changes::default(), Changes::without_flag()] {
        let mut changes = changes;
        changes.replace.push(on_a_closed_port("port_value: 9400"));
        let world = World::new(&changes);
        refuses_as_unavailable(&world, "down");
        eventually("a line in the log", || world.envoy.log().contains("was answered with status 503"));
    }
}

#[test]
fn a_cluster_that_envoy_does_not_know() {
    let from = "cluster: identity_provider\n                        clock_skew";
    let to = "cluster: nowhere\n                        clock_skew".to_owned();
    let changes = Changes { replace: vec![(from, to)], ..Changes::default() };
    let world = World::new(&changes);
    refuses_as_unavailable(&world, "no cluster");
    assert!(world.envoy.log().contains("Envoy has no such cluster"), "{}", world.envoy.log());
}

#[test]
fn a_client_that_leaves_during_a_callout() {
    let changes = Changes { concurrency: Some(1), ..Changes::default() };
    let world = World::with_provider(&changes, |seen| provide(seen).after(Duration::from_millis(700)));
    let leader = good_call().start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(200));
    let follower = good_call().start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(200));
    drop(leader);
    assert_eq!(finish(follower).status, 200, "the one who stays is served");
    let lines = world.envoy.access_lines(2);
    assert_eq!(lines.len(), 2);
    let mut reasons: Vec<_> =
        lines.iter().map(|line| line["mcp_iap"][0]["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["allowed", "client_gone"]);
    assert_eq!(world.upstream.seen().len(), 1);
}

#[test]
fn bytes_that_are_no_text() {
    let world =
        World::with_provider(&Changes::default(), |seen| provide(seen).header(b"x-bin: \xff\xfe".to_vec()));
    world.upstream.script(|_| Reply::new(200, b"\xff\xfe".to_vec()).header(b"x-bin: \xff\xfe".to_vec()));
    let request = good_call()
        .header("x-bin", b"\xff\xfe".to_vec())
        .header("user-agent", b"\xff\"}\r".to_vec()[..3].to_vec());
    for count in 1..4 {
        let answer = request.send(world.envoy.port);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\xff\xfe"[..]));
        assert_eq!(world.record(count)["reason"], "allowed");
    }
    assert!(!world.envoy.log().contains("panicked"), "{}", world.envoy.log());
}

#[test]
fn an_upstream_that_is_down_is_recorded() {
    let changes = Changes { replace: vec![on_a_closed_port("port_value: 8000")], ..Changes::default() };
    let world = World::new(&changes);
    assert_eq!(good_call().send(world.envoy.port).status, 503);
    let record = world.record(1);
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("allowed"), &json!("allowed")));
    assert_eq!(record.get("upstream_status"), None, "the 503 is Envoy's own");
}

/// Envoy ends what is no HTTP before the filter sees a head: recorded all the same.
#[test]
fn what_is_no_http_is_recorded() {
    let world = World::new(&Changes::default());
    let bad = Request::new("POST", "/mcp").header("content-length", "1, 2").body("x");
    assert_eq!(bad.send(world.envoy.port).status, 400);
    assert_eq!(world.record(1)["reason"], "not_seen");
    let huge = good_call().header("x-huge", "x".repeat(100_000));
    assert_eq!(huge.send(world.envoy.port).status, 431);
    assert_eq!(world.record(2)["reason"], "not_seen");
}

/// Above the listener's buffer limit Envoy answers by itself while the filter waits for the body.
#[test]
fn what_envoy_ends_is_recorded_as_that() {
    let small =
        ("per_connection_buffer_limit_bytes: 1048576", "per_connection_buffer_limit_bytes: 32768".into());
    let world = World::new(&Changes { replace: vec![small], ..Changes::default() });
    let long = post(&KEYS.rs256(&claims(&["dev"])), "x".repeat(500_000)).chunked(1000);
    assert_eq!(long.send(world.envoy.port).status, 413);
    assert_eq!(world.record(1)["reason"], "ended_by_envoy");
    assert!(world.upstream.seen().is_empty());
}

/// Without the flag the upstream has the head of a call that is not decided yet: its answer must wait
/// for the decision, and can't, so it does not count.
#[test]
fn an_upstream_that_answers_early_is_not_believed() {
    let world = World::new(&Changes::without_flag());
    world.upstream.script_at_head(|_| Reply::new(200, "EARLY"));
    let call = call("delete_namespace", &json!({}));
    let mut stream = post(&KEYS.rs256(&claims(&["dev"])), call).start_with_half_a_body(world.envoy.port);
    let answer = finish(stream.try_clone().unwrap());
    assert_eq!(
        (answer.status, answer.reason().as_deref()),
        (502, Some("upstream_answered_early")),
        "{answer:?}"
    );
    let record = world.record(1);
    assert_eq!(
        (&record["reason"], &record["upstream_status"]),
        (&json!("upstream_answered_early"), &json!(200))
    );
    let _ = std::io::Write::write_all(&mut stream, b"x");
}

/// The configuration says that Envoy has the flag, and it has not: nothing hangs, and the log says why.
#[test]
fn a_flag_that_is_missing_is_told() {
    let world = World::new(&Changes { replace: vec![Changes::no_flag_in_envoy()], ..Changes::default() });
    let started = Instant::now();
    let answer = good_call().send(world.envoy.port);
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("flag_missing")));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(world.record(1)["reason"], "flag_missing");
    assert!(world.envoy.log().contains("its PluginConfig has no"));
    assert!(world.upstream.seen().is_empty());
}

/// Not even while others keep the worker busy.
#[test]
fn a_flag_that_is_missing_is_told_under_load() {
    let changes =
        Changes { replace: vec![Changes::no_flag_in_envoy()], concurrency: Some(1), ..Changes::default() };
    let world = World::new(&changes);
    let request = good_call();
    let first = request.start(world.envoy.port);
    let started = Instant::now();
    let others: Vec<_> = (0..50)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(40));
            request.start(world.envoy.port)
        })
        .collect();
    assert_eq!(finish(first).reason().as_deref(), Some("flag_missing"));
    let line = world.envoy.access_lines(1)[0].clone();
    assert!(line["duration_ms"].as_u64().unwrap() < 1000, "{line}");
    assert!(started.elapsed() < Duration::from_secs(10));
    for other in others {
        assert_eq!(finish(other).status, 503);
    }
}

/// A slow client is not taken for it, not even by a worker that has seen no body yet.
#[test]
fn a_slow_body_is_waited_for() {
    let world = World::new(&Changes { concurrency: Some(1), ..Changes::default() });
    let request = good_call();
    let mut stream = request.start_with_half_a_body(world.envoy.port);
    std::thread::sleep(Duration::from_millis(2500));
    let half = request.body.len() - request.body.len() / 2;
    std::io::Write::write_all(&mut stream, &request.body[half..]).unwrap();
    assert_eq!(finish(stream).status, 200);
}

/// The configuration says that Envoy has not the flag, and it has: the head does not go on while a body
/// that began before the keys were there is half decided.
#[test]
fn a_flag_that_is_set_unknowingly_lets_no_half_body_pass() {
    let flag = Changes::no_flag_in_configuration();
    let changes = Changes { replace: vec![flag], concurrency: Some(1), ..Changes::default() };
    let world = World::with_provider(&changes, |seen| provide(seen).after(Duration::from_millis(400)));
    let (bad, good) = (call("delete_namespace", &json!({})), call("get_pods", &json!({})));
    let padded = format!("{bad}{good:>width$}", width = bad.len());
    let token = KEYS.rs256(&claims(&["dev"]));
    let request = post(&token, padded);
    let mut stream = request.start_with_half_a_body(world.envoy.port);
    std::thread::sleep(Duration::from_millis(1500));
    let half = request.body.len() - request.body.len() / 2;
    std::io::Write::write_all(&mut stream, &request.body[half..]).unwrap();
    let answer = finish(stream);
    assert_eq!((answer.status, answer.reason().as_deref()), (400, Some("invalid_json")));
    assert!(world.upstream.seen().is_empty(), "{:?}", world.upstream.seen());
}
