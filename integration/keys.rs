//! The life of keys on a real Envoy with two workers: rotation and withdrawal under load, a provider that is down
//! or answers with whatever it likes, floods of made-up key ids, one fetch for many. The provider is a stand-in that
//! counts and misbehaves as told; `provider.rs` rotates the keys of a real one.

use crate::client::{Answer, Request, finish};
use crate::envoy::{Changes, Envoy, binary, bootstrap, free_port, scratch};
use crate::failures::eventually;
use crate::stub::{Reply, Seen, Stub};
use crate::support::issuer::Issuer;
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, post, provide};
use mcp_iap::config::yaml;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The issuer of the shipped file, and how long its keys count.
fn configuration(keys: &str) -> String {
    format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: {ISSUER}, insecure_http: true, cluster: identity_provider, keys: {{ {keys} }} }}
rules:
  - {{ id: dev, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}"
    )
}

pub fn with_keys(keys: &str) -> Changes {
    Changes { configuration: Some(configuration(keys)), ..Changes::default() }
}

fn request(token: &str) -> Request {
    post(token, call("get_pods", &json!({})))
}

fn good_call() -> Request {
    request(&KEYS.es256(&claims(&["dev"])))
}

/// A provider whose key set is what stands in the cell.
fn provider_of(jwks: &Arc<Mutex<Value>>) -> impl Fn(&Seen) -> Reply + Send + Sync + use<> {
    let jwks = Arc::clone(jwks);
    move |seen| match seen.path.as_str() {
        "/jwks" => Reply::new(200, jwks.lock().unwrap().to_string()),
        _ => provide(seen),
    }
}

fn fetches(world: &World) -> usize {
    world.provider.seen().iter().filter(|seen| seen.path == "/jwks").count()
}

/// Sends requests from several clients until it is dropped; answers what was no 200.
pub struct Load {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Vec<Answer>>>,
}

impl Load {
    pub fn start(port: u16, clients: usize, token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let (ends, sent, token) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::new(token));
        let client = |_| {
            let (ends, sent, token) = (Arc::clone(&ends), Arc::clone(&sent), Arc::clone(&token));
            std::thread::spawn(move || {
                let mut lost = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    let answer = request(&token()).send(port);
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        lost.push(answer);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                lost
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { ends, sent, clients }
    }

    /// How many were sent, and what was lost of them.
    pub fn end(self) -> (usize, Vec<Answer>) {
        self.ends.store(true, Ordering::Relaxed);
        let lost = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.sent.load(Ordering::Relaxed), lost)
    }
}

#[test]
fn a_thousand_requests_on_a_cold_cache_make_one_fetch() {
    let world =
        World::with_provider(&Changes::default(), |seen| provide(seen).after(Duration::from_millis(1000)));
    let request = good_call();
    let streams: Vec<_> = (0..1000).map(|_| request.start(world.envoy.port)).collect();
    for stream in streams {
        assert_eq!(finish(stream).status, 200);
    }
    assert_eq!(world.upstream.seen().len(), 1000);
    assert_eq!(fetches(&world), 1, "one of the main thread's VM and two workers asked, for all");
    assert_eq!(world.provider.seen().len(), 2, "discovery and key set");
}

#[test]
fn the_oldest_envoy_shares_keys_and_tells_of_them() {
    let changes = Changes { binary: Some(binary("ENVOY_OLDEST")), ..Changes::default() };
    let world = World::with_provider(&changes, |seen| provide(seen).after(Duration::from_millis(300)));
    let streams: Vec<_> = (0..100).map(|_| good_call().start(world.envoy.port)).collect();
    for stream in streams {
        assert_eq!(finish(stream).status, 200);
    }
    assert_eq!(fetches(&world), 1);
    let counted = format!("mcp_iap_key_fetches{{result=\"ok\",issuer=\"{ISSUER}\"}}");
    assert_eq!(world.envoy.metric(&counted), Some(1));
    let age = world.envoy.metric(&format!("mcp_iap_key_age_seconds{{issuer=\"{ISSUER}\"}}"));
    assert!(age.is_some_and(|age| age < 20), "{age:?}");
}

/// Filters without a `vm_id` of their own share data with strangers: nothing is taken from there.
#[test]
fn without_a_vm_id_each_worker_asks_for_itself() {
    let changes =
        Changes { replace: vec![("vm_id: mcp_iap", "vm_id: \"\"".to_owned())], ..Changes::default() };
    let world = World::with_provider(&changes, |seen| provide(seen).after(Duration::from_millis(300)));
    let streams: Vec<_> = (0..100).map(|_| good_call().start(world.envoy.port)).collect();
    for stream in streams {
        assert_eq!(finish(stream).status, 200);
    }
    assert_eq!(fetches(&world), 3, "two workers and the main thread's VM");
    assert!(world.envoy.log().contains("has no `vm_id` of its own"), "{}", world.envoy.log());
}

#[test]
fn a_rotation_under_load_loses_no_request_and_a_withdrawn_key_ends_with_its_time() {
    let new = Issuer::new("new");
    let jwks = Arc::new(Mutex::new(json!({"keys": [KEYS.ec_jwk()]})));
    let changes = with_keys("cache_duration: 4s, stale_if_error: 0s");
    let world = World::with_provider(&changes, provider_of(&jwks));
    let old_token = KEYS.es256(&claims(&["dev"]));
    let new_token = new.es256(&claims(&["dev"]));
    assert_eq!(request(&old_token).send(world.envoy.port).status, 200);
    let token = Arc::new(Mutex::new(old_token.clone()));
    let current = Arc::clone(&token);
    let load = Load::start(world.envoy.port, 4, move || current.lock().unwrap().clone());
    std::thread::sleep(Duration::from_millis(300));

    // Rotated: the new key is published, tokens are signed with it, the old one is still there.
    *jwks.lock().unwrap() = json!({"keys": [new.ec_jwk(), KEYS.ec_jwk()]});
    let rotated = Instant::now();
    assert_eq!(request(&new_token).send(world.envoy.port).status, 200, "the first request with the new key");
    assert!(rotated.elapsed() < Duration::from_secs(2), "{:?}", rotated.elapsed());
    token.lock().unwrap().clone_from(&new_token);
    std::thread::sleep(Duration::from_millis(500));

    // Withdrawn: the old key is gone, on both workers, within its time. No request asks for it by an unknown id.
    *jwks.lock().unwrap() = json!({"keys": [new.ec_jwk()]});
    let withdrawn = Instant::now();
    let refused = || (0..8).all(|_| request(&old_token).send(world.envoy.port).status == 401);
    eventually("the old key is gone on both workers", refused);
    assert!(withdrawn.elapsed() < Duration::from_secs(6), "{:?}", withdrawn.elapsed());
    let answer = request(&old_token).send(world.envoy.port);
    assert_eq!(answer.reason().as_deref(), Some("unknown_key"));

    let (sent, lost) = load.end();
    assert!(sent > 200, "{sent} requests are no load");
    assert!(lost.is_empty(), "{} of {sent} were lost: {:?}", lost.len(), lost[0]);
}

#[test]
fn made_up_key_ids_cause_no_more_fetches_than_configured() {
    let world = World::new(&with_keys("cooldown: 2s"));
    assert_eq!(good_call().send(world.envoy.port).status, 200);
    let load = Load::start(world.envoy.port, 1, || KEYS.es256(&claims(&["dev"])));
    let before = (fetches(&world), Instant::now());
    let streams: Vec<_> = (0..300)
        .map(|number| {
            let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
            request(&KEYS.token(&header, &claims(&["dev"]))).start(world.envoy.port)
        })
        .collect();
    for stream in streams {
        let answer = finish(stream);
        assert_eq!((answer.status, answer.reason().as_deref()), (401, Some("unknown_key")));
    }
    let allowed = 1 + before.1.elapsed().as_secs() as usize / 2;
    let asked = fetches(&world) - before.0;
    assert!((1..=allowed).contains(&asked), "{asked} fetches, {allowed} are configured");
    let (_, lost) = load.end();
    assert!(lost.is_empty(), "known keys are not disturbed: {:?}", lost[0]);
}

/// Strangers can't make Envoy hammer an issuer that has had enough, whether or not it says for how long.
#[test]
fn made_up_key_ids_leave_an_issuer_alone_that_answers_429() {
    for (retry_after, most) in [(Some("5"), 2), (None, 4)] {
        let world = World::new(&with_keys("cooldown: 100ms"));
        assert_eq!(good_call().send(world.envoy.port).status, 200);
        world.provider.script(move |seen| match (seen.path.as_str(), retry_after) {
            ("/jwks", Some(wait)) => Reply::new(429, "").header(format!("retry-after: {wait}")),
            ("/jwks", None) => Reply::new(429, ""),
            _ => provide(seen),
        });
        let before = fetches(&world);
        let (began, mut sent) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(9_500) {
            sent += 1;
            let header = json!({"alg": "ES256", "kid": format!("made-up-{sent}")});
            let answer = request(&KEYS.token(&header, &claims(&["dev"]))).send(world.envoy.port);
            assert_eq!(answer.reason().as_deref(), Some("identity_provider_unavailable"));
            assert_eq!(good_call().send(world.envoy.port).status, 200);
            std::thread::sleep(Duration::from_millis(100));
        }
        let asked = fetches(&world) - before;
        assert!(
            sent > 4 && (1..=most).contains(&asked),
            "{asked} fetches for {sent} key ids, {retry_after:?}"
        );
        // Then its new keys are taken.
        let new = Issuer::new("new");
        world.provider.script(provider_of(&Arc::new(Mutex::new(new.jwks()))));
        eventually("the new keys", || {
            request(&new.es256(&claims(&["dev"]))).send(world.envoy.port).status == 200
        });
    }
}

#[test]
fn a_provider_that_goes_down_leaves_known_keys_for_a_bounded_time() {
    let world = World::new(&with_keys("cache_duration: 2s, stale_if_error: 4s, timeout: 2s"));
    assert_eq!(good_call().send(world.envoy.port).status, 200);
    let fetched = Instant::now();
    world.provider.script(|_| Reply::wire(|_| Ok(())));
    // Beyond their time, and on both workers.
    std::thread::sleep(Duration::from_millis(2500));
    for _ in 0..10 {
        assert_eq!(good_call().send(world.envoy.port).status, 200, "{:?}", fetched.elapsed());
    }
    let unknown = request(&Issuer::new("new").es256(&claims(&["dev"]))).send(world.envoy.port);
    assert_eq!(unknown.reason().as_deref(), Some("identity_provider_unavailable"), "nobody knows");
    eventually("the end of the stale bound", || {
        (0..6).all(|_| {
            let answer = good_call().send(world.envoy.port);
            answer.reason().as_deref() == Some("identity_provider_unavailable")
        })
    });
    assert!(fetched.elapsed() < Duration::from_secs(10), "{:?}", fetched.elapsed());
    let issuer = format!("issuer=\"{ISSUER}\"");
    let failed = world.envoy.metric(&format!("mcp_iap_key_fetches{{result=\"unavailable\",{issuer}}}"));
    assert!(failed.is_some_and(|count| count > 1), "{failed:?}");
    let age = world.envoy.metric(&format!("mcp_iap_key_age_seconds{{{issuer}}}"));
    assert!(age.is_some_and(|age| (4..20).contains(&age)), "{age:?}");

    world.provider.script(provide);
    eventually("it recovers", || good_call().send(world.envoy.port).status == 200);
    eventually("the age falls", || {
        world.envoy.metric(&format!("mcp_iap_key_age_seconds{{{issuer}}}")).is_some_and(|age| age < 4)
    });
    let fetched = world.envoy.metric(&format!("mcp_iap_key_fetches{{result=\"ok\",{issuer}}}"));
    assert!(fetched.is_some_and(|count| count >= 2), "{fetched:?}");
}

/// An Envoy whose listener stands in a file that it reads anew.
fn listener_in_a_file(text: &str, file: &Path) -> String {
    let mut bootstrap: Value = yaml::read(text).unwrap();
    let mut listener = bootstrap["static_resources"]["listeners"][0].take();
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    bootstrap["static_resources"].as_object_mut().unwrap().remove("listeners");
    bootstrap["dynamic_resources"] = json!({"lds_config": {"path_config_source": {"path": file}}});
    bootstrap["node"] = json!({"id": "test", "cluster": "test"});
    let beside = file.with_extension("new");
    std::fs::write(&beside, json!({"resources": [listener]}).to_string()).unwrap();
    std::fs::rename(beside, file).unwrap();
    bootstrap.to_string()
}

/// Shared data outlives a configuration: the next one finds the keys of its issuers while the provider is down, and
/// none of an issuer that it reaches in another way.
#[test]
fn a_configuration_that_is_loaded_anew_has_its_keys_and_no_others() {
    let provider = Stub::start(provide);
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let folder = scratch();
    let file = folder.join("listener.json");
    let document = configuration("timeout: 2s");
    let mut load: Box<dyn Fn(String) -> String> = Box::new(|_| String::new());
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        let (upstream, provider, file) = (upstream.port, provider.port, file.clone());
        load = Box::new(move |document| {
            let changes = Changes { configuration: Some(document), ..Changes::default() };
            listener_in_a_file(&bootstrap(&changes, port, admin, upstream, provider), &file)
        });
        load(document.clone())
    });
    assert_eq!(good_call().send(envoy.port).status, 200);
    provider.script(|_| Reply::wire(|_| Ok(())));
    provider.forget();
    let reason = |tool: &str| {
        let request = post(&KEYS.es256(&claims(&["dev"])), call(tool, &json!({})));
        request.send(envoy.port).reason().unwrap_or_else(|| "allowed".to_owned())
    };
    load(document.replace("get_*", "list_*"));
    eventually("the new rules hold", || reason("get_pods") == "no_rule_allows");
    assert_eq!(reason("list_pods"), "allowed", "by keys that were fetched for the old configuration");
    assert!(provider.seen().is_empty(), "nobody asked: {:?}", provider.seen());
    load(document.replace("cluster: identity_provider", "cluster: mcp_server"));
    eventually("another way to the issuer has no keys", || {
        reason("get_pods") == "identity_provider_unavailable"
    });
    std::fs::remove_dir_all(folder).unwrap();
}

/// Nobody listens on the provider's port when Envoy starts.
#[test]
fn a_cold_start_without_provider_refuses_and_recovers_unaided() {
    let port = free_port();
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let envoy = Envoy::start(&Changes::default(), upstream.port, port);
    for _ in 0..6 {
        let answer = good_call().send(envoy.port);
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
        assert_eq!(answer.reason().as_deref(), Some("identity_provider_unavailable"));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    assert!(upstream.seen().is_empty());
    let provider = Stub::start_at(port, provide);
    // Without a single request.
    eventually("keys are fetched", || provider.seen().iter().any(|seen| seen.path == "/jwks"));
    eventually("keys count", || good_call().send(envoy.port).status == 200);
}

/// One answer that is none.
struct Broken {
    name: &'static str,
    answer: fn(&str) -> Reply,
}

fn raw(
    head: &'static str,
    body: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
) -> Reply {
    Reply::wire(move |writer| {
        writer.write_all(head.as_bytes())?;
        body(writer)?;
        writer.flush()
    })
}

/// What a provider may answer instead of the document that it should; the argument is that document. Whoever reads
/// leniently takes it from most of them.
const BROKEN: &[Broken] = &[
    Broken { name: "a server error", answer: |good| Reply::new(500, good) },
    Broken { name: "not found", answer: |good| Reply::new(404, good) },
    Broken { name: "unauthorized", answer: |good| Reply::new(401, good) },
    Broken { name: "too many requests", answer: |good| Reply::new(429, good) },
    Broken { name: "another success", answer: |good| Reply::new(201, good) },
    Broken { name: "no content", answer: |_| raw("HTTP/1.1 204 X\r\nconnection: close\r\n\r\n", |_| Ok(())) },
    Broken { name: "a redirect", answer: |good| Reply::new(302, good).header("location: /good") },
    Broken { name: "a permanent redirect", answer: |good| Reply::new(308, good).header("location: /good") },
    Broken {
        name: "a page",
        answer: |_| Reply::new(200, "<!DOCTYPE html><html><body>Sign in</body></html>"),
    },
    Broken { name: "no byte", answer: |_| Reply::new(200, "") },
    Broken { name: "no UTF-8", answer: |good| Reply::new(200, [good.as_bytes(), b"\xff\xfe"].concat()) },
    Broken { name: "another shape", answer: |good| Reply::new(200, format!("[{good}]")) },
    Broken {
        name: "a member twice",
        answer: |good| Reply::new(200, good.replacen('{', "{\"keys\":[],\"issuer\":\"x\",", 1)),
    },
    Broken { name: "truncated", answer: |good| Reply::new(200, &good[..good.len() / 2]) },
    Broken {
        name: "compressed",
        answer: |_| {
            Reply::new(200, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec())
                .header("content-encoding: gzip")
        },
    },
    Broken {
        name: "cut off",
        answer: |good| {
            let half = good[..good.len() / 2].to_owned();
            raw("HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n", move |writer| {
                writer.write_all(half.as_bytes())
            })
        },
    },
    Broken { name: "huge", answer: |good| Reply::new(200, format!("{good}{}", " ".repeat(2_000_000))) },
    Broken {
        name: "endless",
        answer: |_| {
            raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n", |writer| {
                loop {
                    write!(writer, "1000\r\n{}\r\n", " ".repeat(4096))?;
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        },
    },
    Broken {
        name: "trickling",
        answer: |good| {
            let good = good.to_owned();
            raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n", move |writer| {
                for byte in good.as_bytes() {
                    write!(writer, "1\r\n{}\r\n", char::from(*byte))?;
                    writer.flush()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                writer.write_all(b"0\r\n\r\n")
            })
        },
    },
    Broken { name: "silence", answer: |good| Reply::new(200, good).after(Duration::from_secs(20)) },
    Broken {
        name: "a head without end",
        answer: |_| {
            raw("HTTP/1.1 200 X\r\nx: ", |writer| {
                loop {
                    writer.write_all(b"x")?;
                    writer.flush()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        },
    },
    Broken { name: "the end at once", answer: |_| Reply::wire(|_| Ok(())) },
    Broken {
        name: "no HTTP",
        answer: |good| {
            let good = good.to_owned();
            raw("SSH-2.0-OpenSSH_9.9\r\n", move |writer| writer.write_all(good.as_bytes()))
        },
    },
];

const TIMEOUT: Duration = Duration::from_secs(2);

/// Each kind as a discovery document and as a key set, each with an issuer of its own, behind one Envoy.
#[test]
fn every_broken_answer_refuses_within_the_timeout() {
    assert!(BROKEN.len() >= 19, "{}", BROKEN.len());
    let is_broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&is_broken);
    let provider = move |seen: &Seen| {
        let parts: Vec<_> = seen.path.split('/').collect();
        let [_, at @ ("discovery" | "keys"), kind, document @ ..] = parts.as_slice() else {
            return provide(seen);
        };
        let is_discovery = document.first() == Some(&".well-known");
        let issuer = format!("{ISSUER}/{at}/{kind}");
        let good = if is_discovery {
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")}).to_string()
        } else {
            KEYS.jwks().to_string()
        };
        match kind.parse::<usize>().ok().and_then(|kind| BROKEN.get(kind)) {
            Some(broken) if (*at == "discovery") == is_discovery && breaks.load(Ordering::Relaxed) => {
                (broken.answer)(&good)
            }
            _ => Reply::new(200, good),
        }
    };
    let issuers: Vec<_> = (0..BROKEN.len())
        .flat_map(|kind| ["discovery", "keys"].map(|at| (kind, at, format!("{ISSUER}/{at}/{kind}"))))
        .collect();
    let mut configuration = configuration("");
    for (_, _, issuer) in &issuers {
        let entry = format!(
            "  - {{ issuer: '{issuer}', insecure_http: true, cluster: identity_provider, keys: {{ timeout: 2s, stale_if_error: 0s }} }}\nrules:"
        );
        configuration = configuration.replacen("rules:", &entry, 1);
    }
    let world =
        World::with_provider(&Changes { configuration: Some(configuration), ..Changes::default() }, provider);
    let token = |issuer: &str| {
        let mut claims = claims(&["dev"]);
        claims["iss"] = json!(issuer);
        KEYS.es256(&claims)
    };
    // All at once: they are independent, and the good issuer is among them.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let send = |(kind, at, issuer): &(usize, &'static str, String)| {
            let (request, port) = (request(&token(issuer)), world.envoy.port);
            let name = format!("{} at {at}", BROKEN[*kind].name);
            scope.spawn(move || {
                let started = Instant::now();
                let answer = request.send(port);
                let is_right = answer.status == 503
                    && answer.reason().as_deref() == Some("identity_provider_unavailable")
                    && answer.header("retry-after").is_some()
                    && answer.header("www-authenticate").is_none();
                let took = started.elapsed();
                // A machine under load is slow; the timeout of the shipped file is 5 s.
                let is_soon = took < TIMEOUT + Duration::from_secs(3);
                (!is_right || !is_soon)
                    .then(|| format!("{name}: {} {:?} after {took:?}", answer.status, answer.reason()))
            })
        };
        let answers: Vec<_> = issuers.iter().map(send).collect();
        assert_eq!(good_call().send(world.envoy.port).status, 200, "the good issuer's");
        answers.into_iter().filter_map(|answer| answer.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.upstream.seen().len(), 1);

    is_broken.store(false, Ordering::Relaxed);
    for (kind, at, issuer) in &issuers {
        let what = format!("{} at {at} recovers", BROKEN[*kind].name);
        eventually(&what, || request(&token(issuer)).send(world.envoy.port).status == 200);
    }
    assert!(!world.envoy.log().contains("panicked"), "{}", world.envoy.log());
}
