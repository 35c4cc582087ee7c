//! Tokens and keys on a real Envoy: the attack list, one request a row, and what Envoy logs of it.

use crate::client::{Answer, Request};
use crate::envoy::{Changes, binary, root};
use crate::stub::{Reply, Seen};
use crate::support::attacks::{CONFIGURATION, Cast, MAIN, Row, SECRET};
use crate::support::flow::{Worker, reply};
use crate::support::issuer::b64;
use crate::world::{World, call, now};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_iap::time::UnixTime;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// The configuration under attack, its secret in the VM's environment.
pub fn changes() -> Changes {
    let variables = format!(
        "vm_id: mcp_iap\n                  environment_variables: {{ key_values: {{ SHARED_SECRET: \"{SECRET}\" }} }}"
    );
    Changes {
        configuration: Some(CONFIGURATION.to_owned()),
        replace: vec![("vm_id: mcp_iap", variables)],
        concurrency: Some(1),
        ..Changes::default()
    }
}

/// The issuers' key sets.
pub fn provide(cast: &Cast) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let (main, partner) = (cast.main_jwks().to_string(), cast.partner_jwks().to_string());
    let discovery = json!({"issuer": MAIN, "jwks_uri": format!("{MAIN}/jwks")}).to_string();
    move |seen: &Seen| match seen.path.as_str() {
        "/.well-known/openid-configuration" => Reply::new(200, discovery.clone()),
        "/jwks" => Reply::new(200, main.clone()),
        "/partner-keys" => Reply::new(200, partner.clone()),
        _ => Reply::new(404, ""),
    }
}

/// Sends a row's credential. Made-up key ids keep a distance of a second, so such a row asks again.
fn send(world: &World, row: &Row) -> Answer {
    let mut request = Request::new("POST", "/mcp")
        .header("content-type", "application/json")
        .body(call("get_x", &json!({})));
    for value in &row.authorization {
        request = request.header("authorization", value.as_bytes());
    }
    for _ in 0..3 {
        let answer = request.send(world.envoy.port);
        if answer.status != 503 {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(1100));
    }
    request.send(world.envoy.port)
}

fn attack(cast: &Cast, rows: &[Row], changes: &Changes) -> World {
    let world = World::with_provider(changes, provide(cast));
    let mut wrong = Vec::new();
    for row in rows {
        let answer = send(&world, row);
        let seen = answer.reason().unwrap_or_else(|| "allowed".to_owned());
        let status = match row.reason {
            "allowed" => 200,
            "malformed_authorization" => 400,
            _ => 401,
        };
        if seen != row.reason || answer.status != status {
            wrong.push(format!("{}: {} {seen}, not {status} {}", row.name, answer.status, row.reason));
            continue;
        }
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let has_error = challenge.contains(r#"error="invalid_token""#);
        assert_eq!(has_error, status == 401 && row.reason != "missing_token", "{}: {challenge}", row.name);
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    world.envoy.access_lines(rows.len());
    let logs = [world.envoy.access_log(), world.envoy.log()].concat();
    assert!(!logs.contains("panicked"), "{logs}");
    assert!(!logs.contains(SECRET), "the secret is in a log");
    let mut parts = 0;
    for row in rows {
        for part in row.authorization.iter().flat_map(|value| value.split([' ', '.', '=', ','])) {
            // Short ones occur by chance.
            if part.len() >= 16 {
                parts += 1;
                assert!(!logs.contains(part), "{}: a part of its token is in a log", row.name);
            }
        }
    }
    assert!(parts > 1000, "{parts} parts were looked for");
    world
}

/// A host without `verify_signature`: the shipped module, asking for a function that no Envoy has.
fn without_host_crypto() -> Changes {
    let module = std::fs::read(root().join("dist/mcp_iap.wasm")).unwrap();
    let (name, other) = (b"verify_signature", b"absent_signature");
    let found: Vec<usize> =
        module.windows(name.len()).enumerate().filter(|(_, w)| w == name).map(|(at, _)| at).collect();
    let mut module = module;
    for at in &found {
        module[*at..*at + name.len()].copy_from_slice(other);
    }
    assert!(!found.is_empty(), "the module names `verify_signature` nowhere");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("absent-{}.wasm", std::process::id()));
    std::fs::write(&path, module).unwrap();
    let mut changes = changes();
    changes.replace.push(("filename: dist/mcp_iap.wasm", format!("filename: {}", path.display())));
    changes
}

fn on_the_oldest_envoy() -> Changes {
    Changes { binary: Some(binary("ENVOY_OLDEST")), ..changes() }
}

/// How many verdicts were given by whom.
fn verdicts(world: &World, by: &str) -> u64 {
    let stats = world.envoy.admin("/stats/prometheus").unwrap();
    let name = format!("mcp_iap_signatures{{by=\"{by}\"}} ");
    stats.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn each_attack_ends_with_its_reason() {
    let cast = Cast::new(now());
    let rows = [cast.rows(), cast.only_by_the_host()].concat();
    let world = attack(&cast, &rows, &changes());
    assert!(verdicts(&world, "host") > 100 && verdicts(&world, "cache") > 0, "{}", verdicts(&world, "host"));
}

#[test]
fn each_attack_ends_with_its_reason_without_host_crypto() {
    let cast = Cast::new(now());
    let mut rows = cast.rows();
    // Asking again for each made-up key id takes its time, and has nothing to do with who verifies.
    rows.retain(|row| row.reason != "unknown_key");
    let es512 = cast.only_by_the_host().into_iter().next().unwrap();
    rows.push(Row { reason: "algorithm_not_accepted", ..es512 });
    let world = attack(&cast, &rows, &without_host_crypto());
    assert_eq!(verdicts(&world, "host"), 0);
    assert!(verdicts(&world, "library") > 100, "{}", verdicts(&world, "library"));
    assert!(world.envoy.log().contains("signatures cost more here"), "{}", world.envoy.log());
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Honest tokens of every algorithm that the host has, and what becomes of them by chance and by intent.
fn mutants(cast: &Cast) -> Vec<String> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut tokens = Vec::new();
    for algorithm in ["RS256", "RS384", "RS512", "ES256", "ES384"] {
        for round in 0..800 {
            let mut claims = cast.claims();
            claims["jti"] = json!(format!("{algorithm}-{round}"));
            let token = cast.main.by(algorithm, &claims);
            let parts: Vec<&str> = token.split('.').collect();
            let (header, mut claims) = (parts[0], URL_SAFE_NO_PAD.decode(parts[1]).unwrap());
            let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
            let at = numbers.below(signature.len());
            let half = signature.len() / 2;
            match round % 10 {
                0 => {}
                1 => signature[at] ^= 1 << numbers.below(8),
                2 => signature[at] = numbers.below(256) as u8,
                3 => signature[..at].fill(0),
                4 => signature[at..].fill(0xff),
                5 => signature.truncate(at),
                6 => signature.push(0),
                7 => signature.rotate_left(at.max(1)),
                8 => signature[half..][..numbers.below(half)].fill(0),
                _ => {
                    let place = numbers.below(claims.len());
                    claims[place] ^= 1 << numbers.below(7);
                }
            }
            tokens.push(format!("{header}.{}.{}", b64(claims), b64(signature)));
        }
    }
    tokens
}

/// The host's verdict on each token is the library's.
fn compare(changes: &Changes, by: &str) {
    let cast = Cast::new(now());
    let world = World::with_provider(changes, provide(&cast));
    let native = Worker::in_environment(CONFIGURATION, &|_| Some(SECRET.to_owned()));
    native.shared.set_now(UnixTime(cast.now));
    let script = provide(&cast);
    let body = call("get_x", &json!({}));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let tokens = mutants(&cast);
    for token in &tokens {
        let authorization = format!("Bearer {token}");
        let head = [
            (":method", "POST"),
            (":path", "/mcp"),
            ("content-type", "application/json"),
            ("authorization", authorization.as_str()),
        ];
        let keys = |path: &str| {
            let answer = script(&Seen { path: path.to_owned(), ..Seen::default() });
            reply(&answer.status.to_string(), &answer.body)
        };
        let ended = native.run(&head, Ok(body.as_bytes()), &keys);
        let expected = ended.record["reason"].as_str().unwrap();
        let row = Row { name: String::new(), authorization: vec![authorization], reason: "" };
        let seen = send(&world, &row).reason().unwrap_or_else(|| "allowed".to_owned());
        assert_eq!(seen, expected, "{token}");
        *counts.entry(seen).or_default() += 1;
    }
    println!("{} tokens: {counts:?}", tokens.len());
    assert!(counts["allowed"] >= 400 && counts["bad_signature"] >= 2000, "{counts:?}");
    let other = if by == "host" { "library" } else { "host" };
    assert!(verdicts(&world, by) >= 2400, "{} by {by}", verdicts(&world, by));
    assert_eq!(verdicts(&world, other), 0, "{other}");
}

#[test]
fn the_host_and_the_library_agree() {
    compare(&changes(), "host");
}

#[test]
fn the_oldest_host_and_the_library_agree() {
    compare(&on_the_oldest_envoy(), "host");
}

#[test]
fn the_library_in_the_sandbox_and_the_native_one_agree() {
    compare(&without_host_crypto(), "library");
}

fn row(token: &str) -> Row {
    Row { name: String::new(), authorization: vec![format!("Bearer {token}")], reason: "" }
}

#[test]
fn a_warm_token_is_not_verified_again() {
    let cast = Cast::new(now());
    let world = World::with_provider(&changes(), provide(&cast));
    let token = row(&cast.main.rs256(&cast.claims()));
    for _ in 0..50 {
        assert_eq!(send(&world, &token).status, 200);
    }
    assert_eq!((verdicts(&world, "host"), verdicts(&world, "cache")), (1, 49));
}

#[test]
fn a_warm_token_ends_with_its_key() {
    let cast = Cast::new(now());
    let world = World::with_provider(&changes(), provide(&cast));
    let (by_rsa, by_ec) = (row(&cast.main.rs256(&cast.claims())), row(&cast.main.es256(&cast.claims())));
    let reason = |row: &Row| send(&world, row).reason().unwrap_or_else(|| "allowed".to_owned());
    for token in [&by_rsa, &by_ec, &by_rsa, &by_ec] {
        assert_eq!(reason(token), "allowed");
    }
    // The RSA key is withdrawn; the other one's id now names another key.
    let jwks = json!({"keys": [cast.partner.ec_jwk()]}).to_string();
    let before = provide(&cast);
    world.provider.script(
        move |seen| {
            if seen.path == "/jwks" { Reply::new(200, jwks.clone()) } else { before(seen) }
        },
    );
    let unknown = cast.main.token(&json!({"alg": "RS256", "kid": "later"}), &cast.claims());
    assert_eq!(reason(&row(&unknown)), "unknown_key");
    assert_eq!(reason(&by_rsa), "unknown_key");
    assert_eq!(reason(&by_ec), "bad_signature");
    assert_eq!(reason(&row(&cast.partner.es256(&cast.claims()))), "allowed");
}

/// What one verification costs of Envoy's CPU time. To see it:
/// `make test-jose` prints it; or `cargo test --test integration -- --nocapture what_a_signature_costs`.
#[test]
fn what_a_signature_costs() {
    let cast = Cast::new(now());
    let host = World::with_provider(&changes(), provide(&cast));
    let library = World::with_provider(&without_host_crypto(), provide(&cast));
    let token = |algorithm: &str, number: usize| {
        let mut claims = cast.claims();
        claims["jti"] = json!(format!("{algorithm}-{number}"));
        cast.main.by(algorithm, &claims)
    };
    let per_request = |world: &World, tokens: &[String]| {
        let before = world.envoy.cpu_time();
        send_all(world, tokens);
        (world.envoy.cpu_time() - before) / tokens.len() as u32
    };
    let mut verifications = BTreeMap::new();
    for (name, world) in [("host", &host), ("library", &library)] {
        let one = vec![token("RS256", 0); REQUESTS];
        send_all(world, &one);
        let warm = per_request(world, &one);
        println!("{name}: warm {} us of CPU a request", warm.as_micros());
        for algorithm in ["RS256", "ES256", "EdDSA", "PS256"] {
            let tokens: Vec<_> = (1..=REQUESTS).map(|number| token(algorithm, number)).collect();
            let cold = per_request(world, &tokens);
            println!("{name}: {algorithm} {} us of CPU a request", cold.as_micros());
            verifications.insert((name, algorithm), cold.saturating_sub(warm));
        }
    }
    let (by_host, by_library) = (verifications[&("host", "RS256")], verifications[&("library", "RS256")]);
    assert!(by_host * 4 < by_library, "{by_host:?}, {by_library:?}");
}

/// How many requests one measurement takes.
const REQUESTS: usize = 1000;

/// Sends a call for each token on one connection. No rule allows the call: what the upstream takes is not
/// measured.
fn send_all(world: &World, tokens: &[String]) {
    let body = call("drop_x", &json!({}));
    let mut stream = TcpStream::connect(("127.0.0.1", world.envoy.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for token in tokens {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        // A refusal's body is one JSON object that ends with three braces.
        while !answer.ends_with(b"}}}") {
            let size = stream.read(&mut buffer).unwrap();
            assert!(size > 0, "the connection ended");
            answer.extend_from_slice(&buffer[..size]);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("no_rule_allows"), "{answer}");
    }
}
