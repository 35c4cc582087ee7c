//! Requests flow while the configuration changes: none is lost, each change is seen, a bad one is refused.
//!
//! `make test-reload` runs it.

use crate::client::{Answer, KeepAlive, Request};
use crate::dynamic::{Dynamic, document, module};
use crate::envoy::Changes;
use crate::stub::{Reply, Seen, Stub};
use crate::support::issuer::Issuer;
use crate::world::{KEYS, RESOURCE, call, claims, modern, modern_call, post, provide};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A change of the configuration is seen within this time, on every worker.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// New connections show a change; one that an earlier listener left open may follow so much later.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(400);
/// A new module is compiled first, on a machine that does other things too.
const COMPILED_WITHIN: Duration = Duration::from_secs(60);
const EVENTS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(100);
/// The reasons with which a request may end.
const DECIDED: [&str; 2] = ["allowed", "no_rule_allows"];

/// What every request asks for, and its verdict depends on.
const TOOL: &str = "get_flip";
/// What is allowed always, and is answered by a long event stream.
const STREAM: &str = "get_stream";

const SECOND: &str = "https://second.example.com";

/// The rules with [`TOOL`] allowed or not.
fn rules(flip: bool) -> String {
    let tool = if flip { TOOL } else { "get_nothing" };
    format!(
        "  - {{ id: all, allow: {{ tools: [{STREAM}] }} }}\n  - {{ id: flip, allow: {{ tools: [{tool}] }} }}\n"
    )
}

fn serve(seen: &Seen) -> Reply {
    if String::from_utf8_lossy(&seen.body).contains(STREAM) {
        return Reply::events("{}", EVENTS, PAUSE);
    }
    Reply::new(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).header("content-type: application/json")
}

fn legacy_call(token: &str, tool: &str) -> Request {
    post(token, call(tool, &json!({})))
}

fn modern_request(token: &str, tool: &str) -> Request {
    modern(post(token, modern_call(tool, &json!({}))), tool)
}

/// One request of the load.
struct Sample {
    connection: &'static str,
    began: Instant,
    ended: Instant,
    allowed: bool,
}

/// What all threads of the load share.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    sent: AtomicUsize,
    streams: AtomicUsize,
    /// Of the requests, those with a token of an issuer that is not known yet.
    too_early: AtomicUsize,
    connections: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
    lost: Mutex<Vec<String>>,
}

impl Load {
    /// Sends requests until the load is over; each must be decided.
    fn run(
        &self,
        connection: &'static str,
        request: &Request,
        mut send: impl FnMut(&Request) -> std::io::Result<Answer>,
    ) {
        while !self.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = send(request);
            let allowed = match &answer {
                Ok(answer) if answer.status == 200 && is_whole(answer) => true,
                Ok(answer) if answer.status == 403 && answer.reason().as_deref() == Some(DECIDED[1]) => false,
                other => {
                    self.lost.lock().unwrap().push(format!("{request:?}: {other:?}"));
                    continue;
                }
            };
            self.samples.lock().unwrap().push(Sample { connection, began, ended: Instant::now(), allowed });
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn streams(&self, request: &Request, port: u16) {
        while !self.over.load(Ordering::Relaxed) {
            self.sent.fetch_add(1, Ordering::Relaxed);
            match KeepAlive::new(port).send(request) {
                Ok(answer) if is_whole_stream(&answer) => {
                    self.streams.fetch_add(1, Ordering::Relaxed);
                }
                other => self.lost.lock().unwrap().push(format!("{request:?}: {other:?}")),
            }
        }
    }
}

fn is_whole(answer: &Answer) -> bool {
    answer.body.ends_with(b"\"result\":{}}")
}

fn is_whole_stream(answer: &Answer) -> bool {
    let events = String::from_utf8_lossy(&answer.body).matches("data: {}\n\n").count();
    answer.status == 200 && events == EVENTS as usize
}

/// A verdict on [`TOOL`] that held from `written` until the next one was `seen`.
struct Verdict {
    allowed: bool,
    written: Instant,
    seen: Instant,
}

/// Sends a request on a connection of its own, and tells whether it is allowed.
fn ask(load: &Load, port: u16, request: &Request) -> bool {
    load.sent.fetch_add(1, Ordering::Relaxed);
    let answer = KeepAlive::new(port).send(request).unwrap();
    assert!(answer.status == 200 || answer.reason().as_deref() == Some(DECIDED[1]), "{answer:?}");
    answer.status == 200
}

#[test]
fn no_request_is_lost_over_twenty_changes() {
    let changes = Changes::default();
    let provider = Stub::start(provide);
    let second_issuer = Issuer::new("second");
    let second_keys = second_issuer.jwks().to_string();
    let second_provider = Stub::start(move |_| Reply::new(200, second_keys.clone()));
    let (upstream, moved) = (Stub::start(serve), Stub::start(serve));
    // No two documents are alike: Envoy takes one that it still has for the same.
    let number = AtomicUsize::new(0);
    let text = |flip: bool, more: &str| {
        let more = format!("{more}# change {}\n", number.fetch_add(1, Ordering::Relaxed));
        document(provider.port, &rules(flip), &more)
    };
    let gate = Dynamic::start(&changes, &text(true, ""), upstream.port);
    let port = gate.envoy.port;
    let token = KEYS.es256(&claims(&["dev"]));
    let flip = legacy_call(&token, TOOL);

    let load = Arc::new(Load::default());
    let mut threads = Vec::new();
    for request in [flip.clone(), modern_request(&token, TOOL)] {
        let (kept, fresh) = (Arc::clone(&load), Arc::clone(&load));
        let again = request.clone();
        threads.push(std::thread::spawn(move || {
            let mut connection = KeepAlive::new(port);
            kept.run("kept", &request, |request| connection.send(request));
            kept.connections.fetch_add(connection.connected as usize, Ordering::Relaxed);
        }));
        threads.push(std::thread::spawn(move || {
            fresh.run("new", &again, |request| KeepAlive::new(port).send(request));
        }));
    }
    for request in [legacy_call(&token, STREAM), modern_request(&token, STREAM)] {
        for _ in 0..2 {
            let (load, request) = (Arc::clone(&load), request.clone());
            threads.push(std::thread::spawn(move || load.streams(&request, port)));
        }
    }

    let all_say = |request: &Request, allowed: bool| (0..12).all(|_| ask(&load, port, request) == allowed);
    gate.wait("the load does not begin", SEEN_WITHIN, || all_say(&flip, true));
    let started = Instant::now();
    let mut verdicts = vec![Verdict { allowed: true, written: started, seen: started }];
    let mut took = Vec::new();
    let mut change = |what: &str, within: Duration, flipped: bool, apply: &dyn Fn()| {
        let written = Instant::now();
        apply();
        let time = gate.wait(what, within, || all_say(&flip, flipped));
        verdicts.push(Verdict { allowed: flipped, written, seen: Instant::now() });
        took.push((what.to_owned(), time));
        std::thread::sleep(FOLLOWS_WITHIN + Duration::from_millis(150));
    };
    let rendered = |text: &str, upstream: u16, module: &std::path::Path| {
        let output = gate.render(text, upstream, module);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let wasm = module();

    // 1 to 8: rules.
    for number in 0..8 {
        let allowed = number % 2 == 1;
        change("rules", SEEN_WITHIN, allowed, &|| rendered(&text(allowed, ""), upstream.port, &wasm));
    }
    // 9 to 11: faults that somebody put there by hand. The old rules stay.
    for (number, (from, to, told)) in [
        (
            "tools: [get_flip]",
            "tols: [get_flip]",
            "`rules[1].allow.tols`: there is no such field; did you mean `tools`?",
        ),
        ("rules:\n", "rules: [\n", "configuration refused: "),
        ("issuer: 'http://127.0.0.1:9400'", "issuer: 'ftp://x'", "`issuers[0].issuer` is \"ftp://x\""),
    ]
    .into_iter()
    .enumerate()
    {
        let rejected = "extension_config_discovery.http_filter.mcp_iap.update_rejected";
        change("a fault", SEEN_WITHIN, true, &|| {
            gate.edit_filter(from, to);
            gate.wait("not rejected", SEEN_WITHIN, || gate.stat(rejected) == number as u64 + 1);
            let log = gate.envoy.log();
            assert!(
                log.contains("Filesystem config update rejected") && log.contains(told),
                "{told}:\n{log}"
            );
            gate.edit_filter(to, from);
        });
    }
    // 12, 13: the command itself refuses a bad document, and writes a good one.
    change("a refused document", SEEN_WITHIN, true, &|| {
        let output = gate.render(&text(false, "").replace("id: flip", "di: flip"), upstream.port, &wasm);
        assert_eq!(output.status.code(), Some(1));
    });
    change("rules", SEEN_WITHIN, false, &|| rendered(&text(false, ""), upstream.port, &wasm));
    // 14, 15: the server moves, and back.
    change("the upstream", SEEN_WITHIN, true, &|| rendered(&text(true, ""), moved.port, &wasm));
    let is_moved = || !moved.seen().is_empty();
    assert!(is_moved(), "the cluster did not change");
    change("the upstream", SEEN_WITHIN, false, &|| rendered(&text(false, ""), upstream.port, &wasm));
    // 16, 17: the listener's own settings.
    for (bytes, allowed) in [(3_000_000, true), (2_000_000, false)] {
        let limits = format!("limits: {{ body_bytes: {bytes} }}\n");
        change("the listener", SEEN_WITHIN, allowed, &|| {
            rendered(&text(allowed, &limits), upstream.port, &wasm);
        });
    }
    assert_eq!(gate.stat("listener_manager.listener_modified"), 2);
    // 18: another issuer, with a cluster of its own.
    let mut theirs = claims(&["dev"]);
    theirs["iss"] = json!(SECOND);
    let by_second = legacy_call(&second_issuer.es256(&theirs), TOOL);
    let with_second = |flip: bool| {
        let second = format!(
            "issuers:\n  - {{ issuer: '{SECOND}', jwks_uri: 'http://127.0.0.1:{}/jwks', insecure_http: true }}\n",
            second_provider.port
        );
        text(flip, "").replace("issuers:\n", &second)
    };
    change("an issuer", SEEN_WITHIN, true, &|| {
        rendered(&with_second(true), upstream.port, &wasm);
        gate.wait("the issuer is not taken", SEEN_WITHIN, || {
            load.sent.fetch_add(1, Ordering::Relaxed);
            let is_taken = by_second.send(port).status == 200;
            load.too_early.fetch_add(usize::from(!is_taken), Ordering::Relaxed);
            is_taken
        });
    });
    // 19: a new module.
    let next = gate.other_module();
    change("a new module", COMPILED_WITHIN, false, &|| {
        rendered(&with_second(false), upstream.port, &next);
    });
    // 20: and rules behind it.
    change("rules", SEEN_WITHIN, true, &|| rendered(&with_second(true), upstream.port, &next));

    let lasted = started.elapsed();
    load.over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(took.len(), 20);
    let lost = load.lost.lock().unwrap();
    assert!(lost.is_empty(), "{} lost: {:#?}\n{}", lost.len(), &lost[..lost.len().min(5)], gate.envoy.log());
    check_verdicts(&load.samples.lock().unwrap(), &verdicts);
    check_envoy(&gate, &load);
    let samples = load.samples.lock().unwrap().len();
    let streams = load.streams.load(Ordering::Relaxed);
    assert!(samples > 1000 && streams >= 20, "{samples} calls, {streams} streams: too few to show anything");
    let kept = load.connections.load(Ordering::Relaxed);
    println!(
        "{samples} calls on {kept} kept and many new connections, {streams} event streams, none lost, in {lasted:?}"
    );
    for (what, time) in took {
        println!("  {what:20} seen by all after {time:?}");
    }
}

/// A call's verdict is one that held at some moment while it was under way.
fn check_verdicts(samples: &[Sample], verdicts: &[Verdict]) {
    for sample in samples {
        let held = |(index, verdict): (usize, &Verdict)| {
            let until = verdicts.get(index + 1).map(|next| next.seen + FOLLOWS_WITHIN);
            let is_under_way =
                verdict.written <= sample.ended && until.is_none_or(|until| until >= sample.began);
            is_under_way && verdict.allowed == sample.allowed
        };
        if sample.began >= verdicts[0].written && !verdicts.iter().enumerate().any(held) {
            let since = |at: Instant| format!("{:?}", sample.began.saturating_duration_since(at));
            let last = verdicts.iter().rposition(|verdict| verdict.written <= sample.began).unwrap();
            panic!(
                "allowed: {} on a {} connection, by a verdict that did not hold any more, or not yet; change {last} was written {} and seen {} before",
                sample.allowed,
                sample.connection,
                since(verdicts[last].written),
                since(verdicts[last].seen)
            );
        }
    }
}

/// Envoy itself saw nothing go wrong, and has one decided record for each request.
fn check_envoy(gate: &Dynamic, load: &Load) {
    let sent = load.sent.load(Ordering::Relaxed);
    let lines = gate.envoy.access_lines(sent);
    assert_eq!(lines.len(), sent, "one line a request");
    let mut others = BTreeMap::new();
    for line in &lines {
        let records = line["mcp_iap"].as_array().unwrap();
        assert_eq!(records.len(), 1, "one record a line: {line}");
        let reason = records[0]["reason"].as_str().unwrap_or_default();
        if !DECIDED.contains(&reason) {
            *others.entry(reason.to_owned()).or_insert(0) += 1;
        }
    }
    // Whoever has the second issuer's token is refused until that issuer and its keys are known.
    let too_early = load.too_early.load(Ordering::Relaxed);
    assert_eq!(others.values().sum::<usize>(), too_early, "undecided: {others:?}");
    assert!(
        others
            .keys()
            .all(|reason| ["unknown_issuer", "identity_provider_unavailable"].contains(&reason.as_str())),
        "{others:?}"
    );
    let failed = others.get("identity_provider_unavailable").copied().unwrap_or(0);
    assert_eq!(gate.stat("http.mcp.downstream_rq_5xx"), failed as u64);
    for counter in [
        "listener_manager.listener_create_failure",
        "listener_manager.lds.update_rejected",
        "cluster_manager.cds.update_rejected",
    ] {
        assert_eq!(gate.stat(counter), 0, "{counter}");
    }
    assert!(!gate.envoy.log().contains("panicked"), "{}", gate.envoy.log());
    // What a change leaves behind goes with its last request.
    let active = || gate.stat("wasm.envoy.wasm.runtime.v8.active");
    gate.wait("VMs of earlier configurations live on", SEEN_WITHIN, || active() <= 4);
}

/// The new filter knows no keys yet, the old one may be waiting for them: both get theirs, and decide.
#[test]
fn requests_wait_for_keys_across_a_change() {
    let delay = Duration::from_millis(700);
    let provider = Stub::start(move |seen| provide(seen).after(delay));
    let upstream = Stub::start(serve);
    let text = |flip: bool| document(provider.port, &rules(flip), "");
    let gate = Dynamic::start(&Changes::default(), &text(true), upstream.port);
    let port = gate.envoy.port;
    // A key that nobody has seen: the old filter has to fetch.
    let mut late = claims(&["dev"]);
    late["sub"] = json!("late");
    let renewed = Arc::new(Issuer::new("renewed"));
    let before = legacy_call(&KEYS.es256(&claims(&["dev"])), TOOL);
    gate.wait("no keys", SEEN_WITHIN, || before.send(port).status == 200);
    let keys = Arc::clone(&renewed);
    provider.script(move |_| Reply::new(200, keys.jwks().to_string()).after(delay));
    let request = legacy_call(&renewed.es256(&late), TOOL);
    let send_ten = || -> Vec<_> { (0..10).map(|_| request.start(port)).collect() };
    let waiting = send_ten();
    std::thread::sleep(Duration::from_millis(150));

    let output = gate.render(&text(false), upstream.port, &module());
    assert!(output.status.success());
    let reloads = "extension_config_discovery.http_filter.mcp_iap.config_reload";
    gate.wait("not taken", SEEN_WITHIN, || gate.stat(reloads) == 2);
    let behind = send_ten();
    for old in waiting {
        let answer = crate::client::finish(old);
        assert_eq!(answer.status, 200, "decided by the rules that it came under: {answer:?}");
    }
    for new in behind {
        let answer = crate::client::finish(new);
        assert_eq!(answer.reason().as_deref(), Some("no_rule_allows"), "by the new ones: {answer:?}");
    }
    let lines = gate.envoy.access_lines(20);
    let statuses: Vec<_> = lines.iter().rev().take(20).map(|line| line["status"].clone()).collect();
    assert!(statuses.iter().all(|status| *status == 200 || *status == 403), "{statuses:?}");
}

/// The workers' shared keys outlive the filter: a change while the issuer is down refuses nobody.
#[test]
fn keys_outlive_a_change() {
    let provider = Stub::start(provide);
    let upstream = Stub::start(serve);
    let text = |number: u32| document(provider.port, &rules(true), &format!("# {number}\n"));
    let gate = Dynamic::start(&Changes::default(), &text(0), upstream.port);
    let port = gate.envoy.port;
    let request = legacy_call(&KEYS.es256(&claims(&["dev"])), TOOL);
    gate.wait("no keys", SEEN_WITHIN, || request.send(port).status == 200);
    provider.script(|_| Reply::new(503, ""));
    provider.forget();
    for number in 1..4 {
        assert!(gate.render(&text(number), upstream.port, &module()).status.success());
        let reloads = "extension_config_discovery.http_filter.mcp_iap.config_reload";
        gate.wait("not taken", SEEN_WITHIN, || gate.stat(reloads) > u64::from(number));
        for _ in 0..6 {
            let answer = request.send(port);
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    assert!(provider.seen().is_empty(), "keys that are there are not fetched: {:?}", provider.seen());
}

/// From one resource to two and back: the first one's server is known by another name then, and is never missed, nor
/// does a request for one resource reach the other's server.
#[test]
fn a_second_resource_comes_and_goes() {
    const OTHER: &str = "http://127.0.0.1:10000/other";
    let provider = Stub::start(provide);
    let (upstream, others) = (Stub::start(serve), Stub::start(serve));
    let one = document(provider.port, &rules(true), "");
    let resources = format!(
        "resources:\n  - {{ resource: {OTHER}, rules: [] }}\n  - resource: {RESOURCE}\n    rules:\n      - {{ id: flip, allow: {{ tools: [{TOOL}] }} }}\n"
    );
    let issuers = one.lines().skip(1).take(2).map(|line| format!("{line}\n")).collect::<String>();
    let several = format!("{issuers}{resources}");
    let gate = Dynamic::start(&Changes::default(), &one, upstream.port);
    let port = gate.envoy.port;
    let flip = legacy_call(&KEYS.es256(&claims(&["dev"])), TOOL);
    let load = Arc::new(Load::default());
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (load, flip) = (Arc::clone(&load), flip.clone());
            std::thread::spawn(move || load.run("new", &flip, |request| KeepAlive::new(port).send(request)))
        })
        .collect();
    let mut elsewhere = Request::new("POST", "/other");
    elsewhere.headers.clone_from(&flip.headers);
    elsewhere.body.clone_from(&flip.body);
    for _ in 0..3 {
        let output = gate.render_several(&several, &[(OTHER, others.port), (RESOURCE, upstream.port)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        gate.wait("no second resource", SEEN_WITHIN, || elsewhere.send(port).status == 401);
        let output = gate.render(&one, upstream.port, &module());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        gate.wait("still a second resource", SEEN_WITHIN, || elsewhere.send(port).status == 404);
    }
    load.over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let lost = load.lost.lock().unwrap();
    assert!(lost.is_empty(), "{} lost: {:#?}\n{}", lost.len(), &lost[..lost.len().min(3)], gate.envoy.log());
    assert!(load.samples.lock().unwrap().len() > 100);
    assert!(others.seen().is_empty(), "a request reached the other resource's server");
}

/// Envoy starts with a filter that it refuses: it has none, and lets nothing pass.
#[test]
fn a_fault_at_the_start_lets_nothing_pass() {
    let provider = Stub::start(provide);
    let upstream = Stub::start(serve);
    let text = document(provider.port, &rules(true), "");
    let gate = Dynamic::start_edited(&Changes::default(), &text, upstream.port, "rules:", "rulse:");
    let port = gate.envoy.port;
    let request = legacy_call(&KEYS.es256(&claims(&["dev"])), TOOL);
    assert_eq!(request.send(port).status, 500);
    assert_eq!(Request::new("GET", "/").send(port).status, 500);
    assert!(upstream.seen().is_empty());
    let told = "configuration refused: `rulse`: there is no such field; did you mean `rules`?";
    assert!(gate.envoy.log().contains(told), "{}", gate.envoy.log());
    gate.edit_filter("rulse:", "rules:");
    gate.wait("mended, and still refused", COMPILED_WITHIN, || request.send(port).status == 200);
}
