//! Opaque tokens on a real Envoy: of a real provider, which is asked (RFC 7662). And stand-ins for a provider and an API
//! server, that misbehave in every way.

use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy, free_port, root};
use crate::failures::eventually;
use crate::stub::{Reply, Stub};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, now, post, provide};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA-an-opaque-token";
const SECRET: &str = "gate-secret";

/// Ends when dropped.
struct Provider {
    port: u16,
    process: Child,
}

impl Provider {
    fn start(port: u16) -> Self {
        let packages = root().join("demo/provider/node_modules");
        assert!(packages.exists(), "its packages are missing: run `scripts/deps.sh node`");
        let process = Command::new("node")
            .arg(root().join("integration/opaque.mjs"))
            .env("PORT", port.to_string())
            .env("RESOURCE", RESOURCE)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        eventually("the provider listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process }
    }

    fn ask(&self, path: &str, form: &str) -> Answer {
        Request::new("POST", path)
            .header("authorization", format!("Basic {}", STANDARD.encode("dana:dana-secret")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send(self.port)
    }

    fn token(&self, resource: &str) -> String {
        let answer =
            self.ask("/token", &format!("grant_type=client_credentials&scope=mcp:read&resource={resource}"));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let token = body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}")).to_owned();
        assert!(!token.contains('.'), "it is opaque: {token}");
        token
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The document of an issuer that is asked at this path; the secret is in the VM's environment.
fn changes(issuer: &str, path: &str, answers: &str) -> Changes {
    let document = format!(
        "resource: {RESOURCE}
issuers:
  - issuer: '{issuer}'
    insecure_http: true
    cluster: identity_provider
    introspection: {{ endpoint: '{issuer}{path}', cluster: identity_provider, client_id: gate, client_secret: '${{SECRET}}', answers: {answers} }}
rules:
  - {{ id: dev, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}
"
    );
    let secret = format!(
        "vm_id: mcp_iap\n                  environment_variables: {{ key_values: {{ SECRET: {SECRET} }} }}"
    );
    Changes { configuration: Some(document), replace: vec![("vm_id: mcp_iap", secret)], ..Changes::default() }
}

fn reason(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason().unwrap_or_else(|| "allowed".to_owned()))
}

fn is(answer: &Answer, status: u16, expected: &str) {
    assert_eq!(reason(answer), (status, expected.to_owned()), "{answer:?}");
}

#[test]
fn a_real_provider_says_whose_its_opaque_tokens_are() {
    let port = free_port();
    let provider = Provider::start(port);
    let issuer = format!("http://127.0.0.1:{port}");
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let brief = "{ cache_duration: 500ms, negative_cache_duration: 500ms, timeout: 2s }";
    let envoy = Envoy::start(&changes(&issuer, "/token/introspection", brief), upstream.port, port);
    let send = |token: &str| post(token, call("get_pods", &json!({}))).send(envoy.port);
    let token = provider.token(RESOURCE);
    is(&send(&token), 200, "allowed");
    let record = envoy.access_lines(1)[0]["mcp_iap"][0].clone();
    assert_eq!(record["caller"]["client_id"], "dana", "{record}");
    assert_eq!((&record["caller"]["issuer"], &record["caller"]["groups"]), (&json!(issuer), &json!(["dev"])));
    is(&send(&provider.token("https://other.example.com/mcp")), 401, "wrong_audience");
    is(&send("never-issued-by-anybody-0123456789"), 401, "token_inactive");

    assert_eq!(provider.ask("/token/revocation", &format!("token={token}")).status, 200);
    let revoked = Instant::now();
    for (result, count) in [("ok", 2), ("token_inactive", 1)] {
        let name = format!("mcp_iap_introspections{{result=\"{result}\"}}");
        eventually("it is counted", || envoy.metric(&name).is_some_and(|counted| counted >= count));
    }
    let inactive = (401, "token_inactive".to_owned());
    eventually("a token that is taken back counts no more, on both workers", || {
        (0..8).all(|_| reason(&send(&token)) == inactive)
    });
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());

    // Down and up again: its tokens are gone, and new ones count.
    let other = provider.token(RESOURCE);
    drop(provider);
    is(&send(&other), 503, "introspection_unavailable");
    let provider = Provider::start(port);
    let new = provider.token(RESOURCE);
    eventually("it recovers by itself", || send(&new).status == 200);
    for seen in upstream.seen() {
        assert_eq!(seen.header("authorization"), None);
    }
    for secret in [token.as_str(), &other, &new, SECRET] {
        assert!(!envoy.log().contains(secret) && !envoy.access_log().contains(secret), "{secret}");
    }
}

fn active() -> String {
    json!({"active": true, "iss": ISSUER, "sub": "dana", "aud": RESOURCE, "exp": now() + 300, "groups": ["dev"]})
        .to_string()
}

/// What a token's judge may answer instead of what it should, and what the log says of it.
fn faults(status: u16, good: fn() -> String) -> Vec<(&'static str, Reply, &'static str)> {
    let with = |status: u16| Reply::new(status, good());
    let lines = format!("HTTP/1.1 {status} OK\r\ncontent-length: 500\r\n\r\n{{");
    vec![
        ("rubbish", Reply::new(status, b"\xff\xfe<html>".to_vec()), "none that can be read"),
        ("empty", Reply::new(status, ""), "none that can be read"),
        ("another status", with(500), "answered 500"),
        ("not the gate's secret", with(401), "answered 401"),
        ("it may not ask", with(403), "answered 403"),
        ("a redirect", with(302).header("location: /elsewhere"), "answered 302"),
        ("another success", with(if status == 200 { 201 } else { 200 }), "answered 20"),
        ("5 MB", Reply::new(status, " ".repeat(5_000_000) + &good()), "too large"),
        ("slow", with(status).after(Duration::from_millis(1500)), "answered 504"),
        ("cut off", Reply::wire(move |out| out.write_all(lines.as_bytes())), ""),
        ("no HTTP", Reply::wire(|out| out.write_all(b"hello\r\n\r\n")), "answered 50"),
    ]
}

/// Every way to fail is ours: 503 with a reason, a line in the log, nothing upstream; and it ends by itself.
fn misbehave(
    changes: &Changes,
    path: &'static str,
    status: u16,
    good: fn() -> String,
    token: &str,
    (reason, counter): (&str, &str),
) {
    let world = World::new(changes);
    let send = || post(token, call("get_pods", &json!({}))).send(world.envoy.port);
    let mut told_before = 0;
    for (name, reply, told) in faults(status, good) {
        world.upstream.forget();
        world.provider.script(move |seen| if seen.path == path { reply.clone() } else { provide(seen) });
        let answer = send();
        is(&answer, 503, reason);
        assert!(
            answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none(),
            "{name}"
        );
        let lines = world.envoy.access_lines(1);
        assert_eq!(lines.last().unwrap()["mcp_iap"][0]["reason"], reason, "{name}");
        assert!(world.upstream.seen().is_empty(), "{name}");
        eventually("a line in the log", || {
            let log = world.envoy.log();
            log.get(told_before..).is_some_and(|new| new.contains(told) && new.contains("through cluster"))
        });
        world.provider.script(
            move |seen| {
                if seen.path == path { Reply::new(status, good()) } else { provide(seen) }
            },
        );
        eventually("it recovers by itself", || send().status == 200);
        told_before = world.envoy.log().len();
    }
    assert!(!world.envoy.log().contains(token) && !world.envoy.access_log().contains(token));
    for result in ["ok", "no_answer", "status", "timeout", "unreadable", "cut_off"] {
        let name = format!("{counter}{{result=\"{result}\"}}");
        eventually("it is counted", || world.envoy.metric(&name).is_some_and(|count| count > 0));
    }
}

const BRIEF: &str = "{ cache_duration: 0s, negative_cache_duration: 0s, timeout: 500ms }";

#[test]
fn an_issuer_that_misbehaves_is_not_the_callers_fault() {
    let changes = Changes { concurrency: Some(1), ..changes(ISSUER, "/introspect", BRIEF) };
    let told = ("introspection_unavailable", "mcp_iap_introspections");
    misbehave(&changes, "/introspect", 200, active, OPAQUE, told);
}

fn reviewed() -> String {
    json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "x"}, "status": {
        "authenticated": true, "audiences": [RESOURCE], "user": {"username": "system:serviceaccount:agents:a"}}})
    .to_string()
}

/// A stand-in for the API server, since a real one does not misbehave; `make test-kube` has a real one.
#[test]
fn an_api_server_that_misbehaves_is_not_the_callers_fault() {
    let document = format!(
        "resource: {RESOURCE}
token_review: {{ server: '{ISSUER}', insecure_http: true, cluster: identity_provider, answers: {BRIEF} }}
rules:
  - {{ id: agents, allow: {{ tools: [get_*] }}, to: {{ kubernetes_users: ['system:serviceaccount:agents:*'] }} }}
"
    );
    let changes = Changes { configuration: Some(document), concurrency: Some(1), ..Changes::default() };
    let mut claims = claims(&[]);
    claims["iss"] = json!("https://kubernetes.default.svc");
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = ("token_review_unavailable", "mcp_iap_token_reviews");
    misbehave(&changes, path, 201, reviewed, &KEYS.rs256(&claims), told);
}

#[test]
fn the_gate_proves_itself_and_asks_once_for_all_who_wait() {
    let long = "{ cache_duration: 10s, timeout: 2s }";
    let changes = Changes { concurrency: Some(1), ..changes(ISSUER, "/introspect", long) };
    let world = World::with_provider(&changes, |seen| match seen.path.as_str() {
        "/introspect" => Reply::new(200, active()).after(Duration::from_millis(300)),
        _ => provide(seen),
    });
    let request = post(OPAQUE, call("get_pods", &json!({})));
    let streams: Vec<_> = (0..20).map(|_| request.start(world.envoy.port)).collect();
    for stream in streams {
        assert_eq!(crate::client::finish(stream).status, 200);
    }
    assert_eq!(request.send(world.envoy.port).status, 200);
    let asked: Vec<_> = world.provider.seen().into_iter().filter(|seen| seen.path == "/introspect").collect();
    assert_eq!(asked.len(), 1);
    let basic = format!("Basic {}", STANDARD.encode(format!("gate:{SECRET}")));
    assert_eq!(asked[0].header("authorization"), Some(basic.as_bytes()));
    assert_eq!(asked[0].header("content-type"), Some(&b"application/x-www-form-urlencoded"[..]));
    assert_eq!(asked[0].body, format!("token={OPAQUE}&token_type_hint=access_token").into_bytes());
}
