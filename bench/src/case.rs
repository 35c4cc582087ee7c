//! What is measured: a case is a kind of request, and the variants that it is sent through.

use crate::issuer::Issuer;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A chain of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    None,
    Buffer,
    EmptyWasm,
    McpIap,
    /// Another build of it, where one is named.
    Baseline,
    Native,
    NativeCached,
    ExtAuthz,
    /// The filter, whose records go nowhere, and to each sink.
    NoLog,
    File,
    Stdout,
    Als,
    Otlp,
}

use Variant::{Buffer, EmptyWasm, ExtAuthz, McpIap, Native, NativeCached, None as NoFilter};

/// All of them.
const ALL: &[Variant] = &[NoFilter, Buffer, EmptyWasm, McpIap, Native, NativeCached, ExtAuthz];

impl Variant {
    /// As it stands in the results.
    pub fn name(self) -> &'static str {
        match self {
            NoFilter => "no filter",
            Buffer => "buffer filter",
            EmptyWasm => "empty Wasm filter",
            McpIap => "mcp-iap",
            Variant::Baseline => "mcp-iap, the baseline",
            Native => "jwt_authn + mcp + rbac",
            NativeCached => "the same, JWT cache",
            ExtAuthz => "ext_authz over HTTP",
            Variant::NoLog => "no access log",
            Variant::File => "file",
            Variant::Stdout => "stdout, to a file",
            Variant::Als => "als",
            Variant::Otlp => "otlp",
        }
    }

    /// Whether it has the filter that is measured.
    pub fn is_filter(self) -> bool {
        !matches!(self, NoFilter | Buffer | EmptyWasm | Native | NativeCached | ExtAuthz)
    }
}

/// What the body's argument is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// One string.
    Text,
    /// Small arrays and objects.
    Dense,
}

/// How a request comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call of a tool, of the modern revision.
    Call,
    /// A request for a list of tools: 100, of which the callers may use every second.
    List,
    /// A call in a legacy session, answered by a stream of events, in which no list is.
    Session,
    /// A legacy GET stream, with such a list in it that another request asked for.
    Stream,
}

/// A kind of request.
pub struct Case {
    pub name: &'static str,
    /// Bytes.
    pub body: usize,
    pub filling: Filling,
    pub algorithm: &'static str,
    /// How many callers, each with a token.
    pub tokens: usize,
    /// Whether verified tokens are remembered.
    pub cache: bool,
    pub rules: usize,
    pub http2: bool,
    /// The group of the callers: `dev` may call.
    pub group: &'static str,
    pub status: u16,
    pub kind: Kind,
    /// None where only instructions are counted.
    pub variants: &'static [Variant],
}

const USUAL: Case = Case {
    name: "",
    body: 656,
    filling: Filling::Text,
    algorithm: "RS256",
    tokens: 1,
    cache: true,
    rules: 10,
    http2: false,
    group: "dev",
    status: 200,
    kind: Kind::Call,
    variants: ALL,
};

const COLD: Case = Case { tokens: 256, cache: false, variants: &[McpIap, Native], ..USUAL };
const LARGE: Case = Case { variants: &[NoFilter, Buffer, McpIap, Native, ExtAuthz], ..USUAL };

/// All of them.
pub const CASES: [Case; 19] = [
    Case { name: "656 B, one token", ..USUAL },
    Case {
        name: "HTTP/2",
        http2: true,
        variants: &[NoFilter, EmptyWasm, McpIap, Native, NativeCached],
        ..USUAL
    },
    Case { name: "10,000 tokens", tokens: 10_000, variants: &[McpIap, Native, NativeCached], ..USUAL },
    Case { name: "1,000 rules", rules: 1_000, variants: &[McpIap, Native, NativeCached], ..USUAL },
    Case { name: "refused", group: "guest", status: 403, variants: &[McpIap, Native, NativeCached], ..USUAL },
    Case { name: "cold RS256", ..COLD },
    Case { name: "cold PS256", algorithm: "PS256", ..COLD },
    Case { name: "cold ES256", algorithm: "ES256", ..COLD },
    Case { name: "cold ES384", algorithm: "ES384", ..COLD },
    Case { name: "cold EdDSA", algorithm: "EdDSA", ..COLD },
    Case { name: "64 KiB text", body: 64 << 10, ..LARGE },
    Case { name: "64 KiB dense", body: 64 << 10, filling: Filling::Dense, ..LARGE },
    Case { name: "1 MiB text", body: 1 << 20, ..LARGE },
    Case { name: "1 MiB dense", body: 1 << 20, filling: Filling::Dense, ..LARGE },
    // The same in the time of a cold start: what a changed document costs the next requests.
    Case {
        name: "10,000 tokens, cold RS256",
        tokens: 10_000,
        cache: false,
        variants: &[McpIap, Native],
        ..USUAL
    },
    Case {
        name: "1,000 rules, refused",
        rules: 1_000,
        group: "guest",
        status: 403,
        variants: &[McpIap, Native],
        ..USUAL
    },
    // The others pass all of it on: none of them filters.
    Case {
        name: "tools/list, 100 tools of which mcp-iap hides 50",
        kind: Kind::List,
        variants: &[NoFilter, EmptyWasm, McpIap, Native, NativeCached],
        ..USUAL
    },
    // Of a legacy session every answer is watched, for a list that begins in it.
    Case { name: "legacy session, 100 events", kind: Kind::Session, variants: &[], ..USUAL },
    Case { name: "legacy GET stream, 50 events and a list", kind: Kind::Stream, variants: &[], ..USUAL },
];

/// What it costs to have the records at each sink.
pub const SINKS: Case = Case {
    name: "sinks of records: 656 B, one token",
    variants: &[Variant::NoLog, Variant::File, Variant::Stdout, Variant::Als, Variant::Otlp],
    ..USUAL
};

/// The requests of a case: all alike but for the token.
pub struct Requests {
    pub method: &'static str,
    /// `None` where none is called.
    pub tool: Option<&'static str>,
    pub body: Bytes,
    /// `Authorization` of each.
    pub authorization: Vec<String>,
}

/// The tool that is called.
pub const TOOL: &str = "create_issue";

impl Case {
    /// Tokens are signed by this issuer, whose server has this port.
    pub fn requests(&self, issuer: &Issuer, port: u16) -> Requests {
        let token =
            |number| format!("Bearer {}", issuer.by(self.algorithm, &claims(self.group, port, number)));
        Requests {
            method: if self.kind == Kind::List { "tools/list" } else { "tools/call" },
            tool: (self.kind != Kind::List).then_some(TOOL),
            body: if self.kind == Kind::Stream { Bytes::new() } else { self.body().to_string().into() },
            authorization: (0..self.tokens).map(token).collect(),
        }
    }

    /// A call of the size of the case.
    fn body(&self) -> Value {
        if self.kind == Kind::List {
            return json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}}}});
        }
        let meta = match self.kind {
            Kind::Session => json!({"progressToken": 7}),
            _ => json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}}),
        };
        let call = |detail: Value| {
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": TOOL,
                "arguments": {"repository": "web/shop", "priority": "low", "detail": detail}, "_meta": meta}})
        };
        let room = self.body - call(json!("")).to_string().len();
        if self.filling == Filling::Text {
            return call(json!("x".repeat(room)));
        }
        let one = json!({"id": 17, "tags": ["a", "b"], "open": true, "note": null});
        let size = one.to_string().len() + 1;
        call(json!(vec![one; room / size]))
    }
}

/// What is listed: tools of about 500 bytes each.
pub fn list() -> String {
    let tool = |number: usize| {
        let name = if number.is_multiple_of(2) { "read" } else { "drop" };
        json!({"name": format!("{name}_{number}"), "title": "A tool", "description": "x".repeat(220),
            "inputSchema": {"type": "object", "required": ["namespace", "name"], "properties": {
                "namespace": {"type": "string", "description": "Where it is"},
                "name": {"type": "string", "description": "What it is called"},
                "limit": {"type": "integer", "minimum": 1}}},
            "annotations": {"readOnlyHint": true}})
    };
    let tools: Vec<Value> = (0..100).map(tool).collect();
    json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "tools": tools,
        "ttlMs": 60000, "cacheScope": "public"}})
    .to_string()
}

/// What a server sends by itself: so many reports, an event each.
pub fn reports(count: usize) -> String {
    let report = |number| {
        let params = json!({"progressToken": 7, "progress": number, "message": "x".repeat(100)});
        let message = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        format!("event: message\nid: {number}\ndata: {message}\n\n")
    };
    (0..count).map(report).collect()
}

/// Claims that make a token of about 1 KiB.
fn claims(group: &str, port: u16, number: usize) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    json!({"iss": format!("http://127.0.0.1:{port}"), "sub": format!("user-{number}"), "client_id": "agent",
        "aud": "http://127.0.0.1/mcp", "iat": now, "exp": now + 7200, "jti": format!("{number:032}"),
        "scope": "openid profile email mcp", "groups": ["everyone", group], "email": "user@example.com",
        "name": "A name of the usual length", "detail": "x".repeat(120)})
}
