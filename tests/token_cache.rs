//! Verified tokens between requests: what is never skipped, how much room they take.

#![expect(unsafe_code, reason = "an allocator that counts has no other form")]

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::gate::{Settings, VerifiedBy};
use mcp_iap::jose::HostCrypto;
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;
use support::flow::{NOW, Worker, reply};
use support::issuer::{Issuer, b64};

/// Counts the bytes that each thread holds: of each test its own.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn held() -> isize {
    HELD.get()
}

fn count(bytes: isize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: isize = 1024 * 1024;

const CONFIGURATION: &str = r#"
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://login.example.com
    jwks_uri: https://login.example.com/jwks
rules:
  - { id: reads, allow: { tools: [get_x] } }
"#;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));
static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

/// A host that counts what it is asked, and answers what it is told to.
struct Host {
    asked: Rc<Cell<usize>>,
    answer: Option<bool>,
}

impl HostCrypto for Host {
    fn verify(&self, _: &str, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
        self.asked.set(self.asked.get() + 1);
        self.answer
    }
}

struct Gate {
    worker: Worker,
    asked: Rc<Cell<usize>>,
    jwks: RefCell<Value>,
}

impl Gate {
    fn new(configuration: &str, answer: Option<bool>) -> Self {
        let asked = Rc::new(Cell::new(0));
        let host = Host { asked: Rc::clone(&asked), answer };
        let settings = Settings::load(configuration.as_bytes()).unwrap();
        let worker = Worker::with_host(settings, Box::new(host));
        Self { worker, asked, jwks: RefCell::new(ISSUER.jwks()) }
    }

    fn reason(&self, token: &str) -> String {
        let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"}}"#;
        let keys = |_: &str| -> Result<Reply, CalloutError> {
            reply("200", self.jwks.borrow().to_string().as_bytes())
        };
        self.worker.post(token, &[], body, &keys).record["reason"].as_str().unwrap().to_owned()
    }
}

fn claims() -> Value {
    json!({"iss": "https://login.example.com", "sub": "dana", "client_id": "agent", "groups": ["dev", "ops"],
        "scope": "mcp:read mcp:write", "jti": "8f14e45f-ceea-467f-a9c5-1a2b3c4d5e6f",
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60, "iat": NOW})
}

#[test]
fn a_signature_is_verified_once() {
    let gate = Gate::new(CONFIGURATION, None);
    let token = ISSUER.rs256(&claims());
    for _ in 0..5 {
        assert_eq!(gate.reason(&token), "allowed");
    }
    assert_eq!(gate.asked.get(), 1);
    let counts: Vec<_> = gate.worker.shared.signatures.take_counts().collect();
    assert_eq!(counts, [(VerifiedBy::Cache, 4), (VerifiedBy::Library, 1)]);
    assert_eq!(gate.worker.shared.signatures.take_counts().count(), 0);
}

#[test]
fn who_switches_the_cache_off_has_each_verified() {
    let gate = Gate::new(&format!("{CONFIGURATION}limits: {{ cached_tokens: 0 }}\n"), None);
    let token = ISSUER.rs256(&claims());
    for _ in 0..3 {
        assert_eq!(gate.reason(&token), "allowed");
    }
    assert_eq!(gate.asked.get(), 3);
}

/// What the host says counts, whatever the library would say.
#[test]
fn the_host_decides_where_it_can() {
    let (good, bad) = (ISSUER.rs256(&claims()), STRANGER.rs256(&claims()));
    let yes = Gate::new(CONFIGURATION, Some(true));
    assert_eq!((yes.reason(&good).as_str(), yes.reason(&bad).as_str()), ("allowed", "allowed"));
    let no = Gate::new(CONFIGURATION, Some(false));
    assert_eq!((no.reason(&good).as_str(), no.reason(&bad).as_str()), ("bad_signature", "bad_signature"));
    let counts: Vec<_> = no.worker.shared.signatures.take_counts().collect();
    assert_eq!(counts, [(VerifiedBy::Host, 2)]);
}

/// What is remembered is the signature, never who may send the token.
#[test]
fn a_warm_token_is_still_bound_to_its_certificate() {
    let gate = Gate::new(CONFIGURATION, None);
    let mut bound = claims();
    bound["cnf"] = json!({"x5t#S256": b64([7; 32])});
    let token = ISSUER.rs256(&bound);
    for (certificate, expected) in [
        (Some([7; 32]), "allowed"),
        (Some([8; 32]), "client_certificate_mismatch"),
        (None, "client_certificate_missing"),
        (Some([7; 32]), "allowed"),
    ] {
        gate.worker.certificate.set(certificate);
        assert_eq!(gate.reason(&token), expected);
    }
    assert_eq!(gate.asked.get(), 1);
}

#[test]
fn a_broken_signature_is_not_remembered_and_spoils_nothing() {
    let gate = Gate::new(CONFIGURATION, None);
    let token = ISSUER.es256(&claims());
    let bad = STRANGER.es256(&claims());
    for _ in 0..3 {
        assert_eq!(gate.reason(&bad), "bad_signature");
    }
    assert_eq!(gate.asked.get(), 3);
    assert_eq!(gate.reason(&token), "allowed");
    // The good signature under other claims, and the other way round.
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (other_input, other) = bad.rsplit_once('.').unwrap();
    assert_eq!(gate.reason(&format!("{input}.{other}")), "bad_signature");
    let mut admin = claims();
    admin["sub"] = json!("admin");
    let admin = b64(admin.to_string());
    let header = other_input.split_once('.').unwrap().0;
    assert_eq!(gate.reason(&format!("{header}.{admin}.{signature}")), "bad_signature");
    assert_eq!(gate.reason(&token), "allowed");
}

#[test]
fn a_warm_token_ends_with_exp() {
    let gate = Gate::new(CONFIGURATION, None);
    let token = ISSUER.rs256(&claims());
    assert_eq!(gate.reason(&token), "allowed");
    gate.worker.shared.set_now(UnixTime(NOW + 60 + 29));
    assert_eq!(gate.reason(&token), "allowed", "within the skew");
    gate.worker.shared.set_now(UnixTime(NOW + 60 + 30));
    assert_eq!(gate.reason(&token), "token_expired");
    assert_eq!(gate.asked.get(), 1, "the signature was still known");
}

/// The same token is good for one resource and none for another.
#[test]
fn a_warm_token_does_not_change_its_audience() {
    let gate = Gate::new(CONFIGURATION, None);
    let mut other = claims();
    other["aud"] = json!("https://other.example.com/mcp");
    let token = ISSUER.rs256(&other);
    assert_eq!(gate.reason(&token), "wrong_audience");
    assert_eq!(gate.reason(&token), "wrong_audience");
    assert_eq!(gate.asked.get(), 1, "the signature holds, the audience is asked each time");
}

#[test]
fn a_key_that_is_withdrawn_stops_working_at_once() {
    let gate = Gate::new(CONFIGURATION, None);
    let (rsa, ec) = (ISSUER.rs256(&claims()), ISSUER.es256(&claims()));
    assert_eq!((gate.reason(&rsa).as_str(), gate.reason(&ec).as_str()), ("allowed", "allowed"));
    gate.jwks.replace(json!({"keys": [ISSUER.ec_jwk()]}));
    // An unknown id has the set fetched anew.
    let unknown = ISSUER.token(&json!({"alg": "RS256", "kid": "later"}), &claims());
    assert_eq!(gate.reason(&unknown), "unknown_key");
    assert_eq!(gate.reason(&ec), "allowed");
    gate.worker.shared.set_now(UnixTime(NOW + 2));
    let fetches = || gate.worker.sent.borrow().len();
    let before = fetches();
    assert_eq!(gate.reason(&rsa), "unknown_key", "though its signature was known");
    assert_eq!(fetches() - before, 1, "the keys were waited for once");
}

#[test]
fn a_key_that_is_replaced_under_its_id_stops_working_at_once() {
    let gate = Gate::new(CONFIGURATION, None);
    let token = ISSUER.rs256(&claims());
    assert_eq!(gate.reason(&token), "allowed");
    gate.jwks.replace(STRANGER.jwks());
    let unknown = ISSUER.token(&json!({"alg": "RS256", "kid": "later"}), &claims());
    assert_eq!(gate.reason(&unknown), "unknown_key");
    assert_eq!(gate.reason(&token), "bad_signature");
    assert_eq!(gate.reason(&STRANGER.rs256(&claims())), "allowed");
}

/// The keys of a set that was fetched anew are the same ones: nobody pays twice.
#[test]
fn a_set_that_is_fetched_again_keeps_its_tokens_warm() {
    let gate = Gate::new(CONFIGURATION, None);
    let token = ISSUER.rs256(&claims());
    assert_eq!(gate.reason(&token), "allowed");
    let unknown = ISSUER.token(&json!({"alg": "RS256", "kid": "later"}), &claims());
    assert_eq!(gate.reason(&unknown), "unknown_key");
    assert_eq!(gate.reason(&token), "allowed");
    assert_eq!(gate.asked.get(), 1);
}

/// Signed or not is the host's word here: what a token takes does not depend on it.
fn numbered(number: usize) -> String {
    let header = json!({"alg": "RS256", "kid": ISSUER.rsa_id()});
    let mut claims = claims();
    claims["sub"] = json!(format!("8f14e45f-ceea-467f-a9c5-{number:012}"));
    claims["jti"] = json!(format!("{number}"));
    format!("{}.{}.{}", b64(header.to_string()), b64(claims.to_string()), b64([7; 256]))
}

#[test]
fn ten_thousand_tokens_take_less_than_five_mebibytes_and_more_no_more_than_twice_that() {
    let gate = Gate::new(CONFIGURATION, Some(true));
    let send = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| assert_eq!(gate.reason(&numbered(number)), "allowed"));
        held()
    };
    let before = send(0..1);
    let ten_thousand = send(1..10_001) - before;
    assert_eq!(gate.asked.get(), 10_001);
    send(1..10_001);
    assert_eq!(gate.asked.get(), 10_001, "all are warm");
    println!("10,000 tokens: {ten_thousand} bytes");
    assert!(ten_thousand < 5 * MIB, "{ten_thousand}");
    let most = (1..5).map(|round| send(round * 10_001..(round + 1) * 10_001) - before).max().unwrap();
    assert!(most < 10 * MIB, "{most}");
}

/// Through the whole gate: what is kept of unique tokens is bounded.
#[test]
fn a_flood_of_unique_tokens_stays_flat() {
    let gate = Gate::new(&format!("{CONFIGURATION}limits: {{ cached_tokens: 100 }}\n"), Some(true));
    let flood = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            assert_eq!(gate.reason(&numbered(number)), "allowed");
        }
        held()
    };
    let after_some = flood(0..1000);
    let after_many = flood(1000..6000);
    assert_eq!(gate.asked.get(), 6000);
    let grown = after_many - after_some;
    assert!(grown < 10_000, "{grown} bytes");
}
