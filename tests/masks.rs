//! What a refusal quotes is masked, and the words around it are not: no form of `audit.mask_values` reaches into them.

mod support;

use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

/// What the caller is told of this call, where texts of this form are masked.
fn told(form: &str, changed: &Value) -> String {
    let mut arguments = json!({"name": "web", "n": 1, "f": 1});
    for (name, value) in changed.as_object().unwrap() {
        arguments[name] = value.clone();
    }
    let worker = Worker::new(&format!(
        "
resource: https://mcp.example.com/mcp
issuers: [{{ issuer: https://login.example.com }}]
rules:
  - {{ id: own, deny: {{ tools: [get] }}, arguments: {{ own: {{ present: true }} }}, message: AKIA of ours is not an accepted name. }}
  - {{ id: reads, allow: {{ tools: [get] }}, arguments: {{ name: {{ in: [web] }}, n: {{ integer: {{ max: 10 }} }}, f: {{ number: {{ max: 1.5 }} }} }} }}
audit: {{ mask: '#', mask_values: ['{form}'] }}
"
    ));
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 300});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get", "arguments": arguments}});
    let provider = |path: &str| support::flow::provider(&ISSUER, path);
    let answer =
        worker.post(&ISSUER.es256(&claims), &[], call.to_string().as_bytes(), &provider).answer.unwrap();
    assert_eq!(answer.status, 403);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_mask_ends_with_the_value_that_is_quoted() {
    for (form, arguments, expected) in [
        ("AKIA*", json!({"name": "xAKIA0123"}), "name: \"x#\" is not an accepted value"),
        ("*AKIA", json!({"name": "xAKIA0123"}), "name: \"#0123\" is not an accepted value"),
        ("*AKIA*", json!({"name": "xAKIA0123"}), "name: \"#\" is not an accepted value"),
        ("*", json!({"name": "db"}), "name: \"#\" is not an accepted value"),
        // One that would go on to our own words, or that is in them alone.
        ("AKIA*value", json!({"name": "AKIA0123"}), "name: \"AKIA0123\" is not an accepted value"),
        ("name*accepted", json!({"name": "db"}), "name: \"db\" is not an accepted value"),
        ("*", json!({"name": ["db"]}), "name: has the wrong type"),
        ("12*", json!({"n": 1234}), "n: # is above 10"),
        ("above*", json!({"n": 1234}), "n: 1234 is above 10"),
        ("2*", json!({"f": 2.5}), "f: # is above 1.5"),
        // What the rule says is the configuration's.
        ("AKIA*", json!({"own": "AKIA0123"}), "AKIA of ours is not an accepted name."),
    ] {
        assert_eq!(told(form, &arguments), expected, "{form} {arguments}");
    }
}
