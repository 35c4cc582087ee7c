//! The ways beside a token in which a caller identifies itself, and which of several counts.

mod support;

use mcp_iap::api_key::KeyHash;
use mcp_iap::secret::Secret;
use mcp_iap::time::{UnixTime, format_time};
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const PEPPER: &str = "a-pepper-of-at-least-32-bytes-for-tests";
const OLD: &str = "mcp_iap_Old-key-0123456789";
const NEW: &str = "mcp_iap_New-key-0123456789";
const GONE: &str = "mcp_iap_Gone-key-0123456789";
const AGED: &str = "mcp_iap_Aged-key-0123456789";
const LATER: &str = "mcp_iap_Later-key-0123456789";
const AGENT: &str = "spiffe://cluster.local/ns/agents/sa/coding-agent";
const PROXY: &str = "spiffe://cluster.local/ns/ingress/sa/gateway";

fn hash(key: &str) -> String {
    KeyHash::of(key.as_bytes(), &Secret::new(PEPPER.into())).to_hex()
}

fn at(seconds: i64) -> String {
    format_time(UnixTime(NOW.checked_add_signed(seconds).unwrap()))
}

fn api_keys() -> String {
    format!(
        "api_keys:
  pepper: ${{PEPPER}}
  keys:
    - {{ name: ci-old, hash: {}, groups: [dev], expires_at: \"{}\" }}
    - {{ name: ci-new, hash: {}, groups: [dev], not_before: \"{}\" }}
    - {{ name: ci-gone, hash: {}, groups: [dev], expires_at: \"{}\" }}
    - {{ name: ci-aged, hash: {}, created_at: \"{}\", max_age: 720h, expires_at: \"{}\" }}
    - {{ name: ci-later, hash: {}, not_before: \"{}\" }}
",
        hash(OLD),
        at(60),
        hash(NEW),
        at(-60),
        hash(GONE),
        at(0),
        hash(AGED),
        at(-720 * 3600),
        at(3600),
        hash(LATER),
        at(1),
    )
}

const RULES: &str = "
resource: https://mcp.example.com/mcp
rules:
  - { id: dev-reads, allow: { tools: [get_*] }, to: { groups: [dev] } }
  - { id: ci-builds, allow: { tools: [build] }, to: { api_keys: [\"ci-*\"] } }
";

const ISSUERS: &str = "issuers: [{ issuer: https://login.example.com }]\n";

fn worker(configuration: &str) -> Worker {
    Worker::in_environment(configuration, &|name| (name == "PEPPER").then(|| PEPPER.to_owned()))
}

fn call(tool: &str) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
        .to_string()
        .into_bytes()
}

fn token() -> String {
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "client_id": "agent", "groups": ["dev"],
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60});
    format!("Bearer {}", ISSUER.es256(&claims))
}

fn run(worker: &Worker, headers: &[(&str, &str)], tool: &str) -> Ended {
    let mut head = vec![(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json")];
    head.extend(headers);
    worker.run(&head, Ok(&call(tool)), &|path| match path {
        "/.well-known/openid-configuration" => reply(
            "200",
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#,
        ),
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        _ => reply("404", b"{}"),
    })
}

fn reason(ended: &Ended) -> String {
    ended.record["reason"].as_str().unwrap().to_owned()
}

fn status(ended: &Ended) -> u16 {
    ended.answer.as_ref().map_or(200, |answer| answer.status)
}

#[test]
fn a_key_is_a_caller_with_its_groups() {
    let worker = worker(&format!("{RULES}{}", api_keys()));
    for (key, name) in [(OLD, "ci-old"), (NEW, "ci-new")] {
        for tool in ["get_x", "build"] {
            let ended = run(&worker, &[("x-api-key", key)], tool);
            assert_eq!(reason(&ended), "allowed", "{name} {tool}");
            assert_eq!(
                ended.record["caller"],
                json!({"kind": "api_key", "api_key": name, "groups": ["dev"]})
            );
            assert!(ended.callouts.is_empty());
            assert!(!ended.record.to_string().contains(key));
        }
    }
    assert_eq!(reason(&run(&worker, &[("x-api-key", OLD)], "delete")), "no_rule_allows");
}

#[test]
fn a_key_that_does_not_count_is_refused_with_its_own_reason_and_name() {
    let worker = worker(&format!("{RULES}{ISSUERS}{}", api_keys()));
    for (key, expected, name) in [
        (GONE, "api_key_expired", json!("ci-gone")),
        (AGED, "api_key_expired", json!("ci-aged")),
        (LATER, "api_key_not_yet_valid", json!("ci-later")),
        ("mcp_iap_No-such-key-0123456789", "unknown_api_key", Value::Null),
        (&hash(OLD), "unknown_api_key", Value::Null),
        (&OLD.to_lowercase(), "unknown_api_key", Value::Null),
        (&OLD[..OLD.len() - 1], "unknown_api_key", Value::Null),
    ] {
        let ended = run(&worker, &[("x-api-key", key)], "build");
        assert_eq!((reason(&ended).as_str(), status(&ended)), (expected, 401), "{key}");
        assert_eq!(ended.record["caller"]["api_key"], name, "{key}");
        assert_eq!(ended.record["outcome"], "refused");
        assert!(!ended.record.to_string().contains(key) && !ended.answer.unwrap().body.contains(key));
    }
}

#[test]
fn a_key_that_ends_while_the_body_comes_counts_no_more() {
    let mut worker = worker(&format!("{RULES}{}", api_keys()));
    worker.body_takes = 61;
    assert_eq!(reason(&run(&worker, &[("x-api-key", OLD)], "build")), "api_key_expired");
}

#[test]
fn a_key_stands_in_its_header_once_and_alone() {
    let worker = worker(&format!("{RULES}{ISSUERS}{}", api_keys()));
    let token = token();
    let long = "x".repeat(513);
    let cookie = format!("k={OLD}");
    let path = format!("/mcp?key={OLD}");
    let rows: &[(&[(&str, &str)], &str, u16)] = &[
        (&[("X-Api-Key", OLD)], "allowed", 200),
        (&[("x-api-key", OLD), ("x-api-key", OLD)], "malformed_api_key", 400),
        (&[("x-api-key", OLD), ("X-API-KEY", NEW)], "malformed_api_key", 400),
        (&[("x-api-key", "")], "malformed_api_key", 400),
        (&[("x-api-key", "mcp_iap_Old-key 0123456789")], "malformed_api_key", 400),
        (&[("x-api-key", "mcp_iap_Old-key-é0123456789")], "malformed_api_key", 400),
        (&[("x-api-key", &long)], "malformed_api_key", 400),
        (&[("x_api_key", OLD)], "malformed_api_key", 400),
        (&[("X_Api-Key", OLD), ("x-api-key", OLD)], "malformed_api_key", 400),
        (&[("x-api-key", OLD), ("authorization", &token)], "several_credentials", 400),
        (&[("x-api-key", OLD), ("authorization", "Basic YTpi")], "several_credentials", 400),
        (&[("x-api-key", GONE), ("authorization", &token)], "several_credentials", 400),
        (&[("x-api-key", OLD), ("cookie", &cookie)], "token_repeated", 400),
        (&[("authorization", &token)], "allowed", 200),
        (&[("authorization", OLD)], "missing_token", 401),
        (&[("cookie", "x-api-key=1")], "missing_token", 401),
        (&[], "missing_token", 401),
    ];
    for (headers, expected, code) in rows {
        let ended = run(&worker, headers, "get_x");
        assert_eq!((reason(&ended).as_str(), status(&ended)), (*expected, *code), "{headers:?}");
    }
    let head =
        [(":method", "POST"), (":path", &path), ("content-type", "application/json"), ("x-api-key", OLD)];
    let ended = worker.run(&head, Ok(&call("build")), &|_| reply("404", b""));
    assert_eq!(reason(&ended), "token_repeated");
}

#[test]
fn the_header_may_have_another_name() {
    let keys = api_keys().replacen("api_keys:\n", "api_keys:\n  header: Api-Token\n", 1);
    let worker = worker(&format!("{RULES}{keys}"));
    assert_eq!(worker.settings.api_keys.as_ref().unwrap().header(), "api-token");
    assert_eq!(reason(&run(&worker, &[("api-token", OLD)], "build")), "allowed");
    assert_eq!(reason(&run(&worker, &[("x-api-key", OLD)], "build")), "missing_api_key");
}

/// No path lets a key through to the upstream, in whatever spelling.
#[test]
fn a_key_in_another_spelling_passes_nowhere() {
    let worker = worker(&format!("{RULES}{}health_paths: [/healthz]\n", api_keys()));
    for (name, expected) in
        [("x_api_key", "malformed_api_key"), ("X_Api-Key", "malformed_api_key"), ("x-api-key", "health")]
    {
        let head = [(":method", "GET"), (":path", "/healthz"), (name, OLD)];
        assert_eq!(reason(&worker.run(&head, Ok(b""), &|_| reply("404", b""))), expected, "{name}");
    }
}

/// Without an issuer there is no login to lead a client to.
#[test]
fn keys_alone_need_no_issuer() {
    let worker = worker(&format!("{RULES}{}", api_keys()));
    let ended = run(&worker, &[], "build");
    assert_eq!((reason(&ended).as_str(), status(&ended)), ("missing_api_key", 401));
    let answer = ended.answer.unwrap();
    let challenge = answer.headers.iter().find(|(name, _)| *name == "www-authenticate").unwrap();
    assert_eq!(challenge.1, "ApiKey realm=\"https://mcp.example.com/mcp\"");
    assert_eq!(reason(&run(&worker, &[("authorization", &token())], "build")), "unknown_issuer");
    let path = "/.well-known/oauth-protected-resource/mcp";
    let ended = worker.run(&[(":method", "GET"), (":path", path)], Ok(b""), &|_| reply("404", b""));
    assert_eq!(reason(&ended), "unknown_path");
}

#[test]
fn without_require_auth_everybody_is_anonymous_and_still_policed() {
    let rules = "
resource: https://mcp.example.com/mcp
require_auth: false
rules:
  - { id: reads, allow: { tools: [get_*] } }
  - { id: dev-scales, allow: { tools: [scale] }, to: { groups: [dev] } }
  - { id: freeze, deny: { tools: [get_secret] } }
";
    let token = token();
    let expired = "Bearer a.b.c";
    for more in [String::new(), format!("{ISSUERS}{}", api_keys())] {
        let worker = worker(&format!("{rules}{more}"));
        let rows: &[&[(&str, &str)]] = &[
            &[],
            &[("authorization", &token)],
            &[("authorization", expired)],
            &[("authorization", "Bearer a b")],
            &[("x-api-key", GONE)],
            &[("x-api-key", OLD)],
        ];
        for headers in rows {
            let ended = run(&worker, headers, "get_x");
            assert_eq!(reason(&ended), "allowed", "{headers:?}");
            assert_eq!(ended.record["caller"], json!({"kind": "anonymous", "groups": []}), "{headers:?}");
            assert!(ended.callouts.is_empty());
            assert_eq!(reason(&run(&worker, headers, "scale")), "no_rule_allows", "{headers:?}");
            assert_eq!(reason(&run(&worker, headers, "get_secret")), "denied_by_rule");
        }
        // What could not be taken out of the head.
        let cookie = token.replace("Bearer ", "t=");
        let ended = run(&worker, &[("authorization", &token), ("cookie", &cookie)], "get_x");
        assert_eq!(reason(&ended), "token_repeated");
    }
}

fn mesh(more: &str) -> String {
    format!(
        "
resource: https://mcp.example.com/mcp
mesh_identity: {{ trust_domains: [cluster.local, partner.example]{more} }}
rules:
  - {{ id: agents-read, allow: {{ tools: [get_*] }}, to: {{ spiffe_ids: [\"spiffe://cluster.local/ns/agents/*\"] }} }}
  - {{ id: dev-through-agents, allow: {{ tools: [scale] }}, to: {{ groups: [dev], spiffe_ids: [{AGENT}] }} }}
  - {{ id: dev, allow: {{ tools: [list] }}, to: {{ groups: [dev] }} }}
"
    )
}

#[test]
fn a_workload_is_a_caller_by_its_certificate() {
    let worker = worker(&mesh(", authenticates: true"));
    for (uri, tool, expected, code) in [
        (Some(AGENT), "get_x", "allowed", 200),
        (Some(AGENT), "scale", "no_rule_allows", 403),
        (Some("spiffe://cluster.local/ns/other/sa/x"), "get_x", "no_rule_allows", 403),
        (Some("spiffe://partner.example/ns/agents/sa/coding-agent"), "get_x", "no_rule_allows", 403),
        (Some("spiffe://evil.example/ns/agents/sa/coding-agent"), "get_x", "mesh_identity_not_accepted", 403),
        (Some("spiffe://cluster.local/ns/agents/../sa"), "get_x", "mesh_identity_not_accepted", 403),
        (Some("spiffe://cluster.local"), "get_x", "mesh_identity_not_accepted", 403),
        (Some("https://cluster.local/ns/agents/sa/x"), "get_x", "mesh_identity_not_accepted", 403),
        (None, "get_x", "mesh_identity_missing", 403),
    ] {
        worker.uri.replace(uri.map(str::to_owned));
        // No header says whose certificate it is.
        for headers in [&[][..], &[("x-forwarded-client-cert", &*format!("URI={AGENT}"))]] {
            let ended = run(&worker, headers, tool);
            assert_eq!((reason(&ended).as_str(), status(&ended)), (expected, code), "{uri:?} {headers:?}");
        }
    }
    worker.uri.replace(Some(AGENT.to_owned()));
    let ended = run(&worker, &[], "get_x");
    assert_eq!(ended.record["caller"], json!({"kind": "workload", "spiffe_id": AGENT, "groups": []}));
}

#[test]
fn a_workload_is_no_caller_unless_that_is_said() {
    let worker = worker(&format!("{}{ISSUERS}", mesh("")));
    worker.uri.replace(Some(AGENT.to_owned()));
    assert_eq!(reason(&run(&worker, &[], "get_x")), "missing_token");
}

/// The token says who the user is, the certificate which workload speaks for him.
#[test]
fn a_token_and_a_workload_are_two_identities() {
    let worker = worker(&format!("{}{ISSUERS}", mesh(", authenticates: true")));
    let token = token();
    let bearer: &[(&str, &str)] = &[("authorization", &token)];
    for (uri, headers, tool, expected) in [
        (Some(AGENT), bearer, "scale", "allowed"),
        (Some(AGENT), bearer, "get_x", "allowed"),
        (Some(AGENT), bearer, "list", "allowed"),
        (Some("spiffe://cluster.local/ns/agents/sa/other"), bearer, "scale", "no_rule_allows"),
        (Some("spiffe://evil.example/ns/agents/sa/coding-agent"), bearer, "scale", "no_rule_allows"),
        (Some("spiffe://evil.example/ns/agents/sa/coding-agent"), bearer, "list", "allowed"),
        (None, bearer, "list", "allowed"),
        (None, bearer, "get_x", "no_rule_allows"),
        // A token that does not count is not made up for.
        (Some(AGENT), &[("authorization", "Bearer a.b.c")], "get_x", "malformed_token"),
        (Some(AGENT), &[("authorization", "Bearer a b")], "get_x", "malformed_authorization"),
        (None, &[], "get_x", "missing_token"),
    ] {
        worker.uri.replace(uri.map(str::to_owned));
        assert_eq!(reason(&run(&worker, headers, tool)), expected, "{uri:?} {headers:?} {tool}");
    }
    worker.uri.replace(Some(AGENT.to_owned()));
    let caller = run(&worker, bearer, "scale").record["caller"].clone();
    assert_eq!((&caller["subject"], &caller["spiffe_id"]), (&json!("dana"), &json!(AGENT)));
}

#[test]
fn a_forwarded_certificate_counts_from_a_trusted_proxy_alone() {
    let trust = format!(", authenticates: true, forwarded_client_cert: {{ trusted_proxies: [\"{PROXY}\"] }}");
    let worker = worker(&format!(
        "{}  - {{ id: gateways, allow: {{ tools: [admin] }}, to: {{ spiffe_ids: [{PROXY}] }} }}\n",
        mesh(&trust)
    ));
    let good = format!("Hash={};URI={AGENT}", "ab".repeat(32));
    let two = format!("{good},By=x;URI={PROXY}");
    let evil = "URI=spiffe://evil.example/ns/agents/sa/coding-agent".to_owned();
    let itself = format!("URI={PROXY}");
    for (peer, told, tool, expected) in [
        (PROXY, Some(&good), "get_x", "allowed"),
        (PROXY, Some(&two), "get_x", "malformed_forwarded_client_cert"),
        (PROXY, Some(&String::new()), "get_x", "malformed_forwarded_client_cert"),
        (PROXY, Some(&evil), "get_x", "mesh_identity_not_accepted"),
        // For somebody without a certificate: the proxy's own is not his.
        (PROXY, None, "admin", "mesh_identity_missing"),
        (PROXY, Some(&itself), "admin", "allowed"),
        ("spiffe://cluster.local/ns/other/sa/x", Some(&good), "get_x", "no_rule_allows"),
        ("spiffe://cluster.local/ns/ingress/sa/gateway2", Some(&good), "get_x", "no_rule_allows"),
        ("spiffe://evil.example/x", Some(&good), "get_x", "mesh_identity_not_accepted"),
    ] {
        worker.uri.replace(Some(peer.to_owned()));
        let headers: Vec<_> = told.iter().map(|value| ("x-forwarded-client-cert", value.as_str())).collect();
        assert_eq!(reason(&run(&worker, &headers, tool)), expected, "{peer} {told:?} {tool}");
    }
    worker.uri.replace(None);
    let told = [("x-forwarded-client-cert", good.as_str())];
    assert_eq!(reason(&run(&worker, &told, "get_x")), "mesh_identity_missing", "no certificate at all");
    worker.uri.replace(Some(PROXY.to_owned()));
    let twice = [("x-forwarded-client-cert", good.as_str()), ("x-forwarded-client-cert", good.as_str())];
    assert_eq!(reason(&run(&worker, &twice, "get_x")), "malformed_forwarded_client_cert");
}

/// An upstream that reads the header as well must not be told by a stranger what only proxies may say.
#[test]
fn a_forwarded_certificate_that_nobody_trusted_sent_stays_here() {
    let trust = format!(", authenticates: true, forwarded_client_cert: {{ trusted_proxies: [\"{PROXY}\"] }}");
    let told = format!("URI={AGENT}");
    let trusting = mesh(&trust);
    let open = trusting.replacen("resource:", "health_paths: [/healthz]\nrequire_auth: false\nresource:", 1);
    let withheld = |worker: &Worker, peer: Option<&str>, method: &str, path: &str| {
        worker.uri.replace(peer.map(str::to_owned));
        let head = [
            (":method", method),
            (":path", path),
            ("content-type", "application/json"),
            ("X-Forwarded-Client-Cert", &told),
        ];
        let body = if method == "GET" { Vec::new() } else { call("get_x") };
        let ended = worker.run(&head, Ok(&body), &|_| reply("404", b""));
        let is_withheld = ended.request.withheld_headers().any(|name| name == "x-forwarded-client-cert");
        (ended.answer.is_none(), is_withheld)
    };
    for (document, peer, path, expected) in [
        (&trusting, Some(AGENT), "/mcp", (true, true)),
        (&trusting, Some(PROXY), "/mcp", (true, false)),
        (&open, None, "/healthz", (true, true)),
        (&open, Some(AGENT), "/healthz", (true, true)),
        (&open, Some(PROXY), "/healthz", (true, false)),
        // Where nobody's word counts, it is Envoy's to say what goes on.
        (&mesh(", authenticates: true"), Some(AGENT), "/mcp", (true, false)),
    ] {
        let method = if path == "/mcp" { "POST" } else { "GET" };
        assert_eq!(withheld(&worker(document), peer, method, path), expected, "{peer:?} {path} {document}");
    }
    let worker = worker(&trusting);
    for peer in [AGENT, PROXY] {
        worker.uri.replace(Some(peer.to_owned()));
        for name in ["x_forwarded_client_cert", "X-Forwarded_Client-Cert"] {
            assert_eq!(reason(&run(&worker, &[(name, &told)], "get_x")), "malformed_forwarded_client_cert");
        }
    }
}
