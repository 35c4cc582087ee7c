//! Lists on a real Envoy: what callers see of them, in every framing, and what goes on of answers that are broken or
//! hostile. Beside a stand-in that says what it is told there is the demo's MCP server, in `make demo`.

use crate::client::{Answer, Request, finish};
use crate::envoy::{Changes, Envoy};
use crate::stub::{Reply, Stub};
use crate::world::{KEYS, RESOURCE, World, call, claims, post, provide};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::{Read as _, Write};
use std::sync::mpsc;
use std::time::Duration;
use tokio::net::TcpListener;

const ISSUER: &str = "{ issuer: http://127.0.0.1:9400, insecure_http: true, cluster: identity_provider }";

fn changes(more: &str) -> Changes {
    let document = format!(
        "resource: {RESOURCE}
issuers: [{ISSUER}]
{more}
rules:
  - {{ id: dev-reads, allow: {{ tools: [get_*], prompts: [help*], resources: [\"docs://*\"] }}, to: {{ groups: [dev] }} }}
  - {{ id: scales, allow: {{ tools: [scale] }}, to: {{ groups: [dev] }}, arguments: {{ replicas: {{ integer: {{ max: 10 }} }} }} }}
"
    );
    Changes { configuration: Some(document), ..Changes::default() }
}

fn ask(groups: &[&str], method: &str) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": "i-1", "method": method});
    post(&KEYS.rs256(&claims(groups)), body.to_string()).header("accept-encoding", "gzip")
}

fn ask_modern(groups: &[&str], method: &str) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": "i-1", "method": method, "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    post(&KEYS.rs256(&claims(groups)), body.to_string())
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
}

fn open_stream(groups: &[&str]) -> Request {
    let token = KEYS.rs256(&claims(groups));
    Request::new("GET", "/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "text/event-stream")
        .header("accept-encoding", "gzip")
        .header("last-event-id", "3")
}

fn result(list: &str, entries: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"i-1","result":{{"ttlMs":1.50e3,"{list}":[{entries}],"nextCursor":"","x":0.10}}}}"#
    )
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

fn json_reply(body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200, body).header("content-type: application/json")
}

/// An answer in chunks of this size, each sent by itself.
fn in_chunks(content_type: &str, body: &str, size: usize) -> Reply {
    let (content_type, body) = (content_type.to_owned(), body.to_owned());
    Reply::wire(move |wire: &mut dyn Write| {
        write!(
            wire,
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        )?;
        for chunk in body.as_bytes().chunks(size) {
            write!(wire, "{:x}\r\n", chunk.len())?;
            wire.write_all(chunk)?;
            wire.write_all(b"\r\n")?;
            wire.flush()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        write!(wire, "0\r\n\r\n")
    })
}

const KINDS: [(&str, &str, &str, &str); 4] = [
    ("tools/list", "tools", r#"{"name":"get_pods","n":1.0}"#, r#"{"name":"drop"}"#),
    ("prompts/list", "prompts", r#"{"name":"help_me"}"#, r#"{"name":"get_pods"}"#),
    (
        "resources/list",
        "resources",
        r#"{"uri":"docs://a","name":"x"}"#,
        r#"{"uri":"secret://a","name":"docs://a"}"#,
    ),
    (
        "resources/templates/list",
        "resourceTemplates",
        r#"{"uriTemplate":"docs://{a}"}"#,
        r#"{"uriTemplate":"secret://{a}"}"#,
    ),
];

fn each_list_in_each_framing(world: &World) {
    let mut count = 0;
    for (method, list, own, other) in KINDS {
        let all = result(list, &format!("{other}, {own} ,{other},{own}"));
        let shown = result(list, &format!("{own},{own}"));
        let event = |message: &str| format!(": one\r\nid: 5\r\nevent: message\r\ndata: {message}\r\n\r\n");
        for (reply, expected) in [
            (json_reply(all.clone()), shown.clone()),
            (in_chunks("application/json; charset=utf-8", &all, 11), shown.clone()),
            (Reply::new(200, event(&all)).header("content-type: text/event-stream"), event(&shown)),
            (in_chunks("text/event-stream; charset=utf-8", &event(&all), 11), event(&shown)),
        ] {
            world.upstream.script(move |_| reply.clone());
            world.upstream.forget();
            let answer = ask(&["dev"], method).send(world.envoy.port);
            assert_eq!((answer.status, text(&answer)), (200, expected), "{method}");
            // None would be right for what goes on.
            assert_eq!(answer.header("content-length"), None);
            assert_eq!(answer.header("content-encoding"), None);
            assert_eq!(world.upstream.seen()[0].header("accept-encoding"), None);
            count += 1;
            let record = world.record(count);
            assert_eq!(record["listed"], json!({"shown": 2, "hidden": 2}), "{record}");
        }
        // Who may nothing sees nothing.
        world.upstream.script({
            let all = all.clone();
            move |_| json_reply(all.clone())
        });
        let answer = ask(&[], method).send(world.envoy.port);
        assert_eq!((answer.status, text(&answer)), (200, result(list, "")), "{method}");
        count += 1;
        assert_eq!(world.record(count)["listed"], json!({"shown": 0, "hidden": 4}));
        // 2026-07-28: nobody else may keep it.
        let answer = ask_modern(&["dev"], method).send(world.envoy.port);
        let scoped = shown.replace(r#""result":{"#, r#""result":{"cacheScope":"private","#);
        assert_eq!((answer.status, text(&answer)), (200, scoped), "{method}");
        count += 1;
    }
    let stats = world.envoy.admin("/stats?filter=mcp_iap_list_entries").unwrap();
    assert!(stats.contains("mcp_iap_list_entries.result.shown: "), "{stats}");
    assert!(stats.contains("mcp_iap_list_entries.result.hidden: "), "{stats}");
}

#[test]
fn each_list_is_filtered_in_each_framing() {
    each_list_in_each_framing(&World::new(&changes("")));
}

#[test]
fn each_list_is_filtered_without_the_flag_too() {
    let without = changes("allow_on_headers_stop_iteration: false");
    let replace =
        vec![("allow_on_headers_stop_iteration: true", "allow_on_headers_stop_iteration: false".to_owned())];
    // Envoy's own flag stands before the document's.
    let document = without.configuration.clone().unwrap();
    let flagless = Changes { configuration: Some(document), replace, ..without };
    let world = World::new(&flagless);
    each_list_in_each_framing(&world);
    // A server of the legacy revisions reads no such header, and may answer a list here.
    world.upstream.forget();
    let ping = r#"{"jsonrpc":"2.0","id":"i-1","method":"ping"}"#;
    let ping = post(&KEYS.rs256(&claims(&["dev"])), ping).header("accept-encoding", "gzip");
    assert_eq!(ping.header("mcp-method", "ping").send(world.envoy.port).status, 200);
    assert_eq!(world.upstream.seen()[0].header("accept-encoding"), None);
}

/// What is no list is what the server sent, to the byte, with its length and its coding.
#[test]
fn other_answers_are_untouched() {
    let world = World::new(&changes(""));
    let listlike =
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"tools":[{"name":"drop"}],"cacheScope":"public"}}"#;
    let all = result("tools", r#"{"name":"drop"}"#);
    let get = || {
        post(&KEYS.rs256(&claims(&["dev"])), call("get_pods", &json!({}))).header("accept-encoding", "gzip")
    };
    let cases: [(Request, Reply); 9] = [
        (get(), json_reply(listlike)),
        (ask_modern(&["dev"], "server/discover").header("accept-encoding", "gzip"), json_reply(all.clone())),
        (get(), Reply::new(200, "\u{1f}\u{8b}").header("content-encoding: gzip")),
        (get(), Reply::new(200, format!("data: {listlike}\n\n")).header("content-type: text/event-stream")),
        // Of a list: what is no success, no list, or nothing at all.
        (ask(&["dev"], "tools/list"), Reply::new(404, all).header("content-type: application/json")),
        (ask(&["dev"], "tools/list"), Reply::new(500, "<html>").header("content-type: text/html")),
        (ask(&["dev"], "tools/list"), Reply::new(202, "")),
        (ask(&["dev"], "initialize"), json_reply(listlike)),
        (open_stream(&["dev"]), Reply::new(405, "no").header("content-encoding: gzip")),
    ];
    for (request, reply) in cases {
        let expected = reply.clone();
        world.upstream.script(move |_| reply.clone());
        world.upstream.forget();
        let answer = request.send(world.envoy.port);
        assert_eq!((answer.status, &answer.body), (expected.status, &expected.body), "{request:?}");
        // An event in a stream may become shorter when its head has gone.
        let is_stream = answer.header("content-type") == Some("text/event-stream");
        let length = expected.body.len().to_string();
        let is_told = (!is_stream).then_some(length.as_str());
        assert_eq!(answer.header("content-length"), is_told, "{request:?}");
        // In a session any answer may be a list.
        let has_no_session = request.body.windows(15).any(|part| part == b"server/discover");
        let asks_for_a_coding = world.upstream.seen()[0].header("accept-encoding").is_some();
        assert_eq!(asks_for_a_coding, has_no_session, "{request:?}");
    }
    // An error of the server's is passed on as it is, but for its length, which is not told twice.
    let error = r#"{"jsonrpc":"2.0","id":"i-1","error":{"code":-32601,"message":"no lists"}}"#;
    world.upstream.script(move |_| json_reply(error));
    assert_eq!(text(&ask(&["dev"], "tools/list").send(world.envoy.port)), error);
}

/// The attack: a list is asked for, and at once something else by the same `id`, to which the server then sends it.
#[test]
fn a_list_in_the_place_of_another_answer_is_filtered() {
    let world = World::new(&changes(""));
    let mut count = 0;
    for (_, list, own, other) in KINDS {
        let all = result(list, &format!("{other},{own},{other}"));
        let shown = result(list, own);
        let event = |message: &str| format!("id: 5\ndata: {message}\n\n");
        let note = event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
        for (reply, expected) in [
            (json_reply(all.clone()), shown.clone()),
            (in_chunks("application/json; charset=utf-8", &all, 11), shown.clone()),
            (
                Reply::new(200, note.clone() + &event(&all)).header("content-type: text/event-stream"),
                note.clone() + &event(&shown),
            ),
            (in_chunks("text/event-stream", &(note.clone() + &event(&all)), 11), note + &event(&shown)),
        ] {
            world.upstream.script(move |_| reply.clone());
            let ping = r#"{"jsonrpc":"2.0","id":"i-1","method":"ping"}"#;
            let answer = post(&KEYS.rs256(&claims(&["dev"])), ping).send(world.envoy.port);
            // A message keeps its length, and only that.
            let body = text(&answer);
            let body = if answer.header("content-length").is_some() { body.trim_end() } else { &body };
            assert_eq!((answer.status, body), (200, expected.as_str()), "{list}");
            count += 1;
            let record = world.record(count);
            assert_eq!(record["listed"], json!({"shown": 1, "hidden": 2}), "{record}");
        }
        // What is not told how long it is can become longer.
        let whole = result(list, own).replace("\"x\":0.10", "\"cacheScope\":\"public\"");
        for (reply, expected) in [
            (json_reply(whole.clone()), whole.clone()),
            (in_chunks("application/json", &whole, 11), whole.replace("public", "private")),
        ] {
            world.upstream.script(move |_| reply.clone());
            let ping = r#"{"jsonrpc":"2.0","id":"i-1","method":"ping"}"#;
            let answer = post(&KEYS.rs256(&claims(&["dev"])), ping).send(world.envoy.port);
            assert_eq!((answer.status, text(&answer)), (200, expected), "{list}");
            count += 1;
            assert_eq!(world.record(count)["listed"], json!({"shown": 1, "hidden": 0}));
        }
    }
}

fn reason(message: &str) -> (Value, Value) {
    let message: Value = serde_json::from_str(message).unwrap_or_else(|_| panic!("{message}"));
    assert!(message["result"].is_null(), "{message}");
    (message["id"].clone(), message["error"]["data"]["reason"].clone())
}

#[test]
fn what_can_t_be_filtered_is_an_error_and_never_the_list() {
    let world = World::new(&changes("limits: { list_bytes: 3000 }"));
    let all = result("tools", r#"{"name":"drop_secret"}"#);
    let long = result("tools", &format!(r#"{{"name":"drop_secret","x":"{}"}}"#, "y".repeat(3000)));
    let as_json = |body: String| json_reply(body);
    let as_events = |body: String| Reply::new(200, body).header("content-type: text/event-stream");
    let mut count = 0;
    let cases = [
        (as_json(all.clone()).header("content-encoding: gzip"), 502, "list_unreadable"),
        (as_events(all.clone()).header("content-encoding: br"), 502, "list_unreadable"),
        (Reply::new(200, all.clone()), 502, "list_unreadable"),
        (Reply::new(200, all.clone()).header("content-type: text/plain"), 502, "list_unreadable"),
        (
            Reply::new(206, all[..40].to_owned()).header("content-type: application/json"),
            200,
            "list_unreadable",
        ),
        (as_json(format!("data: {all}\n\n")), 200, "list_unreadable"),
        (as_json(format!("{all}{all}")), 200, "list_unreadable"),
        (as_json(format!("[{all}]")), 200, "list_unreadable"),
        (as_json(all.replace("\"x\":0.10", "\"tools\":[]")), 200, "list_unreadable"),
        (as_json(all.replace("\"x\":0.10", "\"Tools\":[]")), 200, "list_unreadable"),
        (as_json(all[..all.len() - 2].to_owned()), 200, "list_unreadable"),
        (as_json(long.clone()), 200, "list_too_large"),
        (in_chunks("application/json", &long, 500), 200, "list_too_large"),
        (as_events(format!("data: {all}{all}\n\n")), 200, "list_unreadable"),
        (as_events(format!("data: {long}\n\n")), 200, "list_too_large"),
        (in_chunks("text/event-stream", &format!("data: {long}\n\n"), 500), 200, "list_too_large"),
    ];
    for (reply, status, expected) in cases {
        let said = format!("{reply:?}");
        world.upstream.script(move |_| reply.clone());
        let answer = ask(&["dev"], "tools/list").send(world.envoy.port);
        let body = text(&answer);
        assert!(!body.contains("drop_secret"), "{said}: {body}");
        let message = body.trim().strip_prefix("data: ").unwrap_or(&body).trim();
        // The status is the server's where it has gone on.
        let is_status = answer.status == status || (status == 200 && answer.status == 206);
        assert!(is_status, "{said}: {}", answer.status);
        assert_eq!(reason(message), (json!("i-1"), json!(expected)), "{said}");
        count += 1;
        let record = world.record(count);
        assert_eq!((&record["outcome"], &record["reason"]), (&json!("refused"), &json!(expected)), "{said}");
    }
    // Nobody takes a list from a stream that is none.
    for content_type in ["text/plain", "text/html; charset=utf-8", ""] {
        let reply = Reply::new(200, all.clone()).header(format!("content-type: {content_type}"));
        world.upstream.script(move |_| reply.clone());
        let answer = open_stream(&["dev"]).send(world.envoy.port);
        assert_eq!(
            (answer.status, reason(&text(&answer)).1),
            (502, json!("list_unreadable")),
            "{content_type}"
        );
        count += 1;
        assert_eq!(world.record(count)["outcome"], json!("refused"));
    }
    let stats = world.envoy.admin("/stats?filter=mcp_iap_requests").unwrap();
    assert!(stats.contains("refused.reason.list_unreadable: 15"), "{stats}");
    assert!(stats.contains("refused.reason.list_too_large: 4"), "{stats}");
    assert!(!world.envoy.log().contains("mcp-iap: the host"), "{}", world.envoy.log());
}

/// Twice what Envoy holds of a body.
#[test]
fn a_list_may_be_larger_than_envoys_buffer() {
    let world = World::new(&changes(""));
    let own = format!(r#"{{"name":"get_a","x":"{}"}}"#, "y".repeat(1000));
    let other = own.replace("get_a", "drop_a");
    let entries = |kept: bool| {
        let pair = if kept { own.clone() } else { format!("{own},{other}") };
        vec![pair; 1100].join(",")
    };
    let (all, shown) = (result("tools", &entries(false)), result("tools", &entries(true)));
    assert!(all.len() > 2 * 1_048_576);
    for (content_type, before, behind) in
        [("application/json", "", ""), ("text/event-stream", "data: ", "\n\n")]
    {
        let body = format!("{before}{all}{behind}");
        world
            .upstream
            .script(move |_| Reply::new(200, body.clone()).header(format!("content-type: {content_type}")));
        let answer = ask(&["dev"], "tools/list").send(world.envoy.port);
        assert!(text(&answer) == format!("{before}{shown}{behind}"), "{content_type}: {}", answer.body.len());
    }
}

/// Envoy's buffers are small in front of many clients: what is held of a list is held elsewhere, and nothing is cut.
#[test]
fn lists_pass_small_buffers() {
    let limit = "    per_connection_buffer_limit_bytes: 32768\n";
    let replace = vec![
        ("    per_connection_buffer_limit_bytes: 1048576\n", limit.to_owned()),
        ("  - name: mcp_server\n", format!("  - name: mcp_server\n{limit}")),
    ];
    let world = World::new(&Changes { replace, ..changes("") });
    let mut count = 0;
    // Below what Envoy may hold, beside it, and far beyond.
    for size in [20_000, 31_000, 32_500, 33_000, 40_000, 300_000] {
        let own = format!(r#"{{"name":"get_a","x":"{}"}}"#, "y".repeat(size));
        let all = result("tools", &format!(r#"{{"name":"drop"}},{own},{{"name":"drop"}}"#));
        let shown = result("tools", &own);
        let event = |message: &str| format!("data: {message}\n\n");
        for (reply, expected) in [
            (json_reply(all.clone()), shown.clone()),
            (in_chunks("application/json", &all, 4000), shown.clone()),
            (Reply::new(200, event(&all)).header("content-type: text/event-stream"), event(&shown)),
            (in_chunks("text/event-stream", &event(&all), 4000), event(&shown)),
        ] {
            for method in ["tools/list", "ping"] {
                let reply = reply.clone();
                world.upstream.script(move |_| reply.clone());
                let answer = finish(ask(&["dev"], method).start(world.envoy.port));
                assert_eq!(answer.status, 200, "{size} {method}");
                assert!(
                    text(&answer).trim_end() == expected.trim_end(),
                    "{size} {method}: {}",
                    answer.body.len()
                );
                count += 1;
                assert_eq!(
                    world.record(count)["listed"],
                    json!({"shown": 1, "hidden": 2}),
                    "{size} {method}"
                );
            }
        }
        // And what can't be filtered is an error.
        let reply = in_chunks("application/json", &all[..all.len() - 1], 4000);
        world.upstream.script(move |_| reply.clone());
        let answer = finish(ask(&["dev"], "tools/list").start(world.envoy.port));
        assert_eq!((answer.status, reason(&text(&answer)).1), (200, json!("list_unreadable")), "{size}");
        count += 1;
    }
}

/// Each event is here before the next is sent; and one that is a list is filtered when it is complete.
#[test]
fn events_pass_as_they_are_sent() {
    for is_stream in [false, true] {
        let (next, go) = mpsc::channel::<Vec<u8>>();
        let go = std::sync::Mutex::new(go);
        let reply = Reply::wire(move |wire: &mut dyn Write| {
            write!(
                wire,
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )?;
            while let Ok(piece) = go.lock().unwrap().recv() {
                write!(wire, "{:x}\r\n", piece.len())?;
                wire.write_all(&piece)?;
                wire.write_all(b"\r\n")?;
                wire.flush()?;
            }
            write!(wire, "0\r\n\r\n")
        });
        let (upstream, provider) = (Stub::start(move |_| reply.clone()), Stub::start(provide));
        let envoy = Envoy::start(&changes(""), upstream.port, provider.port);
        let request = if is_stream { open_stream(&["dev"]) } else { ask(&["dev"], "tools/list") };
        let mut stream = request.start(envoy.port);
        let mut seen = String::new();
        let mut wait_for = |wanted: &str| {
            let mut buffer = [0; 4096];
            while !seen.contains(wanted) {
                let size =
                    stream.read(&mut buffer).unwrap_or_else(|error| panic!("held back: {error}: {seen}"));
                assert!(size > 0, "{seen}");
                seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
            }
            assert!(!seen.contains("drop"), "{seen}");
        };
        for number in 0..5 {
            next.send(format!("data: {{\"method\":\"{number}\"}}\n\n").into_bytes()).unwrap();
            wait_for(&format!("{{\"method\":\"{number}\"}}\n\n"));
        }
        // That keeps a connection alive.
        next.send(b": still here\n".to_vec()).unwrap();
        wait_for(": still here\n");
        let list = format!("data: {}\n\n", result("tools", r#"{"name":"drop"},{"name":"get_pods"}"#));
        let (first, rest) = list.split_at(list.len() - 1);
        next.send(first.into()).unwrap();
        next.send(b": nothing\n".to_vec()).unwrap();
        next.send(rest.into()).unwrap();
        wait_for(&result("tools", r#"{"name":"get_pods"}"#));
        next.send(b"data: {\"method\":\"last\"}\n\n".to_vec()).unwrap();
        wait_for("last");
        drop(next);
        wait_for("\r\n0\r\n\r\n");
        let record = envoy.access_lines(1)[0]["mcp_iap"][0].clone();
        assert_eq!(record["listed"], json!({"shown": 1, "hidden": 1}), "{record}");
    }
}

/// A server of HTTP/2 whose answers end with trailers, in pieces.
fn with_trailers(content_type: &'static str, body: String) -> u16 {
    let (port, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            port.send(listener.local_addr().unwrap().port()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let body = body.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let head =
                            http::Response::builder().header("content-type", content_type).body(()).unwrap();
                        let mut answer = respond.send_response(head, false).unwrap();
                        for piece in body.as_bytes().chunks(50) {
                            answer.send_data(Bytes::copy_from_slice(piece), false).unwrap();
                        }
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("x-trailer", http::HeaderValue::from_static("1"));
                        answer.send_trailers(trailers).unwrap();
                    }
                });
            }
        });
    });
    told.recv().unwrap()
}

/// Envoy before such a server.
fn before_http2(port: u16) -> (Envoy, Stub) {
    let http2 = "  - name: mcp_server
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
";
    let replace = vec![("  - name: mcp_server\n", http2.to_owned())];
    let provider = Stub::start(provide);
    (Envoy::start(&Changes { replace, ..changes("") }, port, provider.port), provider)
}

/// What can't be put before trailers does not go on unfiltered, and nobody waits for it.
#[test]
fn a_list_that_can_not_be_put_before_trailers_ends_without_it() {
    let long = format!(r#"{{"name":"drop","description":"{}"}}"#, "x".repeat(40_000));
    let all = result("tools", &format!(r#"{long},{{"name":"get_pods"}}"#));
    for (content_type, body) in
        [("application/json", all.clone()), ("text/event-stream", format!("data: {all}\n"))]
    {
        let (envoy, _provider) = before_http2(with_trailers(content_type, body));
        let answer = finish(ask(&["dev"], "tools/list").start(envoy.port));
        assert_eq!((answer.status, text(&answer)), (200, String::new()), "{content_type}");
        let record = envoy.access_lines(1)[0]["mcp_iap"][0].clone();
        assert_eq!(
            (&record["outcome"], &record["reason"]),
            (&json!("refused"), &json!("internal")),
            "{record}"
        );
    }
}

#[test]
fn a_list_that_ends_with_trailers_is_whole() {
    let all = result("tools", r#"{"name":"drop"},{"name":"get_pods"},{"name":"get_logs"}"#);
    let shown = result("tools", r#"{"name":"get_pods"},{"name":"get_logs"}"#);
    for (content_type, before, behind) in
        [("application/json", "", ""), ("text/event-stream", "data: ", "\n\n")]
    {
        let port = with_trailers(content_type, format!("{before}{all}{behind}"));
        let (envoy, _provider) = before_http2(port);
        let answer = finish(ask(&["dev"], "tools/list").start(envoy.port));
        assert_eq!(
            (answer.status, text(&answer)),
            (200, format!("{before}{shown}{behind}")),
            "{content_type}"
        );
    }
}
