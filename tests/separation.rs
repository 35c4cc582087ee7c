//! Attacks on token separation: callers who share nothing but time, identities and names, and an upstream or an endpoint
//! that is not well-meaning. What an endpoint that fails does stands in `exchange.rs`.

mod support;

use mcp_iap::api_key::KeyHash;
use mcp_iap::callout::{Callout, CalloutError, Reply, StreamId};
use mcp_iap::gate::{Exit, Request};
use mcp_iap::head::Head;
use mcp_iap::secret::Secret;
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static LOGIN: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));
static PARTNER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("b"));

const PEPPER: &str = "a-pepper-of-at-least-32-bytes-for-tests";
const KEY: &str = "mcp_iap_A-key-that-counts-0123456789";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn worker(more: &str) -> Worker {
    let document = format!(
        "
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
  - issuer: https://partner.example.org
token_exchange:
  token_endpoint: https://login.example.com/token
  client_id: gate
  client_secret: ${{SECRET}}
  target: {{ argument: cluster, default: staging }}
  targets:
    - {{ name: staging, audience: k8s-staging }}
    - {{ name: prod, audience: k8s-prod }}
rules:
  - {{ id: reads, allow: {{ tools: ['get_*'] }} }}
{more}"
    );
    Worker::in_environment(&document, &|name| match name {
        "SECRET" => Some("s3cret".to_owned()),
        "PEPPER" => Some(PEPPER.to_owned()),
        _ => None,
    })
}

fn token(issuer: &Issuer, url: &str, subject: &str) -> String {
    issuer.es256(
        &json!({"iss": url, "sub": subject, "client_id": "agent", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 9_000}),
    )
}

fn dana() -> String {
    token(&LOGIN, "https://login.example.com", "dana")
}

fn call(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_x","arguments":{arguments}}}}}"#
    )
}

fn issuers(path: &str, host: &str) -> Result<Reply, CalloutError> {
    let (url, keys) = match host {
        "partner.example.org" => ("https://partner.example.org", &PARTNER),
        _ => ("https://login.example.com", &LOGIN),
    };
    match path {
        "/.well-known/openid-configuration" => {
            reply("200", json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string().as_bytes())
        }
        "/jwks" => reply("200", keys.jwks().to_string().as_bytes()),
        _ => reply("404", b"{}"),
    }
}

fn issued(token: &str) -> Result<Reply, CalloutError> {
    let body = json!({"access_token": token, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
        "expires_in": 300});
    reply("200", body.to_string().as_bytes())
}

fn head(token: &str) -> Head {
    let authorization = format!("Bearer {token}");
    Head::from_pairs([
        (":method", "POST"),
        (":path", "/mcp"),
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ])
}

fn run(worker: &Worker, credential: (&str, &str), body: &str, issue: &str) -> Ended {
    let head = [(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json"), credential];
    worker.run(&head, Ok(body.as_bytes()), &|path| match path {
        "/token" => issued(issue),
        other => issuers(other, "login.example.com"),
    })
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

fn exchanges(worker: &Worker) -> usize {
    worker.sent.borrow().iter().filter(|callout| callout.endpoint.path == "/token").count()
}

type Flow = Pin<Box<dyn Future<Output = Exit>>>;

/// Polls all flows to their end; `answer` has what each callout is answered with. The replies of one round are delivered
/// in the reverse order.
fn together(
    worker: &Worker,
    tokens: &[&str],
    answer: &dyn Fn(&Callout) -> Result<Reply, CalloutError>,
) -> Vec<Option<String>> {
    let mut flows: Vec<Flow> = (1..)
        .zip(tokens)
        .map(|(stream, token)| {
            let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
            let request = Rc::new(Request::new(settings, shared, StreamId(stream), head(token)));
            request.complete_body(|| Ok(call("{}").into_bytes()));
            Box::pin(request.run()) as Flow
        })
        .collect();
    let mut ends: Vec<Option<Option<String>>> = vec![None; flows.len()];
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        for (flow, end) in flows.iter_mut().zip(&mut ends).filter(|(_, end)| end.is_none()) {
            if let Poll::Ready(exit) = flow.as_mut().poll(&mut context) {
                *end = Some(match exit {
                    Exit::Forward(forward) => forward.credential().authorization().map(str::to_owned),
                    Exit::Answer(_) => None,
                });
            }
        }
        worker.shared.set_now(worker.shared.now().plus(Duration::from_millis(1)));
        let mut replies = Vec::new();
        worker.shared.callouts.run(|callout| {
            replies.push(answer(callout));
            Ok(replies.len() as u32)
        });
        for (number, reply) in (1..).zip(replies).collect::<Vec<_>>().into_iter().rev() {
            worker.shared.callouts.deliver(number, reply);
        }
    }
    ends.into_iter().map(|end| end.expect("it ends")).collect()
}

/// Callers who ask at the same time wait for one another's discovery, and never for one another's token.
#[test]
fn callers_who_ask_together_get_each_their_own() {
    let worker = worker("");
    let callers = [
        token(&LOGIN, "https://login.example.com", "dana"),
        token(&LOGIN, "https://login.example.com", "sam"),
        // One name, two issuers: two people.
        token(&PARTNER, "https://partner.example.org", "dana"),
    ];
    let tokens: Vec<&str> = callers.iter().chain(&callers).map(String::as_str).collect();
    let seen = together(&worker, &tokens, &|callout| match callout.endpoint.path.as_str() {
        "/token" => {
            let form = String::from_utf8(callout.content.as_ref().unwrap().body.expose().to_vec()).unwrap();
            let of = callers.iter().position(|caller| form.contains(caller.as_str())).unwrap();
            issued(&format!("for-{of}"))
        }
        other => issuers(other, &callout.endpoint.authority),
    });
    let expected = [0, 1, 2, 0, 1, 2].map(|caller| Some(format!("Bearer for-{caller}")));
    assert_eq!(seen, expected);
}

/// An upstream that takes no token at all can't have one made for each call.
#[test]
fn an_upstream_that_refuses_all_has_no_token_made_for_each_call() {
    let worker = worker("");
    let inbound = format!("Bearer {}", dana());
    let mut refused = 0;
    for step in 0..100 {
        let now = worker.shared.now();
        let at = mcp_iap::time::Timestamp::from(UnixTime(NOW)).plus(Duration::from_millis(step * 100));
        worker.shared.set_now(at.max(now));
        let ended = run(&worker, ("authorization", &inbound), &call("{}"), &format!("token-{step}"));
        if ended.credential.is_some() {
            assert_eq!(
                ended.request.refused_by_upstream().unwrap().reason.code(),
                "upstream_refused_credential"
            );
            refused += 1;
        } else {
            assert_eq!(reason(&ended), "upstream_refused_credential");
        }
    }
    assert_eq!((refused, exchanges(&worker)), (5, 5), "one in two seconds");
    // Of others nothing is known.
    let sam = format!("Bearer {}", token(&LOGIN, "https://login.example.com", "sam"));
    assert_eq!(
        run(&worker, ("authorization", &sam), &call("{}"), "sams").credential.as_deref(),
        Some("Bearer sams")
    );
}

/// Whoever has no token to exchange gets none, and nothing is asked for.
#[test]
fn who_has_no_token_gets_none_for_the_upstream() {
    let hash = KeyHash::of(KEY.as_bytes(), &Secret::new(PEPPER.into())).to_hex();
    let keys = format!("api_keys: {{ pepper: '${{PEPPER}}', keys: [{{ name: ci, hash: {hash} }}] }}\n");
    let mesh = "mesh_identity: { trust_domains: [cluster.local], authenticates: true }\n";
    let open = "require_auth: false\n";
    let inbound = format!("Bearer {}", dana());
    for (more, credential) in [
        (keys.as_str(), ("x-api-key", KEY)),
        (mesh, ("accept", "*/*")),
        (open, ("accept", "*/*")),
        // What nobody verified is exchanged for nothing.
        (open, ("authorization", inbound.as_str())),
    ] {
        let worker = worker(more);
        worker.uri.replace(Some("spiffe://cluster.local/ns/a/sa/b".to_owned()));
        let ended = run(&worker, credential, &call("{}"), "never");
        assert_eq!(reason(&ended), "missing_token", "{more} {credential:?}");
        assert_eq!((ended.credential.as_deref(), exchanges(&worker)), (None, 0), "{more}");
    }
}

/// The target is what the upstream will read as well: no second reading of the body names another.
#[test]
fn the_target_has_one_reading() {
    for (arguments, expected) in [
        (r#"{"cluster":"staging","cluster":"prod"}"#, "duplicate_key"),
        (r#"{"cluster":"staging","\u0063luster":"prod"}"#, "duplicate_key"),
        (r#"{"cluster":"staging","CLUSTER":"prod"}"#, "duplicate_key"),
        (r#"{"cluster":"staging","clu\u017fter":"prod"}"#, "duplicate_key"),
        (r#"{"CLUSTER":"prod"}"#, "key_variant"),
        (r#"{"cluster":"prod\u0000"}"#, "unknown_target"),
        (r#"{"cluster":"st\u0430ging"}"#, "unknown_target"),
        (r#"{"cluster":{"cluster":"prod"}}"#, "unknown_target"),
        (r#"{"cluster":["staging"]}"#, "unknown_target"),
        (r#"{"cluster":null}"#, "unknown_target"),
        (r#"{"cluster":0}"#, "unknown_target"),
        (r#"{"cluster":true}"#, "unknown_target"),
        (r#"{"other":{"cluster":"prod"}}"#, "allowed"),
        (r#"{"cluster":"\u0070rod"}"#, "allowed"),
    ] {
        let worker = worker("");
        let ended = run(&worker, ("authorization", &format!("Bearer {}", dana())), &call(arguments), "up");
        assert_eq!(reason(&ended), expected, "{arguments}");
        assert_eq!(exchanges(&worker), usize::from(expected == "allowed"), "{arguments}");
        if expected == "allowed" {
            let target = if arguments.contains("0070") { "prod" } else { "staging" };
            assert_eq!(ended.record["exchange"]["target"], target);
        }
    }
    // Beside the arguments it names nothing.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","cluster":"prod","arguments":{}}}"#;
    let ended = run(&worker(""), ("authorization", &format!("Bearer {}", dana())), body, "up");
    assert_eq!(ended.record["exchange"]["target"], "staging");
}

/// What a token says of itself never becomes part of another's place in memory.
#[test]
fn a_token_is_never_found_by_another_text() {
    let worker = worker("");
    let inbound = dana();
    let known = run(&worker, ("authorization", &format!("Bearer {inbound}")), &call("{}"), "danas");
    assert_eq!(known.credential.as_deref(), Some("Bearer danas"));
    let (input, signature) = inbound.rsplit_once('.').unwrap();
    let claims: Value = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 9_000});
    for other in [
        format!("{input}.{}", &signature[..signature.len() - 1]),
        format!("{inbound}="),
        PARTNER.es256(&claims),
        format!("{inbound}.x"),
    ] {
        let ended = run(&worker, ("authorization", &format!("Bearer {other}")), &call("{}"), "never");
        assert_eq!((ended.credential.as_deref(), ended.answer.unwrap().status), (None, 401), "{other}");
    }
    assert_eq!(exchanges(&worker), 1);
}
