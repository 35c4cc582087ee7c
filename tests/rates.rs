//! Rates of rules: who is counted together and who is not, what takes nothing, and what a flood of callers, a clock
//! that is put back and shared data that others write can't do.

mod support;

use mcp_iap::cache::{Buckets, NoSharedData, SharedData, Size, Taken};
use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::gate::Settings;
use mcp_iap::identity::Caller;
use mcp_iap::jose::NoHost;
use mcp_iap::mcp::{Arguments, Operation};
use mcp_iap::policy::{Call, Limiter, NotTaken, PolicySet, Rate};
use mcp_iap::time::{Timestamp, UnixTime};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;
use support::data::Data;
use support::flow::{Ended, NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const RULES: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - id: scales
    allow: { tools: [scale] }
    scope: mcp:write
    arguments: { replicas: { integer: { max: 10 } } }
    rate: { calls: 20, per: 1m }
    message: Slowly, please.
  - { id: never, deny: { tools: [scale] }, to: { groups: [banned] } }
  - { id: reads, allow: { tools: [get_x] }, rate: { calls: 2, per: 10s } }
  - { id: reads-slowly, allow: { tools: [get_x] }, rate: { calls: 1, per: 1h } }
  - { id: docs, allow: { resources: ['docs://*'] }, rate: { calls: 3, per: 1h } }
  - { id: wiki, allow: { resources: ['wiki://*'] }, rate: { calls: 1, per: 1h } }
";

fn provider(path: &str) -> Result<Reply, CalloutError> {
    support::flow::provider(&ISSUER, path)
}

fn worker(configuration: &str, data: &Rc<Data>) -> Worker {
    let settings = Settings::load(configuration.as_bytes()).unwrap();
    let data: Rc<dyn SharedData> = Rc::<Data>::clone(data);
    Worker::with_data(settings, Box::new(NoHost), &data)
}

fn claims(subject: &str) -> Value {
    json!({"iss": "https://login.example.com", "sub": subject, "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 200_000, "scope": "mcp:write", "client_id": "agent"})
}

fn send(worker: &Worker, claims: &Value, params: &Value, method: &str) -> Ended {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    worker.post(&ISSUER.es256(claims), &[], body.as_bytes(), &provider)
}

fn scale(worker: &Worker, claims: &Value) -> Ended {
    send(worker, claims, &json!({"name": "scale", "arguments": {"replicas": 3}}), "tools/call")
}

fn get(worker: &Worker, claims: &Value) -> Ended {
    send(worker, claims, &json!({"name": "get_x"}), "tools/call")
}

fn reason(ended: &Ended) -> &str {
    ended.record["reason"].as_str().unwrap()
}

fn later(worker: &Worker, by: Duration) {
    worker.shared.set_now(worker.shared.now().plus(by));
}

fn header<'a>(ended: &'a Ended, name: &str) -> Option<&'a str> {
    let headers = &ended.answer.as_ref()?.headers;
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_workers_count_together_and_tell_when_to_come_again() {
    let data = Rc::default();
    let (a, b) = (worker(RULES, &data), worker(RULES, &data));
    let dana = claims("dana");
    for worker in [&a, &b] {
        assert_eq!(reason(&get(worker, &dana)), "allowed", "the keys are here");
        worker.shared.set_now(UnixTime(NOW + 10));
    }
    let ended: Vec<_> = (0..100).map(|n| scale(if n % 2 == 0 { &a } else { &b }, &dana)).collect();
    assert_eq!(ended.iter().filter(|ended| ended.answer.is_none()).count(), 20);
    let refused = ended.last().unwrap();
    assert_eq!((&refused.record["outcome"], reason(refused)), (&json!("refused"), "rate_limited"));
    assert_eq!(refused.record["rule"], "scales");
    assert_eq!(refused.answer.as_ref().unwrap().status, 429);
    assert_eq!(header(refused, "retry-after"), Some("3"));
    let body: Value = serde_json::from_str(&refused.answer.as_ref().unwrap().body).unwrap();
    assert_eq!((&body["id"], &body["error"]["code"]), (&json!(7), &json!(429)));
    assert_eq!(body["error"]["message"], "Slowly, please.");
    assert_eq!(body["error"]["data"]["reason"], "rate_limited");
    for worker in [&a, &b] {
        later(worker, Duration::from_millis(2_999));
    }
    assert_eq!(reason(&scale(&a, &dana)), "rate_limited");
    assert_eq!(header(&scale(&a, &dana), "retry-after"), Some("1"), "rounded up");
    for worker in [&a, &b] {
        later(worker, Duration::from_millis(1));
    }
    assert_eq!([reason(&scale(&b, &dana)), reason(&scale(&a, &dana))], ["allowed", "rate_limited"]);
    later(&a, Duration::from_hours(5));
    let passed = (0..50).filter(|_| scale(&a, &dana).answer.is_none()).count();
    assert_eq!(passed, 20, "what is not used does not add up");
}

#[test]
fn a_bucket_is_a_subjects_whatever_client_it_comes_through() {
    let data = Rc::default();
    let worker = worker(RULES, &data);
    let dana = claims("dana");
    while scale(&worker, &dana).answer.is_none() {}
    let mut other_client = dana.clone();
    other_client["client_id"] = json!("made-up-yesterday");
    assert_eq!(reason(&scale(&worker, &other_client)), "rate_limited");
    assert_eq!(reason(&scale(&worker, &claims("sam"))), "allowed");
    assert_eq!(reason(&get(&worker, &dana)), "allowed", "another rule, another bucket");
    assert!(!data.places.borrow().keys().any(|key| key.contains("dana")), "nobody's name is in a key");
}

#[test]
fn what_is_refused_takes_nothing() {
    let worker = worker(RULES, &Rc::default());
    let dana = claims("dana");
    let with = |field: &str, value: Value| {
        let mut claims = dana.clone();
        claims[field] = value;
        claims
    };
    for _ in 0..30 {
        let many = json!({"name": "scale", "arguments": {"replicas": 11}});
        assert_eq!(reason(&send(&worker, &dana, &many, "tools/call")), "argument_out_of_range");
        assert_eq!(reason(&scale(&worker, &with("groups", json!(["banned"])))), "denied_by_rule");
        assert_eq!(reason(&scale(&worker, &with("scope", json!("mcp:read")))), "insufficient_scope");
        assert_eq!(reason(&scale(&worker, &with("exp", json!(NOW - 100)))), "token_expired");
    }
    assert_eq!((0..30).filter(|_| scale(&worker, &dana).answer.is_none()).count(), 20);
}

/// Where the first rule has nothing left, the next may allow; who must wait is told the shorter time.
#[test]
fn another_rule_may_still_allow() {
    let worker = worker(RULES, &Rc::default());
    let dana = claims("dana");
    let rules: Vec<_> = (0..3).map(|_| get(&worker, &dana).record["rule"].clone()).collect();
    assert_eq!(rules, ["reads", "reads", "reads-slowly"]);
    let refused = get(&worker, &dana);
    assert_eq!((reason(&refused), &refused.record["rule"]), ("rate_limited", &json!("reads")));
    assert_eq!(header(&refused, "retry-after"), Some("5"));
    let body: Value = serde_json::from_str(&refused.answer.unwrap().body).unwrap();
    assert_eq!(body["error"]["message"], "at most 2 calls per 10s");
}

/// To have what is needed but for a while is not to lack a scope.
#[test]
fn who_has_to_wait_is_not_sent_for_another_scope() {
    let rules = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - { id: some, allow: { tools: [get_x] }, rate: { calls: 1, per: 1h } }
  - { id: all, allow: { tools: [get_x] }, scope: unlimited }
";
    let worker = worker(rules, &Rc::default());
    let mut dana = claims("dana");
    assert_eq!([reason(&get(&worker, &dana)), reason(&get(&worker, &dana))], ["allowed", "rate_limited"]);
    dana["scope"] = json!("unlimited");
    assert_eq!(get(&worker, &dana).record["rule"], "all");
}

/// A request for several things takes from each rate or from none.
#[test]
fn several_operations_take_all_or_nothing() {
    let worker = worker(RULES, &Rc::default());
    let dana = claims("dana");
    let listen = |uris: &[&str]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        send(&worker, &dana, &params, "subscriptions/listen")
    };
    let both = ["docs://a", "docs://b", "wiki://a"];
    assert_eq!(reason(&listen(&both)), "allowed");
    for _ in 0..5 {
        let refused = listen(&both);
        assert_eq!((reason(&refused), &refused.record["rule"]), ("rate_limited", &json!("wiki")));
    }
    let docs = (0..9).filter(|_| listen(&["docs://a", "docs://b"]).answer.is_none()).count();
    assert_eq!(docs, 2, "once a request, and nothing for what was refused");
}

#[test]
fn a_clock_that_is_put_back_gives_nothing_and_locks_nobody_out() {
    let worker = worker(RULES, &Rc::default());
    let (dana, sam) = (claims("dana"), claims("sam"));
    while scale(&worker, &dana).answer.is_none() {}
    assert_eq!(reason(&scale(&worker, &sam)), "allowed");
    worker.shared.set_now(UnixTime(NOW - 86_400));
    let refused = scale(&worker, &dana);
    assert_eq!((reason(&refused), header(&refused, "retry-after")), ("rate_limited", Some("3")));
    later(&worker, Duration::from_secs(3));
    assert_eq!([reason(&scale(&worker, &dana)), reason(&scale(&worker, &dana))], ["allowed", "rate_limited"]);
    assert_eq!(reason(&scale(&worker, &sam)), "allowed");
    // A little is what workers' clocks differ by.
    worker.shared.set_now(worker.shared.now().minus(Duration::from_secs(2)));
    assert_eq!(header(&scale(&worker, &dana), "retry-after"), Some("5"));
}

#[test]
fn without_shared_data_each_worker_counts_for_itself() {
    let settings = || Settings::load(RULES.as_bytes()).unwrap();
    let nothing: Rc<dyn SharedData> = Rc::new(NoSharedData);
    let [a, b] = [0, 1].map(|_| Worker::with_data(settings(), Box::new(NoHost), &nothing));
    let dana = claims("dana");
    for worker in [&a, &b] {
        assert_eq!((0..50).filter(|_| scale(worker, &dana).answer.is_none()).count(), 20);
    }
}

/// What can't be counted is refused.
#[test]
fn who_can_not_be_counted_is_refused() {
    let data: Rc<Data> = Rc::default();
    let worker = worker(RULES, &data);
    let dana = claims("dana");
    assert_eq!(reason(&scale(&worker, &dana)), "allowed");
    data.intruders.set(20);
    assert_eq!(reason(&scale(&worker, &dana)), "allowed", "others change the same slot");
    data.intruders.set(u32::MAX);
    let refused = scale(&worker, &dana);
    assert_eq!((reason(&refused), refused.answer.as_ref().unwrap().status), ("overloaded", 503));
    assert!(header(&refused, "retry-after").is_some());
}

/// A document that is loaded anew goes on counting, but for a rate that it changes.
#[test]
fn a_reload_keeps_what_is_used_of_a_rate_that_stays() {
    let data = Rc::default();
    let dana = claims("dana");
    let before = worker(RULES, &data);
    while scale(&before, &dana).answer.is_none() {}
    let after = worker(&RULES.replace("max: 10", "max: 9"), &data);
    assert_eq!(reason(&scale(&after, &dana)), "rate_limited");
    let after = worker(&RULES.replace("calls: 20", "calls: 21"), &data);
    assert_eq!((0..50).filter(|_| scale(&after, &dana).answer.is_none()).count(), 21);
}

#[test]
fn no_token_is_asked_for_where_the_rate_is_used_up() {
    let rules = format!(
        "{RULES}token_exchange: {{ token_endpoint: 'https://sts.example.com/token', audience: b }}\n"
    );
    let rules = rules.replace("per: 1m", "per: 24h");
    let worker = worker(&rules, &Rc::default());
    let dana = claims("dana");
    let asked = |ended: &Ended| ended.callouts.iter().any(|path| path == "/token");
    // The endpoint gives none, which is no reason to give back what was taken: it may have been asked.
    assert!((0..20).map(|_| asked(&scale(&worker, &dana))).fold(false, |one, other| one | other));
    // So long a failure is remembered.
    later(&worker, Duration::from_millis(1_200));
    let refused = scale(&worker, &dana);
    assert!(reason(&refused) == "rate_limited" && !asked(&refused), "{}", refused.record);
}

/// Nobody counted yet at the head, and who does not count allows nothing.
#[test]
fn a_rate_is_asked_once_the_call_is_known() {
    let config = mcp_iap::config::load(RULES.as_bytes()).unwrap();
    let mut errors = Vec::new();
    let issuers = ["https://login.example.com"];
    let policies = PolicySet::compile(&config.guarded().unwrap()[0], &issuers, &mut errors);
    let (caller, arguments) = (Caller::default(), Arguments::default());
    let operations = [Operation::Tool("get_x")];
    let call = Call::of(&caller).to(&operations, &arguments);
    assert!(policies.decide_head(&call).is_ok());
    assert_eq!(policies.decide(&call).unwrap_err().reason.code(), "overloaded");
    assert_eq!(&**policies.foretell(&call).unwrap().unwrap().rule().unwrap(), "reads");
    let nothing = Nothing::default();
    let denial = policies.decide_within(&call, &nothing).unwrap_err();
    assert_eq!(denial.reason.code(), "rate_limited");
    assert_eq!(*nothing.looks.borrow(), ["reads", "reads-slowly"], "each rule is asked once");
    assert_eq!(denial.retry_after, Some(Duration::from_millis(1)));
}

/// Nothing is left of any rate, as each look and each taking says.
#[derive(Default)]
struct Nothing {
    looks: RefCell<Vec<String>>,
    /// So many looks say otherwise: others take between look and taking.
    late: Cell<u32>,
    takes: Cell<u32>,
}

impl Limiter for Nothing {
    fn look(&self, rule: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        self.looks.borrow_mut().push(rule.to_owned());
        match self.late.get().checked_sub(1) {
            Some(left) => {
                self.late.set(left);
                Ok(())
            }
            None => Err(NotTaken::UsedUp(Duration::from_millis(1))),
        }
    }

    fn take(&self, _: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        self.takes.set(self.takes.get() + 1);
        Err(NotTaken::UsedUp(Duration::from_millis(1)))
    }

    fn give_back(&self, _: &str, _: &Rate, _: &Caller) {
        panic!("nothing was taken");
    }
}

/// Who has used up the rates of as many rules as there may be costs one round, whatever he asks for, and one look a rule.
#[test]
fn used_up_rates_cost_one_look_each() {
    let each = |number: u32| {
        format!(
            "  - {{ id: r{number}, allow: {{ resources: ['docs://*'] }}, rate: {{ calls: 1, per: 1h }} }}\n"
        )
    };
    let rules: String = (0..64).map(each).collect();
    let document = format!(
        "resource: https://mcp.example.com/mcp\nissuers: [{{ issuer: https://login.example.com }}]\nrules:\n{rules}"
    );
    let settings = Settings::load(document.as_bytes()).unwrap();
    let policies = &settings.resources[0].policies;
    let (caller, arguments) = (Caller::default(), Arguments::default());
    let operations = vec![Operation::Resource("docs://a"); 100];
    let call = Call::of(&caller).to(&operations, &arguments);
    for (late, looks, takes) in [(0, 64, 0), (1, 64, 1), (64, 64, 64)] {
        let nothing = Nothing { late: Cell::new(late), ..Nothing::default() };
        let denial = policies.decide_within(&call, &nothing).unwrap_err();
        assert_eq!((denial.reason.code(), denial.operation), ("rate_limited", 0));
        assert_eq!((nothing.looks.borrow().len(), nothing.takes.get()), (looks, takes), "{late}");
    }
}

/// A look takes nothing, writes nothing, and says what taking would.
#[test]
fn a_look_takes_nothing() {
    let changing = Rc::new(Data::default());
    let shared: Rc<dyn SharedData> = Rc::<Data>::clone(&changing);
    let buckets = Buckets::of_rates(shared);
    let size = Size { calls: 1, interval: 1_000 };
    assert_eq!(buckets.take(&[b"sam"], size, START), Taken::One);
    changing.intruders.set(u32::MAX);
    assert_eq!(buckets.look(&[b"dana"], size, START), Taken::One);
    assert_eq!(buckets.take(&[b"dana"], size, START), Taken::Unknown);
    let data: Rc<dyn SharedData> = Rc::new(Data::default());
    for data in [data, Rc::new(NoSharedData)] {
        let buckets = Buckets::of_rates(data);
        let size = Size { calls: 2, interval: 1_000_000_000 };
        let owner = [b"dana".as_slice()];
        for expected in [Taken::One, Taken::One, Taken::Not(Duration::from_secs(1))] {
            for _ in 0..3 {
                assert_eq!(buckets.look(&owner, size, START), expected);
            }
            assert_eq!(buckets.take(&owner, size, START), expected);
        }
        // Where the clock is put back, too.
        let before = Timestamp(START.0 - 60_000);
        assert_ne!(buckets.look(&owner, size, before), Taken::One);
        assert_eq!(buckets.look(&owner, size, Timestamp(before.0 + 1_000)), Taken::One);
    }
}

const START: Timestamp = Timestamp(NOW * 1_000);

fn owner(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// Shared data can't be deleted: what a million callers leave there is bounded, and none of them gets more than
/// his own.
#[test]
fn a_million_callers_take_a_bounded_place() {
    let data: Rc<Data> = Rc::default();
    let buckets = Buckets::of_rates(Rc::<Data>::clone(&data));
    let size = Size { calls: 1, interval: 3_600_000_000_000 };
    let mut passed = 0_u32;
    for number in 0..1_000_000 {
        passed += u32::from(buckets.take(&[&owner(number)], size, START) == Taken::One);
    }
    let places = data.places.borrow();
    assert!(places.len() <= 16_385, "{}", places.len());
    assert!(places.values().all(|(bytes, _)| bytes.len() <= 8 + 16 * 16));
    // Each of those has its bucket, and the others share: nobody calls twice.
    assert_eq!(passed, 16_384 * 16);
    drop(places);
    for number in 0..1_000 {
        assert_ne!(buckets.take(&[&owner(number)], size, START), Taken::One, "{number}");
    }
    // An hour later all of that is room again.
    let then = START.plus(Duration::from_secs(3_600));
    let fresh = (0..20_000).filter(|number| buckets.take(&[&owner(*number)], size, then) == Taken::One);
    assert_eq!(fresh.count(), 20_000);
    // Without shared data as well, in the worker's own memory.
    let own = Buckets::of_rates(Rc::new(NoSharedData));
    assert!((0..100).all(|number| own.take(&[&owner(number)], size, START) == Taken::One));
    assert!((0..100).all(|number| own.take(&[&owner(number)], size, START) != Taken::One));
}

/// As many as are active at one time in a large Envoy don't get into each other's way.
#[test]
fn ten_thousand_callers_have_a_bucket_each() {
    let buckets = Buckets::of_rates(Rc::new(Data::default()));
    let size = Size { calls: 2, interval: 1_000_000_000 };
    for _ in 0..2 {
        let passed = (0..10_000).filter(|number| buckets.take(&[&owner(*number)], size, START) == Taken::One);
        assert_eq!(passed.count(), 10_000);
    }
    assert!((0..10_000).all(|number| buckets.take(&[&owner(number)], size, START) != Taken::One));
}

/// Who is in whose slot is another secret in each Envoy.
#[test]
fn slots_are_salted() {
    let places = || {
        let data: Rc<Data> = Rc::default();
        let buckets = Buckets::of_rates(Rc::<Data>::clone(&data));
        let size = Size { calls: 1, interval: 1_000_000_000 };
        (0..50).for_each(|number| assert_eq!(buckets.take(&[&owner(number)], size, START), Taken::One));
        data.places.take().into_keys().collect::<Vec<_>>()
    };
    assert_ne!(places(), places());
}

#[test]
fn rates_at_their_bounds_hold() {
    for (calls, interval) in
        [(1, 86_400_000_000_000), (1_000_000, 1_000), (1_000_000, 86_400_000), (3, 333_333_334)]
    {
        let size = Size { calls, interval };
        let buckets = Buckets::of_rates(Rc::new(NoSharedData));
        let take = |now| buckets.take(&[b"o"], size, now);
        let tries = calls.min(2_000);
        assert_eq!((0..tries).filter(|_| take(START) == Taken::One).count(), tries as usize);
        if calls == tries {
            let Taken::Not(wait) = take(START) else { panic!("{calls}") };
            assert_eq!(wait, Duration::from_nanos(interval));
            let again = START.plus(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap() + 1));
            assert_eq!([take(again), take(again)].map(|taken| taken == Taken::One), [true, false]);
        }
        take(Timestamp(0));
        take(Timestamp(u64::MAX));
    }
}

proptest! {
    /// Whatever stands there: no panic, and never more calls than the rate has.
    #[test]
    fn what_others_write_gives_nobody_more(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        ahead in 0_u64..10_000_000,
    ) {
        let data: Rc<Data> = Rc::default();
        let buckets = Buckets::of_rates(Rc::<Data>::clone(&data));
        let size = Size { calls: 3, interval: 1_000_000_000 };
        buckets.take(&[b"o"], size, START);
        let keys: Vec<_> = data.places.borrow().keys().filter(|key| !key.ends_with("salt")).cloned().collect();
        let written = [(START.0 + ahead).to_le_bytes().as_slice(), &bytes].concat();
        for bytes in [bytes, written] {
            for key in &keys {
                data.places.borrow_mut().insert(key.clone(), (bytes.clone(), 1));
            }
            let passed = (0..9).filter(|_| buckets.take(&[b"o"], size, START) == Taken::One).count();
            prop_assert!(passed <= 3);
        }
    }

    /// In any time no more pass than the bucket holds and what came back meanwhile.
    #[test]
    fn no_more_than_the_rate_passes(
        calls in 1_u32..20,
        interval in 1_u64..4_000_000_000,
        steps in prop::collection::vec(0_u64..3_000, 1..200),
    ) {
        let buckets = Buckets::of_rates(Rc::new(Data::default()));
        let size = Size { calls, interval };
        let (mut now, mut passed) = (START, 0_u64);
        for step in &steps {
            now = now.plus(Duration::from_millis(*step));
            passed += u64::from(buckets.take(&[b"o"], size, now) == Taken::One);
        }
        let came_back = steps.iter().skip(1).sum::<u64>() * 1_000_000 / interval;
        prop_assert!(passed <= u64::from(calls) + came_back);
        prop_assert!(passed >= u64::from(calls).min(steps.len() as u64));
    }
}

const GLOBAL: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - id: scales
    allow: { tools: [scale] }
    scope: mcp:write
    arguments: { replicas: { integer: { max: 10 } } }
    rate: { calls: 1, per: 1m, global: true }
  - { id: often, allow: { tools: [scale] }, to: { groups: [ops] } }
  - { id: both, allow: { tools: [get_x] }, rate: { calls: 1, per: 1h } }
  - { id: then, allow: { tools: [get_x] }, rate: { calls: 1, per: 1h, global: true } }
  - { id: docs, allow: { resources: ['docs://*'] }, rate: { calls: 3, per: 1h, global: true } }
  - { id: wiki, allow: { resources: ['wiki://*'] }, rate: { calls: 1, per: 1h, global: true } }
";

/// What Envoy's rate limit filter is told.
fn handed(ended: &Ended) -> Option<Vec<(String, String)>> {
    let rate = ended.request.global_rate()?;
    Some(rate.properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn a_global_rate_is_handed_on_and_not_counted_here() {
    let data = Rc::default();
    let (a, b) = (worker(GLOBAL, &data), worker(GLOBAL, &data));
    let ended: Vec<_> = (0..10).map(|n| scale(if n % 2 == 0 { &a } else { &b }, &claims("dana"))).collect();
    let first = handed(&ended[0]).unwrap();
    let [(_, resource), (_, caller), (_, rule)] = &first[..] else { panic!("{first:?}") };
    assert_eq!([resource.as_str(), rule], ["https://mcp.example.com/mcp", "scales"]);
    assert!(caller.len() == 32 && caller.bytes().all(|b| b.is_ascii_hexdigit()), "{caller}");
    for ended in &ended {
        assert_eq!((reason(ended), handed(ended)), ("allowed", Some(first.clone())));
    }
    let mut other_client = claims("dana");
    other_client["client_id"] = json!("other");
    assert_eq!(handed(&scale(&a, &other_client)), Some(first.clone()), "another client is nobody else");
    assert_ne!(handed(&scale(&a, &claims("sam"))), Some(first), "another subject is");
    // What rules refuse is not counted, nor what they allow without a rate.
    let refused =
        send(&a, &claims("dana"), &json!({"name": "scale", "arguments": {"replicas": 30}}), "tools/call");
    assert_eq!((reason(&refused), handed(&refused)), ("argument_out_of_range", None));
    // Of two rates the one that has nothing left here leads to the one that is counted elsewhere.
    assert_eq!(handed(&get(&a, &claims("dana"))), None);
    assert_eq!(handed(&get(&a, &claims("dana"))).unwrap()[2].1, "then");
}

/// Else the service, or who reads along, tells whose a digest is by trying names.
#[test]
fn by_a_key_nobody_without_it_can_tell_whose_the_descriptor_is() {
    let caller = |key: Option<&str>, subject: &str| {
        let audit = if key.is_some() { "audit: { digest_key: '${KEY}' }" } else { "" };
        let environment = |name: &str| key.filter(|_| name == "KEY").map(str::to_owned);
        let worker = Worker::in_environment(&format!("{GLOBAL}{audit}\n"), &environment);
        handed(&scale(&worker, &claims(subject))).unwrap()[1].1.clone()
    };
    let [one, other] = [Some("k".repeat(32)), Some("l".repeat(32))];
    let [one, other] = [one.as_deref(), other.as_deref()];
    assert_eq!(caller(one, "dana"), caller(one, "dana"), "Envoys with one key count together");
    let different = [caller(None, "dana"), caller(one, "dana"), caller(other, "dana"), caller(one, "sam")];
    assert_eq!(different.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{different:?}");
    assert!(different.iter().all(|caller| caller.len() == 32));
}

/// What several rules with a global rate allow is counted by each of them.
#[test]
fn a_request_is_counted_by_all_rules_that_allow_it() {
    let worker = worker(GLOBAL, &Rc::default());
    let listen = |uris: &[&str]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
        worker.post(
            &ISSUER.es256(&claims("dana")),
            &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")],
            body.to_string().as_bytes(),
            &provider,
        )
    };
    let rules = |uris: &[&str]| {
        let ended = listen(uris);
        assert_eq!(reason(&ended), "allowed", "{uris:?}");
        let all = handed(&ended).unwrap();
        assert_eq!(all[..2], handed(&scale(&worker, &claims("dana"))).unwrap()[..2], "whose it is");
        all.into_iter().skip(2).collect::<Vec<_>>()
    };
    let [docs, wiki] = ["docs", "wiki"].map(str::to_owned);
    let [first, second] = ["mcp_iap_rate_rule", "mcp_iap_rate_rule_2"].map(str::to_owned);
    assert_eq!(rules(&["docs://a", "docs://b"]), [(first.clone(), docs.clone())]);
    assert_eq!(rules(&["docs://a", "wiki://b"]), [(first, docs), (second, wiki)]);
    // What one rule refuses is counted by none.
    let refused = listen(&["docs://a", "other://b"]);
    assert_eq!((reason(&refused), handed(&refused)), ("no_rule_allows", None));
}

/// How Envoy's answer to what was handed on is told to the client, and what of others is left as it is.
#[test]
fn a_refusal_of_the_rate_limit_filter_becomes_ours() {
    let worker = worker(GLOBAL, &Rc::default());
    for (details, wait, expected) in [
        ("request_rate_limited", Some("37"), Some(("rate_limited", 429, Some("37")))),
        ("request_rate_limited", None, Some(("rate_limited", 429, None))),
        ("request_rate_limited", Some("soon"), Some(("rate_limited", 429, None))),
        ("request_rate_limited", Some("99999999999999999999"), Some(("rate_limited", 429, None))),
        ("request_rate_limited", Some("9999999"), Some(("rate_limited", 429, Some("86400")))),
        ("rate_limiter_error", Some("37"), Some(("rate_limit_unavailable", 503, Some("2")))),
        ("via_upstream", Some("37"), None),
        ("upstream_reset_before_response_started", None, None),
    ] {
        let ended = scale(&worker, &claims("dana"));
        let answer = ended.request.refused_for_rate(details.as_bytes(), wait);
        let seen = answer.as_ref().map(|answer| {
            let wait = answer.headers.iter().find(|(name, _)| *name == "retry-after");
            (answer.reason.code(), answer.status, wait.map(|(_, value)| value.as_str()))
        });
        assert_eq!(seen, expected, "{details} {wait:?}");
        let record: Value = serde_json::from_str(&ended.request.note(|record| record.to_json())).unwrap();
        let outcome = if expected.is_some() { "refused" } else { "allowed" };
        assert_eq!((&record["outcome"], &record["rule"]), (&json!(outcome), &json!("scales")), "{record}");
    }
    let uncounted = scale(&worker, &{
        let mut claims = claims("dana");
        claims["groups"] = json!(["ops"]);
        claims["scope"] = json!("mcp:read");
        claims
    });
    assert_eq!(uncounted.record["rule"], "often");
    assert!(uncounted.request.refused_for_rate(b"request_rate_limited", None).is_none(), "not ours");
}
