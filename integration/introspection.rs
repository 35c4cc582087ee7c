//! Opaque tokens on a real Envoy: of a real provider, which is asked (RFC 7662), and of a stand-in that misbehaves in
//! every way.

use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy, free_port, root};
use crate::failures::eventually;
use crate::stub::{Reply, Seen, Stub};
use crate::world::{ISSUER, RESOURCE, World, call, now, post, provide};
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

/// Every way to fail is ours: 503 with a reason, a line in the log, nothing upstream; and it ends by itself.
#[test]
fn an_issuer_that_misbehaves_is_not_the_callers_fault() {
    type Script = fn(&Seen) -> Reply;
    let faults: &[(&str, Script, &str)] = &[
        ("rubbish", |_| Reply::new(200, b"\xff\xfe<html>".to_vec()), "none that can be read"),
        ("empty", |_| Reply::new(200, ""), "none that can be read"),
        ("another status", |_| Reply::new(500, active()), "answered 500"),
        ("not the gate's secret", |_| Reply::new(401, active()), "answered 401"),
        ("a redirect", |_| Reply::new(302, active()).header("location: /elsewhere"), "answered 302"),
        ("5 MB", |_| Reply::new(200, " ".repeat(5_000_000) + &active()), "too large"),
        ("slow", |_| Reply::new(200, active()).after(Duration::from_millis(1500)), "answered 504"),
        (
            "cut off",
            |_| Reply::wire(|out| write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{{")),
            "",
        ),
        ("no HTTP", |_| Reply::wire(|out| out.write_all(b"hello\r\n\r\n")), ""),
        ("active as text", |_| Reply::new(200, r#"{"active":"true"}"#), "none that can be read"),
    ];
    for (name, script, told) in faults {
        let brief = "{ cache_duration: 0s, negative_cache_duration: 0s, timeout: 500ms }";
        let script = *script;
        let world = World::with_provider(&changes(ISSUER, "/introspect", brief), move |seen| {
            if seen.path == "/introspect" { script(seen) } else { provide(seen) }
        });
        let send = || post(OPAQUE, call("get_pods", &json!({}))).send(world.envoy.port);
        let answer = send();
        is(&answer, 503, "introspection_unavailable");
        assert!(answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none());
        assert_eq!(world.record(1)["reason"], "introspection_unavailable", "{name}");
        assert!(world.upstream.seen().is_empty(), "{name}");
        eventually("a line in the log", || {
            let log = world.envoy.log();
            log.contains("mcp-iap: introspection at") && log.contains(told)
        });
        world.provider.script(|seen| {
            if seen.path == "/introspect" { Reply::new(200, active()) } else { provide(seen) }
        });
        eventually("it recovers by itself", || send().status == 200);
        assert!(!world.envoy.log().contains(OPAQUE) && !world.envoy.access_log().contains(OPAQUE));
    }
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
