//! A rotation at a real OpenID provider: the demo's, which makes new keys at each start, as one that lost its old ones.

use crate::client::Request;
use crate::envoy::{Changes, Envoy, free_port, root, scratch};
use crate::failures::eventually;
use crate::keys::Load;
use crate::stub::{Reply, Stub};
use crate::world::{RESOURCE, call, post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Ends when dropped.
pub struct Provider {
    pub port: u16,
    process: Child,
    seen: PathBuf,
}

impl Provider {
    pub fn start(port: u16) -> Self {
        let seen = scratch().join("seen.jsonl");
        let folder = root().join("demo/provider");
        assert!(folder.join("node_modules").exists(), "its packages are missing: run `scripts/deps.sh node`");
        let process = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .env("PORT", port.to_string())
            .env("SEEN", &seen)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        eventually("the provider listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process, seen }
    }

    /// What its token endpoint gave and refused so far, by this grant.
    pub fn seen(&self, grant: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.seen).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["grant"] == grant).collect()
    }

    /// An access token of the client `sam`, by the client credentials grant (RFC 6749 section 4.4, RFC 8707).
    fn token(&self) -> String {
        self.token_of("sam", "")
    }

    /// The same of this client, with this scope.
    pub fn token_of(&self, client: &str, scope: &str) -> String {
        let scope = if scope.is_empty() { String::new() } else { format!("&scope={scope}") };
        let answer = Request::new("POST", "/token")
            .header(
                "authorization",
                format!("Basic {}", STANDARD.encode(format!("{client}:{client}-secret"))),
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("grant_type=client_credentials&resource={RESOURCE}{scope}"))
            .send(self.port);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}")).to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_rotation_at_a_real_provider_loses_no_request() {
    let port = free_port();
    let provider = Provider::start(port);
    let issuer = format!("http://127.0.0.1:{port}");
    let configuration = format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{issuer}', insecure_http: true, cluster: identity_provider, keys: {{ cache_duration: 5s, timeout: 2s }} }}
rules:
  - {{ id: sre, allow: {{ tools: [get_*] }}, to: {{ groups: [sre] }} }}"
    );
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let changes = Changes { configuration: Some(configuration), ..Changes::default() };
    let envoy = Envoy::start(&changes, upstream.port, port);
    let send = |token: &str| post(token, call("get_pods", &json!({}))).send(envoy.port);
    let old = provider.token();
    assert_eq!(send(&old).status, 200, "{:?}", send(&old));
    let token = Arc::new(Mutex::new(old.clone()));
    let current = Arc::clone(&token);
    let load = Load::start(envoy.port, 2, move || current.lock().unwrap().clone());

    // While it is down, and its keys fall due, the old ones go on.
    drop(provider);
    std::thread::sleep(Duration::from_secs(6));
    let provider = Provider::start(port);
    let new = provider.token();
    token.lock().unwrap().clone_from(&new);
    let rotated = Instant::now();
    assert_eq!(send(&new).status, 200, "the first request with the new key");
    assert!(rotated.elapsed() < Duration::from_secs(2), "{:?}", rotated.elapsed());
    eventually("the old key is gone on both workers", || {
        (0..8).all(|_| send(&old).reason().as_deref() == Some("unknown_key"))
    });
    let (sent, lost) = load.end();
    assert!(sent > 100 && lost.is_empty(), "{} of {sent} were lost: {:?}", lost.len(), lost.first());
}
