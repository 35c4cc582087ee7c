//! Rates that count for all Envoys together: `envoy/global-rate.yaml` as it stands, with ports of this run, on an Envoy
//! of the newest and one of the oldest version, which share a rate limit service (a stand-in, `rate_limit_service.rs`).

use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy, binary, free_port, root, scratch};
use crate::explained::line_is_explained;
use crate::rate_limit_service::{Manner, Service};
use crate::rendered::{option, render};
use crate::stub::{Reply, Stub};
use crate::world::{ISSUER, KEYS, RESOURCE, call, claims, modern, modern_call, post, provide};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const TOOL: &str = "scale_deployment";

/// The shipped limits.
fn limits() -> String {
    std::fs::read_to_string(root().join("envoy/rate-limit-service/global-rate.yaml")).unwrap()
}

/// The shipped file, with another text in the place of one in it.
fn envoy(which: &str, upstream: u16, provider: u16, service: u16, change: (&str, &str)) -> Envoy {
    let changes = Changes { binary: Some(binary(which)), ..Changes::default() };
    Envoy::run(&changes, |port, admin| {
        let mut text = std::fs::read_to_string(root().join("envoy/global-rate.yaml")).unwrap();
        let wasm = root().join("dist/mcp_iap.wasm");
        for (from, to) in [
            ("port_value: 10000", format!("port_value: {port}")),
            ("port_value: 9901", format!("port_value: {admin}")),
            ("port_value: 8000", format!("port_value: {upstream}")),
            ("port_value: 9400", format!("port_value: {provider}")),
            ("port_value: 8081", format!("port_value: {service}")),
            ("filename: dist/mcp_iap.wasm", format!("filename: {}", wasm.display())),
            (change.0, change.1.to_owned()),
        ] {
            assert!(text.contains(from), "the shipped file has no `{from}`");
            text = text.replace(from, &to);
        }
        text
    })
}

const AS_IT_IS: (&str, &str) = ("http_filters:", "http_filters:");

fn upstream() -> Stub {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    Stub::start(move |_| Reply::new(200, body).header("content-type: application/json"))
}

fn token(subject: &str, client: &str) -> String {
    let mut claims = claims(&["sre"]);
    claims["sub"] = json!(subject);
    claims["client_id"] = json!(client);
    KEYS.es256(&claims)
}

fn scale(token: &str) -> Request {
    post(token, call(TOOL, &json!({})))
}

fn reason(answer: &Answer) -> String {
    answer.reason().unwrap_or_default()
}

/// The record of the only line for a decision, and its status.
fn record(envoy: &Envoy, count: usize, place: usize) -> (Value, Value) {
    let lines = envoy.access_lines(count);
    assert_eq!(lines.len(), count, "one line a request: {lines:#?}");
    let line = &lines[place];
    assert_eq!(line["mcp_iap"].as_array().unwrap().len(), 1, "{line}");
    line_is_explained(envoy, line);
    (line["mcp_iap"][0].clone(), line["status"].clone())
}

#[test]
fn two_envoys_count_together() {
    let (provider, upstream) = (Stub::start(provide), upstream());
    let service = Service::start(&limits(), Manner::Counts, None);
    let start = |which| envoy(which, upstream.port, provider.port, service.port, AS_IT_IS);
    let envoys = [start("ENVOY"), start("ENVOY_OLDEST")];
    let sam = token("sam", "agent");
    for envoy in &envoys {
        let read = post(&sam, call("get_pods", &json!({}))).send(envoy.port);
        assert_eq!(read.status, 200, "{read:?}\n{}", envoy.log());
    }
    assert!(service.seen().is_empty(), "who reads is not counted");
    upstream.forget();

    // Through both in turn, by clients of both eras.
    let answers: Vec<_> = (0..30)
        .map(|n| {
            let modern = modern(post(&sam, modern_call(TOOL, &json!({}))), TOOL);
            let request = if n % 3 == 0 { modern } else { scale(&sam) };
            request.send(envoys[n % 2].port)
        })
        .collect();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [vec![200; 20], vec![429; 10]].concat(), "{}", envoys[0].log());
    for refused in &answers[20..] {
        assert_eq!(reason(refused), "rate_limited", "{refused:?}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(refused.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!((&body["error"]["code"], &body["id"]), (&json!(429), &json!(1)));
        assert_eq!(body["error"]["message"], "Twenty changes a minute; for more ask in #platform.");
    }

    // What the service and the server were told: nobody's name, and nothing in the open.
    let seen = service.seen();
    assert_eq!(seen.len(), 30);
    assert!(seen.iter().all(|descriptor| *descriptor == seen[0]), "{seen:?}");
    let texts: Vec<_> = seen[0].iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let [("resource", RESOURCE), ("rule", "scales"), ("caller", caller)] = texts[..] else {
        panic!("{texts:?}")
    };
    assert!(caller.len() == 32 && caller.bytes().all(|b| b.is_ascii_hexdigit()), "{caller}");
    let forwarded = upstream.seen();
    assert_eq!(forwarded.len(), 20, "of a refused call the server sees nothing");
    for seen in &forwarded {
        let text = format!("{:?}", seen.headers);
        assert!(!text.contains("rate") && !text.contains(caller), "{text}");
    }

    // One record each, which says how it ended.
    for (envoy, refused) in envoys.iter().zip([5, 5]) {
        let (last, status) = record(envoy, 16, 15);
        assert_eq!(status, 429);
        assert_eq!(
            (&last["outcome"], &last["reason"]),
            (&json!("refused"), &json!("rate_limited")),
            "{last}"
        );
        assert_eq!((&last["rule"], &last["tool"]), (&json!("scales"), &json!(TOOL)), "{last}");
        assert_eq!((&last["upstream_status"], &last["caller"]["subject"]), (&Value::Null, &json!("sam")));
        let count = "mcp_iap_requests{outcome=\"refused\",reason=\"rate_limited\"}";
        assert_eq!(envoy.metric(count), Some(refused));
        assert!(!envoy.log().contains("nobody seems to count"), "{}", envoy.log());
    }

    // Nothing that a client sends makes him another caller, and another caller is one.
    let forged = ["caller", "wasm.mcp-iap-rate-caller", "x-mcp-iap-rate-caller", "x-ratelimit-limit"];
    let forging = forged.iter().fold(scale(&sam), |request, name| request.header(name, "somebody"));
    for request in [forging, scale(&token("sam", "another"))] {
        assert_eq!(reason(&request.send(envoys[0].port)), "rate_limited");
        assert_eq!(service.seen().last(), seen.first());
    }
    assert_eq!(scale(&token("kim", "agent")).send(envoys[1].port).status, 200);
    assert_ne!(service.seen().last(), seen.first());
}

/// What several rules allow is counted by each, and refused where one of them has nothing left.
#[test]
fn what_two_rules_allow_is_counted_by_both() {
    let (provider, upstream) = (Stub::start(provide), upstream());
    let rules = [("docs", "docs://*", 3), ("wiki", "wiki://*", 1)].map(|(id, uri, calls)| {
        format!(
            "  - {{ id: {id}, allow: {{ resources: ['{uri}'] }}, rate: {{ calls: {calls}, per: 1h, global: true }} }}\n"
        )
    });
    let document = format!(
        "resource: {RESOURCE}\nissuers:\n  - {{ issuer: '{ISSUER}', jwks_uri: 'http://127.0.0.1:{}/jwks', \
         insecure_http: true, cluster: keys }}\nrules:\n{}",
        provider.port,
        rules.concat()
    );
    let folder = scratch();
    let file = folder.join("limited.yaml");
    std::fs::write(&file, &document).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    let limits = command.args(["render", "rate-limit-service"]).arg(&file).output().unwrap();
    let limits = String::from_utf8(limits.stdout).unwrap();
    let sam = token("sam", "agent");
    let listen = |uris: &[&str]| {
        let params = json!({"notifications": {"resourceSubscriptions": uris}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params});
        post(&sam, body.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "subscriptions/listen")
    };
    for which in ["ENVOY", "ENVOY_OLDEST"] {
        let service = Service::start(&limits, Manner::Counts, None);
        let options = [
            option("--upstream", &format!("http://127.0.0.1:{}", upstream.port)),
            option("--rate-limit-service", &format!("http://127.0.0.1:{}", service.port)),
        ]
        .concat();
        let changes = Changes { binary: Some(binary(which)), ..Changes::default() };
        let envoy = Envoy::run(&changes, |port, admin| render(&folder, &document, port, admin, &options));
        let told = |uris: &[&str]| {
            let answer = listen(uris).send(envoy.port);
            let counted: Vec<_> = service.seen().iter().map(|all| all[1].1.clone()).collect();
            (answer.status, reason(&answer), counted)
        };
        let (none, [docs, wiki]) = (String::new(), ["docs", "wiki"].map(str::to_owned));
        let mut counted = vec![docs.clone(), wiki.clone()];
        assert_eq!(told(&["docs://a", "wiki://b"]), (200, none.clone(), counted.clone()), "{}", envoy.log());
        // The second has none left, whichever comes first.
        for uris in [["docs://a", "wiki://b"], ["wiki://b", "docs://a"]] {
            counted.extend(uris.map(|uri| if uri.starts_with("docs") { docs.clone() } else { wiki.clone() }));
            assert_eq!(told(&uris), (429, "rate_limited".to_owned(), counted.clone()), "{uris:?}");
        }
        assert_eq!(told(&["wiki://b"]).0, 429);
        upstream.forget();
        // Of docs each of these took one, as services count what they refuse.
        assert_eq!(told(&["docs://a"]).0, 429);
        assert!(upstream.seen().is_empty());
        assert!(!envoy.log().contains("nobody seems to count"), "{}", envoy.log());
    }
}

/// While it can't be counted it is refused, and what is not counted goes on.
#[test]
fn what_can_not_be_counted_is_refused() {
    let (provider, upstream) = (Stub::start(provide), upstream());
    let sam = token("sam", "agent");
    for which in ["ENVOY", "ENVOY_OLDEST"] {
        let port = free_port();
        let envoy = envoy(which, upstream.port, provider.port, port, AS_IT_IS);
        let manners = [None, Some(Manner::Late), Some(Manner::Fails), Some(Manner::Garbled)];
        for (round, manner) in (1..).zip(manners) {
            let service = manner.map(|manner| Service::start(&limits(), manner, Some(port)));
            upstream.forget();
            let refused = scale(&sam).send(envoy.port);
            let told = (refused.status, reason(&refused));
            assert_eq!(told, (503, "rate_limit_unavailable".to_owned()), "{manner:?}: {refused:?}");
            assert_eq!(refused.header("retry-after"), Some("2"));
            assert!(upstream.seen().is_empty(), "{manner:?}");
            let (last, status) = record(&envoy, 2 * round - 1, 2 * round - 2);
            assert_eq!((&status, &last["outcome"]), (&json!(503), &json!("refused")), "{last}");
            assert_eq!(
                (&last["reason"], &last["rule"]),
                (&json!("rate_limit_unavailable"), &json!("scales"))
            );
            let read = post(&sam, call("get_pods", &json!({}))).send(envoy.port);
            assert_eq!(read.status, 200, "{manner:?}");
            drop(service);
        }
        let service = Service::start(&limits(), Manner::Counts, Some(port));
        let deadline = Instant::now() + Duration::from_secs(20);
        while scale(&sam).send(envoy.port).status != 200 {
            assert!(Instant::now() < deadline, "{}", envoy.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(!service.seen().is_empty());
    }
}

/// Without the rate limit filter, or with a service that has no such limit, nothing holds: Envoy's log says so, once.
#[test]
fn that_nobody_counts_is_told() {
    let (provider, upstream) = (Stub::start(provide), upstream());
    let service = Service::start("domain: mcp-iap\ndescriptors: []\n", Manner::Counts, None);
    let sam = token("sam", "agent");
    let elsewhere = ("wasm.mcp_iap_rate_rule", "wasm.elsewhere");
    for (change, is_asked) in [(AS_IT_IS, true), (elsewhere, false)] {
        let envoy = envoy("ENVOY", upstream.port, provider.port, service.port, change);
        let asked = service.seen().len();
        for _ in 0..3 {
            assert_eq!(scale(&sam).send(envoy.port).status, 200);
        }
        assert_eq!(service.seen().len() > asked, is_asked);
        let told = "a call went on whose rate nobody seems to count, that of the rule `scales`";
        // Each worker once.
        let count = envoy.log().matches(told).count();
        assert!((1..=2).contains(&count), "{}", envoy.log());
    }
}
