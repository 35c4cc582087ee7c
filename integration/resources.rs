//! Several resources behind one Envoy, as `render envoy` writes it: each call reaches its own server, with
//! its own audience and rules.

use crate::client::Request;
use crate::envoy::{Changes, Envoy, scratch};
use crate::rendered::render;
use crate::stub::{Reply, Stub};
use crate::world::{ISSUER, KEYS, call, now, post, provide};
use serde_json::{Value, json};

#[test]
fn each_call_reaches_its_own_server_by_its_own_rules() {
    let provider = Stub::start(provide);
    let (first, second) =
        (Stub::start(|_| Reply::new(200, "first")), Stub::start(|_| Reply::new(200, "second")));
    let document = format!(
        "issuers:
  - {{ issuer: '{ISSUER}', jwks_uri: 'http://127.0.0.1:{}/jwks', insecure_http: true, cluster: keys }}
resources:
  - resource: https://mcp.example.com/first/mcp
    rules: [{{ id: first, allow: {{ tools: [get_*] }} }}]
  - resource: https://mcp.example.com/second/mcp
    rules: [{{ id: second, allow: {{ tools: [set_*] }} }}]
",
        provider.port
    );
    let upstream = |name: &str, port: u16, path: &str| {
        ["--upstream".to_owned(), format!("https://mcp.example.com/{name}/mcp=http://127.0.0.1:{port}{path}")]
    };
    let options = [upstream("first", first.port, "/mcp"), upstream("second", second.port, "")].concat();
    let folder = scratch();
    let envoy =
        Envoy::run(&Changes::default(), |port, admin| render(&folder, &document, port, admin, &options));
    let token = |audience: &str| {
        KEYS.es256(&json!({"iss": ISSUER, "sub": "dana", "aud": audience, "exp": now() + 300}))
    };
    let (ours, theirs) =
        (token("https://mcp.example.com/first/mcp"), token("https://mcp.example.com/second/mcp"));
    let send = |path: &str, token: &str, tool: &str| {
        let mut request = post(token, call(tool, &json!({})));
        path.clone_into(&mut request.path);
        request.send(envoy.port)
    };
    let answer = send("/first/mcp", &ours, "get_x");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"first"[..]));
    assert_eq!(first.seen()[0].path, "/mcp", "the server's own path is asked");
    let answer = send("/second/mcp", &theirs, "set_x");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"second"[..]));
    assert_eq!(second.seen()[0].path, "/second/mcp");
    for (path, token, tool, status, reason) in [
        ("/second/mcp", &ours, "set_x", 401, "wrong_audience"),
        ("/first/mcp", &theirs, "get_x", 401, "wrong_audience"),
        ("/first/mcp", &ours, "set_x", 403, "no_rule_allows"),
        ("/second/mcp", &theirs, "get_x", 403, "no_rule_allows"),
        ("/mcp", &ours, "get_x", 404, "unknown_path"),
        ("/", &ours, "get_x", 404, "unknown_path"),
    ] {
        let answer = send(path, token, tool);
        assert_eq!((answer.status, answer.reason().as_deref()), (status, Some(reason)), "{path} {tool}");
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    for name in ["first", "second"] {
        let path = format!("/.well-known/oauth-protected-resource/{name}/mcp");
        let document = Request::new("GET", &path).send(envoy.port);
        let document: Value = serde_json::from_slice(&document.body).unwrap();
        assert_eq!(document["resource"], format!("https://mcp.example.com/{name}/mcp"));
    }
    let lines = envoy.access_lines(10);
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[1]["mcp_iap"][0]["protected_resource"], "https://mcp.example.com/second/mcp");
}
