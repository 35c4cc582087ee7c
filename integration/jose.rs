//! Tokens and keys on a real Envoy: the attack list, one request a row, and what Envoy logs of it.

use crate::client::{Answer, KeepAlive, Request};
use crate::envoy::{Changes, binary, root};
use crate::stub::{Reply, Seen};
use crate::support::attacks::{CONFIGURATION, Cast, MAIN, Row, SECRET, changed};
use crate::support::flow::{Worker, reply};
use crate::support::issuer::{ALGORITHMS, b64};
use crate::world::{World, call, now, post};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_iap::gate::Settings;
use mcp_iap::jose::{HostCrypto, NoHost};
use mcp_iap::time::UnixTime;
use p521::ecdsa::signature::Verifier as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::LazyLock;
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

/// How many verdicts were given by whom: told at the root's next tick.
fn verdicts(world: &World, by: &str) -> u64 {
    std::thread::sleep(std::time::Duration::from_secs(6));
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

/// Discovery by RFC 8414 section 3, where there is no OpenID Connect.
#[test]
fn an_issuer_without_openid_connect_is_found() {
    let cast = Cast::new(now());
    let before = provide(&cast);
    let world = World::with_provider(&changes(), move |seen: &Seen| match seen.path.as_str() {
        "/.well-known/openid-configuration" => Reply::new(404, ""),
        "/.well-known/oauth-authorization-server" => {
            before(&Seen { path: "/.well-known/openid-configuration".to_owned(), ..Seen::default() })
        }
        _ => before(seen),
    });
    assert_eq!(send(&world, &row(&cast.main.es256(&cast.claims()))).status, 200);
    assert_eq!(send(&world, &row(&cast.stranger.es256(&cast.claims()))).status, 401);
}

/// 30 s, unless the configuration says otherwise (RFC 7519 sections 4.1.4 and 4.1.5).
#[test]
fn clocks_may_differ_by_the_skew() {
    let cast = Cast::new(now());
    let world = World::with_provider(&changes(), provide(&cast));
    for (claim, seconds, expected) in [
        ("exp", -10, "allowed"),
        ("exp", -31, "token_expired"),
        ("nbf", 20, "allowed"),
        ("nbf", 60, "token_not_yet_valid"),
        ("iat", 20, "allowed"),
        ("iat", 60, "token_not_yet_valid"),
    ] {
        let mut claims = cast.claims();
        claims[claim] = json!(now().saturating_add_signed(seconds));
        let seen = send(&world, &row(&cast.main.es256(&claims))).reason();
        assert_eq!(seen.as_deref().unwrap_or("allowed"), expected, "{claim} {seconds}");
    }
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

/// How many mutants of one key there are.
const KEY_MUTANTS: usize = 4;

/// The key set of the comparison: the main issuer's keys, and each with a bit turned. Beside every one of
/// those stands a good key of another type with the same id, so that the id is known whatever they are.
fn keys_and_mutants(cast: &Cast) -> Value {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let good = cast.main.all_jwks();
    let mut keys = good.clone();
    for (place, jwk) in good.iter().enumerate() {
        for round in 0..KEY_MUTANTS {
            let member = match (jwk["kty"].as_str().unwrap(), round % 2) {
                ("RSA", _) => "n",
                ("EC", 1) => "y",
                _ => "x",
            };
            let mut bytes = URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
            // The last bit too: an even modulus.
            let at = if round == 0 { bytes.len() - 1 } else { numbers.below(bytes.len()) };
            bytes[at] ^= 1 << (if round == 0 { 0 } else { numbers.below(7) });
            let id = json!({"kid": format!("{}-{round}", jwk["kid"].as_str().unwrap())});
            keys.push(changed(&changed(jwk, json!({ member: b64(bytes) })), id.clone()));
            keys.push(changed(&good[(place + 1) % good.len()], id));
        }
    }
    json!({ "keys": keys })
}

/// What is compared: signed once, for all comparisons.
static COMPARED: LazyLock<(Cast, Vec<String>)> = LazyLock::new(|| {
    let cast = Cast::new(now());
    let tokens = mutants(&cast);
    (cast, tokens)
});

/// Tokens of every algorithm: honest ones, and what becomes of their signature, header, claims and key by
/// chance and by intent.
fn mutants(cast: &Cast) -> Vec<String> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut tokens = Vec::new();
    for algorithm in ALGORITHMS {
        let is_slow = algorithm.starts_with("PS") || algorithm.starts_with("Ed");
        for round in 0..if is_slow { 210 } else { 420 } {
            let members = json!({"jti": format!("{algorithm}-{round}"), "exp": cast.now + 3600});
            let honest = changed(&cast.claims(), members);
            let token = cast.main.by(algorithm, &honest);
            let parts: Vec<&str> = token.split('.').collect();
            let [mut header, mut claims, mut signature] =
                [0, 1, 2].map(|part| URL_SAFE_NO_PAD.decode(parts[part]).unwrap());
            let at = numbers.below(signature.len());
            let half = signature.len() / 2;
            let id = cast.main.id(algorithm);
            let text = String::from_utf8(header.clone()).unwrap();
            match round % 14 {
                0 => {}
                1 => signature[at] ^= 1 << numbers.below(8),
                2 => signature[at] = numbers.below(256) as u8,
                3 => signature[..at].fill(0),
                4 => signature[at..].fill(0xff),
                5 => signature.truncate(at),
                6 => signature.push(0),
                7 => signature.rotate_left(at.max(1)),
                8 => signature[half..][..numbers.below(half)].fill(0),
                9 => {
                    let place = numbers.below(claims.len());
                    claims[place] ^= 1 << numbers.below(7);
                }
                10 => {
                    let other = ALGORITHMS[numbers.below(ALGORITHMS.len())];
                    header = text.replace(&format!("\"{algorithm}\""), &format!("\"{other}\"")).into_bytes();
                }
                // Not within the id: fetches for made-up ones keep their distance.
                11 => {
                    let ids = text.find(&id).unwrap();
                    let place = numbers.below(header.len() - id.len());
                    header[if place < ids { place } else { place + id.len() }] ^= 1 << numbers.below(7);
                }
                12 => {
                    let header =
                        json!({"alg": algorithm, "kid": format!("{id}-{}", round / 14 % KEY_MUTANTS)});
                    tokens.push(cast.main.token_of_texts(&header.to_string(), &honest.to_string()));
                    continue;
                }
                _ => {
                    tokens.push(cast.partner.by(algorithm, &honest));
                    continue;
                }
            }
            tokens.push(format!("{}.{}.{}", b64(header), b64(claims), b64(signature)));
        }
    }
    tokens
}

/// What has ES512 beside Envoy: another library, for the comparison alone.
struct P521;

impl HostCrypto for P521 {
    fn verify(&self, hash: &str, spki: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        const HEAD: usize = 25; // of the SubjectPublicKeyInfo; the rest is the point
        if hash != "sha512" || spki.len() != HEAD + 133 {
            return None;
        }
        // Of a point off the curve Envoy says that the signature is wrong.
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&spki[HEAD..]);
        let signature = p521::ecdsa::Signature::from_der(signature);
        Some(matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(text, &signature).is_ok()))
    }
}

/// Envoy's verdict on each token is the one that libraries give natively.
fn compare(changes: &Changes, has_crypto: bool) {
    let (cast, tokens) = &*COMPARED;
    let keys = keys_and_mutants(cast).to_string();
    let provider = move |path: &str| match path {
        "/.well-known/openid-configuration" => {
            Reply::new(200, json!({"issuer": MAIN, "jwks_uri": format!("{MAIN}/jwks")}).to_string())
        }
        "/jwks" => Reply::new(200, keys.clone()),
        _ => Reply::new(404, ""),
    };
    let native_provider = provider.clone();
    let world = World::with_provider(changes, move |seen: &Seen| provider(&seen.path));
    let settings = Settings::load_in(CONFIGURATION.as_bytes(), &|_| Some(SECRET.to_owned())).unwrap();
    let host: Box<dyn HostCrypto> = if has_crypto { Box::new(P521) } else { Box::new(NoHost) };
    let native = Worker::with_host(settings, host);
    native.shared.set_now(UnixTime(cast.now));
    let script = |path: &str| {
        let answer = native_provider(path);
        reply(&answer.status.to_string(), &answer.body)
    };
    let body = call("get_x", &json!({}));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut connection = KeepAlive::new(world.envoy.port);
    for token in tokens {
        let authorization = format!("Bearer {token}");
        let head = [
            (":method", "POST"),
            (":path", "/mcp"),
            ("content-type", "application/json"),
            ("authorization", authorization.as_str()),
        ];
        let ended = native.run(&head, Ok(body.as_bytes()), &script);
        let expected = ended.record["reason"].as_str().unwrap();
        let answer = connection.send(&post(token, body.as_str())).unwrap();
        let seen = answer.reason().unwrap_or_else(|| "allowed".to_owned());
        assert_eq!(seen, expected, "{token}");
        *counts.entry(seen).or_default() += 1;
    }
    println!("{} tokens: {counts:?}", tokens.len());
    let of = |reason: &str| counts.get(reason).copied().unwrap_or_default();
    assert!(tokens.len() > 3500 && of("allowed") > 200 && of("bad_signature") > 2000, "{counts:?}");
    assert!(of("malformed_token") > 50 && of("algorithm_not_accepted") > 150, "{counts:?}");
    let (host, library) = (verdicts(&world, "host"), verdicts(&world, "library"));
    println!("{host} verdicts by the host, {library} by the library");
    if has_crypto {
        assert!(host > 1500 && library > 500, "{host}, {library}");
    } else {
        assert!(host == 0 && library > 2000, "{host}, {library}");
    }
}

#[test]
fn the_host_and_the_library_agree() {
    compare(&changes(), true);
}

#[test]
fn the_oldest_host_and_the_library_agree() {
    compare(&on_the_oldest_envoy(), true);
}

#[test]
fn the_library_in_the_sandbox_and_the_native_one_agree() {
    compare(&without_host_crypto(), false);
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
