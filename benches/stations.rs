//! What each station of a request costs, natively: a regression shows without an Envoy.
//!
//! The whole way of a warm request is the last one. Times are of this machine and of native code; what counts are
//! the ratios between two commits.

#[path = "../tests/support/mod.rs"]
mod support;

use divan::{Bencher, black_box};
use mcp_iap::audit::{Masks, Record};
use mcp_iap::config;
use mcp_iap::gate::Request;
use mcp_iap::head::Head;
use mcp_iap::identity::Caller;
use mcp_iap::jose::{Algorithm, Expected, Jws, KeySet, Library, VerifiedClaims};
use mcp_iap::mcp::{Arguments, Message, Operation};
use mcp_iap::policy::{Call, PolicySet};
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::flow::{NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

fn main() {
    divan::main();
}

fn claims() -> Value {
    json!({"iss": "https://login.example.com", "sub": "dana", "client_id": "agent", "groups": ["dev", "ops"],
        "scope": "mcp:read mcp:write", "aud": "https://mcp.example.com/mcp", "exp": NOW + 3600, "iat": NOW})
}

fn document(rules: usize) -> String {
    let others = (1..rules).map(|number| {
        format!("  - {{ id: r{number}, allow: {{ tools: [get_{number}, list_{number}_*] }}, to: {{ groups: [g{number}] }} }}\n")
    });
    let others: String = others.collect();
    format!(
        "resource: https://mcp.example.com/mcp\nissuers:\n  - issuer: https://login.example.com\n    \
         jwks_uri: https://login.example.com/jwks\nrules:\n{others}  - {{ id: dev, allow: {{ tools: [create_issue] }}, \
         to: {{ groups: [dev] }}, arguments: {{ priority: {{ in: [low, high] }} }} }}\n"
    )
}

/// A call of `size` bytes: one long text, or many small values.
fn call(size: usize, is_dense: bool) -> Vec<u8> {
    let with = |detail: Value| {
        let arguments = json!({"repository": "web/shop", "priority": "low", "detail": detail});
        let params = json!({"name": "create_issue", "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
    };
    let one = json!({"id": 17, "tags": ["a", "b"], "open": true, "note": null});
    let room = size.saturating_sub(with(json!("")).len());
    let detail = if is_dense {
        json!(vec![one.clone(); room / one.to_string().len()])
    } else {
        json!("x".repeat(room))
    };
    with(detail).into_bytes()
}

#[divan::bench(args = [(656, false), (65_536, false), (65_536, true)])]
fn parse(bencher: Bencher<'_, '_>, (size, is_dense): (usize, bool)) {
    let body = call(size, is_dense);
    bencher.bench_local(|| black_box(Message::parse(&body).is_ok()));
}

/// A token that is not known, by the library: the host is faster.
#[divan::bench(args = ["RS256", "ES256"])]
fn verify(bencher: Bencher<'_, '_>, algorithm: &str) {
    let token = if algorithm == "RS256" { ISSUER.rs256(&claims()) } else { ISSUER.es256(&claims()) };
    let keys = KeySet::parse(ISSUER.jwks().to_string().as_bytes()).unwrap();
    let audiences = ["https://mcp.example.com/mcp".to_owned()];
    let expected = Expected {
        issuer: "https://login.example.com",
        algorithms: &Algorithm::asymmetric(),
        audiences: &audiences,
        clock_skew: Duration::from_secs(30),
        now: UnixTime(NOW),
    };
    bencher.bench_local(|| {
        let jws = Jws::parse(black_box(&token)).unwrap();
        VerifiedClaims::verify(jws, &keys, &expected, &Library).unwrap()
    });
}

fn caller() -> Caller {
    Caller {
        issuer: "https://login.example.com".into(),
        subject: "dana".into(),
        groups: vec!["dev".into(), "ops".into()],
        ..Caller::default()
    }
}

#[divan::bench(args = [10, 1000])]
fn decide(bencher: Bencher<'_, '_>, rules: usize) {
    let config = config::load(document(rules).as_bytes()).unwrap();
    let mut errors = Vec::new();
    let guarded = config.guarded().unwrap();
    let policies = PolicySet::compile(&guarded[0], &["https://login.example.com"], &mut errors);
    assert!(errors.is_empty());
    let (caller, arguments) = (caller(), Arguments::from_pairs(vec![("priority", "\"low\"")]));
    let operations = [Operation::Tool("create_issue")];
    let call = Call::of(&caller).to(&operations, &arguments);
    bencher.bench_local(|| policies.decide(black_box(&call)).unwrap());
}

#[divan::bench]
fn audit(bencher: Bencher<'_, '_>) {
    let mut record = Record::new("b0dd3d1b502ce0d81f1269b88fbb6f78".into());
    record.note_caller(Rc::new(caller()));
    record.note_operation(Operation::Tool("create_issue"), &Masks::none().and(None));
    bencher.bench_local(|| black_box(&record).write());
}

/// A request whose token and keys are known, from its head to its record.
#[divan::bench(args = [10, 1000])]
fn warm_request(bencher: Bencher<'_, '_>, rules: usize) {
    let worker = Worker::new(&document(rules));
    let authorization = format!("Bearer {}", ISSUER.rs256(&claims()));
    let head = [
        (":method", "POST"),
        (":path", "/mcp"),
        (":authority", "mcp.example.com"),
        ("content-type", "application/json"),
        ("authorization", authorization.as_str()),
    ];
    let body = call(656, false);
    let keys = |_: &str| reply("200", ISSUER.jwks().to_string().as_bytes());
    assert_eq!(worker.run(&head, Ok(&body), &keys).record["reason"], "allowed");
    let head = Head::from_pairs(head);
    bencher.bench_local(|| {
        let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
        let request = Rc::new(Request::new(settings, shared, mcp_iap::callout::StreamId(1), head.clone()));
        let body = body.clone();
        request.complete_body(move || Ok(body));
        let flow = pin!(Rc::clone(&request).run());
        let is_ready = matches!(flow.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_));
        assert!(is_ready);
        request.note(|record| record.write())
    });
}
