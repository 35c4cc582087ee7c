//! Answers as they are sent: events of a long stream, a client that leaves it, uploads beside it; and what
//! passes without a token.

use crate::client::Request;
use crate::envoy::{Changes, Envoy};
use crate::stub::{Reply, Stub};
use crate::world::{KEYS, World, call, claims, post, provide};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// An upstream that answers one request with events: each when it is told to, then, when nobody can tell it any
/// more, one each 150 ms. It says when its client left.
fn events() -> (u16, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (left, told) = mpsc::channel();
    let (next, go) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = connection.read(&mut buffer);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = connection.write_all(head.as_bytes());
        for number in 0..40 {
            if sent.is_err() {
                let _ = left.send(());
                return;
            }
            if go.recv().is_err() {
                std::thread::sleep(Duration::from_millis(150));
            }
            let event = format!("data: {number}\n\n");
            sent = connection.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        }
    });
    (port, next, told)
}

fn gate(upstream: u16) -> Envoy {
    let provider = Stub::start(provide);
    Envoy::start(&Changes::default(), upstream, provider.port)
}

fn good_call() -> Request {
    post(&KEYS.rs256(&claims(&["dev"])), call("get_pods", &json!({})))
}

#[test]
fn events_pass_as_they_are_sent_and_a_client_that_leaves_is_told_upstream() {
    let (port, next, left) = events();
    let envoy = gate(port);
    let mut stream = good_call().start(envoy.port);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    for number in 0..5 {
        // The next is not sent before this one is here: what is held back never comes, and the read ends by time.
        next.send(()).unwrap();
        while !seen.contains(&format!("data: {number}\n")) {
            let size = stream.read(&mut buffer).unwrap_or_else(|error| panic!("held back: {error}: {seen}"));
            assert!(size > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
    }
    drop(next);
    drop(stream);
    left.recv_timeout(Duration::from_secs(5)).expect("the upstream was not told that its client left");
    let lines = envoy.access_lines(1);
    assert_eq!((lines.len(), &lines[0]["mcp_iap"][0]["reason"]), (1, &json!("allowed")));
}

/// Slow uploads within the limit, many at a time, don't stall another request on the same worker.
#[test]
fn uploads_do_not_stall_others() {
    let world = World::new(&Changes { concurrency: Some(1), ..Changes::default() });
    assert_eq!(good_call().send(world.envoy.port).status, 200);
    let token = KEYS.rs256(&claims(&["dev"]));
    let large = post(&token, call("get_pods", &json!({"s": "x".repeat(900_000)})));
    let uploads: Vec<_> = (0..20).map(|_| large.start_with_half_a_body(world.envoy.port)).collect();
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(good_call().send(world.envoy.port).status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let half = large.body.len() - large.body.len() / 2;
    for mut upload in uploads {
        upload.write_all(&large.body[half..]).unwrap();
        assert_eq!(crate::client::finish(upload).status, 200);
    }
}

#[test]
fn a_health_path_passes_without_a_token() {
    let rules = "                    rules:\n";
    let paths = "                    health_paths: [/healthz]\n";
    let changes = Changes { replace: vec![(rules, format!("{paths}{rules}"))], ..Changes::default() };
    let world = World::new(&changes);
    world.upstream.script(|_| Reply::new(200, "fine"));
    let secret = "Bearer some-long-token-of-somebody";
    let answer = Request::new("GET", "/healthz").header("authorization", secret).send(world.envoy.port);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"fine"[..]));
    assert_eq!(world.record(1)["reason"], "health");
    world.upstream_saw_no_credential(secret);
    for (count, (method, path, status)) in (2..).zip([
        ("POST", "/healthz", 405),
        ("GET", "/healthz/", 404),
        ("GET", "/healthz/../mcp", 404),
        ("GET", "/Healthz", 404),
    ]) {
        world.upstream.forget();
        assert_eq!(Request::new(method, path).send(world.envoy.port).status, status, "{method} {path}");
        assert_eq!(world.record(count)["outcome"], "refused");
        assert!(world.upstream.seen().is_empty());
    }
    let with_body = Request::new("GET", "/healthz").body("x").chunked(1);
    assert_eq!(with_body.send(world.envoy.port).reason().as_deref(), Some("unexpected_body"));
}
