//! Tokens that a real Kubernetes API server reviews, on a real Envoy as `render envoy` writes it: the gate's own
//! credential comes from a file that rotates. Run by `make test-kube`.

use crate::cluster::{AUDIENCE, Cluster, NOBODY, REVIEWER};
use crate::envoy::root;
use serde_json::{Value, json};

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
