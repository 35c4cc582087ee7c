//! The flow against scripted callouts: every wait and every way in which it can fail, natively.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::gate::Message;
use mcp_iap::reason::Reason;
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, provider, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));
static PARTNER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("b"));

const CONFIGURATION: &str = r#"
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
  - issuer: https://partner.example.org/realm
    audiences: [mcp-partners]
    groups_claim: realm_access.roles
    jwks_uri: https://partner.example.org/keys
rules:
  - id: reads
    allow: { tools: [get_*] }
    to: { groups: [dev] }
  - id: scales
    allow: { tools: [scale] }
    to: { groups: [dev] }
    arguments: { replicas: { integer: { min: 0, max: 10 } } }
  - id: freeze
    deny: { tools: [get_secret] }
"#;

fn without_flag() -> String {
    format!("{CONFIGURATION}\nallow_on_headers_stop_iteration: false\n")
}

fn claims() -> Value {
    json!({"iss": "https://login.example.com", "sub": "dana", "client_id": "agent", "groups": ["dev"],
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60})
}

fn call(tool: &str, arguments: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": "i-1", "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        .to_string()
        .into_bytes()
}

/// What the identity providers answer when all is well.
fn providers(path: &str) -> Result<Reply, CalloutError> {
    match path {
        "/keys" => reply("200", PARTNER.jwks().to_string().as_bytes()),
        _ => provider(&ISSUER, path),
    }
}

fn post(authorization: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":path", "/mcp"),
        ("authorization", authorization),
        ("content-type", "application/json"),
    ]
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

#[test]
fn an_allowed_call_goes_on_and_is_recorded() {
    let worker = Worker::new(CONFIGURATION);
    let authorization = bearer(&ISSUER.rs256(&claims()));
    let ended = worker.run(&post(&authorization), Ok(&call("get_x", &json!({}))), &providers);
    assert!(ended.answer.is_none());
    assert!(!ended.head_released);
    assert_eq!(ended.callouts, ["/.well-known/openid-configuration", "/jwks"]);
    let Value::Object(mut record) = ended.record else { panic!() };
    assert_eq!(record.remove("decision").unwrap().as_str().unwrap().len(), 32);
    // As long as it took, if a millisecond.
    record.remove("waited_ms");
    assert_eq!(
        Value::Object(record),
        json!({"schema": 1, "outcome": "allowed", "reason": "allowed", "rule": "reads", "era": "legacy",
            "http_method": "POST", "method": "tools/call", "tool": "get_x",
            "protected_resource": "https://mcp.example.com/mcp",
            "caller": {"issuer": "https://login.example.com", "subject": "dana", "client_id": "agent", "groups": ["dev"]}})
    );
    let again = worker.run(&post(&authorization), Ok(&call("get_x", &json!({}))), &providers);
    assert!(again.answer.is_none() && again.callouts.is_empty(), "the keys are remembered");
}

#[test]
fn each_issuer_has_its_own_keys_and_audience() {
    let worker = Worker::new(CONFIGURATION);
    let partner = json!({"iss": "https://partner.example.org/realm", "sub": "p", "aud": "mcp-partners",
        "exp": NOW + 60, "realm_access": {"roles": ["dev"]}});
    let body = call("get_x", &json!({}));
    let run = |token: &str| reason(&worker.run(&post(&bearer(token)), Ok(&body), &providers)).to_owned();
    assert_eq!(run(&PARTNER.es256(&partner)), "allowed");
    let mut stolen = partner.clone();
    stolen["iss"] = json!("https://login.example.com");
    assert_eq!(run(&PARTNER.es256(&stolen)), "unknown_key");
    let header = json!({"alg": "ES256", "kid": ISSUER.ec_id()});
    assert_eq!(run(&PARTNER.token(&header, &stolen)), "bad_signature");
    let mut other = partner;
    other["aud"] = json!("https://mcp.example.com/mcp");
    assert_eq!(run(&PARTNER.es256(&other)), "wrong_audience");
    other["iss"] = json!("https://partner.example.org");
    assert_eq!(run(&PARTNER.es256(&other)), "unknown_issuer");
}

#[test]
fn every_failure_of_every_callout_refuses() {
    let failures: &[(&str, Result<Reply, CalloutError>)] = &[
        ("no such cluster", Err(CalloutError::UnknownCluster)),
        ("not sent", Err(CalloutError::NotSent)),
        ("cut off", Err(CalloutError::CutOff)),
        ("unreadable", Err(CalloutError::Unreadable)),
        ("Envoy's own page", reply("503", b"upstream connect error or disconnect/reset before headers")),
        ("timeout", reply("504", b"upstream request timeout")),
        ("not found", reply("404", b"")),
        ("another success", reply("204", b"")),
        ("created", reply("201", ISSUER.jwks().to_string().as_bytes())),
        ("a redirect", reply("302", b"")),
        ("no status", Ok(Reply { head: mcp_iap::head::Head::default(), body: b"{}".to_vec() })),
        ("a status that is none", reply("ok", b"{}")),
        ("empty", reply("200", b"")),
        ("a page", reply("200", b"<html></html>")),
        ("no UTF-8", reply("200", b"\xff\xfe")),
        ("another shape", reply("200", b"[]")),
        ("no keys", reply("200", br#"{"issuer":"https://login.example.com","keys":[]}"#)),
    ];
    let authorization = bearer(&ISSUER.rs256(&claims()));
    let body = call("get_x", &json!({}));
    for configuration in [CONFIGURATION.to_owned(), without_flag()] {
        for at in ["/.well-known/openid-configuration", "/jwks"] {
            for (name, failure) in failures {
                let worker = Worker::new(&configuration);
                let script = |path: &str| if path == at { failure.clone() } else { providers(path) };
                let ended = worker.run(&post(&authorization), Ok(&body), &script);
                assert_eq!(reason(&ended), "identity_provider_unavailable", "{at}: {name}");
                let answer = ended.answer.unwrap();
                assert_eq!(answer.status, 503, "{at}: {name}");
                assert!(answer.headers.iter().any(|(name, _)| *name == "retry-after"));
                assert!(!ended.head_released, "{at}: {name}");
                let complaints = worker.shared.keys.take_messages();
                assert_eq!(complaints.len(), 1, "{at}: {name}");
                assert!(
                    matches!(&complaints[0], Message::Complaint(text) if text.contains("login.example.com")),
                    "{complaints:?}"
                );
            }
        }
    }
}

/// An issuer that has its document where RFC 8414 puts it, and not where OpenID Connect does.
#[test]
fn an_issuer_is_found_by_either_standard() {
    const OIDC: &str = "/team/.well-known/openid-configuration";
    const OAUTH: &str = "/.well-known/oauth-authorization-server/team";
    const GOOD: &[u8] =
        br#"{"issuer":"https://login.example.com/team","jwks_uri":"https://login.example.com/jwks"}"#;
    let configuration = CONFIGURATION.replacen("login.example.com", "login.example.com/team", 1);
    let mut claims = claims();
    claims["iss"] = json!("https://login.example.com/team");
    let authorization = bearer(&ISSUER.rs256(&claims));
    let body = call("get_x", &json!({}));
    let other_issuer =
        br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#;
    let other_host = br#"{"issuer":"https://login.example.com/team","jwks_uri":"https://evil.example/jwks"}"#;
    let rows: &[(&str, u16, &[u8], u16, &[u8], &str, usize)] = &[
        ("by OpenID Connect", 200, GOOD, 200, b"{}", "allowed", 2),
        ("by RFC 8414", 404, b"", 200, GOOD, "allowed", 3),
        ("by neither", 404, b"", 404, b"", "identity_provider_unavailable", 2),
        // What is there counts, and a failure is no absence.
        ("a broken document", 200, b"{}", 200, GOOD, "identity_provider_unavailable", 1),
        ("a failure", 500, b"", 200, GOOD, "identity_provider_unavailable", 1),
        ("a page of Envoy's", 503, b"", 200, GOOD, "identity_provider_unavailable", 1),
        ("a redirect", 302, b"", 200, GOOD, "identity_provider_unavailable", 1),
        ("gone", 410, b"", 200, GOOD, "identity_provider_unavailable", 1),
        ("another issuer's document", 404, b"", 200, other_issuer, "identity_provider_unavailable", 2),
        ("keys on another host", 404, b"", 200, other_host, "identity_provider_unavailable", 2),
    ];
    for (name, oidc, first, oauth, second, expected, callouts) in rows {
        let script = |path: &str| match path {
            OIDC => reply(&oidc.to_string(), first),
            OAUTH => reply(&oauth.to_string(), second),
            "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
            _ => panic!("{path} is asked for"),
        };
        let ended = Worker::new(&configuration).run(&post(&authorization), Ok(&body), &script);
        assert_eq!(
            (reason(&ended), ended.callouts.len()),
            (*expected, *callouts),
            "{name}: {:?}",
            ended.callouts
        );
    }
}

#[test]
fn a_provider_that_is_down_is_asked_again_later() {
    let worker = Worker::new(CONFIGURATION);
    let authorization = bearer(&ISSUER.rs256(&claims()));
    let body = call("get_x", &json!({}));
    let down = |_: &str| reply("503", b"");
    assert_eq!(worker.run(&post(&authorization), Ok(&body), &down).callouts.len(), 1);
    let soon = worker.run(&post(&authorization), Ok(&body), &providers);
    assert_eq!((reason(&soon), soon.callouts.len()), ("identity_provider_unavailable", 0));
    worker.shared.set_now(UnixTime(NOW + 2));
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&body), &providers)), "allowed");
}

#[test]
fn keys_are_news_at_first_and_after_a_failure() {
    let worker = Worker::new(CONFIGURATION);
    let ask = |claims: &Value, script: support::flow::Script<'_>| {
        let token = bearer(&ISSUER.es256(claims));
        worker.run(&post(&token), Ok(&call("get_x", &json!({}))), script);
        let messages = worker.shared.keys.take_messages();
        let news = messages.into_iter().filter(|message| matches!(message, Message::News(_)));
        news.map(|message| message.text().to_owned()).collect::<Vec<_>>()
    };
    let late = |seconds: u64| {
        worker.shared.set_now(UnixTime(NOW + seconds));
        let mut claims = claims();
        claims["exp"] = json!(NOW + seconds + 60);
        claims
    };
    assert_eq!(
        ask(&claims(), &providers),
        ["keys of https://login.example.com through cluster login.example.com: 2 usable"]
    );
    assert!(ask(&claims(), &providers).is_empty());
    assert!(ask(&late(700), &providers).is_empty(), "a refresh is no news");
    assert!(ask(&late(1400), &|_| Err(CalloutError::NotSent)).is_empty());
    worker.shared.set_now(UnixTime(NOW + 1402));
    worker.tick(&providers);
    assert_eq!(worker.shared.keys.take_messages().len(), 2, "of both issuers");
}

#[test]
fn a_rotation_loses_no_request() {
    let worker = Worker::new(CONFIGURATION);
    let body = call("get_x", &json!({}));
    let before = bearer(&ISSUER.rs256(&claims()));
    assert_eq!(reason(&worker.run(&post(&before), Ok(&body), &providers)), "allowed");
    let new = Issuer::new("new");
    let rotated = |path: &str| match path {
        "/jwks" => reply("200", new.jwks().to_string().as_bytes()),
        path => providers(path),
    };
    let after = bearer(&new.rs256(&claims()));
    let ended = worker.run(&post(&after), Ok(&body), &rotated);
    assert_eq!((reason(&ended), ended.callouts.len()), ("allowed", 2));
    worker.shared.set_now(UnixTime(NOW + 1));
    assert_eq!(reason(&worker.run(&post(&before), Ok(&body), &rotated)), "unknown_key");
    let quiet = worker.run(&post(&before), Ok(&body), &rotated);
    assert_eq!((reason(&quiet), quiet.callouts.len()), ("unknown_key", 0), "unknown keys don't make a storm");
}

/// A fetch that began before the rotation brings the old keys: who waited for it asks anew.
#[test]
fn a_fetch_under_way_does_not_hide_a_rotation() {
    let worker = Worker::new(CONFIGURATION);
    let new = Issuer::new("new");
    worker.shared.keys.tick(&worker.shared.callouts);
    let mut token = 76;
    worker.shared.callouts.run(|_| {
        token += 1;
        Ok(token)
    });
    worker.shared.callouts.deliver(77, providers("/.well-known/openid-configuration"));
    worker.shared.set_now(UnixTime(NOW + 1));
    let asked = std::cell::Cell::new(0);
    let rotated = |path: &str| match path {
        "/jwks" if asked.replace(asked.get() + 1) > 0 => reply("200", new.jwks().to_string().as_bytes()),
        path => providers(path),
    };
    let after = bearer(&new.rs256(&claims()));
    let ended = worker.run(&post(&after), Ok(&call("get_x", &json!({}))), &rotated);
    assert_eq!((reason(&ended), asked.get()), ("allowed", 2));
}

/// A stranger who makes up key ids keeps nobody from a new key: not even one who comes at once.
#[test]
fn made_up_key_ids_do_not_block_a_rotation() {
    let worker = Worker::new(CONFIGURATION);
    let body = call("get_x", &json!({}));
    let (stranger, new) = (Issuer::new("made-up"), Issuer::new("new"));
    let forged = bearer(&stranger.rs256(&claims()));
    assert_eq!(reason(&worker.run(&post(&forged), Ok(&body), &providers)), "unknown_key");
    let rotated = |path: &str| match path {
        "/jwks" => reply("200", new.jwks().to_string().as_bytes()),
        path => providers(path),
    };
    let after = bearer(&new.rs256(&claims()));
    let ended = worker.run(&post(&after), Ok(&body), &rotated);
    assert_eq!((reason(&ended), ended.callouts.len()), ("allowed", 2), "who comes too soon waits");
    assert!(worker.shared.now() >= UnixTime(NOW + 1).into(), "for the end of the cooldown");
}

#[test]
fn a_token_that_ends_before_its_body_does_not_count() {
    let mut worker = Worker::new(CONFIGURATION);
    worker.body_takes = 91;
    let authorization = bearer(&ISSUER.es256(&claims()));
    let ended = worker.run(&post(&authorization), Ok(&call("get_x", &json!({}))), &providers);
    assert_eq!(reason(&ended), "token_expired");
}

#[test]
fn keys_outlive_a_provider_for_a_bounded_time() {
    let worker = Worker::new(CONFIGURATION);
    let body = call("get_x", &json!({}));
    let mut claims = claims();
    claims["exp"] = json!(NOW + 100_000);
    let authorization = bearer(&ISSUER.rs256(&claims));
    let down = |_: &str| reply("503", b"");
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&body), &providers)), "allowed");
    worker.shared.set_now(UnixTime(NOW + 601));
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&body), &down)), "allowed");
    worker.shared.set_now(UnixTime(NOW + 4201));
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&body), &down)), "identity_provider_unavailable");
}

#[test]
fn refusals_say_what_the_protocols_ask_for() {
    let worker = Worker::new(CONFIGURATION);
    let good = bearer(&ISSUER.es256(&claims()));
    let expired = bearer(&ISSUER.es256(&{
        let mut claims = claims();
        claims["exp"] = json!(NOW - 60);
        claims
    }));
    let modern = |name: &str| {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
        .to_string()
        .into_bytes()
    };
    let with = |extra: &[(&'static str, &'static str)]| [post(&good), extra.to_vec()].concat();
    let v = ("mcp-protocol-version", "2026-07-28");
    let cases: Vec<(Vec<(&str, &str)>, Vec<u8>, u16, i64, &str, &str)> = vec![
        (vec![(":method", "POST"), (":path", "/mcp")], vec![], 401, 401, "missing_token", "null"),
        (post("Bearer a b"), vec![], 400, 400, "malformed_authorization", "null"),
        (post(&expired), vec![], 401, 401, "token_expired", "null"),
        (post(&good), b"[]".to_vec(), 400, -32600, "batch", "null"),
        (post(&good), b"{".to_vec(), 400, -32700, "invalid_json", "null"),
        (
            with(&[v, ("mcp-method", "tools/call"), ("mcp-name", "get_y")]),
            modern("get_x"),
            400,
            -32020,
            "header_mismatch",
            "7",
        ),
        (with(&[v]), call("get_x", &json!({})), 400, -32602, "missing_meta", "\"i-1\""),
        (
            with(&[("mcp-protocol-version", "2099-01-01")]),
            call("get_x", &json!({})),
            400,
            -32022,
            "unsupported_protocol_version",
            "\"i-1\"",
        ),
        (post(&good), call("drop", &json!({})), 403, 403, "no_rule_allows", "\"i-1\""),
        (post(&good), call("get_secret", &json!({})), 403, 403, "denied_by_rule", "\"i-1\""),
        (post(&good), call("scale", &json!({"replicas": 50})), 403, 403, "argument_out_of_range", "\"i-1\""),
        (post(&good), call("scale", &json!({"replicas": "5"})), 403, 403, "argument_type", "\"i-1\""),
        (post(&good), call("scale", &json!({})), 403, 403, "argument_missing", "\"i-1\""),
        (
            post(&good),
            br#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#.to_vec(),
            200,
            -32601,
            "unknown_method",
            "1",
        ),
        (
            with(&[v, ("mcp-method", "x/y")]),
            String::from_utf8(modern("x")).unwrap().replace("tools/call", "x/y").into_bytes(),
            404,
            -32601,
            "unknown_method",
            "7",
        ),
        (
            with(&[v, ("mcp-method", "tasks/list")]),
            String::from_utf8(modern("x")).unwrap().replace("tools/call", "tasks/list").into_bytes(),
            404,
            -32601,
            "unknown_method",
            "7",
        ),
        (with(&[("content-encoding", "gzip")]), vec![], 415, 415, "content_encoding", "null"),
        (with(&[("content-length", "9999999")]), vec![], 413, 413, "body_too_large", "null"),
    ];
    for (head, body, status, code, reason, id) in cases {
        let ended = worker.run(&head, Ok(&body), &providers);
        assert_eq!(ended.record["reason"], reason);
        assert_eq!(ended.record["outcome"], "refused");
        let answer = ended.answer.unwrap();
        assert_eq!(answer.status, status, "{reason}");
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&error["jsonrpc"], &error["error"]["code"]), (&json!("2.0"), &json!(code)), "{reason}");
        assert_eq!(error["id"].to_string(), id, "{reason}");
        assert_eq!(error["error"]["data"]["reason"], reason);
        assert_eq!(error["error"]["data"]["decision"], ended.record["decision"]);
        let challenge = answer.headers.iter().find(|(name, _)| *name == "www-authenticate");
        assert_eq!(challenge.is_some(), status == 401 || reason == "malformed_authorization", "{reason}");
        if let Some((_, challenge)) = challenge {
            assert!(challenge.contains(
                r#"resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp""#
            ));
            assert_eq!(challenge.contains("error="), reason != "missing_token", "{challenge}");
        }
        let text = format!("{} {:?}", answer.body, answer.headers);
        assert!(!text.contains(
            head.iter().find(|(name, _)| *name == "authorization").map_or("-none-", |(_, value)| &value[7..])
        ));
    }
    let ended = worker.run(&post(&good), Ok(&call("scale", &json!({"replicas": 50}))), &providers);
    let error: Value = serde_json::from_str(&ended.answer.unwrap().body).unwrap();
    assert_eq!(error["error"]["message"], "replicas: 50 is above 10");
    assert_eq!(error["error"]["data"]["argument"], "replicas");
    assert_eq!((&ended.record["rule"], &ended.record["argument"]), (&json!("scales"), &json!("replicas")));
    let mut record = ended.record;
    record["decision"] = Value::Null;
    assert!(!record.to_string().contains("50"), "a record holds no argument's value");
}

#[test]
fn an_unknown_version_is_told_which_are_known() {
    let worker = Worker::new(CONFIGURATION);
    let good = bearer(&ISSUER.es256(&claims()));
    let head = [post(&good), vec![("mcp-protocol-version", "v999.0.0")]].concat();
    let answer = worker.run(&head, Ok(&call("get_x", &json!({}))), &providers).answer.unwrap();
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    let data = &error["error"]["data"];
    assert_eq!((&data["supported"], &data["requested"]), (&json!(["2026-07-28"]), &json!("v999.0.0")));
}

#[test]
fn of_several_resources_the_denied_one_is_recorded() {
    let rules = "  - id: srv\n    allow: { resources: [\"file:///srv/*\"] }\n";
    let worker = Worker::new(&format!("{CONFIGURATION}{rules}"));
    let authorization = bearer(&ISSUER.es256(&claims()));
    let listen = |uris: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
            "params": {"notifications": {"resourceSubscriptions": uris}}})
        .to_string()
        .into_bytes()
    };
    let allowed = listen(json!(["file:///srv/a", "file:///srv/b"]));
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&allowed), &providers)), "allowed");
    let denied = listen(json!(["file:///srv/a", "file:///etc/shadow", "file:///srv/b"]));
    let ended = worker.run(&post(&authorization), Ok(&denied), &providers);
    assert_eq!((reason(&ended), &ended.record["resource"]), ("no_rule_allows", &json!("file:///etc/shadow")));
}

/// Arguments beside a method that has none don't satisfy a rule.
#[test]
fn arguments_of_no_account_do_not_help() {
    let rules =
        "  - id: deploys\n    allow: { prompts: [deploy] }\n    arguments: { namespace: { in: [web] } }\n";
    let worker = Worker::new(&format!("{CONFIGURATION}{rules}"));
    let authorization = bearer(&ISSUER.es256(&claims()));
    let ask = |method: &str, parameters: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).to_string().into_bytes()
    };
    let good = ask("prompts/get", json!({"name": "deploy", "arguments": {"namespace": "web"}}));
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&good), &providers)), "allowed");
    let reference =
        json!({"ref": {"type": "ref/prompt", "name": "deploy"}, "arguments": {"namespace": "web"}});
    let bad = ask("completion/complete", reference);
    assert_eq!(reason(&worker.run(&post(&authorization), Ok(&bad), &providers)), "argument_missing");
}

#[test]
fn a_body_that_can_not_be_read_refuses() {
    let worker = Worker::new(CONFIGURATION);
    let authorization = bearer(&ISSUER.es256(&claims()));
    for refused in [Reason::BodyTooLarge, Reason::Internal] {
        let ended = worker.run(&post(&authorization), Err(refused), &providers);
        assert_eq!(reason(&ended), refused.code());
    }
    let mut get = post(&authorization);
    get[0] = (":method", "GET");
    assert_eq!(reason(&worker.run(&get, Ok(b""), &providers)), "allowed");
    assert_eq!(reason(&worker.run(&get, Ok(b"x"), &providers)), "unexpected_body");
}

/// Also where it came before the keys did.
#[test]
fn a_body_without_a_message_refuses_whenever_it_comes() {
    for method in ["GET", "DELETE"] {
        let mut worker = Worker::new(CONFIGURATION);
        worker.body_is_early = true;
        let authorization = bearer(&ISSUER.es256(&claims()));
        let mut head = post(&authorization);
        head[0] = (":method", method);
        let ended = worker.run(&head, Ok(&call("drop", &json!({}))), &providers);
        assert_eq!((reason(&ended), ended.callouts.len()), ("unexpected_body", 2), "{method}");
    }
}

#[test]
fn a_malformed_groups_claim_does_not_escape_a_deny_rule() {
    let worker = Worker::new(CONFIGURATION);
    for groups in [json!({"dev": true}), json!(["dev", 7]), json!(7), json!(null), json!(vec!["dev"; 1025])] {
        let mut claims = claims();
        claims["groups"] = groups;
        let authorization = bearer(&ISSUER.es256(&claims));
        let ended = worker.run(&post(&authorization), Ok(&call("get_x", &json!({}))), &providers);
        assert_eq!(reason(&ended), "invalid_claim");
    }
}

#[test]
fn without_the_flag_the_head_goes_on_only_for_what_may_be_allowed() {
    let configuration = without_flag();
    let worker = Worker::new(&configuration);
    let authorization = bearer(&ISSUER.es256(&claims()));
    let modern = |name| {
        [
            post(&authorization),
            vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", name)],
        ]
        .concat()
    };
    let body = |name: &str, arguments: Value| {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
        .to_string()
        .into_bytes()
    };
    let cases = [
        (post(&authorization), call("get_x", &json!({})), "allowed", true),
        (post(&authorization), call("drop", &json!({})), "no_rule_allows", true),
        (modern("get_x"), body("get_x", json!({})), "allowed", true),
        (modern("drop"), body("drop", json!({})), "no_rule_allows", false),
        (modern("get_secret"), body("get_secret", json!({})), "denied_by_rule", false),
        (modern("get_x"), body("drop", json!({})), "header_mismatch", true),
        (modern("scale"), body("scale", json!({"replicas": 50})), "argument_out_of_range", true),
        (modern("scale"), body("scale", json!({"replicas": 5})), "allowed", true),
        (modern("=?base64?!?="), body("get_x", json!({})), "header_mismatch", false),
        (post("Bearer x"), call("get_x", &json!({})), "malformed_token", false),
    ];
    for (head, body, expected, head_released) in cases {
        let ended = worker.run(&head, Ok(&body), &providers);
        assert_eq!((reason(&ended), ended.head_released), (expected, head_released), "{head:?}");
    }
}
