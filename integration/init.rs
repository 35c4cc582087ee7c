//! `mcp-iap init` and `check --upstream` against stand-ins of an MCP server, in the way of each era and with
//! pages, and of an issuer; what is written is used by a real Envoy elsewhere.

use crate::envoy::scratch;
use crate::stub::{Reply, Seen, Stub};
use crate::world::KEYS;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn mcp_iap(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An issuer that calls itself by the host that it is asked by.
fn issuer() -> Stub {
    Stub::start(|seen| {
        let origin = format!("http://{}", String::from_utf8_lossy(seen.header("host").unwrap()));
        match seen.path.as_str() {
            "/.well-known/openid-configuration" => {
                Reply::new(200, json!({"issuer": origin, "jwks_uri": format!("{origin}/jwks")}).to_string())
            }
            "/jwks" => Reply::new(200, KEYS.jwks().to_string()),
            "/elsewhere/.well-known/openid-configuration" => {
                let document = json!({"issuer": format!("{origin}/elsewhere"), "jwks_uri": origin.replace("127.0.0.1", "localhost") + "/jwks"});
                Reply::new(200, document.to_string())
            }
            _ => Reply::new(404, ""),
        }
    })
}

fn tools(request: &Value) -> Value {
    let tool = |name: &str, read_only: bool| {
        json!({"name": name, "description": "does it\nreally", "inputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "annotations": {"readOnlyHint": read_only}})
    };
    let result = match request["params"]["cursor"].as_str() {
        None => json!({"tools": [tool("get_things", true)], "nextCursor": "2"}),
        Some(_) => json!({"tools": [tool("drop_things", false)]}),
    };
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
}

/// A server that knows 2026-07-28 alone, and holds a client to its headers.
fn modern(seen: &Seen) -> Reply {
    let request: Value = serde_json::from_slice(&seen.body).unwrap();
    let version = &request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let agrees = seen.header("mcp-method") == request["method"].as_str().map(str::as_bytes)
        && seen.header("mcp-protocol-version") == version.as_str().map(str::as_bytes);
    if !agrees || request["method"] != "tools/list" {
        return Reply::new(400, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"mismatch"}}"#);
    }
    Reply::new(200, tools(&request).to_string()).header("content-type: application/json")
}

/// A server that knows sessions alone, and answers by events.
fn legacy(seen: &Seen) -> Reply {
    let request: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let event = |message: Value| {
        Reply::new(200, format!("event: message\r\ndata: {message}\r\n\r\n"))
            .header("content-type: text/event-stream")
    };
    if request["method"] == "initialize" {
        let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
        return event(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
            .header("mcp-session-id: s-1");
    }
    if seen.header("mcp-session-id") != Some(b"s-1")
        || seen.header("authorization") != Some(b"Bearer upstream-key")
    {
        return Reply::new(400, "no session");
    }
    match request["method"].as_str() {
        Some("tools/list") => event(tools(&request)),
        _ => Reply::new(202, ""),
    }
}

#[test]
fn a_server_of_either_era_gives_a_configuration_that_check_accepts() {
    let folder = scratch();
    let issuer = issuer();
    let issuer_url = format!("http://127.0.0.1:{}", issuer.port);
    let (modern, legacy) = (Stub::start(modern), Stub::start(legacy));
    let mut written = Vec::new();
    for (server, more) in [(&modern, &[][..]), (&legacy, &["--header", "Authorization: Bearer upstream-key"])]
    {
        let upstream = format!("http://127.0.0.1:{}/mcp", server.port);
        let file = format!("{}.yaml", server.port);
        let arguments =
            [&["init", "--upstream", &upstream, "--issuer", &issuer_url, "--write", &file], more].concat();
        let output = mcp_iap(&folder, &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(&format!("mcp-iap check {file}")));
        let document = std::fs::read_to_string(folder.join(&file)).unwrap();
        assert!(!document.contains("upstream-key"));
        let check = mcp_iap(&folder, &["check", &file]);
        assert_eq!(text(&check.stdout), format!("{file}: ok, guards http://127.0.0.1:10000/mcp\n"));
        written.push(document.replace(&server.port.to_string(), "PORT"));
        let again = mcp_iap(&folder, &arguments);
        assert_eq!(again.status.code(), Some(2), "a file that is there stays");
    }
    assert_eq!(written[0], written[1]);
    for part in ["read_only: true", "get_things:   # does it\n", "destructive: true", "digest: sha256:"] {
        assert!(written[0].contains(part), "{part}: {}", written[0]);
    }
    let last = legacy.seen().pop().unwrap();
    assert_eq!(
        (last.body.as_slice(), last.header("mcp-session-id")),
        (&b""[..], Some(&b"s-1"[..])),
        "the end of the session"
    );
}

#[test]
fn a_catalogue_is_compared_with_the_server_as_it_is() {
    let folder = scratch();
    let issuer = issuer();
    let server = Stub::start(modern);
    let upstream = format!("http://127.0.0.1:{}/mcp", server.port);
    let issuer_url = format!("http://127.0.0.1:{}", issuer.port);
    let init = mcp_iap(&folder, &["init", "--upstream", &upstream, "--issuer", &issuer_url]);
    assert_eq!(init.status.code(), Some(0), "{}", text(&init.stderr));
    let compare = || mcp_iap(&folder, &["check", "mcp-iap.yaml", "--upstream", &upstream]);
    assert_eq!(text(&compare().stdout), "mcp-iap.yaml: ok, guards http://127.0.0.1:10000/mcp\n");
    server.script(|seen| {
        let request: Value = serde_json::from_slice(&seen.body).unwrap();
        let mut answer = tools(&request);
        answer["result"]["tools"][0]["description"] = json!("now it does something else");
        if request["params"]["cursor"].is_string() {
            answer["result"]["tools"][0]["name"] = json!("new_things");
        }
        Reply::new(200, answer.to_string()).header("content-type: application/json")
    });
    let output = compare();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for part in [
        "catalogue.tools.get_things\n    reason  is not the definition that was reviewed",
        "catalogue.tools.drop_things\n    warning is not listed by the server any more",
        "catalogue.tools\n    value   \"new_things\"\n    warning lacks a tool of the server",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[test]
fn what_does_not_answer_as_it_must_is_told_and_nothing_is_written() {
    let folder = scratch();
    let issuer = issuer();
    let server = Stub::start(modern);
    let good_issuer = format!("http://127.0.0.1:{}", issuer.port);
    let good_server = format!("http://127.0.0.1:{}/mcp", server.port);
    let circle = Stub::start(|_| {
        Reply::new(200, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"nextCursor":"1"}}"#)
    });
    let moved = Stub::start(|_| Reply::new(307, "").header("location: http://127.0.0.1:1/"));
    let closed = Stub::start(|_| Reply::new(401, ""));
    let at = |stub: &Stub| format!("http://127.0.0.1:{}/mcp", stub.port);
    for (upstream, issuer, code, told) in [
        (at(&circle), good_issuer.clone(), 1, "lists its tools in a circle"),
        (at(&moved), good_issuer.clone(), 1, "redirect (307)"),
        (at(&closed), good_issuer.clone(), 1, "give it by `--header`"),
        ("http://127.0.0.1:1/mcp".to_owned(), good_issuer.clone(), 1, "did not answer"),
        ("127.0.0.1:8000".to_owned(), good_issuer.clone(), 2, "is no URL"),
        (good_server.clone(), good_issuer.replace("127.0.0.1", "localhost") + "/", 1, "it calls itself"),
        (good_server.clone(), format!("{good_issuer}/nobody"), 1, "path and all?"),
    ] {
        let output = mcp_iap(&folder, &["init", "--upstream", &upstream, "--issuer", &issuer]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(told), "{told}: {error}");
        assert!(!folder.join("mcp-iap.yaml").exists());
    }
    let elsewhere = format!("{good_issuer}/elsewhere");
    let output = mcp_iap(&folder, &["init", "--upstream", &good_server, "--issuer", &elsewhere]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        std::fs::read_to_string(folder.join("mcp-iap.yaml")).unwrap().contains("jwks_uri: http://localhost:")
    );
}
