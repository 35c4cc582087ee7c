//! A gateway with its surroundings: an identity provider and an upstream (stand-ins), and Envoy.

use crate::client::Request;
use crate::envoy::{Changes, Envoy};
use crate::explained::line_is_explained;
use crate::stub::{Reply, Seen, Stub};
use crate::support::issuer::Issuer;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The identifier that the shipped configuration names.
pub const ISSUER: &str = "http://127.0.0.1:9400";
/// The resource that the shipped configuration names.
pub const RESOURCE: &str = "http://127.0.0.1:10000/mcp";

pub static KEYS: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("k"));
pub static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("k"));

/// Everything that one scenario needs.
pub struct World {
    pub provider: Stub,
    pub upstream: Stub,
    pub envoy: Envoy,
}

impl World {
    pub fn new(changes: &Changes) -> Self {
        Self::with_provider(changes, provide)
    }

    pub fn with_provider(changes: &Changes, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let provider = Stub::start(script);
        let upstream = Stub::start(|_| {
            let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
            Reply::new(200, body).header("content-type: application/json").header("vary: accept")
        });
        let envoy = Envoy::start(changes, upstream.port, provider.port);
        Self { provider, upstream, envoy }
    }

    /// One record a request: of the whole log, which must have just `count` lines, the last one's. What explain
    /// says of it is compared.
    pub fn record(&self, count: usize) -> Value {
        let lines = self.envoy.access_lines(count);
        assert_eq!(lines.len(), count, "one line a request: {lines:#?}");
        let records = lines[count - 1]["mcp_iap"].as_array().unwrap();
        assert_eq!(records.len(), 1, "one record a line: {lines:#?}");
        line_is_explained(&self.envoy, &lines[count - 1]);
        records[0].clone()
    }

    /// The upstream saw nothing of the credential, whatever else it saw.
    pub fn upstream_saw_no_credential(&self, token: &str) {
        for seen in self.upstream.seen() {
            assert_eq!(seen.header("authorization"), None, "{seen:?}");
            assert_eq!(seen.header("proxy-authorization"), None, "{seen:?}");
            let text = format!("{:?}", (&seen.path, &seen.headers)) + &String::from_utf8_lossy(&seen.body);
            assert!(token.is_empty() || !text.contains(token), "{seen:?}");
        }
        if !token.is_empty() {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!self.envoy.access_log().contains(signature));
            assert!(!self.envoy.log().contains(signature));
        }
    }
}

/// An identity provider in good health, as particular as a Kubernetes API server: who does not take a key set's own media
/// type gets none (406).
pub fn provide(seen: &Seen) -> Reply {
    let accept = seen.header("accept").unwrap_or_default();
    let takes =
        |kind: &str| accept.split(|byte| *byte == b',').any(|one| one.trim_ascii() == kind.as_bytes());
    match seen.path.as_str() {
        "/jwks" if !takes("application/jwk-set+json") => Reply::new(406, ""),
        "/.well-known/openid-configuration" => {
            Reply::new(200, json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/jwks")}).to_string())
        }
        "/jwks" => Reply::new(200, KEYS.jwks().to_string()),
        _ => Reply::new(404, ""),
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a token that is good, for a caller in these groups.
pub fn claims(groups: &[&str]) -> Value {
    json!({"iss": ISSUER, "sub": "dana", "client_id": "agent", "aud": RESOURCE, "exp": now() + 300, "groups": groups})
}

/// A legacy call of a tool, as a body.
pub fn call(tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}).to_string()
}

/// A modern call of a tool, as a body.
pub fn modern_call(tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
    .to_string()
}

/// The beginning of a document whose issuer is asked about opaque tokens; `client`: as whom, with a comma first.
pub fn introspecting(client: &str) -> String {
    format!(
        "resource: {RESOURCE}
issuers:
  - issuer: '{ISSUER}'
    insecure_http: true
    cluster: identity_provider
    introspection: {{ endpoint: '{ISSUER}/introspect', cluster: identity_provider{client} }}
"
    )
}

/// A POST with this token and body.
pub fn post(token: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", "/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body)
}

/// With the headers of a modern call.
pub fn modern(request: Request, tool: &str) -> Request {
    request
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
}
