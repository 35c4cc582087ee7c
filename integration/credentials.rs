//! The ways beside a token in which a caller identifies itself: API keys, nobody at all, and workloads by the
//! certificates of real connections, also behind another Envoy that ends them.

use crate::certificates::Certificate;
use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy};
use crate::front::{To, front};
use crate::stub::{Reply, Stub};
use crate::tls::{ISSUER, Trust, provide};
use crate::world::{KEYS, RESOURCE, World, call, claims, now, post};
use mcp_iap::api_key::KeyHash;
use mcp_iap::secret::Secret;
use mcp_iap::time::{UnixTime, format_time};
use rustls::version::TLS13;
use serde_json::json;

const PEPPER: &str = "a-pepper-of-at-least-32-bytes-for-tests";
const KEY: &str = "mcp_iap_A-key-that-counts-0123456789";
const NEXT: &str = "mcp_iap_The-next-key-0123456789";
const GONE: &str = "mcp_iap_A-key-that-ended-0123456789";
const AGENT: &str = "spiffe://cluster.local/ns/agents/sa/coding-agent";
const GATEWAY: &str = "spiffe://cluster.local/ns/ingress/sa/gateway";

fn keys() -> String {
    let hash = |key: &str| KeyHash::of(key.as_bytes(), &Secret::new(PEPPER.into())).to_hex();
    let at = |seconds: u64| format_time(UnixTime(seconds));
    format!(
        "api_keys:
  pepper: ${{PEPPER}}
  keys:
    - {{ name: ci, hash: {}, groups: [dev], created_at: \"{}\", max_age: 1h }}
    - {{ name: ci-next, hash: {}, groups: [dev] }}
    - {{ name: ci-gone, hash: {}, groups: [dev], expires_at: \"{}\" }}
",
        hash(KEY),
        at(now()),
        hash(NEXT),
        hash(GONE),
        at(now() - 1),
    )
}

/// The shipped bootstrap around this document, with the pepper in the VM's environment.
fn changes(document: &str) -> Changes {
    let pepper = format!(
        "vm_id: mcp_iap\n                  environment_variables: {{ key_values: {{ PEPPER: \"{PEPPER}\" }} }}"
    );
    Changes {
        configuration: Some(document.to_owned()),
        replace: vec![("vm_id: mcp_iap", pepper)],
        ..Changes::default()
    }
}

fn document(more: &str) -> String {
    format!(
        "resource: {RESOURCE}
{more}
rules:
  - {{ id: dev-reads, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}
  - {{ id: ci-builds, allow: {{ tools: [build] }}, to: {{ api_keys: [\"ci*\"] }} }}
"
    )
}

fn by_key(key: &str, tool: &str) -> Request {
    Request::new("POST", "/mcp")
        .header("x-api-key", key)
        .header("content-type", "application/json")
        .body(call(tool, &json!({})))
}

fn seen(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason().unwrap_or_else(|| "allowed".to_owned()))
}

#[test]
fn an_api_key_is_a_caller_and_goes_no_further() {
    let issuer =
        "issuers: [{ issuer: 'http://127.0.0.1:9400', insecure_http: true, cluster: identity_provider }]";
    for flag in [true, false] {
        let text = document(&format!("{issuer}\nallow_on_headers_stop_iteration: {flag}\n{}", keys()));
        let mut changes = changes(&text);
        if !flag {
            changes.replace.push(Changes::no_flag_in_envoy());
        }
        let world = World::new(&changes);
        let token = KEYS.es256(&claims(&["dev"]));
        let bearer = format!("Bearer {token}");
        let rows = [
            (by_key(KEY, "get_pods"), 200, "allowed", json!("ci")),
            (by_key(KEY, "build"), 200, "allowed", json!("ci")),
            (by_key(NEXT, "build"), 200, "allowed", json!("ci-next")),
            (by_key(KEY, "delete"), 403, "no_rule_allows", json!("ci")),
            (by_key(GONE, "build"), 401, "api_key_expired", json!("ci-gone")),
            (by_key("mcp_iap_Nobodys-key-0123456789", "build"), 401, "unknown_api_key", json!(null)),
            (by_key(KEY, "build").header("X-Api-Key", KEY), 400, "malformed_api_key", json!(null)),
            (by_key(KEY, "build").header("authorization", bearer), 400, "several_credentials", json!(null)),
            (by_key(KEY, "build").header("cookie", format!("key={KEY}")), 400, "token_repeated", json!(null)),
            (by_key(KEY, "build").without("x-api-key"), 401, "missing_token", json!(null)),
            (post(&token, call("get_pods", &json!({}))), 200, "allowed", json!(null)),
        ];
        for (index, (request, status, reason, name)) in rows.iter().enumerate() {
            let answer = request.send(world.envoy.port);
            assert_eq!(seen(&answer), (*status, (*reason).to_owned()), "flag {flag}: {request:?}");
            let record = world.record(index + 1);
            assert_eq!(record["reason"], *reason);
            assert_eq!(record["caller"]["api_key"], *name, "{record}");
        }
        let upstream = world.upstream.seen();
        let allowed = upstream.iter().filter(|seen| seen.is_complete && !seen.body.is_empty()).count();
        assert_eq!(allowed, 4, "{upstream:?}");
        for key in [KEY, NEXT, GONE] {
            for seen in &upstream {
                assert_eq!(seen.header("x-api-key"), None);
                assert!(!format!("{seen:?}").contains(key));
            }
            assert!(!world.envoy.access_log().contains(key) && !world.envoy.log().contains(key));
        }
        world.upstream_saw_no_credential(&token);
    }
}

#[test]
fn a_key_stays_behind_at_a_health_path_too() {
    let world = World::new(&changes(&document(&format!("health_paths: [/healthz]\n{}", keys()))));
    let request = Request::new("GET", "/healthz").header("x-api-key", KEY);
    assert_eq!(request.send(world.envoy.port).status, 200);
    assert_eq!(world.upstream.seen()[0].header("x-api-key"), None);
}

#[test]
fn without_require_auth_everybody_passes_as_anonymous() {
    let text = format!(
        "resource: {RESOURCE}
require_auth: false
rules:
  - {{ id: reads, allow: {{ tools: [get_*] }} }}
  - {{ id: dev, allow: {{ tools: [scale] }}, to: {{ groups: [dev] }} }}
"
    );
    let world = World::new(&changes(&text));
    let token = KEYS.es256(&claims(&["dev"]));
    let bare = |tool: &str| post(&token, call(tool, &json!({}))).without("authorization");
    for (index, (request, expected)) in [
        (bare("get_pods"), (200, "allowed")),
        (post(&token, call("get_pods", &json!({}))), (200, "allowed")),
        (post("not.a.token", call("get_pods", &json!({}))), (200, "allowed")),
        (post(&token, call("scale", &json!({}))), (403, "no_rule_allows")),
        (bare("scale"), (403, "no_rule_allows")),
        (bare("get_pods").header("cookie", format!("t={token}")), (200, "allowed")),
    ]
    .iter()
    .enumerate()
    {
        let answer = request.send(world.envoy.port);
        assert_eq!(seen(&answer), (expected.0, expected.1.to_owned()), "{request:?}");
        let record = world.record(index + 1);
        assert_eq!(record["caller"], json!({"kind": "anonymous", "groups": []}), "{record}");
    }
    for seen in world.upstream.seen() {
        assert_eq!(seen.header("authorization"), None);
    }
    assert!(world.provider.seen().is_empty(), "nobody is asked");
    assert!(world.envoy.log().contains("everybody passes as `anonymous`"), "{}", world.envoy.log());
}

/// The document of the shipped file for mutual TLS, with workloads.
fn workloads(text: &str, mesh: &str) -> String {
    let from = "                    rules:\n                      - id: dev-reads";
    assert!(text.contains(from));
    let to = format!(
        "                    mesh_identity: {{ trust_domains: [cluster.local], {mesh} }}
                    rules:
                      - {{ id: agents, allow: {{ tools: [get_*] }}, to: {{ spiffe_ids: [\"spiffe://cluster.local/ns/agents/*\"] }} }}
                      - {{ id: dev-by-agent, allow: {{ tools: [scale] }}, to: {{ groups: [dev], spiffe_ids: [\"{AGENT}\"] }} }}
                      - id: dev-reads"
    );
    text.replace(from, &to)
}

fn token() -> String {
    let mut claims = claims(&["dev"]);
    claims["iss"] = json!(ISSUER);
    claims["aud"] = json!("https://mcp.example.com/mcp");
    KEYS.es256(&claims)
}

fn guarded(trust: &Trust, change: impl Fn(String) -> String) -> World {
    let provider = Stub::start_tls(trust.issuer().server(), provide);
    let upstream = Stub::start_tls(trust.authority.sign("tools.internal.example.com").server(), |_| {
        Reply::new(200, "{}")
    });
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        change(trust.bootstrap("mtls.yaml", port, admin, upstream.port, provider.port))
    });
    World { provider, upstream, envoy }
}

#[test]
fn a_workload_is_known_by_the_certificate_of_its_connection() {
    let trust = Trust::new();
    let world = guarded(&trust, |text| workloads(&text, "authenticates: true"));
    let agent = trust.clients.sign_uris(&[AGENT]);
    let other = trust.clients.sign_uris(&["spiffe://cluster.local/ns/other/sa/x"]);
    let foreign = trust.clients.sign_uris(&["spiffe://evil.example/ns/agents/sa/coding-agent"]);
    let named = trust.clients.sign("coding-agent");
    let token = token();
    let forged = format!("Hash={};URI={AGENT}", "ab".repeat(32));
    let rows: Vec<(&Certificate, Option<&str>, &str, (u16, &str))> = vec![
        (&agent, None, "get_pods", (200, "allowed")),
        (&agent, None, "scale", (403, "no_rule_allows")),
        (&agent, Some(&token), "scale", (200, "allowed")),
        (&other, None, "get_pods", (403, "no_rule_allows")),
        (&other, Some(&token), "scale", (403, "no_rule_allows")),
        (&foreign, None, "get_pods", (403, "mesh_identity_not_accepted")),
        (&foreign, Some(&token), "scale", (403, "no_rule_allows")),
        (&named, None, "get_pods", (401, "missing_token")),
        (&named, Some(&token), "scale", (403, "no_rule_allows")),
    ];
    for (index, (certificate, bearer, tool, expected)) in rows.into_iter().enumerate() {
        let tls = trust.authority.client(Some(certificate), &TLS13);
        let mut request = post("x", call(tool, &json!({}))).without("authorization");
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        // Nobody is asked what it says.
        request = request.header("x-forwarded-client-cert", forged.clone());
        let answer = request.send_tls(world.envoy.port, &tls).unwrap();
        assert_eq!(seen(&answer), (expected.0, expected.1.to_owned()), "{index}");
    }
    let record = world.envoy.access_lines(3)[2]["mcp_iap"][0].clone();
    assert_eq!(record["caller"]["spiffe_id"], AGENT);
    assert_eq!(record["caller"]["subject"], "dana");
}

#[test]
fn a_forwarded_certificate_counts_from_a_trusted_envoy_alone() {
    let trust = Trust::new();
    let forwards = |text: String| {
        let from = "          use_remote_address: true\n";
        assert!(text.contains(from));
        text.replace(from, &format!("{from}          forward_client_cert_details: FORWARD_ONLY\n"))
    };
    let mesh = format!("authenticates: true, forwarded_client_cert: {{ trusted_proxies: [\"{GATEWAY}\"] }}");
    let world = guarded(&trust, |text| workloads(&forwards(text), &mesh));
    let gateway = trust.clients.sign_uris(&[GATEWAY]);
    let sets = [
        "forward_client_cert_details: SANITIZE_SET",
        "set_current_client_cert_details: { uri: true, subject: true, cert: true, dns: true }",
    ];
    let appends =
        ["forward_client_cert_details: APPEND_FORWARD", "set_current_client_cert_details: { uri: true }"];
    let port = world.envoy.port;
    let trusted = front(&trust, port, &To::Tls(&gateway), &sets);
    let appending = front(&trust, port, &To::Tls(&gateway), &appends);
    let another = trust.clients.sign_uris(&["spiffe://cluster.local/ns/other/sa/x"]);
    let stranger = front(&trust, port, &To::Tls(&another), &sets);
    let agent = trust.authority.client(Some(&trust.clients.sign_uris(&[AGENT])), &TLS13);
    let other =
        trust.authority.client(Some(&trust.clients.sign_uris(&["spiffe://cluster.local/ns/x/sa/y"])), &TLS13);
    let nobody = trust.authority.client(None, &TLS13);
    let own = trust.authority.client(Some(&gateway), &TLS13);
    let forged = format!("Hash={};URI={AGENT}", "ab".repeat(32));
    let rows = [
        ("an agent", &trusted, &agent, None, (200, "allowed")),
        ("another workload", &trusted, &other, None, (403, "no_rule_allows")),
        ("another that says it is an agent", &trusted, &other, Some(&forged), (403, "no_rule_allows")),
        ("nobody that says it is an agent", &trusted, &nobody, Some(&forged), (401, "missing_token")),
        (
            "one header behind another",
            &appending,
            &other,
            Some(&forged),
            (400, "malformed_forwarded_client_cert"),
        ),
        ("by a proxy that is not trusted", &stranger, &agent, None, (403, "no_rule_allows")),
        ("a client of the gate itself", &world.envoy, &other, Some(&forged), (403, "no_rule_allows")),
        ("the proxy, for somebody", &world.envoy, &own, Some(&forged), (200, "allowed")),
        ("the proxy, for nobody", &world.envoy, &own, None, (401, "missing_token")),
    ];
    for (name, envoy, tls, told, expected) in rows {
        let mut request = post("x", call("get_pods", &json!({}))).without("authorization");
        if let Some(told) = told {
            request = request.header("x-forwarded-client-cert", told.clone());
        }
        let answer = request.send_tls(envoy.port, tls).unwrap();
        assert_eq!(seen(&answer), (expected.0, expected.1.to_owned()), "{name}");
    }
}
