//! Tokens that a real Kubernetes API server reviews, on a real Envoy as `render envoy` writes it: the gate's own
//! credential comes from a file that rotates. Run by `make test-kube`.

mod typed;
mod walkthrough;

use crate::client::Answer;
use crate::cluster::{AUDIENCE, Cluster, NOBODY, REVIEWER};
use crate::envoy::{Changes, Envoy, root, scratch};
use crate::failures::eventually;
use crate::rendered::{put, render};
use crate::stub::{Reply, Stub};
use crate::world::{ISSUER, KEYS, call, claims, post};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn question(token: &str, audiences: Option<&[&str]>) -> String {
    let mut spec = json!({ "token": token });
    if let Some(audiences) = audiences {
        spec["audiences"] = json!(audiences);
    }
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}).to_string()
}

/// The answers that the native tests are given (`tests/judges.rs`): recorded here with `UPDATE_GOLDEN=1`, and else
/// compared with what the server says now.
#[test]
fn the_recordings_are_what_a_real_server_answers() {
    let cluster = Cluster::start();
    let token = cluster.token("coding-agent", &[AUDIENCE]);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(342));
    let ours: Option<&[&str]> = Some(&[AUDIENCE]);
    let rows = [
        ("ok.json", REVIEWER[0], question(&token, ours), 201),
        ("no-audiences.json", REVIEWER[0], question(&cluster.token("coding-agent", &[]), None), 201),
        ("wrong-aud.json", REVIEWER[0], question(&token, Some(&["other"])), 201),
        ("badsig.json", REVIEWER[0], question(&forged, ours), 201),
        ("garbage.json", REVIEWER[0], question("garbage", ours), 201),
        ("400.json", REVIEWER[0], question("", ours), 400),
        ("401.json", "no-such-token", question(&token, ours), 401),
        ("403.json", NOBODY, question(&token, ours), 403),
    ];
    for (name, as_whom, question, status) in rows {
        let answer = cluster.ask(as_whom, "POST", REVIEWS, question).unwrap();
        assert_eq!(answer.status, status, "{name}");
        let mut seen: Value = serde_json::from_slice(&answer.body).unwrap();
        blank(&mut seen);
        let file = root().join("tests/fixtures/token_review").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, serde_json::to_string_pretty(&seen).unwrap() + "\n").unwrap();
        }
        let recorded: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(seen, recorded, "{name}");
    }
}

/// What differs each time, and what is secret.
fn blank(answer: &mut Value) {
    if let Some(fields) = answer.pointer_mut("/metadata/managedFields") {
        for field in fields.as_array_mut().unwrap() {
            field["time"] = json!("2026-11-21T00:00:00Z");
        }
    }
    if let Some(token) = answer.pointer_mut("/spec/token") {
        *token = json!("<the token, which the server repeats>");
    }
    if let Some(uid) = answer.pointer_mut("/status/user/uid") {
        *uid = json!("00000000-0000-0000-0000-000000000000");
    }
}

fn reason(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason().unwrap_or_else(|| "allowed".to_owned()))
}

/// The gate's own credential in `folder`, and the file that tells Envoy of it.
fn credential(folder: &Path) -> String {
    put(folder, "token", REVIEWER[0]);
    let secret = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "credential",
        "generic_secret": {"secret": {"filename": folder.join("token"), "watched_directory": {"path": folder}}},
    }]});
    let file = folder.join("credential.yaml");
    std::fs::write(&file, secret.to_string()).unwrap();
    file.display().to_string()
}

#[test]
fn a_real_api_server_says_whose_a_token_is() {
    let mut cluster = Cluster::start();
    let folder = scratch();
    let sds = credential(&folder);
    let document = format!(
        "resource: http://127.0.0.1:10000/mcp
token_review:
  server: https://localhost:{}
  audiences: [{AUDIENCE}]
  cluster: kube_api
  answers: {{ cache_duration: 1s, negative_cache_duration: 1s, timeout: 5s }}
rules:
  - {{ id: agent, allow: {{ tools: [get_*] }}, to: {{ kubernetes_users: ['system:serviceaccount:agents:coding-*'] }} }}
  - {{ id: agents, allow: {{ tools: [list] }}, to: {{ groups: ['system:serviceaccounts:agents'] }} }}
",
        cluster.port
    );
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let options = [
        "--upstream".to_owned(),
        format!("http://127.0.0.1:{}", upstream.port),
        "--credential".to_owned(),
        format!("kube_api={sds}"),
        "--ca".to_owned(),
        cluster.folder.join("ca.crt").display().to_string(),
    ];
    let envoy =
        Envoy::run(&Changes::default(), |port, admin| render(&folder, &document, port, admin, &options));
    let send = |token: &str, tool: &str| post(token, call(tool, &json!({}))).send(envoy.port);
    let is = |token: &str, tool: &str, status: u16, expected: &str| {
        let answer = send(token, tool);
        assert_eq!(reason(&answer), (status, expected.to_owned()), "{tool}: {answer:?}\n{}", envoy.log());
    };
    let agent = cluster.token("coding-agent", &[AUDIENCE]);
    let other = cluster.token("other", &["x", AUDIENCE]);
    is(&agent, "get_pods", 200, "allowed");
    is(&agent, "list", 200, "allowed");
    is(&other, "list", 200, "allowed");
    is(&other, "get_pods", 403, "no_rule_allows");
    let caller = envoy.access_lines(1)[0]["mcp_iap"][0]["caller"].clone();
    assert_eq!(caller["kubernetes_user"], "system:serviceaccount:agents:coding-agent", "{caller}");
    assert!(caller["groups"].as_array().unwrap().contains(&json!("system:serviceaccounts:agents")));
    // A token for the API server itself, and one that somebody changed.
    is(&cluster.token("coding-agent", &[]), "get_pods", 401, "wrong_audience");
    let (signed, _) = agent.rsplit_once('.').unwrap();
    is(&format!("{signed}.{}", "A".repeat(342)), "get_pods", 401, "token_review_denied");

    // The gate's own credential changes, without a restart: to one that may not ask, to none, and to another good one.
    for (credential, told) in [(NOBODY, "answered 403"), ("no-such-token", "answered 401")] {
        put(&folder, "token", credential);
        eventually("its credential is at fault, and the log says how", || {
            let seen = reason(&send(&agent, "list"));
            seen == (503, "token_review_unavailable".to_owned()) && envoy.log().contains(told)
        });
    }
    put(&folder, "token", REVIEWER[1]);
    eventually("the new one is taken", || send(&agent, "list").status == 200);

    // Down, and up again.
    cluster.down();
    eventually("what is remembered ends", || {
        reason(&send(&agent, "list")) == (503, "token_review_unavailable".to_owned())
    });
    cluster.up();
    // On both workers: what failed is remembered for a second.
    eventually("it recovers by itself", || (0..8).all(|_| send(&other, "list").status == 200));

    // A token whose owner is gone: the API server remembers it for up to 10 seconds itself.
    cluster.remove("other");
    let removed = Instant::now();
    let denied = (401, "token_review_denied".to_owned());
    while !(0..8).all(|_| reason(&send(&other, "list")) == denied) {
        assert!(removed.elapsed() < Duration::from_secs(30), "it counts still");
        std::thread::sleep(Duration::from_millis(200));
    }

    for seen in upstream.seen() {
        assert_eq!(seen.header("authorization"), None);
    }
    for secret in [agent.as_str(), &other, REVIEWER[0], REVIEWER[1]] {
        assert!(!envoy.log().contains(secret) && !envoy.access_log().contains(secret));
    }
}

/// The target's own API server must know the token that was issued for it: before it is used, and after a rule has
/// allowed the call.
#[test]
fn a_token_that_was_exchanged_is_reviewed_by_its_target() {
    let cluster = Cluster::start();
    let folder = scratch();
    let sds = credential(&folder);
    let issued = Arc::new(Mutex::new(cluster.token("coding-agent", &["k8s-staging"])));
    let current = Arc::clone(&issued);
    let provider = Stub::start(move |seen| match seen.path.as_str() {
        "/jwks" => Reply::new(200, KEYS.jwks().to_string()),
        "/token" => {
            let token = current.lock().unwrap().clone();
            let kind = "urn:ietf:params:oauth:token-type:access_token";
            let body = json!({"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 300});
            Reply::new(200, body.to_string()).header("content-type: application/json")
        }
        _ => Reply::new(404, ""),
    });
    let at = format!("http://127.0.0.1:{}", provider.port);
    let document = format!(
        "resource: http://127.0.0.1:10000/mcp
issuers:
  - {{ issuer: '{ISSUER}', jwks_uri: '{at}/jwks', insecure_http: true, cluster: provider }}
token_exchange:
  token_endpoint: {at}/token
  cluster: provider
  insecure_http: true
  client_id: gate
  token_endpoint_auth_method: none
  target: {{ argument: cluster, default: staging }}
  targets:
    - {{ name: staging, audience: k8s-staging, token_review: 'https://localhost:{}' }}
    - {{ name: prod, audience: k8s-prod, token_review: 'https://localhost:{}' }}
rules:
  - {{ id: dev, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}
",
        cluster.port, cluster.port
    );
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let options = [
        "--upstream".to_owned(),
        format!("http://127.0.0.1:{}", upstream.port),
        "--credential".to_owned(),
        format!("localhost={sds}"),
        "--ca".to_owned(),
        cluster.folder.join("ca.crt").display().to_string(),
    ];
    let envoy =
        Envoy::run(&Changes::default(), |port, admin| render(&folder, &document, port, admin, &options));
    let token = KEYS.es256(&claims(&["dev"]));
    let send = |tool: &str, arguments: &Value| reason(&post(&token, call(tool, arguments)).send(envoy.port));
    let allowed = (200, "allowed".to_owned());
    assert_eq!(send("get_pods", &json!({})), allowed, "{}", envoy.log());
    let exchange = envoy.access_lines(1)[0]["mcp_iap"][0]["exchange"].clone();
    assert_eq!(exchange["kubernetes_user"], "system:serviceaccount:agents:coding-agent", "{exchange}");
    let given = issued.lock().unwrap().clone();
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {given}").as_bytes()));
    // A call that no rule allows is refused before a token is asked for.
    let asked = provider.seen().len();
    assert_eq!(send("delete_pods", &json!({"cluster": "prod"})), (403, "no_rule_allows".to_owned()));
    assert_eq!(provider.seen().len(), asked);
    // The endpoint gives the same for the other target, whose cluster wants another audience.
    assert_eq!(send("get_pods", &json!({"cluster": "prod"})), (403, "issued_token_denied".to_owned()));
    assert_eq!(upstream.seen().len(), 1, "nothing of it went on");
    for secret in [&token, &given] {
        assert!(!envoy.log().contains(secret) && !envoy.access_log().contains(secret));
    }
}
