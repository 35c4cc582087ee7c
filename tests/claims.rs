//! What rules are fed by: claims by names with dots, alike in `to.claims`, in `when` and in cases; and no header in which
//! a client repeats an argument.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

fn document(rules: &str) -> String {
    format!(
        "resource: https://mcp.example.com/mcp\nissuers: [{{ issuer: https://login.example.com }}]\nrules:\n{rules}"
    )
}

fn provider(path: &str) -> Result<Reply, CalloutError> {
    let url = "https://login.example.com";
    match path {
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        _ => reply("200", json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string().as_bytes()),
    }
}

fn send(worker: &Worker, more: &Value, tool: &str, arguments: &Value, header: (&str, &str)) -> Ended {
    let mut claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 300});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let params = json!({"name": tool, "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).to_string();
    worker.post(&ISSUER.es256(&claims), &[header], body.as_bytes(), &provider)
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

/// A path, how `when` writes it, a token's claims, and whether `x` is found there.
#[test]
fn claims_with_dots_are_found_and_have_one_reading() {
    const APP: &str = "https://example.com/app";
    for (path, cel, claims, is_found) in [
        ("a.b", "caller.claims.a.b", json!({"a": {"b": ["x"]}}), true),
        ("a.b", "caller.claims['a.b']", json!({"a.b": ["x"]}), true),
        ("https://example.com/app", "caller.claims['https://example.com/app']", json!({APP: ["x"]}), true),
        (
            "https://example.com/app.roles",
            "caller.claims['https://example.com/app'].roles",
            json!({APP: {"roles": ["x"]}}),
            true,
        ),
        (
            "https://example.com/app.my.client.roles",
            "caller.claims['https://example.com/app']['my.client'].roles",
            json!({APP: {"my.client": {"roles": ["x"]}}}),
            true,
        ),
        // The longest name that is there counts, whoever else has one, and whatever it holds.
        (
            "a.b.c",
            "caller.claims.a.b.c",
            json!({"a.b.c": ["x"], "a.b": {"c": ["y"]}, "a": {"b": {"c": ["y"]}}}),
            true,
        ),
        (
            "a.b.c",
            "caller.claims.a.b.c",
            json!({"a.b": {"c": ["x"]}, "a": {"b.c": ["y"], "b": {"c": ["y"]}}}),
            true,
        ),
        ("a.b.c", "caller.claims.a.b.c", json!({"a": {"b.c": ["x"], "b": {"c": ["y"]}}}), true),
        ("a.b.c", "caller.claims.a.b.c", json!({"a.b": ["y"], "a": {"b": {"c": ["x"]}}}), false),
        ("a.b.c", "caller.claims.a.b.c", json!({"a.b": null, "a": {"b": {"c": ["x"]}}}), false),
        ("a.b", "caller.claims.a.b", json!({"a": ["x"], "b": ["x"], "a.": {"b": ["x"]}}), false),
    ] {
        // Where it is found, neither is an error; where it is not, both are.
        let document = document(&format!(
            "  - {{ id: by-path, allow: {{ tools: [path] }}, to: {{ claims: {{ '{path}': [x] }} }} }}
  - {{ id: by-cel, allow: {{ tools: [cel] }}, when: \"'x' in {cel}\" }}
  - {{ id: not-path, deny: {{ tools: [not-path] }}, to: {{ claims: {{ '{path}': [x] }} }} }}
  - {{ id: rest, allow: {{ tools: ['not-*'] }} }}
"
        ));
        let worker = Worker::new(&document);
        let ask = |tool: &str| {
            let ended = send(&worker, &claims, tool, &json!({}), ("accept", "*/*"));
            reason(&ended).to_owned()
        };
        let expected = if is_found { ["allowed", "allowed"] } else { ["claim_mismatch", "condition_error"] };
        assert_eq!([ask("path"), ask("cel")], expected, "{path} {claims}");
        assert_eq!(ask("not-path"), "denied_by_rule", "{path} {claims}");

        // Cases read claims as the filter does.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("claims");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("policy.yaml"), &document).unwrap();
        let decision = if is_found { "allow" } else { "deny" };
        let cases: Vec<Value> = ["path", "cel"]
            .iter()
            .map(|tool| {
                json!({"name": tool, "caller": {"claims": claims}, "call": {"tool": tool},
                    "expect": {"decision": decision}})
            })
            .collect();
        let file = folder.join("cases.json");
        fs::write(&file, json!({"policy": "policy.yaml", "cases": cases}).to_string()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap")).arg("test").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// `Mcp-Param-*` repeats an argument for who routes by heads. Rules read the body: no such header makes a call allowed,
/// none makes it refused, and none is taken away.
#[test]
fn no_rule_is_fed_by_a_header_that_repeats_an_argument() {
    let worker = Worker::new(&document(
        "  - { id: eu, allow: { tools: [query] }, arguments: { region: { in: [eu] } } }
  - { id: eu-cel, allow: { tools: [query-cel] }, when: args.region == 'eu' }
",
    ));
    for tool in ["query", "query-cel"] {
        for (argument, header, is_allowed) in [
            (json!({"region": "us"}), "eu", false),
            (json!({}), "eu", false),
            (json!({"region": "eu"}), "us", true),
            (json!({"region": "eu"}), "eu", true),
        ] {
            let ended = send(&worker, &json!({}), tool, &argument, ("mcp-param-region", header));
            assert_eq!(reason(&ended) == "allowed", is_allowed, "{argument} {header}: {}", ended.record);
        }
    }
    let named = document("  []\n") + "trusted_headers: [mcp-param-region]\n";
    let errors = mcp_iap::gate::Settings::load(named.as_bytes()).unwrap_err();
    assert!(format!("{errors:?}").contains("is a header of clients"), "{errors:?}");
}
