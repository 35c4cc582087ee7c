//! Failed authentications: who is counted, what comes of it, and whom a stranger can't lock out.

mod support;

use mcp_iap::cache::SharedData;
use mcp_iap::callout::{CalloutError, Reply, StreamId};
use mcp_iap::gate::{Exit, Request, Settings, Who};
use mcp_iap::head::Head;
use mcp_iap::jose::NoHost;
use serde_json::{Value, json};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::data::Data;
use support::flow::{Ended, NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));
static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const DOCUMENT: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules: [{ id: reads, allow: { tools: [get_x] } }]
";

fn provider(path: &str) -> Result<Reply, CalloutError> {
    support::flow::provider(&ISSUER, path)
}

fn worker_of(failed_authentication: &str, data: &Rc<Data>) -> Worker {
    let document = format!("{DOCUMENT}failed_authentication: {failed_authentication}\n");
    let settings = Settings::load(document.as_bytes()).unwrap();
    let data: Rc<dyn SharedData> = Rc::<Data>::clone(data);
    Worker::with_data(settings, Box::new(NoHost), &data)
}

fn worker(failed_authentication: &str) -> Worker {
    worker_of(failed_authentication, &Rc::default())
}

fn claims(subject: &str) -> Value {
    json!({"iss": "https://login.example.com", "sub": subject, "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 200_000})
}

fn good(subject: &str) -> String {
    ISSUER.es256(&claims(subject))
}

/// The issuer has signed it, for another audience.
fn elsewhere(subject: &str) -> String {
    let mut claims = claims(subject);
    claims["aud"] = json!("https://other.example.com");
    ISSUER.es256(&claims)
}

/// It is for who has a certificate, and nobody here has it.
fn bound(subject: &str) -> String {
    let mut claims = claims(subject);
    claims["cnf"] = json!({"x5t#S256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    ISSUER.es256(&claims)
}

/// Nobody has.
fn forged(subject: &str) -> String {
    STRANGER.es256(&claims(subject))
}

fn send(worker: &Worker, from: &str, token: &str) -> Ended {
    worker.address.set(Some(from.parse().unwrap()));
    let body =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "get_x"}}).to_string();
    if token.is_empty() {
        return worker.run(&[(":method", "POST"), (":path", "/mcp")], Ok(body.as_bytes()), &provider);
    }
    worker.post(token, &[], body.as_bytes(), &provider)
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

fn failing(ended: &Ended) -> Vec<&str> {
    let failing = ended.record["failing"].as_array();
    failing.into_iter().flatten().map(|who| who.as_str().unwrap()).collect()
}

fn retry_after(ended: &Ended) -> Option<u64> {
    let headers = &ended.answer.as_ref()?.headers;
    headers.iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value.parse().unwrap())
}

fn later(worker: &Worker, seconds: u64) {
    worker.shared.set_now(worker.shared.now().plus(Duration::from_secs(seconds)));
}

#[test]
fn five_in_five_minutes_are_told_of_and_nobody_is_refused_for_them() {
    let worker = worker("{}");
    let told: Vec<_> = (0..7).map(|_| failing(&send(&worker, "192.0.2.1", "x.y.z")).len()).collect();
    assert_eq!(told, [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(failing(&send(&worker, "192.0.2.1", "x.y.z")), ["source"]);
    assert_eq!(worker.shared.failures.take_counts().collect::<Vec<_>>(), [(Who::Source, 4)]);
    assert_eq!(worker.shared.failures.take_counts().count(), 0);
    let allowed = send(&worker, "192.0.2.1", &good("dana"));
    assert_eq!((reason(&allowed), allowed.record.get("failing")), ("allowed", None));
    // A minute forgets one.
    later(&worker, 60);
    assert_eq!(failing(&send(&worker, "192.0.2.1", "x.y.z")), ["source"]);
    later(&worker, 120);
    assert!(failing(&send(&worker, "192.0.2.1", "x.y.z")).is_empty());
}

#[test]
fn an_address_is_blocked_by_all_workers_until_a_failure_is_forgotten() {
    let data = Rc::default();
    let workers = [worker_of("{ source: block }", &data), worker_of("{ source: block }", &data)];
    let [a, b] = &workers;
    for n in 0..5 {
        assert_eq!(reason(&send(&workers[n % 2], "192.0.2.1", &forged("dana"))), "bad_signature");
    }
    let now = a.shared.now().max(b.shared.now());
    for worker in &workers {
        worker.shared.set_now(now);
        let refused = send(worker, "192.0.2.1", &good("dana"));
        assert_eq!((reason(&refused), &refused.record["outcome"]), ("too_many_failures", &json!("refused")));
        assert_eq!(refused.answer.as_ref().unwrap().status, 429);
        let wait = retry_after(&refused).unwrap();
        assert!((59..=60).contains(&wait), "{wait}");
        assert_eq!(reason(&send(worker, "192.0.2.2", &good("dana"))), "allowed");
    }
    // What is blocked is not looked at, and counts nothing.
    let until = retry_after(&send(a, "192.0.2.1", "x.y.z")).unwrap();
    assert!(until <= 60);
    later(a, until);
    later(b, until);
    assert_eq!(reason(&send(b, "192.0.2.1", &good("dana"))), "allowed");
    assert_eq!(reason(&send(b, "192.0.2.1", "x.y.z")), "malformed_token");
    assert_eq!(reason(&send(a, "192.0.2.1", &good("dana"))), "too_many_failures");
    // The document of the resource, for which nobody needs a token, stays.
    let head = [(":method", "GET"), (":path", "/.well-known/oauth-protected-resource/mcp")];
    assert_eq!(reason(&a.run(&head, Ok(b""), &provider)), "metadata");
}

#[test]
fn an_address_is_counted_however_it_is_written_and_of_ipv6_its_network() {
    let worker = worker("{ source: block, threshold: 2 }");
    let is_blocked = |from: &str| reason(&send(&worker, from, &good("dana"))) == "too_many_failures";
    for from in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1::1", "2001:db8:0:1:ffff::"] {
        send(&worker, from, "x.y.z");
    }
    assert!(is_blocked("192.0.2.1") && is_blocked("::ffff:192.0.2.1"));
    assert!(is_blocked("2001:db8:0:1::2") && !is_blocked("2001:db8:0:2::1") && !is_blocked("192.0.2.2"));
}

/// Else whoever knows a name locks its owner out, or a server that was given a token for itself.
#[test]
fn a_subject_that_is_only_claimed_is_told_of_and_never_blocked() {
    for (token, expected) in [(forged as fn(&str) -> String, "bad_signature"), (elsewhere, "wrong_audience")]
    {
        let worker = worker("{ source: alert, subject: block, threshold: 3 }");
        for n in 0..20 {
            let refused = send(&worker, &format!("192.0.2.{n}"), &token("dana"));
            assert_eq!(reason(&refused), expected);
            assert_eq!(failing(&refused), if n < 2 { vec![] } else { vec!["claimed_subject"] }, "{n}");
        }
        assert_eq!(worker.shared.failures.take_counts().collect::<Vec<_>>(), [(Who::ClaimedSubject, 18)]);
        assert_eq!(reason(&send(&worker, "192.0.2.1", &good("dana"))), "allowed");
    }
}

#[test]
fn a_subject_whose_credential_is_verified_is_blocked_wherever_it_comes_from() {
    let worker = worker("{ subject: block, threshold: 3 }");
    for n in 0..3 {
        let refused = send(&worker, &format!("192.0.2.{n}"), &bound("dana"));
        assert_eq!(reason(&refused), "client_certificate_missing");
        assert_eq!(failing(&refused), if n < 2 { vec![] } else { vec!["subject"] });
    }
    let refused = send(&worker, "192.0.2.9", &good("dana"));
    assert_eq!((reason(&refused), retry_after(&refused)), ("too_many_failures", Some(100)));
    assert_eq!(refused.record["caller"]["subject"], "dana", "who is blocked is known");
    assert_eq!(reason(&send(&worker, "192.0.2.9", &good("sam"))), "allowed");
    // One more of the blocked subject's that does not hold says what it lacks, and counts.
    assert_eq!(reason(&send(&worker, "192.0.2.9", &bound("dana"))), "client_certificate_missing");
    later(&worker, 100);
    assert_eq!(reason(&send(&worker, "192.0.2.9", &good("dana"))), "allowed");
}

/// Every client begins without a token and comes to one that is expired.
#[test]
fn no_token_and_an_old_one_are_no_failures() {
    let worker = worker("{ source: block, subject: block, threshold: 1 }");
    let mut old = claims("dana");
    old["exp"] = json!(NOW - 3_600);
    for (token, expected) in [(String::new(), "missing_token"), (ISSUER.es256(&old), "token_expired")] {
        for _ in 0..3 {
            assert_eq!(reason(&send(&worker, "192.0.2.1", &token)), expected);
        }
    }
    assert_eq!(reason(&send(&worker, "192.0.2.1", &good("dana"))), "allowed");
    assert_eq!(worker.shared.failures.take_counts().count(), 0);
}

#[test]
fn nothing_is_counted_where_the_threshold_is_zero_or_the_address_unknown() {
    let off = worker("{ source: block, threshold: 0 }");
    let on = worker("{ source: block, threshold: 1 }");
    for _ in 0..3 {
        assert!(failing(&send(&off, "192.0.2.1", "x.y.z")).is_empty());
        let head = [(":method", "POST"), (":path", "/mcp"), ("authorization", "Bearer x.y.z")];
        assert_eq!(reason(&on.run(&head, Ok(b"{}"), &provider)), "malformed_token");
    }
    assert_eq!(reason(&send(&off, "192.0.2.1", &good("dana"))), "allowed");
}

type Flow = Pin<Box<dyn Future<Output = Exit>>>;

fn begin(worker: &Worker, id: u32, token: &str) -> Flow {
    let authorization = format!("Bearer {token}");
    let head = [
        (":method", "POST"),
        (":path", "/mcp"),
        ("authorization", &authorization),
        ("content-type", "application/json"),
    ];
    let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
    let head = Head::from_pairs(head);
    Box::pin(Rc::new(Request::new(settings, shared, StreamId(id), head)).run())
}

fn is_held(flow: &mut Flow) -> bool {
    matches!(flow.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[test]
fn further_refusals_are_slow_and_those_that_are_held_are_few() {
    let worker = worker("{ source: slow }");
    for n in 0..5 {
        let began = worker.shared.now();
        assert_eq!(reason(&send(&worker, "192.0.2.1", "x.y.z")), "malformed_token");
        let took = worker.shared.now().since(began);
        assert_eq!(took >= Duration::from_secs(2), n == 4, "{n}: {took:?}");
    }
    let began = worker.shared.now();
    assert_eq!(reason(&send(&worker, "192.0.2.1", &good("dana"))), "allowed");
    assert_eq!(reason(&send(&worker, "192.0.2.2", "x.y.z")), "malformed_token");
    assert!(worker.shared.now().since(began) < Duration::from_secs(1));
    worker.address.set(Some("192.0.2.1".parse().unwrap()));
    let mut flows: Vec<_> = (100..200).map(|id| begin(&worker, id, "x.y.z")).collect();
    let held = flows.iter_mut().map(is_held).filter(|held| *held).count();
    assert_eq!(held, 16, "the others are answered at once");
    // A clock that is put back holds nobody.
    worker.shared.callouts.run(|_| Err(CalloutError::NotSent));
    worker.shared.set_now(worker.shared.now().minus(Duration::from_secs(3_600)));
    worker.shared.callouts.tick();
    worker.shared.callouts.run(|_| Err(CalloutError::NotSent));
    assert_eq!(worker.shared.callouts.take_woken().len(), 16);
}

/// Else as many guesses as may wait for keys are judged at once.
#[test]
fn who_waited_is_looked_at_again() {
    let worker = worker("{ source: block }");
    worker.address.set(Some("192.0.2.1".parse().unwrap()));
    let mut waiting = begin(&worker, 100, &good("dana"));
    assert!(is_held(&mut waiting), "the keys are to come");
    for _ in 0..5 {
        assert_eq!(reason(&send(&worker, "192.0.2.1", "x.y.z")), "malformed_token");
    }
    assert!(!worker.tick(&provider).is_empty());
    let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Exit::Answer(answer)) if answer.status == 429));
}

/// Shared data can't be deleted.
#[test]
fn a_flood_of_addresses_takes_bounded_room_and_blocks_nobody_else() {
    let data = Rc::default();
    let worker = worker_of("{ source: block, threshold: 1 }", &data);
    for n in 0..70_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        worker.address.set(Some([10, b, c, d].into()));
        assert!(!is_held(&mut begin(&worker, n, "x.y.z")));
    }
    let places = data.places.borrow();
    assert!(places.len() <= 4_097 + 1_025, "{}", places.len());
    let bytes: usize = places.values().map(|(bytes, _)| bytes.len()).sum();
    assert!(bytes <= 4_096 * 264 + 32, "{bytes}");
    drop(places);
    for n in 0..200 {
        let from = format!("192.0.2.{n}");
        assert_eq!(reason(&send(&worker, &from, &good("dana"))), "allowed", "{from}");
    }
}
