//! Tokens on which others are asked: a Kubernetes API server (TokenReview) and an issuer (RFC 7662 introspection),
//! with every way in which they fail. The API server's answers are recordings of a real one
//! (`tests/fixtures/token_review`, written by `make test-kube`), with the tokens blanked.

mod support;

use mcp_iap::callout::{CalloutError, Reply, StreamId};
use mcp_iap::gate::Request;
use mcp_iap::head::Head;
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Waker};
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::{Issuer, b64};

static CLUSTER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("c"));
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const INTROSPECT: &str = "/introspect";
const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA-opaque";
const AGENT: &str = "system:serviceaccount:agents:coding-agent";

const REVIEWED: &str = r#"
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
token_review: { server: https://kubernetes.default.svc, audiences: [mcp-gateway], cluster: kube_api }
rules:
  - { id: agents, allow: { tools: ["get_*"] }, to: { kubernetes_users: ["system:serviceaccount:agents:*"] } }
  - { id: accounts, allow: { tools: [list] }, to: { groups: ["system:serviceaccounts:agents"] } }
"#;

const INTROSPECTED: &str = r#"
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
    introspection: { endpoint: "https://login.example.com/introspect", client_id: mcp-iap, client_secret: "${SECRET}" }
  - issuer: https://partner.example.org
rules:
  - { id: dev, allow: { tools: ["get_*"] }, to: { issuer: "https://login.example.com", groups: [dev] } }
  - { id: writes, allow: { tools: [set] }, scope: mcp:write }
"#;

fn worker(configuration: &str) -> Worker {
    Worker::in_environment(configuration, &|name| (name == "SECRET").then(|| "s3cret".to_owned()))
}

fn recorded(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/token_review").join(name);
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; `make test-kube` writes it", file.display()))
}

/// A token as a cluster issues it for a service account.
fn account(change: &Value) -> String {
    let mut claims = json!({"iss": "https://kubernetes.default.svc.cluster.local", "sub": AGENT,
        "aud": ["mcp-gateway"], "exp": NOW + 600, "iat": NOW, "nbf": NOW,
        "kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "coding-agent"}}});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    CLUSTER.rs256(&claims)
}

type Answer<'a> = &'a dyn Fn() -> Result<Reply, CalloutError>;

fn run(worker: &Worker, token: &str, tool: &str, judge: Answer<'_>) -> Ended {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
    worker.post(token, &[], body.to_string().as_bytes(), &|path| match path {
        REVIEWS | INTROSPECT => judge(),
        "/.well-known/openid-configuration" => reply(
            "200",
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#,
        ),
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        _ => reply("404", b"{}"),
    })
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

fn status(ended: &Ended) -> u16 {
    ended.answer.as_ref().map_or(200, |answer| answer.status)
}

#[test]
fn kubernetes_says_whose_a_token_is() {
    let worker = worker(REVIEWED);
    let token = account(&json!({}));
    let ended = run(&worker, &token, "get_x", &|| reply("201", &recorded("ok.json")));
    assert_eq!(reason(&ended), "allowed");
    assert_eq!(ended.callouts, [REVIEWS], "asked once, and for no keys");
    let caller = &ended.record["caller"];
    assert_eq!((&caller["kind"], &caller["kubernetes_user"]), (&json!("kubernetes"), &json!(AGENT)));
    assert_eq!(caller["groups"][2], "system:authenticated");
    assert_eq!(
        (caller.get("subject"), caller.get("issuer")),
        (None, None),
        "what was not verified is not told"
    );
    assert_eq!(reason(&run(&worker, &token, "list", &|| unreachable!())), "allowed");
    assert_eq!(reason(&run(&worker, &token, "set", &|| unreachable!())), "no_rule_allows");
    assert_eq!(counted(&worker), ["token_reviews ok 1"], "what was remembered is not counted");
    assert!(counted(&worker).is_empty(), "they were taken");
}

#[test]
fn what_kubernetes_does_not_know_is_refused() {
    for (recording, expected) in [
        ("badsig.json", "token_review_denied"),
        ("garbage.json", "token_review_denied"),
        ("wrong-aud.json", "token_review_denied"),
        ("no-audiences.json", "wrong_audience"),
    ] {
        let worker = worker(REVIEWED);
        let token = account(&json!({}));
        let ended = run(&worker, &token, "get_x", &|| reply("201", &recorded(recording)));
        assert_eq!((reason(&ended), status(&ended)), (expected, 401), "{recording}");
        assert_eq!(ended.record.get("caller"), None, "{recording}");
        let again = run(&worker, &token, "get_x", &|| unreachable!("it is remembered"));
        assert_eq!(reason(&again), expected);
        assert_eq!(counted(&worker), [format!("token_reviews {expected} 1")]);
    }
}

/// The outcomes that were counted since the last call, as `counter result number`.
fn counted(worker: &Worker) -> Vec<String> {
    let counts = worker.shared.judges.take_counts().into_iter();
    counts.map(|((counter, result), count)| format!("{counter} {result} {count}")).collect()
}

/// How a failure of this kind is counted.
fn failure_name(answer: &Result<Reply, CalloutError>, good: u16) -> &'static str {
    match answer {
        Err(error) => error.name(),
        Ok(reply) => match reply.status() {
            Ok(status) if status == good => "no_answer",
            Ok(status) => CalloutError::Status(status).name(),
            Err(error) => error.name(),
        },
    }
}

/// None of these says anything about the caller.
fn failures(good: &[u8]) -> Vec<(&'static str, Result<Reply, CalloutError>)> {
    let mut failures = vec![
        ("no cluster", Err(CalloutError::UnknownCluster)),
        ("not sent", Err(CalloutError::NotSent)),
        ("cut off", Err(CalloutError::CutOff)),
        ("5 MB", Err(CalloutError::Unreadable)),
        ("no status", Ok(Reply { head: mcp_iap::head::Head::default(), body: good.to_vec() })),
        ("rubbish", reply("200", b"\xff\xfe<html>")),
        ("rubbish as created", reply("201", b"\xff\xfe<html>")),
        ("nothing", reply("200", b"")),
        ("nothing created", reply("201", b"")),
        ("half", reply("201", &good[..good.len() / 2])),
    ];
    for status in
        ["204", "301", "302", "307", "400", "401", "403", "404", "409", "429", "500", "502", "503", "504"]
    {
        failures.push(("another status", reply(status, good)));
    }
    failures
}

#[test]
fn an_api_server_that_can_not_be_asked_is_our_fault() {
    let good = recorded("ok.json");
    let mut rows = failures(&good);
    rows.push(("200 is not created", reply("200", &good)));
    for (name, status) in [("400.json", "400"), ("401.json", "401"), ("403.json", "403")] {
        rows.push((name, reply(status, &recorded(name))));
        // A page that comes with the right status.
        rows.push((name, reply("201", &recorded(name))));
    }
    for (name, answer) in rows {
        let worker = worker(REVIEWED);
        let token = account(&json!({}));
        let ended = run(&worker, &token, "get_x", &|| answer.clone());
        assert_eq!((reason(&ended), status(&ended)), ("token_review_unavailable", 503), "{name}");
        let headers = &ended.answer.as_ref().unwrap().headers;
        assert!(headers.iter().any(|(name, _)| *name == "retry-after"), "{name}");
        assert!(!headers.iter().any(|(name, _)| *name == "www-authenticate"), "{name}");
        let told = worker.shared.judges.take_messages();
        assert!(
            told.len() == 1
                && told[0].text().contains("cluster kube_api")
                && !told[0].text().contains(&token),
            "{told:?}"
        );
        // It recovers by itself, and until then is not asked for each request.
        assert_eq!(reason(&run(&worker, &token, "get_x", &|| unreachable!())), "token_review_unavailable");
        worker.shared.set_now(UnixTime(NOW + 2));
        assert_eq!(reason(&run(&worker, &token, "get_x", &|| reply("201", &good))), "allowed", "{name}");
        assert!(worker.shared.judges.take_messages()[0].text().ends_with("answers again"));
        let mut expected =
            [format!("token_reviews {} 1", failure_name(&answer, 201)), "token_reviews ok 1".to_owned()];
        expected.sort();
        assert_eq!(counted(&worker), expected, "{name}");
    }
}

#[test]
fn what_can_be_seen_without_the_key_is_not_asked_about() {
    let none = format!("{}.{}.", b64(r#"{"alg":"none"}"#), account(&json!({})).split('.').nth(1).unwrap());
    let parts = account(&json!({}));
    let hs = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), parts.split_once('.').unwrap().1);
    for (token, expected) in [
        (account(&json!({"exp": NOW - 31})), "token_expired"),
        (account(&json!({"exp": "never"})), "invalid_claim"),
        (account(&json!({"exp": null})), "invalid_claim"),
        (account(&json!({"nbf": NOW + 31})), "token_not_yet_valid"),
        (account(&json!({"aud": ["https://kubernetes.default.svc"]})), "wrong_audience"),
        (account(&json!({"aud": []})), "wrong_audience"),
        (account(&json!({"nonce": "n"})), "not_an_access_token"),
        (account(&json!({"token_use": "id"})), "not_an_access_token"),
        (account(&json!({"typ": "Refresh"})), "not_an_access_token"),
        (account(&json!({"cnf": {"jkt": "x"}})), "sender_constraint_unsupported"),
        (none, "algorithm_not_accepted"),
        (hs, "algorithm_not_accepted"),
        ("opaque-token-of-somebody".to_owned(), "malformed_token"),
    ] {
        let ended = run(&worker(REVIEWED), &token, "get_x", &|| unreachable!());
        assert_eq!((reason(&ended), status(&ended)), (expected, 401), "{token}");
        assert!(ended.callouts.is_empty(), "{expected}");
    }
}

/// What strangers have reviewed leaves room for the reviews of issued tokens, which only callers that are known get to.
#[test]
fn strangers_do_not_starve_the_reviews_of_issued_tokens() {
    let worker = worker(&format!(
        "{REVIEWED}  - {{ id: dana, allow: {{ tools: ['get_*'] }}, to: {{ subjects: [dana] }} }}
token_exchange:
  client_id: gate
  client_secret: ${{SECRET}}
  target: {{ argument: cluster, default: staging }}
  targets:
    - {{ name: staging, audience: mcp-gateway, token_review: 'https://api.staging.example.com' }}
"
    ));
    let mut context = Context::from_waker(Waker::noop());
    let mut flows: Vec<_> = (0..300)
        .map(|stranger| {
            let authorization = format!("Bearer {}", account(&json!({"jti": stranger.to_string()})));
            let head = Head::from_pairs([
                (":method", "POST"),
                (":path", "/mcp"),
                ("content-type", "application/json"),
                ("authorization", authorization.as_str()),
            ]);
            let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
            Box::pin(Rc::new(Request::new(settings, shared, StreamId(stranger + 2), head)).run())
        })
        .collect();
    let polled = flows.iter_mut().map(|flow| flow.as_mut().poll(&mut context).is_pending());
    let waiting = polled.filter(|is_pending| *is_pending).count();
    assert_eq!(waiting, 256, "the bound is reached");
    let mut sent = 1_000;
    worker.shared.callouts.run(|_| {
        sent += 1;
        Ok(sent)
    });
    let token = ISSUER.es256(
        &json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp", "exp": NOW + 600}),
    );
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_x"}});
    let ended = worker.post(&token, &[], body.to_string().as_bytes(), &|path| match path {
        "/token" => reply(
            "200",
            br#"{"access_token":"up","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#,
        ),
        REVIEWS => reply("201", &recorded("ok.json")),
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        _ => reply(
            "200",
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks","token_endpoint":"https://login.example.com/token"}"#,
        ),
    });
    assert_eq!((reason(&ended), ended.credential.as_deref()), ("allowed", Some("Bearer up")));
}

/// A token that says it is of a configured issuer is that issuer's to verify, and nobody else's.
#[test]
fn a_forged_token_of_an_issuer_is_not_reviewed() {
    let forged = CLUSTER.rs256(
        &json!({"iss": "https://login.example.com", "sub": "dana", "aud": "mcp-gateway", "exp": NOW + 60}),
    );
    let ended = run(&worker(REVIEWED), &forged, "get_x", &|| unreachable!());
    assert_eq!(reason(&ended), "unknown_key");
    let without = REVIEWED.replace("token_review:", "#").replace("kubernetes_users", "subjects");
    let ended = run(&worker(&without), &account(&json!({})), "get_x", &|| unreachable!());
    assert_eq!(reason(&ended), "unknown_issuer", "raw tokens count with a review alone");
}

#[test]
fn a_review_is_remembered_for_a_short_while() {
    let asked = RefCell::new(0);
    let worker = worker(REVIEWED);
    let token = account(&json!({}));
    let ask = |tool: &str| {
        let ended = run(&worker, &token, tool, &|| {
            *asked.borrow_mut() += 1;
            reply("201", &recorded("ok.json"))
        });
        reason(&ended).to_owned()
    };
    for (second, times) in [(0, 1), (5, 1), (9, 1), (11, 2), (15, 2), (22, 3)] {
        worker.shared.set_now(UnixTime(NOW + second));
        assert_eq!(ask("get_x"), "allowed");
        assert_eq!(*asked.borrow(), times, "{second}");
    }
    // Never beyond the token's own end.
    let short = account(&json!({"exp": NOW + 23}));
    assert_eq!(reason(&run(&worker, &short, "get_x", &|| reply("201", &recorded("ok.json")))), "allowed");
    worker.shared.set_now(UnixTime(NOW + 23 + 30));
    assert_eq!(reason(&run(&worker, &short, "get_x", &|| unreachable!())), "token_expired");
}

fn told(change: &Value) -> Vec<u8> {
    let mut told = json!({"active": true, "iss": "https://login.example.com", "sub": "dana", "client_id": "agent",
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60, "scope": "mcp:read", "groups": ["dev"], "token_type": "Bearer"});
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(told.as_object_mut().unwrap().remove(name)),
            value => told[name] = value.clone(),
        }
    }
    told.to_string().into_bytes()
}

#[test]
fn an_issuer_says_whose_an_opaque_token_is() {
    let worker = worker(INTROSPECTED);
    let ended = run(&worker, OPAQUE, "get_x", &|| reply("200", &told(&json!({}))));
    assert_eq!(reason(&ended), "allowed");
    assert_eq!(ended.callouts, [INTROSPECT]);
    assert_eq!(
        ended.record["caller"],
        json!({"issuer": "https://login.example.com", "subject": "dana", "client_id": "agent", "groups": ["dev"], "scope": "mcp:read"})
    );
    let ended = run(&worker, OPAQUE, "set", &|| unreachable!("it is remembered"));
    assert_eq!((reason(&ended), ended.record["scope"].as_str()), ("insufficient_scope", Some("mcp:write")));
}

#[test]
fn what_an_issuer_tells_is_checked_as_a_tokens_claims() {
    for (change, expected) in [
        (json!({"active": false}), "token_inactive"),
        (json!({"iss": null}), "allowed"),
        (json!({"iss": "https://partner.example.org"}), "unknown_issuer"),
        (json!({"iss": 7}), "invalid_claim"),
        (json!({"aud": null}), "wrong_audience"),
        (json!({"aud": "https://other.example.com"}), "wrong_audience"),
        (json!({"aud": ["x", "https://mcp.example.com/mcp"]}), "allowed"),
        (json!({"exp": null}), "invalid_claim"),
        (json!({"exp": NOW - 31}), "token_expired"),
        (json!({"exp": "9999999999"}), "invalid_claim"),
        (json!({"nbf": NOW + 60}), "token_not_yet_valid"),
        (json!({"sub": null, "client_id": null}), "invalid_claim"),
        (json!({"sub": null}), "allowed"),
        (json!({"sub": 7}), "invalid_claim"),
        (json!({"token_type": "DPoP"}), "sender_constraint_unsupported"),
        (json!({"token_type": null}), "allowed"),
        (json!({"token_use": "access_token"}), "allowed"),
        (json!({"token_use": "access"}), "allowed"),
        (json!({"token_use": "refresh_token"}), "not_an_access_token"),
        (json!({"token_use": "id"}), "not_an_access_token"),
        (json!({"token_use": ["access"]}), "not_an_access_token"),
        (json!({"typ": "Bearer"}), "allowed"),
        (json!({"typ": "Refresh"}), "not_an_access_token"),
        (json!({"typ": "Offline"}), "not_an_access_token"),
        (json!({"typ": "ID"}), "not_an_access_token"),
        (json!({"cnf": {"jkt": "x"}}), "sender_constraint_unsupported"),
        (json!({"cnf": {"x5t#S256": b64([7; 32])}}), "client_certificate_missing"),
        (json!({"groups": 7}), "invalid_claim"),
        (json!({"groups": null}), "no_rule_allows"),
    ] {
        let ended = run(&worker(INTROSPECTED), OPAQUE, "get_x", &|| reply("200", &told(&change)));
        assert_eq!(reason(&ended), expected, "{change}");
        let code = match expected {
            "allowed" => 200,
            "no_rule_allows" => 403,
            _ => 401,
        };
        assert_eq!(status(&ended), code, "{change}");
    }
}

#[test]
fn what_an_issuer_says_is_counted() {
    for (change, expected) in [
        (json!({}), "ok"),
        // Its times and audience are asked of each request, not of the answer.
        (json!({"exp": NOW - 31}), "ok"),
        (json!({"active": false}), "token_inactive"),
        (json!({"iss": "https://partner.example.org"}), "unknown_issuer"),
        (json!({"token_use": "refresh_token"}), "not_an_access_token"),
        (json!({"sub": 7}), "invalid_claim"),
    ] {
        let worker = worker(INTROSPECTED);
        run(&worker, OPAQUE, "get_x", &|| reply("200", &told(&change)));
        assert_eq!(counted(&worker), [format!("introspections {expected} 1")], "{change}");
    }
}

#[test]
fn an_issuer_that_can_not_be_asked_is_our_fault() {
    let good = told(&json!({}));
    let mut rows = failures(&good);
    rows.push(("201 is not 200", reply("201", &good)));
    for text in
        [r#"{"active":"true"}"#, r#"{"error":"invalid_client"}"#, r#"{"active":true,"active":true}"#, "[]"]
    {
        rows.push(("no answer", reply("200", text.as_bytes())));
    }
    for (name, answer) in rows {
        let worker = worker(INTROSPECTED);
        let ended = run(&worker, OPAQUE, "get_x", &|| answer.clone());
        assert_eq!((reason(&ended), status(&ended)), ("introspection_unavailable", 503), "{name}");
        let told = worker.shared.judges.take_messages();
        assert!(
            told.len() == 1 && !told[0].text().contains(OPAQUE) && !told[0].text().contains("s3cret"),
            "{told:?}"
        );
        assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &|| unreachable!())), "introspection_unavailable");
        worker.shared.set_now(UnixTime(NOW + 2));
        assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &|| reply("200", &good))), "allowed", "{name}");
        assert!(
            counted(&worker).contains(&format!("introspections {} 1", failure_name(&answer, 200))),
            "{name}"
        );
    }
}

/// An issuer is asked about what has no form of a token that can be verified here, and about nothing else.
#[test]
fn a_jws_is_never_introspected() {
    let good = ISSUER.es256(&json!({"iss": "https://login.example.com", "sub": "dana", "groups": ["dev"],
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60}));
    let forged = CLUSTER
        .es256(&json!({"iss": "https://login.example.com", "sub": "dana", "aud": "x", "exp": NOW + 60}));
    for (token, expected) in [
        (good.as_str(), "allowed"),
        (forged.as_str(), "unknown_key"),
        ("a.b.c", "malformed_token"),
        ("..", "malformed_token"),
    ] {
        let ended = run(&worker(INTROSPECTED), token, "get_x", &|| unreachable!());
        assert_eq!(reason(&ended), expected, "{token}");
    }
}

#[test]
fn a_no_is_remembered_too_and_a_taken_back_token_works_no_longer_than_the_cache() {
    let worker = worker(INTROSPECTED);
    let no = || reply("200", br#"{"active":false}"#);
    let yes = || reply("200", &told(&json!({"exp": NOW + 3600})));
    assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &no)), "token_inactive");
    assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &yes)), "token_inactive", "remembered");
    worker.shared.set_now(UnixTime(NOW + 11));
    assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &yes)), "allowed");
    worker.shared.set_now(UnixTime(NOW + 20));
    assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &no)), "allowed", "remembered");
    worker.shared.set_now(UnixTime(NOW + 22));
    assert_eq!(reason(&run(&worker, OPAQUE, "get_x", &no)), "token_inactive");
}
