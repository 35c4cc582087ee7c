//! Nothing secret comes out: marked secrets are put wherever one can stand, and every byte of the logs, records, metrics
//! and refusals is searched for them, as they are and in the encodings in which they might come.

use crate::client::{Answer, Request};
use crate::envoy::Changes;
use crate::failures::eventually;
use crate::stub::{Reply, Seen};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, introspecting, now, post, provide};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_iap::api_key::KeyHash;
use mcp_iap::secret::Secret;
use serde_json::{Value, json};

/// Each stands in one place, and no other.
const PEPPER: &str = "s3cret-pepper-0123456789abcdefghijklmnop";
const DIGEST: &str = "s3cret-digest-0123456789abcdefghijklmnop";
const CLIENT: &str = "s3cret-client-0123456789";
const API_KEY: &str = "s3cret-Api-Key-0123456789";
const OPAQUE: &str = "s3cret-opaque-token-0123456789";
const ISSUED: &str = "s3cret-issued-token-0123456789";
const HEADER: &str = "s3cret-header-0123456789";
const ARGUMENT: &str = "s3cret-argument-0123456789";
const LISTED: &str = "s3cret-listed-0123456789";
const BODY: &str = "s3cret-callout-body-0123456789";
const CLAIM: &str = "s3cret-claim-0123456789";
const ANSWER: &str = "s3cret-answer-0123456789";
const QUERY: &str = "s3cret-query-0123456789";
const SESSION: &str = "s3cret-session-0123456789";
const ACTOR: &str = "s3cret-actor-0123456789";
const ATTRIBUTE: &str = "s3cret-attribute-0123456789";
const DEVICE: &str = "s3cret-device-0123456789";

const SECRETS: [&str; 17] = [
    PEPPER, DIGEST, CLIENT, API_KEY, OPAQUE, ISSUED, HEADER, ARGUMENT, LISTED, BODY, CLAIM, ANSWER, QUERY,
    SESSION, ACTOR, ATTRIBUTE, DEVICE,
];

/// Services that tell more than they should, when they answer and when they fail.
fn talkative(seen: &Seen) -> Reply {
    let has_failed =
        seen.header("x-fail").is_some() || String::from_utf8_lossy(&seen.body).contains("failing");
    let told = json!({"active": true, "iss": ISSUER, "sub": "dana", "aud": RESOURCE, "exp": now() + 300, "note": BODY});
    let issued = json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": 300, "note": BODY,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
    let error = json!({"error": "invalid_request", "error_description": BODY, "error_uri": BODY});
    let header = format!("x-note: {BODY}");
    match seen.path.as_str() {
        "/introspect" if has_failed => Reply::new(500, error.to_string()).header(header),
        "/introspect" => Reply::new(200, told.to_string()).header(header),
        "/token" if has_failed => Reply::new(400, error.to_string()).header(header),
        "/token" => Reply::new(200, issued.to_string()).header("content-type: application/json"),
        _ => provide(seen),
    }
}

/// With so much of what rules read in the records.
fn world(attributes: &str) -> World {
    let client = ", client_id: gate, client_secret: '${CLIENT}', answers: { cache_duration: 0s, negative_cache_duration: 0s }";
    let hash = KeyHash::of(API_KEY.as_bytes(), &Secret::new(PEPPER.into())).to_hex();
    let document = format!(
        "{}token_exchange: {{ token_endpoint: '{ISSUER}/token', cluster: identity_provider, insecure_http: true, client_id: gate, client_secret: '${{CLIENT}}', audience: b }}
api_keys: {{ pepper: '${{PEPPER}}', keys: [{{ name: ci, hash: {hash} }}] }}
rules:
  - {{ id: reads, allow: {{ tools: ['get_*'] }}, arguments: {{ namespace: {{ in: [web] }} }} }}
  - {{ id: pinned, allow: {{ tools: [pinned] }}, arguments: {{ pin: {{ in: ['1'] }} }} }}
  - {{ id: any, allow: {{ tools: [any] }} }}
shadow_rules:
  - {{ id: reader, allow: {{ tools: ['*'] }}, to: {{ claims: {{ ssn: [x], team: [x], jwt: [x] }}, headers: {{ x-device: [x] }} }}, arguments: {{ password: {{ in: [x] }} }} }}
trusted_headers: [x-device]
audit:
  attributes: {attributes}
  mask_attributes: [CLAIMS.SSN, 'headers.*', arguments.passw*]
  clear_arguments: [namespace, pin, note]
  digest_key: ${{DIGEST}}
  mask_arguments: [p*n]
  mask_values: [{LISTED}]
  mask: '<masked>'
  read_answers: true
",
        introspecting(client)
    );
    let variables = format!(
        "environment_variables: {{ key_values: {{ PEPPER: {PEPPER}, DIGEST: {DIGEST}, CLIENT: {CLIENT} }} }}"
    );
    let vm = "vm_id: mcp_iap";
    let changes = Changes {
        configuration: Some(document),
        replace: vec![(vm, format!("{vm}\n                  {variables}"))],
        concurrency: Some(1),
        ..Changes::default()
    };
    let world = World::with_provider(&changes, talkative);
    world.upstream.script(|_| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": ANSWER}});
        Reply::new(200, body.to_string())
            .header("content-type: application/json")
            .header(format!("www-authenticate: Bearer realm=\"{ANSWER}\""))
    });
    world
}

/// What a text may have become on its way.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_owned(), hex];
    // In base64 what stands in a longer text begins at one of three places.
    for before in ["", "x", "xx"] {
        let text = format!("{before}{secret}");
        for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            forms.push(encoded.get(4..encoded.len() - 4).unwrap().to_owned());
        }
    }
    forms
}

fn is_nowhere(place: &str, text: &str, secret: &str) {
    for form in forms(secret) {
        assert!(!text.contains(&form), "{secret} stands in {place} as {form}: {text}");
    }
}

fn requests() -> Vec<Request> {
    let jwt = KEYS.es256(&{
        let mut claims = claims(&["dev"]);
        claims["note"] = json!(CLAIM);
        claims["ssn"] = json!([ATTRIBUTE, { "a": ATTRIBUTE }]);
        claims["team"] = json!(["x", LISTED]);
        claims["jwt"] = json!(KEYS.es256(&json!({"x": 1})));
        claims["act"] = json!({"sub": "agent", "note": ACTOR, "act": {"sub": [ACTOR], "act": ACTOR}});
        claims
    });
    let arguments = json!({"namespace": "web", "password": ARGUMENT, "pin": LISTED, "note": LISTED});
    let bad = json!({"namespace": ARGUMENT.replace("s3cret", "other"), "password": ARGUMENT});
    let by_key = || {
        Request::new("POST", "/mcp").header("x-api-key", API_KEY).header("content-type", "application/json")
    };
    let tampered = format!("{}x", jwt);
    let mut requests = vec![
        post(&jwt, call("get_x", &arguments))
            .header("x-note", HEADER)
            .header("cookie", format!("a={HEADER}"))
            .header("mcp-session-id", SESSION)
            .header("x-device", DEVICE),
        post(&jwt, call("get_x", &bad)),
        post(&jwt, call(&jwt, &json!({}))),
        post(&jwt, call("any", &json!({"note": jwt, "namespace": format!("x{jwt}y")}))),
        post(&jwt, json!({"jsonrpc": "2.0", "id": 1, "method": jwt}).to_string()),
        post(&jwt, json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": format!("x:{jwt}")}}).to_string()),
        post(&tampered, call("get_x", &arguments)),
        post(OPAQUE, call("get_x", &arguments)),
        post(&format!("{OPAQUE}-failing"), call("get_x", &arguments)),
        post(OPAQUE, call(OPAQUE, &json!({"note": OPAQUE}))),
        by_key().body(call("any", &json!({"note": API_KEY}))),
        by_key().body(call(API_KEY, &json!({}))),
        by_key().header("authorization", format!("Bearer {jwt}")).body(call("any", &arguments)),
        Request::new("POST", &format!("/mcp?access_token={QUERY}")).body("{}"),
        Request::new("POST", &format!("/{QUERY}")).body("{}"),
        post(&jwt, format!("{{\"jsonrpc\":\"2.0\",\"{ARGUMENT}\"")),
        post(&jwt, "{}").header("traceparent", HEADER),
        post(&jwt, "{}").header("mcp-protocol-version", HEADER),
        Request::new("POST", "/mcp").header("authorization", format!("Basic {HEADER}")).body("{}"),
    ];
    requests
        .push(post(&jwt, call("get_x", &arguments)).header("origin", format!("https://{HEADER}.example")));
    // What is masked is not quoted to whom it is refused.
    requests.push(post(&jwt, call("get_x", &json!({"namespace": format!("a{LISTED}")}))));
    requests.push(post(&jwt, call("pinned", &json!({"pin": ARGUMENT}))));
    requests.push(by_key().body(call("get_x", &json!({"namespace": API_KEY}))));
    // A name in another spelling, and values of another kind.
    for arguments in [
        format!(r#"{{"p\u0069n":"{ARGUMENT}","NOTE":"{LISTED}"}}"#),
        format!(r#"{{"PIN":"{ARGUMENT}","note":"\u0073{}"}}"#, &LISTED[1..]),
        format!(r#"{{"P\u0131N":"{ARGUMENT}","note":{{"note":"{ARGUMENT}"}}}}"#),
        format!(
            r#"{{"pin\u0000{ARGUMENT}":1,"pin":["{ARGUMENT}"],"note":["{ARGUMENT}",[{{"pin":"{ARGUMENT}"}}]]}}"#
        ),
        format!(r#"{{"pin":123456789,"note":"{LISTED}{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"note":"{}{LISTED}"}}"#, "x".repeat(100_000)),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"any","arguments":{arguments}}}}}"#
        );
        requests.push(post(&jwt, body));
    }
    for request in [Request::new("GET", "/mcp"), Request::new("DELETE", "/mcp")] {
        let request = request.header("authorization", format!("Bearer {jwt}"));
        requests.push(request.header("mcp-session-id", SESSION).header("accept", "text/event-stream"));
    }
    requests.push(
        post(OPAQUE, call("any", &arguments)).header("mcp-session-id", SESSION).header("x-device", DEVICE),
    );
    requests.push(post(&tampered, call("any", &arguments)).header("mcp-session-id", SESSION));
    requests.push(by_key().body(
        call("get_x", &json!({"namespace": "KEY"})).replace("KEY", &API_KEY.replacen('s', "\\u0073", 1)),
    ));
    requests
}

#[test]
fn no_secret_stands_anywhere() {
    no_secret_stands_in("no_arguments");
}

#[test]
fn no_secret_stands_anywhere_where_all_is_noted_that_rules_read() {
    no_secret_stands_in("all");
}

fn no_secret_stands_in(attributes: &str) {
    let world = world(attributes);
    let requests = requests();
    let jwts: Vec<String> = requests.iter().filter_map(signature).collect();
    assert!(jwts.len() > 5);
    let answers: Vec<Answer> = requests.iter().map(|request| request.send(world.envoy.port)).collect();
    let lines = world.envoy.access_lines(requests.len());
    assert_eq!(lines.len(), requests.len());
    eventually("what is counted at a tick", || {
        world.envoy.metric("mcp_iap_introspections{result=\"ok\"}").is_some()
    });
    let stats = world.envoy.admin("/stats").unwrap() + &world.envoy.admin("/stats/prometheus").unwrap();
    let places = [
        ("the access log", world.envoy.access_log()),
        ("the log", world.envoy.log()),
        ("the metrics", stats),
    ];
    for secret in SECRETS.iter().copied().chain(jwts.iter().map(String::as_str)) {
        for (place, text) in &places {
            is_nowhere(place, text, secret);
        }
        // The upstream's own answer goes on as it is.
        for (request, answer) in requests.iter().zip(&answers).filter(|(_, answer)| answer.status != 200) {
            let text = format!("{answer:?} {}", String::from_utf8_lossy(&answer.body));
            is_nowhere(&format!("the refusal of {request:?}"), &text, secret);
        }
    }

    // What is masked is said, and what is not is there: else the search above found nothing because nothing was written.
    let record = |index: usize| &lines[index]["mcp_iap"][0];
    let is_attribute = |index: usize, name: &Value| {
        let attributes = record(index)["attributes"]["values"].as_object();
        attributes.is_some_and(|values| values.contains_key(name.as_str().unwrap()))
    };
    let masked = |index: usize| {
        let names = record(index)["masked"].as_array().unwrap();
        Value::from_iter(names.iter().filter(|name| !is_attribute(index, name)).cloned())
    };
    assert_eq!(record(0)["arguments"], json!({"namespace": "web", "pin": "<masked>", "note": "<masked>"}));
    assert_eq!(masked(0), json!(["arguments.pin", "arguments.note"]));
    assert_eq!((&record(2)["tool"], masked(2)), (&json!("<masked>"), json!(["tool"])));
    assert_eq!(masked(3), json!(["arguments.namespace", "arguments.note"]));
    assert_eq!((masked(4), masked(5)), (json!(["method"]), json!(["resource"])));
    assert_eq!(masked(9), json!(["tool", "arguments.note"]));
    assert_eq!((masked(10), masked(11)), (json!(["arguments.note"]), json!(["tool"])));

    let mut values = json!({"claims.ssn": "<masked>", "claims.team": ["x", "<masked>"], "claims.jwt": "<masked>",
        "headers.x-device": "<masked>"});
    if attributes == "all" {
        values["arguments.password"] = json!("<masked>");
    }
    assert_eq!(record(0)["attributes"]["values"], values);
    let count = values.as_object().unwrap().keys().filter(|name| is_attribute(0, &json!(name))).count();
    assert_eq!(record(0)["masked"].as_array().map(Vec::len), Some(2 + count));
    assert_eq!(record(0)["caller"]["actors"], json!([{"subject": "agent"}, {}]));
    assert_eq!(record(0)["caller"]["actors_incomplete"], true);
    let session = KeyHash::of(SESSION.as_bytes(), &Secret::new(DIGEST.into())).to_hex();
    for index in [0, 29, 30, 31] {
        assert_eq!(record(index)["session"]["hmac_sha256"], session, "{}", record(index));
    }
    assert_eq!(record(32)["session"], Value::Null, "a stranger's");

    let told = |index: usize| {
        let body: Value = serde_json::from_slice(&answers[index].body).unwrap();
        body["error"]["message"].clone()
    };
    assert_eq!(told(20), json!("namespace: \"a<masked>\" is not an accepted value"));
    assert_eq!(told(21), json!("an argument has a value that is not accepted"));
    assert_eq!(told(22), json!("namespace: \"<masked>\" is not an accepted value"));
    assert_eq!(told(33), json!("namespace: the value is not an accepted value"));
    let arguments = |index: usize| record(index)["arguments"].clone();
    assert_eq!(arguments(23), json!({"pin": "<masked>", "NOTE": "<masked>"}));
    assert_eq!(arguments(24), json!({"PIN": "<masked>", "note": "<masked>"}));
    assert_eq!(arguments(26), Value::Null, "lists are left out");
    assert_eq!(arguments(27)["pin"], "<masked>");
    let note = arguments(27)["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with("<masked>xxx") && note.len() == 256, "{note}");
    assert_eq!(arguments(28)["note"], "x".repeat(256));
}

/// Else who sends a name as his credential, or adds what looks like one, has no record of what he asked for.
#[test]
fn nobody_masks_what_he_calls() {
    let document = format!(
        "resource: {RESOURCE}
require_auth: false
rules: [{{ id: all, allow: {{ tools: ['*'], resources: ['*'] }} }}]
audit: {{ clear_arguments: [namespace] }}
"
    );
    let changes = Changes { configuration: Some(document), concurrency: Some(1), ..Changes::default() };
    let world = World::with_provider(&changes, provide);
    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///etc/passwd/eyJ.a.b"}});
    let requests = [
        post("delete_namespace", call("delete_namespace", &json!({"namespace": "delete_namespace"}))),
        post("x", read.to_string()),
        post("x", call("***REDACTED***", &json!({"namespace": "***REDACTED***"}))),
    ];
    for request in &requests {
        request.send(world.envoy.port);
    }
    let lines = world.envoy.access_lines(requests.len());
    let record = |index: usize| &lines[index]["mcp_iap"][0];
    assert_eq!(record(0)["tool"], "delete_namespace");
    assert_eq!(record(0)["arguments"]["namespace"], "delete_namespace");
    assert_eq!(record(1)["resource"], "file:///etc/passwd/***REDACTED***");
    assert_eq!(record(1)["masked"], json!(["resource"]));
    assert_eq!((&record(0)["masked"], &record(2)["masked"]), (&Value::Null, &Value::Null));
}

/// The signature of the JWT that a request carries.
fn signature(request: &Request) -> Option<String> {
    let (_, value) = request.headers.iter().find(|(name, _)| name == "authorization")?;
    let token = std::str::from_utf8(value).unwrap().strip_prefix("Bearer eyJ")?;
    token.split('.').nth(2).map(|signature| signature.trim_end_matches('x').to_owned())
}

/// The digest is of what was sent, by a key that nobody has who reads records; it tells calls apart, and no more.
#[test]
fn the_digest_is_keyed_and_of_the_bytes_that_were_sent() {
    let world = world("no_arguments");
    let token = KEYS.es256(&claims(&["dev"]));
    let long = "x".repeat(40_000);
    let sent = [
        r#"{"namespace":"web"}"#.to_owned(),
        r#"{ "namespace":"web"}"#.to_owned(),
        format!(r#"{{"namespace":"web","long":"{long}"}}"#),
        format!(r#"{{"namespace":"web","long":"{long}y"}}"#),
    ];
    let body = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments": {arguments} ,"name":"get_x"}}}}"#
        )
    };
    for arguments in &sent {
        assert_eq!(post(&token, body(arguments)).send(world.envoy.port).status, 200);
    }
    let list =
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"arguments": {"a": 1}}}).to_string();
    post(&token, list).send(world.envoy.port);
    let lines = world.envoy.access_lines(5);
    let digests: Vec<Value> =
        lines.iter().map(|line| line["mcp_iap"][0]["arguments_digest"].clone()).collect();
    for (arguments, digest) in sent.iter().zip(&digests) {
        let hashed = &arguments.as_bytes()[..arguments.len().min(16 * 1024)];
        let hmac = KeyHash::of(hashed, &Secret::new(DIGEST.into())).to_hex();
        assert_eq!(*digest, json!({"hmac_sha256": hmac, "bytes": arguments.len()}));
    }
    assert_eq!(digests[4], Value::Null, "a method without arguments");
}
