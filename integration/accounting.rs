//! Every way in which a request can end: one line, whoever ended it, with Envoy's word for how and, where the filter saw
//! something of it, one record. What `mcp-iap audit` makes of these lines stands at the end.

use crate::client::{Request, read_answer};
use crate::envoy::{Changes, binary, free_port, scratch};
use crate::stub::Reply;
use crate::world::{KEYS, World, call, claims, post};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// What the line must say: status, flags, the beginning of the details, and outcome and reason where there is a record.
type Expected = (u16, &'static str, &'static str, Option<(&'static str, &'static str)>);
type Row = (&'static str, fn(&World), Expected);

const fn recorded(outcome: &'static str, reason: &'static str) -> Option<(&'static str, &'static str)> {
    Some((outcome, reason))
}

fn good() -> Request {
    with_body(call("get_pods", &json!({})))
}

/// Waits for a whole answer, or for the connection's end: who leaves earlier is a client that left.
fn wait(stream: TcpStream) {
    let _ = read_answer(stream);
}

/// Waits for all of an answer, whole or not.
fn wait_long(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn send(world: &World, request: &Request) {
    wait(request.start(world.envoy.port));
}

/// Leaves when Envoy has what was sent.
fn leave(stream: TcpStream) {
    std::thread::sleep(Duration::from_millis(300));
    drop(stream);
}

/// Sends lines of a head and the empty one behind them.
fn head(world: &World, lines: &str) {
    let mut stream = connect(world);
    let _ = stream.write_all(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes());
    wait(stream);
}

/// A connection with half a head.
fn half_a_head(world: &World) -> TcpStream {
    let mut stream = connect(world);
    let _ = stream.write_all(b"GET /mcp HTTP/1.1\r\nhost");
    stream
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", world.envoy.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn with_body(body: impl Into<Vec<u8>>) -> Request {
    post(&KEYS.rs256(&claims(&["dev"])), body)
}

/// An answer of which the first event is there, and the rest never comes.
fn endless(world: &World) {
    world.upstream.script(|_| Reply::events("{}", 10_000, Duration::from_millis(20)));
}

fn upstream_writes(world: &World, bytes: &'static [u8]) {
    world.upstream.script(move |_| Reply::wire(move |out| out.write_all(bytes)));
}

/// When a client gives a stream of HTTP/2 up.
#[derive(Clone, Copy, PartialEq)]
enum Reset {
    BeforeBody,
    WithinBody,
    WhileWaiting,
    WithinAnswer,
}

fn reset(world: &World, when: Reset) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = call("get_pods", &json!({}));
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", world.envoy.port)).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = http::Request::post("http://mcp.example.com/mcp")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", KEYS.rs256(&claims(&["dev"]))))
            .body(())
            .unwrap();
        let (answer, mut sender) = client.send_request(request, false).unwrap();
        let pause = || tokio::time::sleep(Duration::from_millis(200));
        match when {
            Reset::BeforeBody => {}
            Reset::WithinBody => sender.send_data(Bytes::from(body[..20].to_owned()), false).unwrap(),
            Reset::WhileWaiting | Reset::WithinAnswer => {
                sender.send_data(Bytes::from(body), true).unwrap();
            }
        }
        if when == Reset::WithinAnswer {
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        pause().await;
        sender.send_reset(h2::Reason::CANCEL);
        pause().await;
        connection.abort();
    });
}

/// An answer that takes so long.
fn slow(world: &World) {
    world.upstream.script(|_| Reply::new(200, "{}").after(Duration::from_secs(5)));
}

fn status(world: &World, status: u16) {
    world.upstream.script(move |_| Reply::new(status, "{}"));
    send(world, &good());
}

const NOT_SEEN: Option<(&str, &str)> = recorded("aborted", "not_seen");
const GONE: Option<(&str, &str)> = recorded("aborted", "client_gone");
const ENDED: Option<(&str, &str)> = recorded("aborted", "ended_by_envoy");
const ALLOWED: Option<(&str, &str)> = recorded("allowed", "allowed");

const fn refused(reason: &'static str) -> Option<(&'static str, &'static str)> {
    recorded("refused", reason)
}

/// On the shipped file with shorter times and a smaller buffer.
const ROWS: &[Row] = &[
    // Envoy refuses what it can't read, or does not take.
    ("no HTTP", |w| head(w, "\x16\x03\x01 nonsense"), (400, "DPE", "http1.codec_error", NOT_SEEN)),
    (
        "two lengths",
        |w| head(w, "POST /mcp HTTP/1.1\nhost: x\ncontent-length: 1, 2"),
        (400, "DPE", "http1.codec_error", NOT_SEEN),
    ),
    (
        "a length and chunks",
        |w| head(w, "POST /mcp HTTP/1.1\nhost: x\ncontent-length: 1\ntransfer-encoding: chunked"),
        (400, "DPE", "http1.content_length_and_chunked_not_allowed", NOT_SEEN),
    ),
    (
        "a NUL in a header",
        |w| head(w, "GET /mcp HTTP/1.1\nhost: x\nx: a\0b"),
        (400, "DPE", "http1.invalid_characters", NOT_SEEN),
    ),
    (
        "a huge head",
        |w| send(w, &good().header("x", "x".repeat(100_000))),
        (431, "DPE", "http1.headers_too_large", NOT_SEEN),
    ),
    (
        "many headers",
        |w| send(w, &(0..120).fold(good(), |r, _| r.header("x", "y"))),
        (431, "DPE", "http1.too_many_headers", NOT_SEEN),
    ),
    ("HTTP/1.0", |w| head(w, "GET /mcp HTTP/1.0\nhost: x"), (426, "DPE", "low_version", NOT_SEEN)),
    ("no host", |w| head(w, "GET /mcp HTTP/1.1"), (400, "-", "missing_host_header", NOT_SEEN)),
    (
        "an upgrade",
        |w| head(w, "GET /mcp HTTP/1.1\nhost: x\nconnection: upgrade\nupgrade: websocket"),
        (403, "-", "upgrade_failed", NOT_SEEN),
    ),
    ("half a head, and no more", |w| wait(half_a_head(w)), (408, "-", "request_header_timeout", NOT_SEEN)),
    // There is no request yet that the filter could see.
    ("half a head, and gone", |w| leave(half_a_head(w)), (0, "DC", "downstream_remote_disconnect", None)),
    // The filter refuses, or answers.
    (
        "CONNECT",
        |w| head(w, "CONNECT x:1 HTTP/1.1\nhost: x:1"),
        (400, "-", "mcp_iap_malformed_head", refused("malformed_head")),
    ),
    (
        "another path",
        |w| send(w, &Request::new("GET", "/nowhere")),
        (404, "-", "mcp_iap_unknown_path", refused("unknown_path")),
    ),
    (
        "another method",
        |w| send(w, &Request::new("PUT", "/mcp")),
        (405, "-", "mcp_iap_method_not_allowed", refused("method_not_allowed")),
    ),
    (
        "no token",
        |w| send(w, &good().without("authorization")),
        (401, "-", "mcp_iap_missing_token", refused("missing_token")),
    ),
    ("no JSON", |w| send(w, &with_body("{")), (400, "-", "mcp_iap_invalid_json", refused("invalid_json"))),
    (
        "no rule",
        |w| send(w, &with_body(call("x", &json!({})))),
        (403, "-", "mcp_iap_no_rule_allows", refused("no_rule_allows")),
    ),
    (
        "too long",
        |w| send(w, &with_body("x".repeat(1_000_001))),
        (413, "-", "mcp_iap_body_too_large", refused("body_too_large")),
    ),
    (
        "metadata",
        |w| send(w, &Request::new("GET", "/.well-known/oauth-protected-resource")),
        (200, "-", "mcp_iap_metadata", recorded("answered", "metadata")),
    ),
    // Envoy ends what the filter has not decided yet, or the client does.
    (
        "above the buffer",
        |w| send(w, &with_body("x".repeat(500_000)).chunked(1000)),
        (413, "-", "request_payload_too_large", ENDED),
    ),
    (
        "half a body, and no more",
        |w| wait(good().start_with_half_a_body(w.envoy.port)),
        (408, "-", "request_overall_timeout", ENDED),
    ),
    (
        "half a body, and gone",
        |w| leave(good().start_with_half_a_body(w.envoy.port)),
        (0, "DC", "downstream_remote_disconnect", GONE),
    ),
    ("HTTP/2, reset before the body", |w| reset(w, Reset::BeforeBody), (0, "DR", "http2.remote_reset", GONE)),
    ("HTTP/2, reset within the body", |w| reset(w, Reset::WithinBody), (0, "DR", "http2.remote_reset", GONE)),
    // The client does after the decision.
    (
        "gone before the answer",
        |w| {
            slow(w);
            leave(good().start(w.envoy.port));
        },
        (0, "DC", "downstream_remote_disconnect", ALLOWED),
    ),
    (
        "gone within the answer",
        |w| {
            endless(w);
            leave(good().start(w.envoy.port));
        },
        (200, "DC", "downstream_remote_disconnect", ALLOWED),
    ),
    (
        "HTTP/2, reset before the answer",
        |w| {
            slow(w);
            reset(w, Reset::WhileWaiting);
        },
        (0, "DR", "http2.remote_reset", ALLOWED),
    ),
    (
        "HTTP/2, reset within the answer",
        |w| {
            endless(w);
            reset(w, Reset::WithinAnswer);
        },
        (200, "DR", "http2.remote_reset", ALLOWED),
    ),
    // What the upstream does.
    ("allowed", |w| send(w, &good()), (200, "-", "via_upstream", ALLOWED)),
    ("401 of the upstream", |w| status(w, 401), (401, "-", "via_upstream", ALLOWED)),
    ("429 of the upstream", |w| status(w, 429), (429, "-", "via_upstream", ALLOWED)),
    ("503 of the upstream", |w| status(w, 503), (503, "-", "via_upstream", ALLOWED)),
    (
        "the upstream resets",
        |w| {
            upstream_writes(w, b"");
            send(w, &good());
        },
        (503, "UC", "upstream_reset_before_response_started{connection_termination}", ALLOWED),
    ),
    (
        "the upstream speaks no HTTP",
        |w| {
            upstream_writes(w, b"nonsense\r\n\r\n");
            send(w, &good());
        },
        (502, "UPE", "upstream_reset_before_response_started{protocol_error}", ALLOWED),
    ),
    (
        "the upstream resets within the answer",
        |w| {
            upstream_writes(w, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
            wait_long(good().start(w.envoy.port));
        },
        (200, "UPE", "upstream_reset_after_response_started{protocol_error}", ALLOWED),
    ),
    (
        "the upstream does not answer",
        |w| {
            slow(w);
            send(w, &good());
        },
        (504, "UT", "response_timeout", ALLOWED),
    ),
    (
        "the upstream does not end",
        |w| {
            endless(w);
            wait_long(good().start(w.envoy.port));
        },
        (200, "UT", "response_timeout", ALLOWED),
    ),
];

/// What a line says, as a row expects it.
fn said(line: &Value) -> String {
    let record = &line["mcp_iap"][0];
    format!(
        "{} {} {} {}/{}",
        line["status"], line["flags"], line["details"], record["outcome"], record["reason"]
    )
}

fn wanted((status, flags, details, record): &Expected) -> String {
    let (outcome, reason) = record.map_or((Value::Null, Value::Null), |(o, r)| (json!(o), json!(r)));
    format!("{status} {:?} {:?} {outcome}/{reason}", flags, details)
}

/// Each row is one line, which says what it must; all lines.
fn account(world: &World, rows: &[Row]) -> Vec<Value> {
    let mut count = world.envoy.access_lines(0).len();
    let mut faults = Vec::new();
    for (name, act, expected) in rows {
        world.upstream.script(|_| Reply::new(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
        act(world);
        let lines = world.envoy.access_lines(count + 1);
        let new: Vec<_> = lines[count..].iter().map(said).collect();
        if new != [wanted(expected)] {
            faults.push(format!("{name}: {new:?}, not {}", wanted(expected)));
        }
        count = lines.len();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world.envoy.access_lines(count)
}

fn changes(envoy: &str) -> Changes {
    let replace = vec![
        ("request_headers_timeout: 10s", "request_headers_timeout: 1s".to_owned()),
        ("request_timeout: 60s", "request_timeout: 2s".to_owned()),
        ("timeout: 0s", "timeout: 3s".to_owned()),
        ("per_connection_buffer_limit_bytes: 1048576", "per_connection_buffer_limit_bytes: 32768".to_owned()),
    ];
    Changes { replace, binary: Some(binary(envoy)), ..Changes::default() }
}

/// `mcp-iap audit` of these lines: what it prints, and what it says beside.
pub fn audit(lines: &[Value]) -> (String, String) {
    audit_of(lines, &[])
}

/// The same, for what is asked.
fn audit_of(lines: &[Value], options: &[&str]) -> (String, String) {
    let file = scratch().join("access.jsonl");
    std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_mcp-iap")).arg("audit").arg(file).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_end_is_one_line() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let world = World::new(&changes(envoy));
        assert_eq!(good().send(world.envoy.port).status, 200);
        let lines = account(&world, ROWS);
        let (table, said) = audit(&lines);
        assert_eq!(
            table.lines().count(),
            lines.len(),
            "a header, and all but the one without a record: {table}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("mcp-iap: 1 line has no record"), "{said}");
        let (failed, _) = audit_of(&lines, &["--status", "failed", "-o", "json"]);
        let without = |line: &&Value| line["mcp_iap"] == json!([]);
        for line in lines.iter().filter(without) {
            assert!(failed.lines().any(|one| one.parse::<Value>().unwrap() == *line), "{failed}");
        }
        // The counters have them as well.
        let counted = world.envoy.metric("mcp_iap_requests{outcome=\"aborted\",reason=\"not_seen\"}");
        let not_seen = ROWS.iter().filter(|(.., expected)| expected.3 == NOT_SEEN).count();
        assert_eq!(counted, Some(not_seen as u64));
    }
}

/// What stands before the filter, or behind it, and answers by itself.
#[test]
fn what_others_answer_is_one_line() {
    let filter = "          http_filters:\n";
    let limit = "          - name: envoy.filters.http.local_ratelimit
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: { max_tokens: 1, fill_interval: 3600s }
              filter_enabled: { default_value: { numerator: 100 } }
              filter_enforced: { default_value: { numerator: 100 } }\n";
    let limited: &[Row] =
        &[("429 of a filter before", |w| send(w, &good()), (429, "RL", "local_rate_limited", NOT_SEEN))];
    let unrouted: &[Row] = &[
        ("no route", |w| send(w, &good()), (404, "NR", "route_not_found", ALLOWED)),
        (
            "no route, and no token",
            |w| send(w, &good().without("authorization")),
            (401, "-", "mcp_iap_missing_token", refused("missing_token")),
        ),
    ];
    let direct: &[Row] =
        &[("an answer of the route", |w| send(w, &good()), (200, "-", "direct_response", ALLOWED))];
    let route = "                route:
                  cluster: mcp_server
                  # The default of 15s cuts long calls; and no retry policy, since a retry repeats a call.
                  timeout: 0s";
    let cluster = "                route:\n                  cluster: mcp_server";
    let absent: &[Row] = &[("no cluster", |w| send(w, &good()), (503, "NC", "cluster_not_found", ALLOWED))];
    let down: &[Row] = &[(
        "nobody listens",
        |w| send(w, &good()),
        (
            503,
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            ALLOWED,
        ),
    )];
    let keys: &[Row] = &[(
        "no keys",
        |w| send(w, &good()),
        (503, "-", "mcp_iap_identity_provider_unavailable", refused("identity_provider_unavailable")),
    )];
    let to = |text: &str| text.to_owned();
    for (change, rows, warm) in [
        ((filter, format!("{filter}{limit}")), limited, true),
        (("prefix: \"/\"", to("prefix: \"/elsewhere\"")), unrouted, false),
        ((route, to("                direct_response: { status: 200 }")), direct, false),
        ((cluster, to("                route:\n                  cluster_header: x-nowhere")), absent, false),
        (("port_value: 8000", format!("port_value: {}", free_port())), down, false),
        (("port_value: 9400", format!("port_value: {}", free_port())), keys, false),
    ] {
        for envoy in ["ENVOY", "ENVOY_OLDEST"] {
            let replace = vec![change.clone()];
            let world = World::new(&Changes { replace, binary: Some(binary(envoy)), ..Changes::default() });
            if warm {
                assert_eq!(good().send(world.envoy.port).status, 200);
                world.envoy.access_lines(1);
            }
            account(&world, rows);
        }
    }
}

/// Envoy may put other answers in the place of its own and the filter's: what the client got stands beside the reason.
#[test]
fn a_mapped_reply_keeps_its_reason() {
    let from = "          access_log:\n";
    let mapper = "          local_reply_config:
            mappers:
            - filter:
                status_code_filter: { comparison: { op: GE, value: { default_value: 400, runtime_key: x } } }
              status_code: 418
              body: { inline_string: mapped }\n";
    let rows: &[Row] = &[
        (
            "the filter's",
            |w| send(w, &Request::new("GET", "/nowhere")),
            (418, "-", "mcp_iap_unknown_path", refused("unknown_path")),
        ),
        ("Envoy's own", |w| head(w, "GET /mcp HTTP/1.1"), (418, "-", "missing_host_header", NOT_SEEN)),
        ("of what can't be read", |w| head(w, "nonsense"), (418, "DPE", "http1.codec_error", NOT_SEEN)),
        ("the upstream's is none", |w| status(w, 503), (503, "-", "via_upstream", ALLOWED)),
    ];
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let replace = vec![(from, format!("{mapper}{from}"))];
        let world = World::new(&Changes { replace, binary: Some(binary(envoy)), ..Changes::default() });
        account(&world, rows);
    }
}

/// With `access_log_options` a long stream has lines before its end: of one decision, with the same record.
#[test]
fn the_lines_of_a_long_stream_are_one_decision() {
    let from = "          access_log:\n";
    let options = "          access_log_options: { access_log_flush_interval: 1s }\n";
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let replace = vec![
            (from, format!("{options}{from}")),
            ("\"status\":", "\"type\":\"%ACCESS_LOG_TYPE%\",\"status\":".to_owned()),
        ];
        let world = World::new(&Changes { replace, binary: Some(binary(envoy)), ..Changes::default() });
        world.upstream.script(|_| Reply::events("{}", 70, Duration::from_millis(50)));
        wait_long(good().start(world.envoy.port));
        let lines = world.envoy.access_lines(3);
        assert!(lines.len() >= 3, "{lines:#?}");
        let last = lines.last().unwrap();
        for line in &lines {
            assert_eq!(line["mcp_iap"], last["mcp_iap"], "{lines:#?}");
        }
        let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(types.iter().filter(|kind| **kind == "DownstreamEnd").count(), 1, "{types:?}");
        assert_eq!(types.last(), Some(&"DownstreamEnd"));
        assert_eq!(world.envoy.metric("mcp_iap_requests{outcome=\"allowed\",reason=\"allowed\"}"), Some(1));
    }
}
