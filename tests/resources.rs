//! Several resources behind one Envoy: each has its own audience, rules, metadata and pages.

mod support;

use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const CONFIGURATION: &str = "
issuers:
  - { issuer: https://login.example.com, jwks_uri: https://login.example.com/jwks }
resources:
  - resource: https://a.example.com/mcp
    allowed_hosts: [a.example.com]
    rules: [{ id: of-a, allow: { tools: [get_*] } }]
  - resource: https://b.example.com/mcp
    allowed_hosts: [b.example.com]
    rules: [{ id: of-b, allow: { tools: [delete_*] } }]
  - resource: https://c.example.com/c/mcp
    rules: [{ id: of-c, allow: { tools: [get_*] } }]
health_paths: [/healthz]
";

fn token(audience: &Value) -> String {
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": audience, "exp": NOW + 60});
    format!("Bearer {}", ISSUER.es256(&claims))
}

fn send(
    worker: &Worker,
    host: &str,
    path: &str,
    token: Option<&str>,
    more: &[(&str, &str)],
    tool: &str,
) -> Ended {
    let mut head = vec![(":method", "POST"), (":path", path), (":authority", host)];
    head.extend(token.map(|token| ("authorization", token)));
    head.push(("content-type", "application/json"));
    head.extend(more);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).to_string();
    worker.run(&head, Ok(body.as_bytes()), &|_| reply("200", ISSUER.jwks().to_string().as_bytes()))
}

#[test]
fn a_token_for_one_is_no_token_for_another_and_rules_are_its_own() {
    let worker = Worker::new(CONFIGURATION);
    let (a, b) = (token(&json!("https://a.example.com/mcp")), token(&json!("https://b.example.com/mcp")));
    let both = token(&json!(["https://b.example.com/mcp", "https://a.example.com/mcp"]));
    let c = token(&json!("https://c.example.com/c/mcp"));
    for (host, path, token, tool, expected) in [
        ("a.example.com", "/mcp", &a, "get_x", ("allowed", "of-a")),
        ("a.example.com", "/mcp", &a, "delete_x", ("no_rule_allows", "")),
        ("b.example.com", "/mcp", &b, "delete_x", ("allowed", "of-b")),
        ("b.example.com", "/mcp", &b, "get_x", ("no_rule_allows", "")),
        ("b.example.com", "/mcp", &a, "delete_x", ("wrong_audience", "")),
        ("a.example.com", "/mcp", &b, "get_x", ("wrong_audience", "")),
        ("a.example.com", "/mcp", &both, "get_x", ("allowed", "of-a")),
        ("b.example.com", "/mcp", &both, "get_x", ("no_rule_allows", "")),
        ("a.example.com", "/c/mcp", &c, "get_x", ("allowed", "of-c")),
        ("a.example.com", "/c/mcp", &a, "get_x", ("wrong_audience", "")),
        ("c.example.com", "/mcp", &a, "get_x", ("host_not_allowed", "")),
        ("a.example.com", "/b/mcp", &a, "get_x", ("unknown_path", "")),
    ] {
        // Twice: what is remembered of a token decides nothing about a resource.
        for _ in 0..2 {
            let ended = send(&worker, host, path, Some(token), &[], tool);
            let rule = ended.record["rule"].as_str().unwrap_or_default();
            assert_eq!((ended.record["reason"].as_str().unwrap(), rule), expected, "{host}{path} {tool}");
        }
    }
}

#[test]
fn each_tells_of_itself() {
    let worker = Worker::new(CONFIGURATION);
    for (host, path, resource) in [
        ("a.example.com", "/mcp", "https://a.example.com/mcp"),
        ("b.example.com", "/mcp", "https://b.example.com/mcp"),
        ("anything", "/c/mcp", "https://c.example.com/c/mcp"),
    ] {
        let ended = send(&worker, host, path, None, &[], "get_x");
        assert_eq!(ended.record["protected_resource"], resource);
        let answer = ended.answer.unwrap();
        let challenge = &answer.headers.iter().find(|(name, _)| *name == "www-authenticate").unwrap().1;
        let (origin, suffix) = (&resource[..21], &resource[21..]);
        let metadata = format!("{origin}/.well-known/oauth-protected-resource{suffix}");
        assert_eq!(*challenge, format!(r#"Bearer realm="{resource}", resource_metadata="{metadata}""#));
        let well_known = format!("/.well-known/oauth-protected-resource{suffix}");
        let head = [(":method", "GET"), (":path", well_known.as_str()), (":authority", host)];
        let answer = worker.run(&head, Ok(b""), &|_| reply("500", b"")).answer.unwrap();
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &document["resource"]), (200, &json!(resource)));
    }
}

/// A page of one resource's origin is no page of another's.
#[test]
fn a_page_of_one_is_a_stranger_to_another() {
    let worker = Worker::new(CONFIGURATION);
    let a = token(&json!("https://a.example.com/mcp"));
    let from = |origin| send(&worker, "a.example.com", "/mcp", Some(&a), &[("origin", origin)], "get_x");
    assert_eq!(from("https://a.example.com").record["reason"], "allowed");
    assert_eq!(from("https://b.example.com").record["reason"], "origin_not_allowed");
}
