//! The rows of the table: a request each, what it is answered with, and what the upstream may see of it.

use crate::client::Request;
use crate::world::{KEYS, STRANGER, call, claims, modern, modern_call, now, post};
use serde_json::{Value, json};

/// What the upstream sees of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    Nothing,
    /// The head only, and never one byte of the body.
    HeadAtMost,
    All,
}

pub struct Row {
    pub name: &'static str,
    pub request: Request,
    pub status: u16,
    /// The reason code; of an allowed request in its record only.
    pub reason: &'static str,
    pub sees: Sees,
    /// What the upstream may see where `allow_on_headers_stop_iteration` is not set.
    pub sees_without_flag: Sees,
}

fn row(name: &'static str, request: Request, status: u16, reason: &'static str) -> Row {
    let sees = if reason == "allowed" { Sees::All } else { Sees::Nothing };
    Row { name, request, status, reason, sees, sees_without_flag: sees }
}

impl Row {
    /// It is decided by the body, for which without the flag the head must go on first.
    fn decided_by_body(mut self) -> Self {
        self.sees_without_flag = Sees::HeadAtMost;
        self
    }
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(&["dev"]);
    claims[name] = value;
    claims
}

pub fn rows() -> Vec<Row> {
    let dev = KEYS.rs256(&claims(&["dev"]));
    let sre = KEYS.es256(&claims(&["sre"]));
    let read = call("get_pods", &json!({"marker": "BODY-BYTES"}));
    let drop = call("delete_namespace", &json!({"marker": "BODY-BYTES"}));
    let scale =
        |replicas: Value| call("scale_deployment", &json!({"namespace": "web", "replicas": replicas}));
    let token = |claims: Value| post(&KEYS.es256(&claims), read.clone());
    let tampered = {
        let (input, _) = dev.rsplit_once('.').unwrap();
        let (_, signature) = KEYS
            .rs256(&with("sub", json!("other")))
            .rsplit_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        format!("{input}.{signature}")
    };
    let anonymous = || post("x", read.clone()).without("authorization");
    let raw = |body: &str| post(&dev, body);
    let at = |path: &str| {
        let mut request = post(&dev, read.clone());
        path.clone_into(&mut request.path);
        request
    };
    vec![
        row("an allowed call", post(&dev, read.clone()), 200, "allowed"),
        row("an allowed call with ES256", post(&sre, read.clone()), 200, "allowed"),
        row(
            "an allowed modern call",
            modern(post(&dev, modern_call("get_pods", &json!({}))), "get_pods"),
            200,
            "allowed",
        ),
        row("an allowed call in many chunks", post(&dev, read.clone()).chunked(7), 200, "allowed"),
        row("an argument in its bounds", post(&sre, scale(json!(10))), 200, "allowed"),
        row("a list", raw(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#), 200, "allowed"),
        row(
            "a notification",
            raw(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
            200,
            "allowed",
        ),
        row("a posted response", raw(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), 200, "allowed"),
        row(
            "a stream of a legacy session",
            Request::new("GET", "/mcp").header("authorization", format!("Bearer {dev}")),
            200,
            "allowed",
        ),
        row(
            "an end of a legacy session",
            Request::new("DELETE", "/mcp").header("authorization", format!("Bearer {dev}")),
            200,
            "allowed",
        ),
        row(
            "the scheme in another case",
            anonymous().header("authorization", format!("bEaReR {dev}")),
            200,
            "allowed",
        ),
        row(
            "a header that is no UTF-8",
            post(&dev, read.clone()).header("x-bin", b"a\xff\xfeb".to_vec()),
            200,
            "allowed",
        ),
        row("no token", anonymous(), 401, "missing_token"),
        row("no token on a stream", Request::new("GET", "/mcp"), 401, "missing_token"),
        row("no token on DELETE", Request::new("DELETE", "/mcp"), 401, "missing_token"),
        row(
            "another scheme",
            anonymous().header("authorization", "Basic ZGFuYTpwdw=="),
            401,
            "missing_token",
        ),
        row(
            "two tokens",
            post(&dev, read.clone()).header("authorization", format!("Bearer {dev}")),
            400,
            "malformed_authorization",
        ),
        row(
            "a token that is no UTF-8",
            anonymous().header("authorization", b"Bearer \xff\xfe".to_vec()),
            400,
            "malformed_authorization",
        ),
        row(
            "a token in the query",
            {
                let mut r = post(&dev, read.clone());
                r.path = "/mcp?access_token=x".into();
                r
            },
            400,
            "token_in_query",
        ),
        row(
            "the token a second time",
            post(&dev, read.clone()).header("cookie", format!("session={dev}")),
            400,
            "token_repeated",
        ),
        row("a token that is none", post("not-a-token", read.clone()), 401, "malformed_token"),
        row("a tampered token", post(&tampered, read.clone()), 401, "bad_signature"),
        row(
            "a stranger's token",
            post(&STRANGER.rs256(&claims(&["dev"])), read.clone()),
            401,
            "bad_signature",
        ),
        row(
            "an unsigned token",
            post(&KEYS.token(&json!({"alg": "none"}), &claims(&["dev"])), read.clone()),
            401,
            "algorithm_not_accepted",
        ),
        row("an expired token", token(with("exp", json!(now() - 1))), 401, "token_expired"),
        row("a token of tomorrow", token(with("nbf", json!(now() + 600))), 401, "token_not_yet_valid"),
        row(
            "another audience",
            token(with("aud", json!("https://other.example.com/mcp"))),
            401,
            "wrong_audience",
        ),
        row("another issuer", token(with("iss", json!("http://127.0.0.1:9400/"))), 401, "unknown_issuer"),
        row("an ID token", token(with("nonce", json!("n"))), 401, "not_an_access_token"),
        row(
            "a token bound to a key",
            token(with("cnf", json!({"jkt": "x"}))),
            401,
            "sender_constraint_unsupported",
        ),
        row("no subject", token(with("sub", json!(null))), 401, "invalid_claim"),
        row("a tool that no rule allows", post(&dev, drop.clone()), 403, "no_rule_allows").decided_by_body(),
        row(
            "a modern call that no rule allows",
            modern(
                post(&dev, modern_call("delete_namespace", &json!({"marker": "BODY-BYTES"}))),
                "delete_namespace",
            ),
            403,
            "no_rule_allows",
        ),
        row("a refused call in many chunks", post(&dev, drop.clone()).chunked(7), 403, "no_rule_allows")
            .decided_by_body(),
        row("a tool of another group", post(&dev, scale(json!(1))), 403, "no_rule_allows").decided_by_body(),
        row("an argument out of bounds", post(&sre, scale(json!(50))), 403, "argument_out_of_range")
            .decided_by_body(),
        row("an argument of another type", post(&sre, scale(json!("5"))), 403, "argument_type").decided_by_body(),
        row(
            "an argument that is absent",
            post(&sre, call("scale_deployment", &json!({"replicas": 5}))),
            403,
            "argument_missing",
        ).decided_by_body(),
        row(
            "an argument not in its list",
            post(&sre, call("scale_deployment", &json!({"namespace": "kube-system", "replicas": 5}))),
            403,
            "argument_not_in_list",
        ).decided_by_body(),
        row(
            "an unknown method",
            raw(r#"{"jsonrpc":"2.0","id":1,"method":"admin/exec"}"#),
            200,
            "unknown_method",
        ).decided_by_body(),
        row("a batch", raw(&format!("[{drop}]")), 400, "batch").decided_by_body(),
        row(
            "a duplicate key",
            raw(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_namespace","name":"get_pods"}}"#,
            ),
            400,
            "duplicate_key",
        ).decided_by_body(),
        row(
            "a key in another case",
            raw(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#),
            400,
            "duplicate_key",
        ).decided_by_body(),
        row("half a body", raw(r#"{"jsonrpc":"2.0","id":1,"#), 400, "invalid_json").decided_by_body(),
        row("no body", raw(""), 400, "invalid_json").decided_by_body(),
        row("a byte order mark", raw(&format!("\u{feff}{read}")), 400, "invalid_json").decided_by_body(),
        row(
            "a body that is no UTF-8",
            post(&dev, b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\"}".to_vec()),
            400,
            "invalid_json",
        ).decided_by_body(),
        row("a body that nests deep", raw(&"[".repeat(100_000)), 400, "batch").decided_by_body(),
        row(
            "params that nest deep",
            raw(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}"#,
                "[".repeat(100_000)
            )),
            400,
            "too_deep",
        ).decided_by_body(),
        row(
            "an encoded body",
            post(&dev, read.clone()).header("content-encoding", "gzip"),
            415,
            "content_encoding",
        ),
        row(
            "another content type",
            post(&dev, read.clone()).without("content-type").header("content-type", "text/plain"),
            415,
            "content_type",
        ),
        row(
            "another charset",
            post(&dev, read.clone())
                .without("content-type")
                .header("content-type", "application/json; charset=utf-16"),
            415,
            "content_type",
        ),
        row(
            "a header unlike the body",
            modern(post(&dev, modern_call("delete_namespace", &json!({"marker": "BODY-BYTES"}))), "get_pods"),
            400,
            "header_mismatch",
        )
        .decided_by_body(),
        row(
            "a modern call without its headers",
            post(&dev, modern_call("get_pods", &json!({}))),
            400,
            "header_mismatch",
        ).decided_by_body(),
        row(
            "modern headers without _meta",
            modern(post(&dev, read.clone()), "get_pods"),
            400,
            "missing_meta",
        ).decided_by_body(),
        row(
            "a version that nobody knows",
            post(&dev, read.clone()).header("mcp-protocol-version", "1999-01-01"),
            400,
            "unsupported_protocol_version",
        ).decided_by_body(),
        row(
            "a body on GET",
            Request::new("GET", "/mcp")
                .header("authorization", format!("Bearer {dev}"))
                .body("{}")
                .chunked(1),
            400,
            "unexpected_body",
        ),
        row("too long a body", raw(&"x".repeat(1_000_001)), 413, "body_too_large"),
        row("too long a body in chunks", raw(&"x".repeat(1_000_001)).chunked(1000), 413, "body_too_large").decided_by_body(),
        row(
            "another path",
            Request::new("GET", "/").header("authorization", format!("Bearer {dev}")),
            404,
            "unknown_path",
        ),
        row(
            "the path with a slash",
            {
                let mut r = post(&dev, read.clone());
                r.path = "/mcp/".into();
                r
            },
            404,
            "unknown_path",
        ),
        row(
            "the path encoded",
            {
                let mut r = post(&dev, read.clone());
                r.path = "/%6dcp".into();
                r
            },
            404,
            "unknown_path",
        ),
        row(
            "another HTTP method",
            {
                let mut r = post(&dev, read.clone());
                r.method = "PUT".into();
                r
            },
            405,
            "method_not_allowed",
        ),
        row(
            "the metadata",
            Request::new("GET", "/.well-known/oauth-protected-resource/mcp"),
            200,
            "metadata",
        ),
        row(
            "the metadata at the root",
            Request::new("GET", "/.well-known/oauth-protected-resource"),
            200,
            "metadata",
        ),
        row(
            "an allowed origin",
            post(&dev, read.clone()).header("origin", "http://127.0.0.1:10000"),
            200,
            "allowed",
        ),
        row(
            "another origin",
            post(&dev, read.clone()).header("origin", "http://evil.example"),
            403,
            "origin_not_allowed",
        ),
        row("the null origin", post(&dev, read.clone()).header("origin", "null"), 403, "origin_not_allowed"),
        row(
            "another origin without a token",
            anonymous().header("origin", "http://evil.example"),
            403,
            "origin_not_allowed",
        ),
        row(
            "another origin's metadata",
            Request::new("GET", "/.well-known/oauth-protected-resource/mcp")
                .header("origin", "http://evil.example"),
            403,
            "origin_not_allowed",
        ),
        row(
            "a preflight",
            Request::new("OPTIONS", "/mcp")
                .header("origin", "http://127.0.0.1:10000")
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization"),
            204,
            "preflight",
        ),
        row(
            "another origin's preflight",
            Request::new("OPTIONS", "/mcp")
                .header("origin", "http://evil.example")
                .header("access-control-request-method", "POST"),
            403,
            "origin_not_allowed",
        ),
        row("OPTIONS by itself", Request::new("OPTIONS", "/mcp"), 405, "method_not_allowed"),
        row(
            "a method override",
            post(&dev, read.clone()).header("x-http-method-override", "DELETE"),
            400,
            "override",
        ),
        row("a path override", post(&dev, read.clone()).header("x-original-url", "/admin"), 400, "override"),
        row("a folded path", at("//mcp"), 404, "unknown_path"),
        row("a path parameter", at("/mcp;a=b"), 404, "unknown_path"),
        row("a dotted path", at("/x/../mcp"), 404, "unknown_path"),
        row("an encoded dot", at("/%2e/mcp"), 404, "unknown_path"),
        row("another case", at("/MCP"), 404, "unknown_path"),
        row("below the path", at("/mcp/admin"), 404, "unknown_path"),
        row("a query", at("/mcp?tool=x"), 200, "allowed"),
        row("an absolute target", at("http://mcp.example.com/mcp"), 200, "allowed"),
        row("an absolute target elsewhere", at("http://mcp.example.com/other"), 404, "unknown_path"),
        row(
            "an authorization server's metadata",
            Request::new("GET", "/.well-known/oauth-authorization-server"),
            404,
            "unknown_path",
        ),
        row(
            "a header of MCP's on GET",
            Request::new("GET", "/mcp")
                .header("authorization", format!("Bearer {dev}"))
                .header("mcp-method", "tools/call"),
            400,
            "header_mismatch",
        ).decided_by_body(),
        row(
            "a custom header of a tool",
            modern(post(&dev, modern_call("get_pods", &json!({}))), "get_pods")
                .header("mcp-param-region", "=?base64?w6Q=?="),
            200,
            "allowed",
        ),
        row(
            "an encoded name",
            modern(post(&dev, modern_call("get_pods", &json!({}))), "=?base64?Z2V0X3BvZHM=?="),
            200,
            "allowed",
        ),
        row(
            "a notification without its method",
            raw(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
                .header("mcp-protocol-version", "2026-07-28"),
            200,
            "allowed",
        ),
        row(
            "a downgrade by header",
            post(&dev, modern_call("delete_namespace", &json!({})))
                .header("mcp-protocol-version", "2025-11-25"),
            400,
            "header_mismatch",
        ).decided_by_body(),
        row(
            "a legacy call that no rule allows",
            post(&dev, drop.clone()).header("mcp-protocol-version", "2025-03-26"),
            403,
            "no_rule_allows",
        ).decided_by_body(),
        row(
            "initialize",
            raw(
                r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#,
            ),
            200,
            "allowed",
        ),
        row("server/discover", raw(r#"{"jsonrpc":"2.0","id":0,"method":"server/discover"}"#), 200, "allowed"),
        row("a batch behind white space", raw(&format!(" \r\n\t[{read}]")), 400, "batch").decided_by_body(),
        row(
            "UTF-16",
            post(&dev, read.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
            400,
            "invalid_json",
        ).decided_by_body(),
        row(
            "NaN",
            raw(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","arguments":{"n":NaN}}}"#,
            ),
            400,
            "invalid_json",
        ).decided_by_body(),
        row("data behind", raw(&format!("{read}{drop}")), 400, "invalid_json").decided_by_body(),
        row("a NUL behind", raw(&format!("{read}\0")), 400, "invalid_json").decided_by_body(),
        row(
            "a huge number",
            raw(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_x","arguments":{{"n":{}}}}}}}"#,
                "9".repeat(10_000)
            )),
            200,
            "allowed",
        ),
        row("a huge string", raw(&call("get_x", &json!({"s": "x".repeat(500_000)}))), 200, "allowed"),
        row(
            "an escape in a key",
            raw(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n\u0061me":"delete_namespace"}}"#,
            ),
            403,
            "no_rule_allows",
        ).decided_by_body(),
        row(
            "an escape in a duplicate key",
            raw(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","n\u0061me":"delete_namespace"}}"#,
            ),
            400,
            "duplicate_key",
        ).decided_by_body(),
        row(
            "a key with a long s",
            raw(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{"name":"delete_namespace"}}"#),
            400,
            "key_variant",
        ).decided_by_body(),
        row(
            "a key with a NUL",
            raw(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params\u0000":{"name":"delete_namespace"}}"#,
            ),
            400,
            "key_variant",
        ).decided_by_body(),
        row("no content type", post(&dev, read.clone()).without("content-type"), 415, "content_type"),
        row(
            "two content types",
            post(&dev, read.clone()).header("content-type", "application/json"),
            415,
            "content_type",
        ),
        row(
            "a token in a form",
            post(&dev, "access_token=x")
                .without("authorization")
                .without("content-type")
                .header("content-type", "application/x-www-form-urlencoded"),
            401,
            "missing_token",
        ),
        row(
            "a token in a cookie",
            anonymous().header("cookie", format!("access_token={dev}")),
            401,
            "missing_token",
        ),
        row(
            "a header of MCP's with an underscore",
            post(&dev, read.clone()).header("Mcp_Name", "delete_namespace"),
            400,
            "malformed_head",
        ),
        row(
            "a method override with an underscore",
            post(&dev, read.clone()).header("x_http_method-override", "DELETE"),
            400,
            "override",
        ),
        row(
            "a proxy credential with an underscore",
            post(&dev, read.clone()).header("proxy_authorization", "Basic ZGFuYTpwdw=="),
            400,
            "malformed_head",
        ),
        row(
            "underscores in names that are none of ours",
            modern(post(&dev, modern_call("get_pods", &json!({}))), "get_pods")
                .header("mcp-param-dry_run", "true")
                .header("x_request_origin", "a"),
            200,
            "allowed",
        ),
        row(
            "several credentials of a proxy",
            post(&dev, read.clone())
                .header("proxy-authorization", "Basic ZGFuYTpwdw==")
                .header("Proxy-Authorization", "Basic c2FtOnB3"),
            200,
            "allowed",
        ),
        row(
            "the token named in Connection",
            post(&dev, read.clone()).header("connection", "authorization"),
            401,
            "missing_token",
        ),
        row(
            "a header of MCP's named in Connection",
            modern(post(&dev, modern_call("get_pods", &json!({}))), "get_pods")
                .header("connection", "mcp-name"),
            400,
            "header_mismatch",
        ).decided_by_body(),
    ]
}
