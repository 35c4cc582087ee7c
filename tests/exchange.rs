//! Token exchange against scripted endpoints: what is asked, what is forwarded, and on no failure the caller's token.

mod support;

use mcp_iap::callout::{Callout, CalloutError, Reply, StreamId};
use mcp_iap::gate::{Exit, Message, Request, Settings};
use mcp_iap::head::Head;
use mcp_iap::secret::Secret;
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn configuration(exchange: &str) -> String {
    format!(
        "
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
rules:
  - {{ id: reads, allow: {{ tools: ['get_*'], prompts: ['*'] }} }}
{exchange}"
    )
}

fn one_target() -> String {
    configuration(
        "token_exchange: { client_id: gate, client_secret: '${SECRET}', audience: backend, scope: 'a b' }",
    )
}

fn several_targets() -> String {
    configuration(
        "
token_exchange:
  client_id: gate
  client_secret: ${SECRET}
  scope: k8s:read
  target: { argument: cluster, default: staging }
  targets:
    - { name: prod, audience: k8s-prod, scope: 'k8s:write' }
    - { name: staging, audience: k8s-staging }
",
    )
}

fn worker(configuration: &str) -> Worker {
    Worker::in_environment(configuration, &|name| (name == "SECRET").then(|| "s3cret".to_owned()))
}

fn claims(subject: &str) -> Value {
    json!({"iss": "https://login.example.com", "sub": subject, "aud": "https://mcp.example.com/mcp", "exp": NOW + 9_000})
}

fn token(subject: &str) -> String {
    ISSUER.es256(&claims(subject))
}

fn call(tool: &str, arguments: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": "i-1", "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        .to_string()
        .into_bytes()
}

fn provider(path: &str) -> Result<Reply, CalloutError> {
    match path {
        "/.well-known/openid-configuration" => reply(
            "200",
            json!({"issuer": "https://login.example.com", "jwks_uri": "https://login.example.com/jwks",
                "token_endpoint": "https://login.example.com/token"})
            .to_string()
            .as_bytes(),
        ),
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        "/token" => issued("up.stream.token", 300),
        _ => reply("404", b"{}"),
    }
}

fn issued(token: &str, seconds: u64) -> Result<Reply, CalloutError> {
    let body = json!({"access_token": token, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
        "expires_in": seconds});
    reply("200", body.to_string().as_bytes())
}

fn run_with(
    worker: &Worker,
    token: &str,
    body: &[u8],
    script: &dyn Fn(&str) -> Result<Reply, CalloutError>,
) -> Ended {
    worker.post(token, &[], body, script)
}

fn run(worker: &Worker, token: &str, arguments: &Value) -> Ended {
    run_with(worker, token, &call("get_x", arguments), &provider)
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

fn status(ended: &Ended) -> u16 {
    ended.answer.as_ref().map_or(200, |answer| answer.status)
}

/// The parameters of a request to the token endpoint.
fn parameters(callout: &Callout) -> BTreeMap<String, String> {
    let body = String::from_utf8(callout.content.as_ref().unwrap().body.expose().to_vec()).unwrap();
    let decode = |text: &str| {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(out).unwrap()
    };
    body.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn asked(worker: &Worker) -> Vec<Callout> {
    worker.sent.borrow().iter().filter(|callout| callout.content.is_some()).cloned().collect()
}

#[test]
fn the_upstream_gets_its_own_token_and_the_endpoint_is_asked_once() {
    let worker = worker(&one_target());
    let token = token("dana");
    let ended = run(&worker, &token, &json!({}));
    assert_eq!((reason(&ended), ended.credential.as_deref()), ("allowed", Some("Bearer up.stream.token")));
    let exchange = &ended.record["exchange"];
    assert_eq!((&exchange["target"], &exchange["cached"]), (&json!("backend"), &json!(false)));
    assert!(exchange["waited_ms"].is_u64() && exchange["error"].is_null());
    let asked_once = asked(&worker);
    let [callout] = asked_once.as_slice() else { panic!("{asked_once:?}") };
    assert_eq!(
        (callout.endpoint.path.as_str(), callout.endpoint.cluster.as_str()),
        ("/token", "login.example.com")
    );
    assert_eq!(callout.max_reply, 64 * 1024);
    assert_eq!(callout.headers, [("authorization", Secret::new(b"Basic Z2F0ZTpzM2NyZXQ=".to_vec()))]);
    let expected: BTreeMap<String, String> = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", "backend"),
        ("scope", "a b"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(parameters(callout), expected);
    let shown = format!("{callout:?} {:?}", ended.record);
    for secret in [token.as_str(), "s3cret", "Z2F0ZTpzM2NyZXQ", "up.stream.token"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let again = run(&worker, &token, &json!({}));
    assert_eq!(again.credential.as_deref(), Some("Bearer up.stream.token"));
    assert_eq!(again.record["exchange"], json!({"target": "backend", "cached": true}));
    assert!(again.callouts.is_empty());
}

#[test]
fn nothing_is_minted_for_a_refused_call() {
    let worker = worker(&several_targets());
    let denied = run_with(&worker, &token("dana"), &call("delete_x", &json!({})), &provider);
    assert_eq!(reason(&denied), "no_rule_allows");
    let unknown = run(&worker, &token("dana"), &json!({"cluster": "nowhere"}));
    assert_eq!((reason(&unknown), status(&unknown)), ("unknown_target", 403));
    assert_eq!(unknown.record["argument"], "cluster");
    let mut expired = claims("dana");
    expired["exp"] = json!(NOW - 60);
    assert_eq!(reason(&run(&worker, &ISSUER.es256(&expired), &json!({}))), "token_expired");
    assert!(asked(&worker).is_empty());
}

#[test]
fn the_argument_names_the_target() {
    for (arguments, expected) in [
        (json!({}), Ok(("k8s-staging", "k8s:read"))),
        (json!({"cluster": "staging"}), Ok(("k8s-staging", "k8s:read"))),
        (json!({"cluster": "prod"}), Ok(("k8s-prod", "k8s:write"))),
        (json!({"cluster": "PROD"}), Err("unknown_target")),
        (json!({"cluster": "prod "}), Err("unknown_target")),
        (json!({"cluster": ""}), Err("unknown_target")),
        (json!({"cluster": null}), Err("unknown_target")),
        (json!({"cluster": 1}), Err("unknown_target")),
        (json!({"cluster": ["prod"]}), Err("unknown_target")),
        (json!({"cluster": {"name": "prod"}}), Err("unknown_target")),
        (json!({"Cluster": "prod"}), Err("key_variant")),
    ] {
        let worker = worker(&several_targets());
        let ended = run(&worker, &token("dana"), &arguments);
        match expected {
            Ok((audience, scope)) => {
                assert_eq!(reason(&ended), "allowed", "{arguments}");
                let sent = parameters(&asked(&worker)[0]);
                assert_eq!((sent["audience"].as_str(), sent["scope"].as_str()), (audience, scope));
            }
            Err(code) => {
                assert_eq!(reason(&ended), code, "{arguments}");
                assert!(asked(&worker).is_empty() && ended.credential.is_none());
            }
        }
    }
    // What has no arguments is for the default.
    let worker = worker(&several_targets());
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(
        run_with(&worker, &token("dana"), list.as_bytes(), &provider).record["exchange"]["target"],
        "staging"
    );
}

/// Every way in which there is no token: its own reason and detail, and nothing forwarded.
#[test]
fn every_failure_of_the_endpoint_refuses() {
    let oauth = |status: &str, error: &str| reply(status, json!({"error": error}).to_string().as_bytes());
    let with = |name: &str, value: Value| {
        let mut body =
            json!({"access_token": "t", "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN});
        body[name] = value;
        reply("200", body.to_string().as_bytes())
    };
    type Row = (&'static str, Result<Reply, CalloutError>, u16, &'static str, &'static str);
    let rows: Vec<Row> = vec![
        (
            "no such cluster",
            Err(CalloutError::UnknownCluster),
            503,
            "token_endpoint_unavailable",
            "unknown_cluster",
        ),
        ("not sent", Err(CalloutError::NotSent), 503, "token_endpoint_unavailable", "not_sent"),
        ("cut off", Err(CalloutError::CutOff), 503, "token_endpoint_unavailable", "cut_off"),
        ("too large", Err(CalloutError::Unreadable), 503, "token_endpoint_unavailable", "unreadable"),
        (
            "Envoy's page",
            reply("503", b"upstream connect error"),
            503,
            "token_endpoint_unavailable",
            "unavailable",
        ),
        ("timeout", reply("504", b"upstream request timeout"), 503, "token_endpoint_unavailable", "timeout"),
        ("a defect", reply("500", b"{}"), 503, "token_endpoint_unavailable", "status"),
        ("a redirect", reply("302", b""), 503, "token_endpoint_unavailable", "status"),
        ("too many", oauth("429", "slow_down"), 503, "token_endpoint_unavailable", "status"),
        ("another success", reply("201", b"{}"), 503, "token_endpoint_unavailable", "status"),
        (
            "an error with 200",
            oauth("200", "invalid_grant"),
            503,
            "token_response_invalid",
            "no_access_token",
        ),
        ("an error with 500", oauth("500", "invalid_grant"), 503, "token_endpoint_unavailable", "status"),
        ("400 without error", reply("400", b"<html>"), 503, "token_endpoint_unavailable", "status"),
        ("invalid_grant", oauth("400", "invalid_grant"), 401, "subject_token_refused", "invalid_grant"),
        ("invalid_request", oauth("400", "invalid_request"), 401, "subject_token_refused", "invalid_request"),
        ("invalid_target", oauth("400", "invalid_target"), 403, "target_refused", "invalid_target"),
        ("invalid_scope", oauth("400", "invalid_scope"), 403, "target_refused", "invalid_scope"),
        ("access_denied", oauth("403", "access_denied"), 403, "target_refused", "access_denied"),
        ("consent", oauth("400", "consent_required"), 403, "target_refused", "interaction_required"),
        ("invalid_client", oauth("401", "invalid_client"), 503, "token_request_refused", "invalid_client"),
        (
            "unauthorized_client",
            oauth("400", "unauthorized_client"),
            503,
            "token_request_refused",
            "unauthorized_client",
        ),
        (
            "unsupported",
            oauth("400", "unsupported_grant_type"),
            503,
            "token_request_refused",
            "unsupported_grant_type",
        ),
        ("unheard of", oauth("400", "teapot"), 503, "token_request_refused", "other_error"),
        (
            "busy",
            oauth("400", "temporarily_unavailable"),
            503,
            "token_endpoint_unavailable",
            "temporarily_unavailable",
        ),
        ("empty", reply("200", b""), 503, "token_response_invalid", "not_json"),
        ("rubbish", reply("200", b"<html>"), 503, "token_response_invalid", "not_json"),
        ("no token", reply("200", b"{}"), 503, "token_response_invalid", "no_access_token"),
        (
            "two words",
            with("access_token", json!("a b")),
            503,
            "token_response_invalid",
            "malformed_access_token",
        ),
        (
            "two lines",
            with("access_token", json!("a\r\nb: c")),
            503,
            "token_response_invalid",
            "malformed_access_token",
        ),
        ("no bearer", with("token_type", json!("N_A")), 503, "token_response_invalid", "token_type"),
        (
            "a refresh token",
            with("issued_token_type", json!("urn:ietf:params:oauth:token-type:refresh_token")),
            503,
            "token_response_invalid",
            "issued_token_type",
        ),
        ("no life", with("expires_in", json!(0)), 503, "token_response_invalid", "expires_in"),
    ];
    for (name, answer, wanted, code, detail) in rows {
        let worker = worker(&one_target());
        let script = |path: &str| if path == "/token" { answer.clone() } else { provider(path) };
        let inbound = token("dana");
        let ended = run_with(&worker, &inbound, &call("get_x", &json!({})), &script);
        assert_eq!((status(&ended), reason(&ended)), (wanted, code), "{name}");
        assert_eq!(ended.record["exchange"]["error"], detail, "{name}");
        assert!(ended.credential.is_none(), "{name}");
        let answer = ended.answer.unwrap();
        let has = |wanted: &str| answer.headers.iter().any(|(header, _)| *header == wanted);
        assert_eq!((has("retry-after"), has("www-authenticate")), (wanted == 503, wanted == 401), "{name}");
        let told = format!("{:?} {}", answer.headers, answer.body);
        assert!(!told.contains(inbound.as_str()), "{name}: {told}");
        let logged = worker.shared.exchange.take_messages();
        let is_callers = matches!(wanted, 401 | 403) && detail != "invalid_request";
        assert_eq!(logged.len(), usize::from(!is_callers), "{name}: {logged:?}");
        // It recovers by itself.
        worker.shared.set_now(UnixTime(NOW + 10));
        let after = run(&worker, &inbound, &json!({}));
        assert_eq!(after.credential.as_deref(), Some("Bearer up.stream.token"), "{name}");
        let news = worker.shared.exchange.take_messages();
        assert_eq!(news.iter().filter(|one| matches!(one, Message::News(_))).count(), logged.len(), "{name}");
    }
}

#[test]
fn discovery_fails_like_the_endpoint() {
    let document = |endpoint: Value| {
        let body = json!({"issuer": "https://login.example.com", "jwks_uri": "https://login.example.com/jwks",
            "token_endpoint": endpoint});
        reply("200", body.to_string().as_bytes())
    };
    for (name, endpoint) in [
        ("on another host", json!("https://evil.example/token")),
        ("without TLS", json!("http://login.example.com/token")),
        ("none", Value::Null),
        ("two lines", json!("https://login.example.com/a\r\nb: c")),
    ] {
        let worker = worker(&one_target());
        let script = |path: &str| match path {
            "/.well-known/openid-configuration" => document(endpoint.clone()),
            other => provider(other),
        };
        let ended = run_with(&worker, &token("dana"), &call("get_x", &json!({})), &script);
        assert_eq!((reason(&ended), status(&ended)), ("token_endpoint_unavailable", 503), "{name}");
        assert_eq!(ended.record["exchange"]["error"], "discovery", "{name}");
        assert!(asked(&worker).is_empty(), "{name}");
    }
}

#[test]
fn the_callers_own_token_is_not_forwarded_as_another() {
    let worker = worker(&one_target());
    let inbound = token("dana");
    let script = |path: &str| if path == "/token" { issued(&inbound, 300) } else { provider(path) };
    let ended = run_with(&worker, &inbound, &call("get_x", &json!({})), &script);
    assert_eq!((reason(&ended), status(&ended)), ("token_not_exchanged", 503));
    assert!(ended.credential.is_none());
}

#[test]
fn callers_tokens_and_targets_never_share() {
    let worker = worker(&several_targets());
    let run = |token: &str, arguments: &Value, issue: &str| {
        let script = |path: &str| if path == "/token" { issued(issue, 300) } else { provider(path) };
        run_with(&worker, token, &call("get_x", arguments), &script).credential.unwrap()
    };
    let (dana, sam) = (token("dana"), token("sam"));
    assert_eq!(run(&dana, &json!({}), "dana-staging"), "Bearer dana-staging");
    assert_eq!(run(&sam, &json!({}), "sam-staging"), "Bearer sam-staging");
    assert_eq!(run(&dana, &json!({"cluster": "prod"}), "dana-prod"), "Bearer dana-prod");
    // Another token of the same caller may be worth less.
    let mut lesser = claims("dana");
    lesser["scope"] = json!("little");
    assert_eq!(run(&ISSUER.es256(&lesser), &json!({}), "dana-little"), "Bearer dana-little");
    assert_eq!(asked(&worker).len(), 4);
    assert_eq!(run(&dana, &json!({"cluster": "staging"}), "new"), "Bearer dana-staging");
    assert_eq!(run(&sam, &json!({}), "new"), "Bearer sam-staging");
    assert_eq!(asked(&worker).len(), 4);
}

#[test]
fn a_token_is_used_until_shortly_before_its_end() {
    for (life, used_until) in [(300, 270), (60, 48), (10, 8), (1, 0), (86_400, 3_600)] {
        let worker = worker(&one_target());
        let inbound = token("dana");
        let at = |seconds: u64, issue: &str| {
            worker.shared.set_now(UnixTime(NOW + seconds));
            let script = |path: &str| if path == "/token" { issued(issue, life) } else { provider(path) };
            run_with(&worker, &inbound, &call("get_x", &json!({})), &script).credential.unwrap()
        };
        assert_eq!(at(0, "first"), "Bearer first");
        if used_until > 0 {
            assert_eq!(at(used_until - 1, "second"), "Bearer first", "{life}");
        }
        assert_eq!(at(used_until + 1, "second"), "Bearer second", "{life}");
    }
}

#[test]
fn a_refusal_of_the_endpoint_counts_for_a_moment() {
    let worker = worker(&one_target());
    let inbound = token("dana");
    let refuse = |path: &str| match path {
        "/token" => reply("400", br#"{"error":"invalid_grant"}"#),
        other => provider(other),
    };
    let body = call("get_x", &json!({}));
    for _ in 0..10 {
        assert_eq!(reason(&run_with(&worker, &inbound, &body, &refuse)), "subject_token_refused");
    }
    assert_eq!(asked(&worker).len(), 1);
    assert_eq!(reason(&run(&worker, &token("sam"), &json!({}))), "allowed", "of one caller");
    worker.shared.set_now(UnixTime(NOW + 4));
    assert_eq!(reason(&run(&worker, &inbound, &json!({}))), "subject_token_refused");
    worker.shared.set_now(UnixTime(NOW + 6));
    assert_eq!(reason(&run(&worker, &inbound, &json!({}))), "allowed");
}

#[test]
fn a_token_that_the_upstream_refuses_is_not_used_again() {
    let worker = worker(&one_target());
    let inbound = token("dana");
    let at = |seconds: u64, issue: &str| {
        worker.shared.set_now(UnixTime(NOW + seconds));
        let script = |path: &str| if path == "/token" { issued(issue, 300) } else { provider(path) };
        run_with(&worker, &inbound, &call("get_x", &json!({})), &script)
    };
    let first = at(0, "first");
    let second = at(1, "-");
    assert_eq!(second.credential.as_deref(), Some("Bearer first"));
    let answer = second.request.refused_by_upstream().unwrap();
    assert_eq!((answer.status, answer.reason.code()), (503, "upstream_refused_credential"));
    assert!(answer.headers.iter().any(|(name, _)| *name == "retry-after"));
    assert!(!answer.headers.iter().any(|(name, _)| *name == "www-authenticate"));
    let record: Value = serde_json::from_str(&second.request.note(|record| record.to_json())).unwrap();
    assert_eq!((&record["outcome"], &record["upstream_status"]), (&json!("refused"), &json!(401)));
    assert!(second.request.refused_by_upstream().is_none(), "once");
    let third = at(2, "second");
    assert_eq!(third.credential.as_deref(), Some("Bearer second"), "a remembered one is replaced at once");
    assert!(first.request.refused_by_upstream().is_some());
    assert_eq!(at(2, "-").credential.as_deref(), Some("Bearer second"), "what came since stays");
    // A new one that is refused as well is not followed by one for each call.
    assert!(third.request.refused_by_upstream().is_some());
    let spared = at(3, "third");
    assert_eq!((reason(&spared), spared.callouts.len()), ("upstream_refused_credential", 0));
    assert_eq!(at(5, "third").credential.as_deref(), Some("Bearer third"));
}

/// With client credentials one token serves all callers: what the upstream says of it for one of them is not said of
/// the others.
#[test]
fn one_caller_takes_the_gates_own_token_from_nobody() {
    let worker = worker(&configuration("token_exchange: { scope: x, grant_type: client_credentials }"));
    let at = |seconds: u64, subject: &str, issue: &str| {
        worker.shared.set_now(UnixTime(NOW + seconds));
        let script = |path: &str| if path == "/token" { issued(issue, 300) } else { provider(path) };
        run_with(&worker, &token(subject), &call("get_x", &json!({})), &script)
    };
    let first = at(0, "mallory", "first");
    // A new one stays: else one would be made for each call.
    assert!(first.request.refused_by_upstream().is_some());
    let second = at(1, "dana", "second");
    assert_eq!((reason(&second), second.credential.as_deref()), ("allowed", Some("Bearer first")));
    assert!(second.request.refused_by_upstream().is_some());
    assert_eq!(at(1, "dana", "second").credential.as_deref(), Some("Bearer first"));
    // An older one is replaced at once, and nobody waits.
    let third = at(3, "mallory", "-");
    assert!(third.request.refused_by_upstream().is_some());
    let fourth = at(3, "dana", "second");
    assert_eq!((reason(&fourth), fourth.credential.as_deref()), ("allowed", Some("Bearer second")));
    assert_eq!(asked(&worker).len(), 2);
}

/// An issued token that its review denies is not used until its end.
#[test]
fn an_issued_token_that_its_review_denies_is_forgotten() {
    let worker = worker(&configuration(
        "
token_exchange:
  client_id: gate
  client_secret: ${SECRET}
  target: { argument: cluster, default: staging }
  targets:
    - { name: staging, audience: k8s, token_review: 'https://api.staging.example.com' }
",
    ));
    let inbound = token("dana");
    let yes = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {"authenticated": true,
        "audiences": ["k8s"], "user": {"username": "dana"}}});
    let no = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {"authenticated": false}});
    let mut other = yes.clone();
    other["status"]["audiences"] = json!(["another"]);
    let at = |seconds: u64, issue: &str, says: &Value| {
        worker.shared.set_now(UnixTime(NOW + seconds));
        let script = |path: &str| match path {
            "/token" => issued(issue, 300),
            "/apis/authentication.k8s.io/v1/tokenreviews" => reply("201", says.to_string().as_bytes()),
            other => provider(other),
        };
        let ended = run_with(&worker, &inbound, &call("get_x", &json!({})), &script);
        (reason(&ended).to_owned(), ended.credential)
    };
    let denied = || ("issued_token_denied".to_owned(), None);
    let allowed = |token: &str| ("allowed".to_owned(), Some(format!("Bearer {token}")));
    assert_eq!(at(0, "first", &yes), allowed("first"));
    assert_eq!(at(20, "-", &no), denied(), "taken back meanwhile");
    // A new one that is denied too is not followed by one for each call.
    assert_eq!(at(21, "second", &other), denied());
    assert_eq!(at(22, "-", &yes), denied(), "remembered");
    assert_eq!(at(24, "-", &yes), denied(), "and forgotten");
    assert_eq!(at(25, "third", &yes), allowed("third"));
}

#[test]
fn a_hundred_calls_of_one_caller_make_one_exchange() {
    let worker = worker(&one_target());
    let inbound = token("dana");
    // The keys are here.
    run_with(&worker, &inbound, &call("delete_x", &json!({})), &provider);
    worker.sent.borrow_mut().clear();
    let authorization = format!("Bearer {inbound}");
    let head = Head::from_pairs([
        (":method", "POST"),
        (":path", "/mcp"),
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ]);
    let mut context = Context::from_waker(Waker::noop());
    let mut flows: Vec<Pin<Box<dyn Future<Output = Exit>>>> = (0..100)
        .map(|stream| {
            let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
            let request = Rc::new(Request::new(settings, shared, StreamId(stream), head.clone()));
            request.complete_body(|| Ok(call("get_x", &json!({}))));
            Box::pin(request.run()) as Pin<Box<dyn Future<Output = Exit>>>
        })
        .collect();
    let callouts = &worker.shared.callouts;
    let mut posted = 0;
    // Discovery of the endpoint, then the exchange.
    for _ in 0..2 {
        assert!(flows.iter_mut().all(|flow| flow.as_mut().poll(&mut context).is_pending()));
        let mut answers = Vec::new();
        callouts.run(|callout| {
            posted += usize::from(callout.content.is_some());
            answers.push(provider(&callout.endpoint.path));
            Ok(answers.len() as u32)
        });
        assert_eq!(answers.len(), 1);
        callouts.deliver(1, answers.remove(0));
        callouts.run(|_| panic!("nothing more to send"));
        assert_eq!(callouts.take_woken().len(), 100);
    }
    assert_eq!(posted, 1);
    for flow in &mut flows {
        let Poll::Ready(Exit::Forward(forward)) = flow.as_mut().poll(&mut context) else { panic!() };
        assert_eq!(forward.credential().authorization(), Some("Bearer up.stream.token"));
    }
}

#[test]
fn the_other_grants_and_ways_of_authentication() {
    let pem = {
        let key = p256_pem();
        move |name: &str| match name {
            "SECRET" => Some("s3cret".to_owned()),
            "KEY" => Some(key.trim().to_owned()),
            "ACTOR" => Some("actor.token".to_owned()),
            _ => None,
        }
    };
    let run = |fields: &str| {
        let worker = Worker::in_environment(&configuration(&format!("token_exchange: {{ {fields} }}")), &pem);
        let ended = run(&worker, &token("dana"), &json!({}));
        assert_eq!(
            ended.credential.as_deref(),
            Some("Bearer up.stream.token"),
            "{fields}: {:?}",
            ended.record
        );
        let callout = asked(&worker).remove(0);
        (parameters(&callout), callout)
    };
    let (sent, callout) = run("audience: b");
    assert!(callout.headers.is_empty() && !sent.contains_key("client_id"), "Envoy adds all of it: {sent:?}");
    let (sent, callout) = run(
        "audience: b, client_id: gate, client_secret: '${SECRET}', token_endpoint_auth_method: client_secret_post",
    );
    assert_eq!((sent["client_id"].as_str(), sent["client_secret"].as_str()), ("gate", "s3cret"));
    assert!(callout.headers.is_empty());
    for method in ["none", "tls_client_auth"] {
        let (sent, callout) =
            run(&format!("audience: b, client_id: gate, token_endpoint_auth_method: {method}"));
        assert!(
            sent["client_id"] == "gate" && !sent.contains_key("client_secret") && callout.headers.is_empty()
        );
    }
    let (sent, _) = run("audience: b, client_id: gate, private_key: '${KEY}', private_key_id: k1");
    assert_eq!(sent["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(sent["client_assertion"].split('.').count(), 3);
    let (sent, _) = run("audience: b, actor_token: '${ACTOR}'");
    assert_eq!(
        (sent["actor_token"].as_str(), sent["actor_token_type"].as_str()),
        ("actor.token", ACCESS_TOKEN)
    );
    let (sent, _) = run(
        "scope: 'api://x/.default', grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer, requested_token_use: on_behalf_of",
    );
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(
        (sent["requested_token_use"].as_str(), sent["assertion"].split('.').count()),
        ("on_behalf_of", 3)
    );
    let (sent, _) = run("scope: x, grant_type: client_credentials");
    assert_eq!(sent.keys().collect::<Vec<_>>(), ["grant_type", "scope"], "nothing of the caller");
}

#[test]
fn a_token_of_the_gates_own_is_the_same_for_all() {
    let worker = worker(&configuration("token_exchange: { scope: x, grant_type: client_credentials }"));
    assert_eq!(
        run(&worker, &token("dana"), &json!({})).credential.as_deref(),
        Some("Bearer up.stream.token")
    );
    assert_eq!(run(&worker, &token("sam"), &json!({})).credential.as_deref(), Some("Bearer up.stream.token"));
    assert_eq!(asked(&worker).len(), 1);
}

#[test]
fn the_callers_token_passes_only_where_the_configuration_says_so() {
    let inbound = token("dana");
    let stripped = run(&worker(&configuration("")), &inbound, &json!({}));
    assert_eq!((reason(&stripped), stripped.credential.as_deref()), ("allowed", None));
    let passed = run(&worker(&configuration("token_passthrough: true")), &inbound, &json!({}));
    assert_eq!(passed.credential, Some(format!("Bearer {inbound}")));
    assert!(passed.request.refused_by_upstream().is_none());
}

#[test]
fn no_credential_goes_before_the_body_is_decided() {
    for field in ["token_passthrough: true", "token_exchange: { audience: b }"] {
        let text = configuration(&format!("{field}\nallow_on_headers_stop_iteration: false"));
        let errors = Settings::load(text.as_bytes()).unwrap_err().to_string();
        assert!(errors.contains("needs `allow_on_headers_stop_iteration`"), "{errors}");
    }
}

fn p256_pem() -> String {
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// Rules see the target that the call is for, also where no argument names one.
#[test]
fn rules_see_the_resolved_target() {
    let document = several_targets().replace(
        "  - { id: reads,",
        "  - { id: freeze, deny: { tools: ['*'], target: [prod] } }
  - { id: other, allow: { tools: [set_x], target: [prod, staging] } }
  - { id: only-staging, allow: { tools: [scale_x], target: [staging] } }
  - { id: reads,",
    );
    let worker = worker(&document);
    for (tool, arguments, expected) in [
        ("get_x", json!({"cluster": "prod"}), "denied_by_rule"),
        ("get_x", json!({}), "allowed"),
        ("get_x", json!({"cluster": "staging"}), "allowed"),
        ("set_x", json!({}), "allowed"),
        ("set_x", json!({"cluster": "prod"}), "denied_by_rule"),
        ("scale_x", json!({}), "allowed"),
        ("scale_x", json!({"cluster": "prod"}), "denied_by_rule"),
        ("get_x", json!({"cluster": "nowhere"}), "unknown_target"),
    ] {
        let ended = run_with(&worker, &token("dana"), &call(tool, &arguments), &provider);
        assert_eq!(reason(&ended), expected, "{tool} {arguments}");
    }
    // The default is the other one: what names no target is frozen as well.
    let other = worker_of_default_prod(&document);
    for (tool, arguments, expected) in [
        ("get_x", json!({}), "denied_by_rule"),
        ("get_x", json!({"cluster": "staging"}), "allowed"),
        ("scale_x", json!({"cluster": "staging"}), "allowed"),
    ] {
        let ended = run_with(&other, &token("dana"), &call(tool, &arguments), &provider);
        assert_eq!(reason(&ended), expected, "{tool} {arguments}");
    }
}

/// A tool that a target names is for that target, whatever its arguments say; rules see that one.
#[test]
fn the_tool_names_the_target() {
    let by_tool = |target: &str, rules: &str| {
        let named = several_targets()
            .replace("scope: 'k8s:write' }", "scope: 'k8s:write', tools: [get_secret, 'get_secret_*'] }")
            .replace("k8s-staging }", "k8s-staging, tools: ['get_secret_of_*', get_pods] }")
            .replace("target: { argument: cluster, default: staging }", target)
            .replace("  - { id: reads,", &format!("{rules}  - {{ id: reads,"));
        worker(&named)
    };
    let audience = |worker: &Worker, tool: &str, arguments: &Value| {
        let ended = run_with(worker, &token("dana"), &call(tool, arguments), &provider);
        match reason(&ended) {
            "allowed" => parameters(asked(worker).last().unwrap())["audience"].clone(),
            other => other.to_owned(),
        }
    };
    let both = "target: { argument: cluster, default: staging }";
    for (tool, arguments, expected) in [
        ("get_secret", json!({}), "k8s-prod"),
        ("get_secret", json!({"cluster": "staging"}), "k8s-prod"),
        ("get_secret", json!({"cluster": "nowhere"}), "k8s-prod"),
        // Both targets have a pattern for it: the first in the document's order counts.
        ("get_secret_of_x", json!({}), "k8s-prod"),
        ("get_pods", json!({"cluster": "prod"}), "k8s-staging"),
        ("get_Secret", json!({}), "k8s-staging"),
        ("get_x", json!({"cluster": "prod"}), "k8s-prod"),
        ("get_x", json!({"cluster": "nowhere"}), "unknown_target"),
    ] {
        assert_eq!(audience(&by_tool(both, ""), tool, &arguments), expected, "{tool} {arguments}");
    }
    // Without an argument, what no target names is for the default.
    let alone = by_tool("target: { default: staging }", "");
    for (tool, expected) in [("get_secret", "k8s-prod"), ("get_x", "k8s-staging")] {
        assert_eq!(audience(&alone, tool, &json!({"cluster": "prod"})), expected, "{tool}");
    }
    // Nor where only rules name others.
    let by_rule = several_targets()
        .replace("target: { argument: cluster, default: staging }", "target: { default: staging }")
        .replace(
            "  - { id: reads,",
            "  - { id: prod-reads, exchange: prod, allow: { tools: [get_p] } }\n  - { id: reads,",
        );
    for (tool, expected) in [("get_p", "k8s-prod"), ("get_x", "k8s-staging")] {
        assert_eq!(audience(&worker(&by_rule), tool, &json!({"cluster": "prod"})), expected, "{tool}");
    }
    let frozen = by_tool(both, "  - { id: freeze, deny: { tools: ['*'], target: [prod] } }\n");
    for (tool, arguments, expected) in [
        ("get_secret", json!({"cluster": "staging"}), "denied_by_rule"),
        ("get_pods", json!({"cluster": "prod"}), "k8s-staging"),
        ("get_x", json!({"cluster": "prod"}), "denied_by_rule"),
    ] {
        assert_eq!(audience(&frozen, tool, &arguments), expected, "{tool} {arguments}");
    }
}

fn worker_of_default_prod(document: &str) -> Worker {
    worker(&document.replace("default: staging", "default: prod"))
}
