//! Token exchange on a real Envoy: with the demo's real provider, whose grant for it is the project's own
//! (`demo/provider/exchange.mjs`), and with a stand-in that misbehaves in every way.

use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy, free_port, scratch};
use crate::failures::eventually;
use crate::provider::Provider;
use crate::stub::{Reply, Seen, Stub};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, now, post};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jwt_simple::algorithms::{ES256KeyPair, Ed25519KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const RULES: &str = "rules:
  - { id: reads, allow: { tools: ['get_*'] } }
";

/// The document with this `token_exchange`, and the issuer at this URL.
fn document(issuer: &str, exchange: &str) -> String {
    format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{issuer}', insecure_http: true, cluster: identity_provider }}
{exchange}
{RULES}"
    )
}

/// An Envoy with this document, that gives the filter these secrets.
fn changes(configuration: String, secrets: &Value) -> Changes {
    let vm = "vm_id: mcp_iap";
    let variables = format!("{vm}\n                  environment_variables: {{ key_values: {secrets} }}");
    Changes { configuration: Some(configuration), replace: vec![(vm, variables)], ..Changes::default() }
}

/// The claims of a JWT, unverified.
fn payload(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap_or_else(|| panic!("no JWT: {token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// The token that the upstream got with its last request.
fn given(upstream: &Stub) -> String {
    let seen = upstream.seen().pop().unwrap();
    let value = String::from_utf8(seen.header("authorization").unwrap().to_vec()).unwrap();
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

/// The parameters of a form.
fn parameters(seen: &Seen) -> BTreeMap<String, String> {
    let text = String::from_utf8(seen.body.clone()).unwrap();
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let mut pieces = text.split('%');
        let mut out = pieces.next().unwrap().to_owned();
        for piece in pieces {
            out.push(char::from(u8::from_str_radix(&piece[..2], 16).unwrap()));
            out.push_str(&piece[2..]);
        }
        out
    };
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn record(envoy: &Envoy) -> Value {
    let lines = envoy.access_lines(1);
    lines.last().unwrap()["mcp_iap"][0].clone()
}

fn nowhere(envoy: &Envoy, secret: &str) {
    for (place, text) in [("the access log", envoy.access_log()), ("the log", envoy.log())] {
        assert!(!text.contains(secret), "{secret} stands in {place}");
    }
}

#[test]
fn a_real_provider_gives_the_upstream_its_own_token() {
    let provider = Provider::start(free_port());
    let issuer = format!("http://127.0.0.1:{}", provider.port);
    let exchange = "
token_exchange:
  client_id: gateway
  client_secret: ${GATEWAY}
  scope: mcp:read
  target: { argument: cluster, default: staging }
  targets:
    - { name: prod, resource: 'https://prod.example.com' }
    - { name: staging, resource: 'https://staging.example.com', issued_audience: 'https://staging.example.com' }
    - { name: lost, resource: 'https://lost.example.com' }
";
    // Rules that name the target themselves, and one that closes it.
    let by_rule = "  - { id: audits, allow: { tools: ['audit_*'] }, exchange: prod }
  - { id: no-secrets, deny: { tools: ['*_secrets'], target: [prod] } }
";
    let configuration = document(&issuer, exchange) + by_rule;
    let changes = changes(configuration, &json!({"GATEWAY": "gateway-secret"}));
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let envoy = Envoy::start(&Changes { concurrency: Some(1), ..changes }, upstream.port, provider.port);
    let (dana, sam) = (provider.token_of("dana", "mcp:read+mcp:write"), provider.token_of("sam", "mcp:read"));
    let send =
        |token: &str, tool: &str, arguments: &Value| post(token, call(tool, arguments)).send(envoy.port);
    let refused = |answer: &Answer, status: u16, reason: &str| {
        assert_eq!((answer.status, answer.reason().as_deref()), (status, Some(reason)), "{answer:?}");
    };

    // Nothing is minted for a refused call: the provider's own log says so.
    refused(&send(&dana, "delete_pods", &json!({})), 403, "no_rule_allows");
    refused(&send(&dana, "get_pods", &json!({"cluster": "nowhere"})), 403, "unknown_target");
    refused(&send(&dana, "get_pods", &json!({"Cluster": "prod"})), 400, "key_variant");
    refused(&send("a.b.c", "get_pods", &json!({})), 401, "malformed_token");
    refused(&send(&sam, "audit_secrets", &json!({"cluster": "staging"})), 403, "denied_by_rule");
    assert_eq!(envoy.access_lines(5)[4]["mcp_iap"][0]["rule"], "no-secrets");
    assert_eq!((provider.seen(GRANT), upstream.seen().len()), (vec![], 0));

    // Allowed: for whom, through whom, to whom, and with less than the caller has.
    assert_eq!(send(&dana, "get_pods", &json!({})).status, 200);
    let first = given(&upstream);
    let token = payload(&first);
    assert_eq!((&token["sub"], &token["act"]), (&json!("dana"), &json!({"sub": "gateway"})));
    assert_eq!((&token["aud"], &token["scope"]), (&json!("https://staging.example.com"), &json!("mcp:read")));
    assert_eq!(payload(&dana)["scope"], "mcp:read mcp:write");
    assert_eq!(provider.seen(GRANT).len(), 1);
    let exchange = record(&envoy)["exchange"].clone();
    assert!(exchange["target"] == "staging" && exchange["cached"] == false, "{exchange}");

    // Remembered, for her and this target alone.
    assert_eq!(send(&dana, "get_pods", &json!({"cluster": "staging"})).status, 200);
    assert_eq!((given(&upstream), provider.seen(GRANT).len()), (first.clone(), 1));
    refused(&send(&dana, "get_pods", &json!({"cluster": "prod"})), 403, "target_refused");
    refused(&send(&dana, "get_pods", &json!({"cluster": "lost"})), 403, "target_refused");
    assert_eq!(send(&sam, "get_pods", &json!({"cluster": "prod"})).status, 200);
    let token = payload(&given(&upstream));
    assert_eq!((&token["sub"], &token["aud"]), (&json!("sam"), &json!("https://prod.example.com")));
    // By the rule, for the same target: the token that is known.
    assert_eq!(send(&sam, "audit_pods", &json!({"cluster": "staging"})).status, 200);
    assert_eq!(payload(&given(&upstream)), token);
    let lines = envoy.access_lines(11);
    let last = &lines[10]["mcp_iap"][0];
    let exchange = &last["exchange"];
    assert!(last["rule"] == "audits" && exchange["target"] == "prod" && exchange["cached"] == true, "{last}");
    let seen = provider.seen(GRANT);
    let events: Vec<_> = seen.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["issued", "refused", "refused", "issued"]);

    for secret in [&dana, &sam, &first] {
        nowhere(&envoy, secret.rsplit('.').next().unwrap());
    }
    nowhere(&envoy, "gateway-secret");
    for seen in upstream.seen() {
        let text = format!("{:?} {:?}", seen.headers, String::from_utf8_lossy(&seen.body));
        assert!(![&dana, &sam].into_iter().any(|inbound| text.contains(inbound.as_str())), "{text}");
    }
}

/// A stand-in for issuer and token endpoint: the keys are good, and `/token` is answered as scripted.
fn endpoint(
    script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen: &Seen| match seen.path.as_str() {
        "/.well-known/openid-configuration" => {
            let document = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/jwks"),
                "token_endpoint": format!("{ISSUER}/token")});
            Reply::new(200, document.to_string())
        }
        "/jwks" => Reply::new(200, KEYS.jwks().to_string()),
        "/token" => script(seen),
        _ => Reply::new(404, ""),
    }
}

fn issued(token: &str) -> Reply {
    let body = json!({"access_token": token, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
        "expires_in": 300});
    Reply::new(200, body.to_string()).header("content-type: application/json")
}

fn token_of(subject: &str) -> String {
    let mut claims = claims(&["dev"]);
    claims["sub"] = json!(subject);
    KEYS.es256(&claims)
}

fn exchanges(provider: &Stub) -> Vec<Seen> {
    provider.seen().into_iter().filter(|seen| seen.path == "/token").collect()
}

/// Each fault of the endpoint: its own reason and record, nothing forwarded, and a recovery without anybody's help.
#[test]
fn every_fault_of_the_endpoint_refuses_and_recovers() {
    let oauth = |error: &str| Reply::new(400, json!({"error": error}).to_string());
    let cut = |head: &'static str| Reply::wire(move |wire| wire.write_all(head.as_bytes()));
    let hanging = Reply::wire(|wire| {
        wire.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{")?;
        wire.flush()?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    });
    let rows = [
        ("slow", issued("x").after(Duration::from_secs(2)), 503, "token_endpoint_unavailable", "timeout"),
        // Envoy ends at the timeout what has begun.
        ("hanging", hanging, 503, "token_endpoint_unavailable", "cut_off"),
        (
            "cut",
            cut("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"),
            503,
            "token_endpoint_unavailable",
            "cut_off",
        ),
        ("no-http", cut("rubbish\r\n\r\n"), 503, "token_endpoint_unavailable", "status"),
        ("error-500", Reply::new(500, "{}"), 503, "token_endpoint_unavailable", "status"),
        (
            "redirect",
            Reply::new(302, "").header(format!("location: {ISSUER}/token")),
            503,
            "token_endpoint_unavailable",
            "status",
        ),
        ("large", Reply::new(200, vec![b' '; 5_000_000]), 503, "token_endpoint_unavailable", "unreadable"),
        ("rubbish", Reply::new(200, "<html>"), 503, "token_response_invalid", "not_json"),
        ("empty", Reply::new(200, ""), 503, "token_response_invalid", "not_json"),
        ("no-token", Reply::new(200, "{}"), 503, "token_response_invalid", "no_access_token"),
        ("two-lines", issued("a\r\nx-admin: yes"), 503, "token_response_invalid", "malformed_access_token"),
        ("invalid_request", oauth("invalid_request"), 401, "subject_token_refused", "invalid_request"),
        ("invalid_grant", oauth("invalid_grant"), 401, "subject_token_refused", "invalid_grant"),
        ("invalid_target", oauth("invalid_target"), 403, "target_refused", "invalid_target"),
        ("invalid_scope", oauth("invalid_scope"), 403, "target_refused", "invalid_scope"),
        ("access_denied", oauth("access_denied"), 403, "target_refused", "access_denied"),
        ("invalid_client", oauth("invalid_client"), 503, "token_request_refused", "invalid_client"),
        (
            "unauthorized_client",
            oauth("unauthorized_client"),
            503,
            "token_request_refused",
            "unauthorized_client",
        ),
        (
            "unsupported_grant_type",
            oauth("unsupported_grant_type"),
            503,
            "token_request_refused",
            "unsupported_grant_type",
        ),
    ];
    let fault = Arc::new(Mutex::new(Reply::new(500, "")));
    let current = Arc::clone(&fault);
    let exchange =
        "token_exchange: { client_id: gate, client_secret: '${GATE}', audience: backend, timeout: 1s }";
    let changes = changes(document(ISSUER, exchange), &json!({"GATE": "hunter2-hunter2"}));
    let changes = Changes { concurrency: Some(1), ..changes };
    let world = World::with_provider(&changes, endpoint(move |_| current.lock().unwrap().clone()));
    let send = |caller: &str| post(&token_of(caller), call("get_pods", &json!({}))).send(world.envoy.port);
    let mut count = 0;
    for (caller, reply, status, reason, detail) in &rows {
        reply.clone_into(&mut fault.lock().unwrap());
        let answer = send(caller);
        count += 1;
        assert_eq!(
            (answer.status, answer.reason().as_deref()),
            (*status, Some(*reason)),
            "{caller}: {answer:?}"
        );
        assert_eq!(answer.header("retry-after").is_some(), *status == 503, "{caller}");
        assert_eq!(answer.header("www-authenticate").is_some(), *status == 401, "{caller}");
        let record = world.record(count);
        assert_eq!((&record["outcome"], &record["reason"]), (&json!("refused"), &json!(reason)), "{caller}");
        assert_eq!(record["exchange"]["error"], *detail, "{caller}: {record}");
    }
    assert!(world.upstream.seen().is_empty(), "nothing was forwarded");
    issued("up.stream").clone_into(&mut fault.lock().unwrap());
    std::thread::sleep(Duration::from_millis(5_200));
    for (caller, ..) in &rows {
        assert_eq!(send(caller).status, 200, "{caller} recovers");
    }
    assert!(
        world.upstream.seen().iter().all(|seen| seen.header("authorization") == Some(b"Bearer up.stream"))
    );
    assert!(world.envoy.log().contains("tokens can be had again"), "{}", world.envoy.log());
    for secret in ["hunter2", "up.stream", "x-admin"] {
        nowhere(&world.envoy, secret);
    }
    for (result, count) in [("ok", rows.len() as u64), ("invalid_grant", 1), ("not_json", 2), ("timeout", 1)]
    {
        let counted = world.envoy.metric(&format!("mcp_iap_token_exchanges{{result=\"{result}\"}}"));
        assert_eq!(counted, Some(count), "{result}");
    }
}

/// Nothing can be sent: the refusal comes at once, not with the next tick.
#[test]
fn a_cluster_that_envoy_does_not_know_refuses_at_once() {
    let exchange = "token_exchange: { token_endpoint: 'https://sts.example.com/token', audience: b }";
    let changes = Changes { configuration: Some(document(ISSUER, exchange)), ..Changes::default() };
    let world = World::with_provider(&changes, endpoint(|_| Reply::new(500, "")));
    let send = |caller: &str| post(&token_of(caller), call("get_pods", &json!({}))).send(world.envoy.port);
    send("warm");
    let began = Instant::now();
    let answer = send("dana");
    assert_eq!(answer.reason().as_deref(), Some("token_endpoint_unavailable"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(world.record(2)["exchange"]["error"], "unknown_cluster");
    eventually("a line in the log", || world.envoy.log().contains("Envoy has no such cluster"));
}

#[test]
fn an_endpoint_that_is_down_comes_back() {
    let port = free_port();
    let exchange = format!(
        "token_exchange: {{ token_endpoint: 'http://127.0.0.1:{port}/token', cluster: mcp_server, insecure_http: true, audience: b }}"
    );
    // The cluster of the MCP server leads to the endpoint too: both are down.
    let provider = Stub::start(endpoint(|_| Reply::new(500, "")));
    let changes = Changes { configuration: Some(document(ISSUER, &exchange)), ..Changes::default() };
    let envoy = Envoy::start(&changes, port, provider.port);
    let send = || post(&token_of("dana"), call("get_pods", &json!({}))).send(envoy.port);
    let answer = send();
    assert_eq!(answer.reason().as_deref(), Some("token_endpoint_unavailable"), "{answer:?}");
    assert_eq!(record(&envoy)["exchange"]["error"], "unavailable");
    let both =
        Stub::start_at(
            port,
            |seen| if seen.path == "/token" { issued("up.stream") } else { Reply::new(200, "{}") },
        );
    eventually("it is there again", || send().status == 200);
    assert_eq!(given(&both), "up.stream");
}

#[test]
fn a_token_that_the_upstream_refuses_is_our_fault_and_forgotten() {
    let count = Arc::new(Mutex::new(0));
    let made = Arc::clone(&count);
    let script = endpoint(move |_| {
        let mut made = made.lock().unwrap();
        *made += 1;
        issued(&format!("up.stream.{made}"))
    });
    let exchange = "token_exchange: { audience: backend }";
    let changes = Changes { concurrency: Some(1), ..changes(document(ISSUER, exchange), &json!({})) };
    let world = World::with_provider(&changes, script);
    world.upstream.script(|seen| {
        let reply = match seen.header("authorization") {
            Some(b"Bearer up.stream.1") if seen.body.windows(9).any(|name| name == b"get_again") => {
                Reply::new(401, "log in at the upstream")
            }
            _ if seen.body.windows(9).any(|name| name == b"get_other") => Reply::new(403, "{}"),
            _ => Reply::new(200, "{}"),
        };
        reply.header("www-authenticate: Bearer resource_metadata=\"https://evil.example\"")
    });
    let token = token_of("dana");
    let send = |tool: &str| post(&token, call(tool, &json!({}))).send(world.envoy.port);
    assert_eq!(send("get_pods").status, 200);
    let answer = send("get_again");
    assert_eq!(
        (answer.status, answer.reason().as_deref()),
        (503, Some("upstream_refused_credential")),
        "{answer:?}"
    );
    assert!(
        answer.header("retry-after").is_some() && !String::from_utf8_lossy(&answer.body).contains("log in")
    );
    let record = world.record(2);
    assert_eq!(
        (&record["outcome"], &record["upstream_status"]),
        (&json!("refused"), &json!(401)),
        "{record}"
    );
    assert_eq!(send("get_again").status, 200);
    assert_eq!(send("get_other").status, 403);
    for answer in [answer, send("get_pods"), send("get_other")] {
        assert_eq!(answer.header("www-authenticate"), None, "the upstream's challenge is not for the client");
    }
    assert_eq!(*count.lock().unwrap(), 2);
}

#[test]
fn a_hundred_parallel_calls_make_one_exchange_for_each_worker() {
    let script = endpoint(|_| issued("up.stream").after(Duration::from_millis(1_500)));
    let changes = changes(document(ISSUER, "token_exchange: { audience: backend }"), &json!({}));
    let world = World::with_provider(&changes, script);
    let token = token_of("dana");
    // The keys are here.
    assert_eq!(post(&token, call("delete_x", &json!({}))).send(world.envoy.port).status, 403);
    let port = world.envoy.port;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let request = post(&token, call("get_pods", &json!({})));
            std::thread::spawn(move || request.send(port).status)
        })
        .collect();
    assert!(calls.into_iter().all(|call| call.join().unwrap() == 200));
    let made = exchanges(&world.provider).len();
    assert!((1..=2).contains(&made), "{made} exchanges by two workers");
    assert_eq!(world.upstream.seen().len(), 100);
}

/// A client that leaves while its token is exchanged takes nobody's with it.
#[test]
fn a_client_that_leaves_hangs_nobody() {
    let script = endpoint(|_| issued("up.stream").after(Duration::from_millis(700)));
    let changes = changes(document(ISSUER, "token_exchange: { audience: backend }"), &json!({}));
    let world = World::with_provider(&Changes { concurrency: Some(1), ..changes }, script);
    let request = post(&token_of("dana"), call("get_pods", &json!({})));
    let leader = request.start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(250));
    let follower = request.start(world.envoy.port);
    std::thread::sleep(Duration::from_millis(150));
    drop(leader);
    assert_eq!(crate::client::finish(follower).status, 200);
    assert_eq!(exchanges(&world.provider).len(), 1);
}

/// The algorithm of an assertion, and whether Node's crypto, which is OpenSSL's, takes its signature.
fn verified_by_openssl(assertion: &str, public: &str) -> String {
    let script = "const crypto = require('crypto'); const [token, pem] = process.argv.slice(1);
const [head, payload, signature] = token.split('.'); const key = crypto.createPublicKey(pem);
const { alg } = JSON.parse(Buffer.from(head, 'base64url'));
const [hash, how] = alg === 'EdDSA' ? [null, key] : ['sha256', { key, dsaEncoding: 'ieee-p1363' }];
const signed = Buffer.from(`${head}.${payload}`);
console.log(alg, crypto.verify(hash, signed, how, Buffer.from(signature, 'base64url')));";
    let output = Command::new("node").args(["-e", script, assertion, public]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_private_key_signs_in_the_sandbox() {
    let (p256, ed25519) = (ES256KeyPair::generate(), Ed25519KeyPair::generate());
    for (private, public, alg) in [
        (p256.to_pem().unwrap(), p256.public_key().to_pem().unwrap(), "ES256"),
        (ed25519.to_pem(), ed25519.public_key().to_pem(), "EdDSA"),
    ] {
        let exchange = "token_exchange: { audience: backend, client_id: gate, private_key: '${KEY}' }";
        let secrets = json!({"KEY": private.trim()});
        let world = World::with_provider(
            &changes(document(ISSUER, exchange), &secrets),
            endpoint(|_| issued("up.stream")),
        );
        assert_eq!(post(&token_of("dana"), call("get_pods", &json!({}))).send(world.envoy.port).status, 200);
        let assertion = &parameters(&exchanges(&world.provider)[0])["client_assertion"];
        assert_eq!(verified_by_openssl(assertion, &public), format!("{alg} true\n"));
        let end = assertion.len() - 8;
        let forged = format!("{}AAAAAAAA", &assertion[..end]);
        assert_eq!(verified_by_openssl(&forged, &public), format!("{alg} false\n"));
        let claims = payload(assertion);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gate"), &json!("gate")));
        assert_eq!(claims["aud"], format!("{ISSUER}/token"));
        assert!(claims["exp"].as_u64().unwrap() <= now() + 60);
    }
}

/// The gate's own credential by Envoy's credential injector, from a file that is replaced: the filter never has it.
#[test]
fn envoy_adds_the_gates_credential_and_takes_a_new_one() {
    use crate::rendered::{option, put, render};
    let folder = scratch();
    let wanted = Arc::new(Mutex::new("Basic Z2F0ZTpvbmU="));
    let asked = Arc::clone(&wanted);
    let provider = Stub::start(endpoint(move |seen| {
        let is_right = seen.header("authorization") == Some(asked.lock().unwrap().as_bytes());
        if is_right { issued("up.stream") } else { Reply::new(401, r#"{"error":"invalid_client"}"#) }
    }));
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    put(&folder, "token", "Basic Z2F0ZTpvbmU=");
    let sds = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "credential",
        "generic_secret": {"secret": {"filename": folder.join("token"), "watched_directory": {"path": folder}}},
    }]});
    let sds_file = folder.join("credential.yaml");
    std::fs::write(&sds_file, sds.to_string()).unwrap();
    let place = format!("http://127.0.0.1:{}", provider.port);
    let document = format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{ISSUER}', jwks_uri: '{place}/jwks', insecure_http: true, cluster: keys }}
token_exchange: {{ token_endpoint: '{place}/token', insecure_http: true, cluster: tokens, audience: backend }}
{RULES}"
    );
    let options = [
        option("--upstream", &format!("http://127.0.0.1:{}", upstream.port)),
        option("--credential", &format!("tokens={}", sds_file.display())),
    ]
    .concat();
    let envoy =
        Envoy::run(&Changes::default(), |port, admin| render(&folder, &document, port, admin, &options));
    let send = |caller: &str| post(&token_of(caller), call("get_pods", &json!({}))).send(envoy.port);
    assert_eq!(send("dana").status, 200, "{}", envoy.log());
    let sent = exchanges(&provider).pop().unwrap();
    assert!(!parameters(&sent).contains_key("client_id"));
    *wanted.lock().unwrap() = "Basic Z2F0ZTp0d28=";
    assert_eq!(send("sam").reason().as_deref(), Some("token_request_refused"));
    put(&folder, "token", "Basic Z2F0ZTp0d28=");
    eventually("the new credential is taken", || send("sam").status == 200);
    let dump = envoy.admin("/config_dump?include_eds").unwrap();
    for secret in ["Z2F0ZTpvbmU", "Z2F0ZTp0d28"] {
        assert!(!dump.contains(secret));
        nowhere(&envoy, secret);
    }
}

/// An Envoy whose flag got lost keeps bodies back: no token is asked for, and nothing goes on. What has no body is decided
/// whole at its head, and goes on with a token of its own.
#[test]
fn without_the_flag_in_envoy_no_body_gets_a_token() {
    let mut changes = changes(document(ISSUER, "token_exchange: { audience: backend }"), &json!({}));
    changes.replace.push(Changes::no_flag_in_envoy());
    let world = World::with_provider(&changes, endpoint(|_| issued("up.stream")));
    let token = token_of("dana");
    let answer = post(&token, call("get_pods", &json!({}))).send(world.envoy.port);
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("flag_missing")), "{answer:?}");
    assert!(exchanges(&world.provider).is_empty() && world.upstream.seen().is_empty());
    let stream = Request::new("GET", "/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "text/event-stream");
    assert_eq!(stream.send(world.envoy.port).status, 200);
    assert_eq!((given(&world.upstream).as_str(), world.upstream.seen().len()), ("up.stream", 1));
}

/// Where the configuration says by name that it passes, and only there.
#[test]
fn passthrough_is_said_by_name() {
    let changes =
        Changes { configuration: Some(document(ISSUER, "token_passthrough: true")), ..Changes::default() };
    let world = World::with_provider(&changes, endpoint(|_| Reply::new(500, "")));
    let token = token_of("dana");
    let request = post(&token, call("get_pods", &json!({}))).header("proxy-authorization", "Basic eA==");
    assert_eq!(request.send(world.envoy.port).status, 200);
    assert_eq!(given(&world.upstream), token);
    assert_eq!(world.upstream.seen()[0].header("proxy-authorization"), None);
    assert_eq!(Request::new("POST", "/mcp").send(world.envoy.port).status, 401);
}
