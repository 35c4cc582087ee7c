//! What a record says of the upstream's answer, which trace it belongs to, and how the client learns the decision's id.

use crate::client::{Request, finish};
use crate::envoy::Changes;
use crate::stub::{Reply, Seen};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, modern, modern_call, post, provide};
use serde_json::{Value, json};
use std::time::Duration;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn world(audit: &str, provider: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> World {
    let document = format!(
        "resource: {RESOURCE}
issuers: [{{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}]
rules: [{{ id: reads, allow: {{ tools: ['get_*'] }} }}]
audit: {audit}
"
    );
    let changes = Changes { configuration: Some(document), concurrency: Some(1), ..Changes::default() };
    World::with_provider(&changes, provider)
}

fn answer(result: &str) -> Reply {
    Reply::new(200, format!(r#"{{"jsonrpc":"2.0","id":1,{result}}}"#))
        .header("content-type: application/json")
}

#[test]
fn the_record_says_how_the_upstream_answered() {
    let text = |size: usize| {
        answer(&format!(
            r#""result":{{"content":[{{"type":"text","text":"{}"}}],"isError":true}}"#,
            "x".repeat(size)
        ))
    };
    let failed = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no"}}"#;
    let begun = Reply::wire(|out| {
        out.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"result\":{}",
        )
    });
    let rows: [(&str, Reply, Value); 9] = [
        ("good", answer(r#""result":{"content":[]}"#), json!(null)),
        ("JSON-RPC's error", answer(r#""error":{"code":-32602,"message":"m"}"#), json!({"error": -32602})),
        ("a tool's error", text(10), json!({"is_error": true})),
        ("too long", text(20_000), json!({"unread": true})),
        ("cut off", begun, json!({"unread": true})),
        ("events", Reply::events(failed, 3, Duration::from_millis(5)), json!({"error": -32001})),
        (
            "encoded",
            Reply::new(200, b"\x1f\x8b\x08\x00".to_vec())
                .header("content-type: application/json")
                .header("content-encoding: gzip"),
            json!({"unread": true}),
        ),
        ("a page", Reply::new(200, "<html>").header("content-type: text/html"), json!(null)),
        ("refused", answer(r#""error":{"code":-32000,"message":"m"}"#), json!({"error": -32000})),
    ];
    let token = KEYS.es256(&claims(&["dev"]));
    for (has_list_to_watch, request) in [
        (true, post(&token, call("get_x", &json!({})))),
        (false, modern(post(&token, modern_call("get_x", &json!({}))), "get_x")),
    ] {
        let world = world("{ read_answers: true }", provide);
        for (index, (name, reply, expected)) in rows.iter().enumerate() {
            let (reply, status) = (reply.clone(), if *name == "refused" { 400 } else { 200 });
            world.upstream.script(move |_| Reply { status, ..reply.clone() });
            // An answer that is cut off ends the connection.
            let seen = if *name == "cut off" {
                drop(std::panic::catch_unwind(|| request.send(world.envoy.port)));
                None
            } else {
                Some(request.send(world.envoy.port))
            };
            let record = world.envoy.access_lines(index + 1)[index]["mcp_iap"][0].clone();
            assert_eq!(record["answer"], *expected, "{name}, watched {has_list_to_watch}: {record}");
            if let Some(seen) = seen {
                assert_eq!(seen.status, status, "{name}");
                let told = seen.header("mcp-iap-decision").unwrap_or_default().to_owned();
                assert_eq!(record["decision"], json!(told), "{name}");
            }
        }
    }
}

/// A stream that runs is one of which nothing is known; nothing of it is held back.
#[test]
fn an_answer_that_the_client_leaves_is_unread() {
    let world = world("{ read_answers: true }", provide);
    let event = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
    world.upstream.script(move |_| Reply::events(event, 100, Duration::from_millis(50)));
    let token = KEYS.es256(&claims(&["dev"]));
    let stream = post(&token, call("get_x", &json!({}))).start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(400));
    drop(stream);
    assert_eq!(world.record(1)["answer"], json!({"unread": true}));
}

#[test]
fn by_default_no_answer_is_read() {
    let world = world("{}", provide);
    world.upstream.script(|_| answer(r#""error":{"code":-32602,"message":"m"}"#));
    let token = KEYS.es256(&claims(&["dev"]));
    assert_eq!(post(&token, call("get_x", &json!({}))).send(world.envoy.port).status, 200);
    assert_eq!(world.record(1)["answer"], Value::Null);
}

/// Whoever else says so: each answer to a call names its decision, once, and to the upstream nobody does.
#[test]
fn the_gate_alone_names_the_decision() {
    let world = world("{}", provide);
    world.upstream.script(|_| {
        answer(r#""result":{}"#).header("mcp-iap-decision: forged").header("Mcp-Iap-Decision: again")
    });
    let token = KEYS.es256(&claims(&["dev"]));
    let rows = [
        (200, "allowed", post(&token, call("get_x", &json!({})))),
        (403, "refused", post(&token, call("drop", &json!({})))),
        (404, "refused", Request::new("GET", "/nowhere")),
        (401, "refused", post("x", "{}")),
    ];
    for (index, (status, outcome, request)) in rows.into_iter().enumerate() {
        let seen = request.header("mcp-iap-decision", "forged").send(world.envoy.port);
        let record = world.record(index + 1);
        assert_eq!((seen.status, &record["outcome"]), (status, &json!(outcome)));
        let named: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "mcp-iap-decision").collect();
        assert_eq!(named.len(), 1, "{seen:?}");
        assert_eq!(record["decision"], json!(named[0].1), "{seen:?}");
    }
    for seen in world.upstream.seen() {
        assert_eq!(seen.header("mcp-iap-decision"), None, "{seen:?}");
    }
}

#[test]
fn the_trace_is_kept_and_recorded() {
    let world = world("{}", provide);
    let token = KEYS.es256(&claims(&["dev"]));
    let in_meta = |trace: &Value| {
        let mut body: Value = serde_json::from_str(&modern_call("get_x", &json!({}))).unwrap();
        body["params"]["_meta"]["traceparent"] = trace.clone();
        modern(post(&token, body.to_string()), "get_x")
    };
    let rows = [
        (in_meta(&json!(OTHER)).header("traceparent", TRACE), json!(TRACE)),
        (in_meta(&json!(OTHER)), json!(OTHER)),
        (in_meta(&json!(OTHER)).header("traceparent", "00-rubbish"), json!(OTHER)),
        (in_meta(&json!(7)), Value::Null),
        (in_meta(&json!(format!("{TRACE}{}", "0".repeat(100_000)))), Value::Null),
        (
            in_meta(&json!("\u{0}")).header("traceparent", format!("{TRACE}{}", "-".repeat(20_000))),
            Value::Null,
        ),
        (in_meta(&json!(format!("00-{token}"))), Value::Null),
        (
            in_meta(&json!({"a": TRACE})).header("traceparent", TRACE).header("traceparent", OTHER),
            Value::Null,
        ),
    ];
    for (index, (request, expected)) in rows.iter().enumerate() {
        assert_eq!(request.send(world.envoy.port).status, 200);
        assert_eq!(world.record(index + 1)["traceparent"], *expected, "{request:?}");
    }
    let seen = world.upstream.seen();
    assert_eq!(seen[0].header("traceparent"), Some(TRACE.as_bytes()));
    assert!(String::from_utf8_lossy(&seen[1].body).contains(OTHER));
    // Of a refusal as well.
    let refused = post("x", "{}").header("traceparent", TRACE).send(world.envoy.port);
    assert_eq!((refused.status, &world.record(rows.len() + 1)["traceparent"]), (401, &json!(TRACE)));
}

#[test]
fn the_record_says_how_long_keys_were_waited_for() {
    let world = world("{}", |seen| provide(seen).after(Duration::from_millis(300)));
    let token = KEYS.es256(&claims(&["dev"]));
    let first = post(&token, call("get_x", &json!({}))).start(world.envoy.port);
    assert_eq!(finish(first).status, 200);
    let waited = world.record(1)["waited_ms"]["keys"].as_u64();
    assert!(waited.is_some_and(|waited| (1..5_000).contains(&waited)), "{waited:?}");
    assert_eq!(post(&token, call("get_x", &json!({}))).send(world.envoy.port).status, 200);
    assert_eq!(world.record(2)["waited_ms"], Value::Null, "they are known");
}
