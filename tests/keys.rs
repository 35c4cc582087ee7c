//! The life of keys over several workers of one Envoy, by a clock of the test's own: who asks, who takes what
//! another one brought, and how long a key counts.

mod support;

use mcp_iap::cache::{SharedData, Stored};
use mcp_iap::callout::{CalloutError, Reply, StreamId};
use mcp_iap::gate::{Request, Settings};
use mcp_iap::head::Head;
use mcp_iap::jose::NoHost;
use mcp_iap::reason::Reason;
use mcp_iap::time::{Timestamp, UnixTime};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Waker};
use std::time::Duration;
use support::flow::{NOW, Worker, reply};
use support::issuer::Issuer;

const CONFIGURATION: &str = "
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
    keys: { cache_duration: 60s, stale_if_error: 30s, cooldown: 2s, timeout: 3s }
rules:
  - { id: reads, allow: { tools: [get_x] } }
";

static OLD: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("old"));
static NEW: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("new"));

/// Envoy's shared data: versions count up, and a change with another version is refused.
#[derive(Default)]
struct Data(RefCell<BTreeMap<String, (Vec<u8>, u32)>>);

impl SharedData for Data {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], version: Option<u32>) -> Stored {
        let mut places = self.0.borrow_mut();
        if places.get(key).map(|(_, version)| *version) != version {
            return Stored::Changed;
        }
        places.insert(key.to_owned(), (value.to_vec(), version.unwrap_or_default() + 1));
        Stored::Done
    }
}

/// A provider that counts how often its key set is asked for.
struct Provider {
    jwks: RefCell<Value>,
    is_down: Cell<bool>,
    /// Answers 429, and perhaps with this `Retry-After`.
    refuses: Cell<Option<&'static str>>,
    asked: Cell<usize>,
}

impl Provider {
    fn new() -> Self {
        Self {
            jwks: RefCell::new(OLD.jwks()),
            is_down: Cell::new(false),
            refuses: Cell::new(None),
            asked: Cell::new(0),
        }
    }

    fn answer(&self, path: &str) -> Result<Reply, CalloutError> {
        let discovery =
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#;
        match path {
            _ if self.is_down.get() => reply("503", b"upstream connect error"),
            "/jwks" => {
                self.asked.set(self.asked.get() + 1);
                if let Some(wait) = self.refuses.get() {
                    let head = Head::from_pairs([(":status", "429"), ("retry-after", wait)]);
                    return Ok(Reply { head, body: self.jwks.borrow().to_string().into_bytes() });
                }
                reply("200", self.jwks.borrow().to_string().as_bytes())
            }
            _ => reply("200", discovery),
        }
    }
}

struct Envoy {
    data: Rc<Data>,
    workers: Vec<Worker>,
    provider: Provider,
    clock: Cell<Timestamp>,
}

impl Envoy {
    fn new(count: usize) -> Self {
        Self::of(CONFIGURATION, count)
    }

    fn of(configuration: &str, count: usize) -> Self {
        let data = Rc::new(Data::default());
        let workers = (0..count).map(|_| worker(configuration, &data)).collect();
        let envoy = Self { data, workers, provider: Provider::new(), clock: Cell::default() };
        envoy.at(Duration::ZERO);
        envoy
    }

    fn at(&self, later: Duration) {
        self.clock.set(Timestamp::from(UnixTime(NOW)).plus(later));
    }

    fn seconds(&self, later: u64) {
        self.at(Duration::from_secs(later));
    }

    /// The end of a request to a worker, and what it asked for.
    fn send(&self, worker: usize, token: &str) -> (String, Vec<String>) {
        let worker = &self.workers[worker];
        worker.shared.set_now(self.clock.get());
        let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"}}"#;
        let ended = worker.post(token, &[], body, &|path| self.provider.answer(path));
        // A request that waited took time.
        self.clock.set(self.clock.get().max(worker.shared.now()));
        (ended.record["reason"].as_str().unwrap().to_owned(), ended.callouts)
    }

    fn reason(&self, worker: usize, token: &str) -> String {
        self.send(worker, token).0
    }

    fn tick(&self, worker: usize) -> usize {
        self.workers[worker].shared.set_now(self.clock.get());
        self.workers[worker].tick(&|path| self.provider.answer(path)).len()
    }
}

fn worker(configuration: &str, data: &Rc<Data>) -> Worker {
    let settings = Settings::load(configuration.as_bytes()).unwrap();
    let data: Rc<dyn SharedData> = Rc::clone(data) as _;
    Worker::with_data(settings, Box::new(NoHost), &data)
}

fn token(issuer: &Issuer) -> String {
    issuer.es256(&claims())
}

fn claims() -> Value {
    json!({"iss": "https://login.example.com", "sub": "dana", "client_id": "agent",
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 100_000})
}

/// A token whose `kid` nobody has.
fn made_up(kid: &str) -> String {
    OLD.token(&json!({"alg": "ES256", "kid": kid}), &claims())
}

const UNAVAILABLE: &str = "identity_provider_unavailable";

#[test]
fn one_worker_asks_for_all() {
    let envoy = Envoy::new(4);
    assert_eq!(envoy.tick(0), 2, "discovery and key set, without a request");
    for worker in 0..4 {
        assert_eq!(envoy.send(worker, &token(&OLD)), ("allowed".into(), vec![]));
    }
    assert_eq!(envoy.provider.asked.get(), 1);
}

#[test]
fn while_one_asks_the_others_wait_and_take() {
    let envoy = Envoy::new(3);
    let others = Cell::new(0);
    envoy.workers[0].shared.set_now(envoy.clock.get());
    let made = envoy.workers[0].tick(&|path| {
        // The others come while the answer is under way.
        others.set(others.get() + envoy.tick(1) + envoy.tick(2));
        assert!(envoy.workers[1].shared.callouts.waits_for_tick());
        envoy.provider.answer(path)
    });
    assert_eq!((made.len(), others.get()), (2, 0));
    assert_eq!(envoy.tick(1) + envoy.tick(2), 0);
    assert!(!envoy.workers[1].shared.callouts.waits_for_tick());
    assert_eq!(envoy.send(1, &token(&OLD)), ("allowed".into(), vec![]));
}

#[test]
fn one_who_asks_and_falls_is_waited_for_within_the_timeout() {
    let envoy = Envoy::new(2);
    envoy.workers[0].shared.set_now(envoy.clock.get());
    envoy.workers[0].shared.keys.tick(&envoy.workers[0].shared.callouts);
    envoy.workers[0].shared.callouts.run(|_| Ok(1));
    let (reason, callouts) = envoy.send(1, &token(&OLD));
    assert_eq!((reason.as_str(), callouts.len()), ("allowed", 2));
    let waited = envoy.clock.get().since(UnixTime(NOW).into());
    assert!((4_000..4_300).contains(&waited.as_millis()), "{waited:?}: timeout and a second");
}

#[test]
fn keys_are_fetched_ahead_of_their_end_and_at_no_requests_cost() {
    let envoy = Envoy::new(2);
    envoy.tick(0);
    envoy.tick(1);
    envoy.seconds(41);
    assert_eq!(envoy.tick(0) + envoy.tick(1), 0, "too early for every worker");
    envoy.seconds(55);
    assert_eq!(envoy.send(0, &token(&OLD)), ("allowed".into(), vec![]), "no request asks");
    assert_eq!(envoy.tick(0) + envoy.tick(1), 2, "discovery and key set, one worker");
    envoy.seconds(114);
    assert_eq!(envoy.send(1, &token(&OLD)), ("allowed".into(), vec![]));
    assert_eq!(envoy.provider.asked.get(), 2);
}

#[test]
fn a_rotation_is_known_to_all_by_one_fetch() {
    let envoy = Envoy::new(3);
    envoy.tick(0);
    (1..3).for_each(|worker| assert_eq!(envoy.tick(worker), 0));
    envoy.seconds(10);
    *envoy.provider.jwks.borrow_mut() = json!({"keys": [OLD.ec_jwk(), NEW.ec_jwk()]});
    assert_eq!(envoy.send(0, &token(&NEW)).1.len(), 2);
    for worker in 0..3 {
        assert_eq!(envoy.send(worker, &token(&NEW)), ("allowed".into(), vec![]));
        assert_eq!(envoy.send(worker, &token(&OLD)), ("allowed".into(), vec![]));
    }
    assert_eq!(envoy.provider.asked.get(), 2);
}

/// Also by a worker that has no tick meanwhile and sees nothing but this token.
#[test]
fn a_withdrawn_key_is_gone_on_all_workers_within_its_time() {
    let envoy = Envoy::new(2);
    envoy.tick(0);
    envoy.tick(1);
    *envoy.provider.jwks.borrow_mut() = NEW.jwks();
    envoy.at(Duration::from_millis(59_999));
    assert_eq!(envoy.reason(1, &token(&OLD)), "allowed");
    envoy.seconds(60);
    assert_eq!(envoy.reason(1, &token(&OLD)), "unknown_key");
    assert_eq!(envoy.reason(0, &token(&OLD)), "unknown_key");
    assert_eq!(envoy.reason(0, &token(&NEW)), "allowed");
}

#[test]
fn what_one_worker_fetched_withdraws_a_key_on_the_others_at_their_next_tick() {
    let envoy = Envoy::new(2);
    envoy.tick(0);
    envoy.tick(1);
    envoy.seconds(5);
    *envoy.provider.jwks.borrow_mut() = NEW.jwks();
    assert_eq!(envoy.reason(0, &token(&NEW)), "allowed");
    assert_eq!(envoy.tick(1), 0);
    assert_eq!(envoy.reason(1, &token(&OLD)), "unknown_key");
}

#[test]
fn made_up_kids_cause_no_more_fetches_than_the_cooldown_lets() {
    let envoy = Envoy::new(2);
    envoy.tick(0);
    envoy.seconds(10);
    for number in 0..300 {
        assert_eq!(envoy.reason(number % 2, &made_up(&format!("k{number}"))), "unknown_key");
    }
    let passed = envoy.clock.get().since(UnixTime(NOW + 10).into()).as_secs();
    let asked = envoy.provider.asked.get() - 1;
    // One after the other they wait for each other; each fetch is at least the cooldown after the last.
    assert!(asked as u64 <= passed / 2 + 1, "{asked} fetches in {passed} s");
    assert_eq!(envoy.reason(0, &token(&OLD)), "allowed");
}

/// A stranger with a new `kid` each second must not make us hammer an issuer that has had enough.
#[test]
fn made_up_kids_leave_an_issuer_alone_that_refuses() {
    for (wait, most) in [
        // At 0 s, then 2 (the cooldown), 2, 4, 8, 16, 32, 32, 32 s later.
        ("", 9),
        ("0", 9),
        ("soon", 9),
        ("-5", 9),
        ("Wed, 21 Oct 2037 07:28:00 GMT", 9),
        ("50", 3),
        // Bounded.
        ("99999999999999999999999", 1),
    ] {
        let envoy =
            Envoy::of(&CONFIGURATION.replace("60s, stale_if_error: 30s", "1h, stale_if_error: 1h"), 2);
        envoy.tick(0);
        envoy.provider.refuses.set(Some(wait));
        let before = envoy.provider.asked.get();
        for second in 10..140 {
            envoy.seconds(second);
            let worker = usize::try_from(second).unwrap() % 2;
            assert_eq!(envoy.reason(worker, &made_up(&format!("k{second}"))), UNAVAILABLE, "{wait}");
            envoy.seconds(second);
            assert_eq!(envoy.send(worker, &token(&OLD)), ("allowed".into(), vec![]), "{wait} {second}");
            envoy.tick(worker);
        }
        let asked = envoy.provider.asked.get() - before;
        assert!((1..=most).contains(&asked), "{wait}: {asked}");
        // It answers again, and has another key.
        envoy.provider.refuses.set(None);
        *envoy.provider.jwks.borrow_mut() = NEW.jwks();
        envoy.seconds(10 + 300 + 60);
        assert_eq!(envoy.reason(0, &token(&NEW)), "allowed", "{wait}");
    }
}

#[test]
fn a_kid_that_is_known_to_be_unknown_asks_for_nothing() {
    let envoy = Envoy::new(1);
    envoy.tick(0);
    envoy.seconds(10);
    assert_eq!(envoy.send(0, &made_up("x")).1.len(), 2);
    for second in 10..20 {
        envoy.seconds(second);
        assert_eq!(envoy.send(0, &made_up("x")), ("unknown_key".into(), vec![]));
    }
    envoy.seconds(21);
    assert_eq!(envoy.send(0, &made_up("x")).1.len(), 2);
}

/// A long cooldown: nobody is held for it, and nobody is told that a key does not exist.
#[test]
fn who_would_wait_longer_than_for_a_provider_is_told_to_come_back() {
    let envoy = Envoy::of(&CONFIGURATION.replace("cooldown: 2s", "cooldown: 50s"), 1);
    envoy.tick(0);
    envoy.seconds(10);
    assert_eq!(envoy.send(0, &made_up("x")), (UNAVAILABLE.into(), vec![]));
    envoy.seconds(47);
    assert_eq!(envoy.reason(0, &made_up("x")), "unknown_key");
    assert_eq!(envoy.clock.get().unix(), UnixTime(NOW + 50));
}

/// They are held, so only so many.
#[test]
fn few_may_wait_for_a_kid_and_many_for_keys() {
    let reasons = |envoy: &Envoy, tokens: &dyn Fn(usize) -> String, count: usize| {
        let worker = &envoy.workers[0];
        worker.shared.set_now(envoy.clock.get());
        let mut held = Vec::new();
        let refused = (0..count).filter(|number| {
            let authorization = format!("Bearer {}", tokens(*number));
            let head = [(":method", "POST"), (":path", "/mcp"), ("authorization", authorization.as_str())];
            let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
            let stream = StreamId(*number as u32);
            let request = Rc::new(Request::new(settings, shared, stream, Head::from_pairs(head)));
            let mut flow = Box::pin(Rc::clone(&request).run());
            let polled = flow.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            held.push(flow);
            polled.is_ready() && request.record().reason == Reason::Overloaded
        });
        refused.count()
    };
    let cold = Envoy::new(1);
    let good = token(&OLD);
    assert_eq!(reasons(&cold, &|_| good.clone(), 2_010), 10);
    let warm = Envoy::new(1);
    warm.tick(0);
    warm.seconds(10);
    assert_eq!(reasons(&warm, &|number| made_up(&format!("k{number}")), 300), 300 - 256);
    assert_eq!(warm.reason(0, &good), "allowed");
}

/// Discovery and key set share one timeout.
#[test]
fn a_slow_discovery_leaves_the_key_set_the_rest_of_the_timeout() {
    let envoy = Envoy::new(1);
    let shared = &envoy.workers[0].shared;
    let start = envoy.clock.get();
    shared.set_now(start);
    shared.keys.tick(&shared.callouts);
    let timeouts = RefCell::new(Vec::new());
    let send = || {
        shared.callouts.run(|callout| {
            timeouts.borrow_mut().push(callout.timeout);
            Ok(1)
        });
    };
    send();
    shared.set_now(start.plus(Duration::from_millis(2_200)));
    shared.callouts.deliver(1, envoy.provider.answer("/.well-known/openid-configuration"));
    send();
    assert_eq!(*timeouts.borrow(), [Duration::from_millis(3_000), Duration::from_millis(800)]);
}

#[test]
fn a_provider_that_is_down_is_asked_by_one_worker() {
    let envoy = Envoy::new(4);
    envoy.provider.is_down.set(true);
    assert_eq!(envoy.send(0, &token(&OLD)).1.len(), 1);
    for worker in 0..4 {
        assert_eq!(envoy.send(worker, &token(&OLD)), (UNAVAILABLE.into(), vec![]), "worker {worker}");
    }
    assert_eq!(envoy.workers[1].shared.keys.take_messages().len(), 0, "one line in the log, not four");
    assert_eq!(envoy.workers[0].shared.keys.take_messages().len(), 1);
    envoy.provider.is_down.set(false);
    envoy.seconds(2);
    assert_eq!(envoy.reason(3, &token(&OLD)), "allowed");
    assert_eq!(envoy.send(2, &token(&OLD)), ("allowed".into(), vec![]));
}

#[test]
fn a_cold_start_recovers_unaided() {
    let envoy = Envoy::new(2);
    envoy.provider.is_down.set(true);
    envoy.tick(0);
    envoy.tick(1);
    assert_eq!(envoy.reason(0, &token(&OLD)), UNAVAILABLE);
    envoy.provider.is_down.set(false);
    envoy.seconds(3);
    assert_eq!(envoy.tick(1), 2, "nobody asked");
    assert_eq!(envoy.send(0, &token(&OLD)), ("allowed".into(), vec![]));
}

#[test]
fn known_keys_outlive_a_provider_within_the_stale_bound_on_all_workers() {
    let envoy = Envoy::new(2);
    envoy.tick(0);
    envoy.provider.is_down.set(true);
    for second in 1..90 {
        envoy.seconds(second);
        envoy.tick(0);
        envoy.tick(1);
        assert_eq!(envoy.send(1, &token(&OLD)), ("allowed".into(), vec![]), "{second}");
        let unknown = envoy.reason(0, &token(&NEW));
        assert_eq!(unknown, UNAVAILABLE, "{second}");
        envoy.seconds(second);
    }
    envoy.seconds(90);
    assert_eq!(envoy.reason(1, &token(&OLD)), UNAVAILABLE);
    assert_eq!(envoy.reason(0, &token(&OLD)), UNAVAILABLE);
}

#[test]
fn a_configuration_that_is_loaded_anew_finds_its_keys_and_no_others() {
    let envoy = Envoy::new(1);
    envoy.tick(0);
    envoy.provider.is_down.set(true);
    let finds = |configuration: &str| {
        let worker = worker(configuration, &envoy.data);
        worker.shared.set_now(envoy.clock.get());
        worker.tick(&|path| envoy.provider.answer(path));
        worker.shared.keys.ages().next().is_some()
    };
    assert!(finds(CONFIGURATION));
    assert!(finds(&CONFIGURATION.replace("get_x", "get_*")), "its rules don't matter");
    assert!(finds(&CONFIGURATION.replace("timeout: 3s", "timeout: 4s")));
    for (from, to) in [
        ("    keys:", "    cluster: other\n    keys:"),
        ("    keys:", "    jwks_uri: https://login.example.com/jwks\n    keys:"),
        ("https://login.example.com\n", "https://login.example.com/other\n"),
        ("https://login.example.com\n", "https://other.example.com\n"),
        ("https://login.example.com\n", "http://login.example.com\n    insecure_http: true\n"),
    ] {
        assert!(!finds(&CONFIGURATION.replace(from, to)), "{to}");
    }
}

/// Two issuers whose keys are at one place share nothing either.
#[test]
fn an_issuer_of_another_name_at_the_same_place_has_keys_of_its_own() {
    let at_one_place = CONFIGURATION
        .replace("    keys:", "    cluster: c\n    jwks_uri: https://keys.example.com\n    keys:");
    let other = at_one_place.replace("https://login.example.com\n", "https://other.example.com\n");
    let places = |configuration: &str, data: &Rc<Data>| {
        worker(configuration, data).tick(&|_| reply("200", OLD.jwks().to_string().as_bytes()));
        data.0.borrow().len()
    };
    let data = Rc::default();
    let counts = [&at_one_place, &at_one_place, &other].map(|configuration| places(configuration, &data));
    assert_eq!(counts, [1, 1, 2]);
}

/// Not twice the timeout: who waited for a fetch that failed does not start another one.
#[test]
fn who_waited_for_a_prefetch_that_failed_is_refused_with_it() {
    let envoy = Envoy::new(1);
    envoy.provider.is_down.set(true);
    envoy.workers[0].shared.set_now(envoy.clock.get());
    envoy.workers[0].shared.keys.tick(&envoy.workers[0].shared.callouts);
    let (reason, callouts) = envoy.send(0, &token(&OLD));
    assert_eq!((reason.as_str(), callouts.len()), (UNAVAILABLE, 1));
    assert_eq!(
        envoy.send(0, &token(&OLD)).1.len(),
        1,
        "who comes later asks: a prefetch is no reason not to"
    );
}

/// What stands in the shared data is read like an answer of the issuer.
#[test]
fn rubbish_in_the_shared_data_is_no_key_set() {
    for rubbish in [&b""[..], b"\x02", b"\xff\xff", &[2; 41], &[255; 64], b"{\"keys\":[]}", &[0; 400_000]] {
        let envoy = Envoy::new(2);
        envoy.tick(0);
        for place in envoy.data.0.borrow_mut().values_mut() {
            place.0 = rubbish.to_vec();
        }
        assert_eq!(envoy.send(0, &token(&OLD)), ("allowed".into(), vec![]));
        assert_eq!(envoy.send(1, &token(&OLD)).1.len(), 2, "{rubbish:?}: it asks for itself");
        assert_eq!(envoy.reason(1, &token(&OLD)), "allowed");
    }
}

/// Without shared data each worker asks once.
#[test]
fn without_shared_data_each_asks_for_itself() {
    let workers: Vec<_> = (0..3).map(|_| Worker::new(CONFIGURATION)).collect();
    let envoy = Envoy { data: Rc::default(), workers, provider: Provider::new(), clock: Cell::default() };
    envoy.seconds(0);
    for worker in [0, 1, 2, 0, 1, 2] {
        assert_eq!(envoy.reason(worker, &token(&OLD)), "allowed");
    }
    assert_eq!(envoy.provider.asked.get(), 3);
}

#[test]
fn a_junk_key_disables_none_of_the_good_ones() {
    let junk = [
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!({"kty": "RSA", "kid": "x"}),
        json!({"kty": "EC", "crv": "P-256", "kid": OLD.ec_id(), "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "x", "k": "c2VjcmV0"}),
        json!({"kty": "unheard-of", "kid": ["x"]}),
    ];
    for junk in junk {
        let envoy = Envoy::new(1);
        *envoy.provider.jwks.borrow_mut() = json!({"keys": [junk, OLD.ec_jwk(), junk]});
        assert_eq!(envoy.reason(0, &token(&OLD)), "allowed", "{junk}");
    }
}

#[test]
fn fetches_are_counted_by_their_end_and_keys_have_an_age() {
    let envoy = Envoy::new(1);
    envoy.tick(0);
    let keys = &envoy.workers[0].shared.keys;
    assert_eq!(keys.take_fetches(), [("https://login.example.com", "ok", 1)]);
    envoy.provider.is_down.set(true);
    envoy.seconds(55);
    envoy.tick(0);
    assert_eq!(keys.take_fetches(), [("https://login.example.com", "unavailable", 1)]);
    assert!(keys.take_fetches().is_empty());
    assert_eq!(keys.ages().collect::<Vec<_>>(), [("https://login.example.com", 55)]);
}

/// The time is put right while Envoy runs. Each worker has its keys from later then.
#[test]
fn a_clock_that_is_put_back_cuts_nobody_off() {
    let envoy = Envoy::new(2);
    envoy.seconds(1000);
    envoy.tick(0);
    envoy.tick(1);
    envoy.seconds(880);
    assert_eq!(envoy.send(0, &token(&OLD)).1.len(), 2);
    for worker in [0, 1, 0, 1] {
        assert_eq!(envoy.send(worker, &token(&OLD)), ("allowed".into(), vec![]));
    }
    // What others bring is looked for by the new time, too.
    envoy.seconds(890);
    *envoy.provider.jwks.borrow_mut() = NEW.jwks();
    assert_eq!(envoy.reason(0, &token(&NEW)), "allowed");
    assert_eq!(envoy.tick(1), 0);
    assert_eq!(envoy.reason(1, &token(&OLD)), "unknown_key");
}

#[test]
fn a_clock_that_is_put_back_after_a_failure_keeps_nobody_from_asking() {
    let envoy = Envoy::new(2);
    envoy.seconds(1000);
    envoy.provider.is_down.set(true);
    assert_eq!(envoy.reason(0, &token(&OLD)), UNAVAILABLE);
    assert_eq!(envoy.reason(1, &token(&OLD)), UNAVAILABLE);
    envoy.provider.is_down.set(false);
    envoy.seconds(880);
    assert_eq!(envoy.tick(0), 2, "nor from fetching by the clock");
    assert_eq!(envoy.reason(1, &token(&OLD)), "allowed");
}

#[test]
fn a_clock_that_is_put_back_keeps_no_kid_unknown() {
    let envoy = Envoy::new(1);
    envoy.seconds(1000);
    envoy.tick(0);
    assert_eq!(envoy.reason(0, &token(&NEW)), "unknown_key");
    envoy.seconds(880);
    assert_eq!(envoy.reason(0, &token(&OLD)), "allowed");
    *envoy.provider.jwks.borrow_mut() = NEW.jwks();
    envoy.seconds(890);
    assert_eq!(envoy.reason(0, &token(&NEW)), "allowed");
}

/// A stranger waits for the cooldown's end when the clock is put back; an honest request joins his fetch.
#[test]
fn a_clock_that_is_put_back_holds_nobody() {
    let envoy = Envoy::new(1);
    envoy.seconds(1000);
    envoy.tick(0);
    let worker = &envoy.workers[0];
    let authorization = format!("Bearer {}", made_up("x"));
    let head = [(":method", "POST"), (":path", "/mcp"), ("authorization", authorization.as_str())];
    let (settings, shared) = (Rc::clone(&worker.settings), Rc::clone(&worker.shared));
    let stranger = Rc::new(Request::new(settings, shared, StreamId(7), Head::from_pairs(head)));
    let mut flow = Box::pin(stranger.run());
    assert!(flow.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    envoy.seconds(700);
    assert_eq!(envoy.reason(0, &token(&OLD)), "allowed");
    let waited = envoy.clock.get().since(UnixTime(NOW + 700).into());
    assert!(waited <= Duration::from_secs(9), "{waited:?}: what is left of a lease at most");
}

#[test]
fn a_clock_that_is_put_back_while_a_request_waits_costs_it_one_more_fetch() {
    let envoy = Envoy::new(1);
    envoy.seconds(1000);
    envoy.tick(0);
    envoy.seconds(1010);
    let worker = &envoy.workers[0];
    worker.shared.set_now(envoy.clock.get());
    let authorization = format!("Bearer {}", made_up("x"));
    let head = [(":method", "POST"), (":path", "/mcp"), ("authorization", authorization.as_str())];
    let is_back = Cell::new(false);
    let ended = worker.run(&head, Ok(b"{}"), &|path| {
        if !is_back.replace(true) {
            worker.shared.set_now(UnixTime(NOW + 700));
        }
        envoy.provider.answer(path)
    });
    assert_eq!((ended.record["reason"].as_str(), ended.callouts.len()), (Some("unknown_key"), 4));
}

/// Whoever learns of it, and whether or not the provider is down later: its answer is no reason to go on.
#[test]
fn the_last_key_that_is_withdrawn_ends_with_its_time() {
    let unusable = json!({"keys": [{"kty": "RSA", "kid": "x"}, null]});
    for (empty, is_down) in [(json!({"keys": []}), false), (unusable.clone(), false), (unusable, true)] {
        let envoy = Envoy::new(3);
        envoy.tick(0);
        envoy.tick(1);
        *envoy.provider.jwks.borrow_mut() = empty;
        envoy.seconds(55);
        assert_eq!(envoy.tick(0), 2);
        envoy.provider.is_down.set(is_down);
        envoy.seconds(58);
        envoy.tick(0);
        assert_eq!(envoy.reason(0, &token(&OLD)), "allowed", "it counts for its time");
        for second in 60..100 {
            envoy.seconds(second);
            for worker in 0..3 {
                assert_eq!(envoy.reason(worker, &token(&OLD)), UNAVAILABLE, "{worker} at {second} s");
            }
        }
        envoy.provider.is_down.set(false);
        *envoy.provider.jwks.borrow_mut() = OLD.jwks();
        envoy.seconds(110);
        (0..3).for_each(|worker| assert_eq!(envoy.reason(worker, &token(&OLD)), "allowed"));
        envoy.provider.is_down.set(true);
        envoy.seconds(172);
        assert_eq!(envoy.send(0, &token(&OLD)).1.len(), 1);
        assert_eq!(envoy.reason(1, &token(&OLD)), "allowed", "a set that came since has its stale time");
    }
}

#[test]
fn what_is_no_key_set_withdraws_nothing() {
    for garbage in [json!({"keys": 7}), json!([]), json!("<html>")] {
        let envoy = Envoy::new(1);
        envoy.tick(0);
        *envoy.provider.jwks.borrow_mut() = garbage;
        envoy.seconds(89);
        assert_eq!(envoy.reason(0, &token(&OLD)), "allowed");
    }
}
