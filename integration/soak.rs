//! Memory under a flood of tokens, each used once: 10,000 of them take less than 5 MiB of a worker, of up to twice as
//! many no more than twice that, and there it stays.
//! `make soak` runs it, with `TOKENS=1000000` for as long as it takes.

use crate::client::KeepAlive;
use crate::envoy::{Changes, Envoy};
use crate::stub::Stub;
use crate::support::issuer::Issuer;
use crate::world::{KEYS, STRANGER, call, claims, post, provide};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Remembered tokens of the shipped file: `limits.cached_tokens` is the default.
const CACHED: usize = 10_000;
const MIB: u64 = 1024 * 1024;
/// The cache holds at most twice as many: then it has its size.
const WARM_UP: usize = 2 * CACHED + 1_000;

/// The status of a call with this token of a tool that no rule allows: nothing goes to the upstream.
fn send(connection: &mut KeepAlive, token: &str) -> u16 {
    connection.send(&post(token, call("drop_everything", &json!({})))).unwrap().status
}

/// The claims of one token, like no other one's.
fn unique(number: usize) -> Value {
    let mut claims = claims(&["dev"]);
    claims["jti"] = json!(format!("{number}-of-the-flood"));
    claims["exp"] = json!(crate::world::now() + 3_600);
    claims
}

/// A token of the flood and the status that it ends with. Every second one is good.
fn token(number: usize) -> (String, u16) {
    let algorithm = if number.is_multiple_of(4) { "EdDSA" } else { "ES256" };
    let mut claims = unique(number);
    let by = |issuer: &Issuer, claims: &Value| {
        issuer.token(&json!({"alg": algorithm, "kid": KEYS.id(algorithm)}), claims)
    };
    match number % 8 {
        1 => (by(&STRANGER, &claims), 401),
        3 => {
            claims["exp"] = json!(1_000_000);
            (by(&KEYS, &claims), 401)
        }
        5 => {
            claims["iss"] = json!(format!("https://{number}.example.com"));
            (by(&KEYS, &claims), 401)
        }
        7 => (format!("{number}.{number}.{number}"), 401),
        _ => (by(&KEYS, &claims), 403),
    }
}

/// Sends the tokens of a range by two clients.
fn flood(port: u16, numbers: std::ops::Range<usize>, token: impl Fn(usize) -> (String, u16) + Sync) {
    let next = AtomicUsize::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = KeepAlive::new(port);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    let (token, status) = token(number);
                    assert_eq!(send(&mut connection, &token), status, "{number}");
                }
            });
        }
    });
}

fn good(number: usize) -> (String, u16) {
    (KEYS.es256(&unique(number)), 403)
}

#[test]
fn a_flood_of_unique_tokens_leaves_memory_flat() {
    let tokens: usize = std::env::var("TOKENS").map_or(40_000, |count| count.parse().unwrap());
    let upstream = Stub::start(|_| panic!("nothing goes to the upstream"));
    let keys = json!({"keys": KEYS.all_jwks()}).to_string();
    let provider = Stub::start(move |seen| match seen.path.as_str() {
        "/jwks" => crate::stub::Reply::new(200, keys.clone()),
        _ => provide(seen),
    });
    let changes = Changes {
        concurrency: Some(1),
        // Its lines would fill a disk.
        replace: crate::envoy::no_log(),
        ..Changes::default()
    };
    let envoy = Envoy::start(&changes, upstream.port, provider.port);
    let started = Instant::now();
    let say = |what: &str| {
        let memory = envoy.memory();
        println!(
            "{:>5} s  {:>9} KiB in the sandboxes, {:>9} KiB in all: {what}",
            started.elapsed().as_secs(),
            memory.wasm / 1024,
            memory.resident / 1024
        );
        memory
    };
    flood(envoy.port, 0..200, good);
    let before = say("warm, 200 tokens remembered");
    assert!(before.wasm > MIB, "no sandbox's memory was found: {before:?}");
    flood(envoy.port, 200..200 + CACHED, good);
    let ten_thousand = say("10,000 more remembered");
    let taken = ten_thousand.wasm - before.wasm;
    assert!(taken <= 5 * MIB, "10,000 tokens take {taken} bytes");

    // Twice as many are remembered, and all kinds of refusals have happened.
    flood(envoy.port, 0..WARM_UP, good);
    flood(envoy.port, WARM_UP..WARM_UP + 4_000, token);
    let full = say("full");
    assert!(full.wasm - before.wasm <= 10 * MIB, "{full:?}, {before:?}");
    let first = WARM_UP + 4_000;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Made-up key ids meanwhile: each is held to the end of a cooldown.
        scope.spawn(|| {
            let mut connection = KeepAlive::new(envoy.port);
            for number in 0.. {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
                assert_eq!(send(&mut connection, &KEYS.token(&header, &unique(number))), 401);
            }
        });
        let step = tokens.div_ceil(10).max(1);
        for part in 0..10 {
            flood(envoy.port, first + part * step..first + (part + 1) * step, token);
            let now = say(&format!("{} unique tokens", (part + 1) * step));
            assert!(now.wasm <= full.wasm, "a sandbox has grown: {full:?}, {now:?}");
            assert!(now.resident <= full.resident + 16 * MIB, "Envoy has grown: {full:?}, {now:?}");
        }
        ends.store(true, Ordering::Relaxed);
    });
    let stats = envoy.admin("/stats/prometheus").unwrap();
    assert!(stats.contains("envoy_wasm_mcp_iap_vm_reload_success{} 0"), "a sandbox fell");
}
