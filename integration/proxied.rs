//! Behind another TLS proxy, a second real Envoy: what clients are told comes from the configuration, whatever host
//! the proxy or a client asks for; and a certificate that only the proxy has seen proves nothing here.

use crate::certificates::Certificate;
use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy};
use crate::front::{To, front};
use crate::support::issuer::b64;
use crate::tls::Trust;
use crate::world::{ISSUER, KEYS, World, call, claims};
use rustls::ClientConfig;
use rustls::version::TLS13;
use serde_json::{Value, json};
use std::sync::Arc;

const RESOURCE: &str = "https://mcp.example.com/team/mcp";

fn configuration() -> String {
    format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{ISSUER}', insecure_http: true, cluster: identity_provider }}
rules:
  - {{ id: reads, allow: {{ tools: [get_*] }}, scope: 'mcp:read' }}
  - {{ id: writes, allow: {{ tools: [set_*] }}, scope: 'mcp:read mcp:write' }}
"
    )
}

struct Proxied {
    trust: Trust,
    own: Certificate,
    world: World,
    proxy: Envoy,
}

impl Proxied {
    fn new() -> Self {
        let trust = Trust::new();
        let own = trust.clients.sign("agent");
        // So that what the proxy tells of the certificate comes to the filter, and to the upstream.
        let forward = "use_remote_address: true\n          forward_client_cert_details: ALWAYS_FORWARD_ONLY";
        let world = World::new(&Changes {
            configuration: Some(configuration()),
            replace: vec![("use_remote_address: true", forward.to_owned())],
            ..Changes::default()
        });
        let tells = [
            "use_remote_address: true",
            "forward_client_cert_details: APPEND_FORWARD",
            "set_current_client_cert_details: { subject: true, cert: true }",
        ];
        let proxy = front(&trust, world.envoy.port, &To::Plain("gate.internal:8080"), &tells);
        Self { trust, own, world, proxy }
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.trust.authority.client(Some(&self.own), &TLS13)
    }

    /// By way of the proxy, with headers by which a client might have the gate take another name for its own.
    fn send(&self, request: Request) -> Answer {
        let lies = [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "1"),
            ("forwarded", "host=evil.example;proto=http"),
            ("x-original-host", "evil.example"),
        ];
        let request = lies.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send_tls(self.proxy.port, &self.client()).unwrap()
    }

    fn call(&self, tool: &str, members: &Value) -> Answer {
        let mut claims = claims(&[]);
        claims["aud"] = json!(RESOURCE);
        claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = Request::new("POST", "/team/mcp")
            .header("authorization", format!("Bearer {}", KEYS.es256(&claims)))
            .header("content-type", "application/json")
            .body(call(tool, &json!({})));
        self.send(request)
    }
}

#[test]
fn clients_are_told_what_is_configured() {
    let proxied = Proxied::new();
    let bare = proxied.send(Request::new("POST", "/team/mcp"));
    assert_eq!(
        (bare.status, bare.header("www-authenticate").unwrap()),
        (
            401,
            r#"Bearer realm="https://mcp.example.com/team/mcp", scope="mcp:read", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp""#
        )
    );
    for path in ["/.well-known/oauth-protected-resource/team/mcp", "/.well-known/oauth-protected-resource"] {
        let metadata = proxied.send(Request::new("GET", path));
        let metadata: Value = serde_json::from_slice(&metadata.body).unwrap();
        let expected = json!({"resource": RESOURCE, "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"], "scopes_supported": ["mcp:read"]});
        assert_eq!(metadata, expected, "{path}");
    }
    assert_eq!(proxied.call("get_x", &json!({"scope": "mcp:read"})).status, 200);
    let step_up = proxied.call("set_x", &json!({"scope": "mcp:read"}));
    assert_eq!(
        (step_up.status, step_up.header("www-authenticate").unwrap()),
        (
            403,
            r#"Bearer realm="https://mcp.example.com/team/mcp", error="insufficient_scope", error_description="the token lacks a scope that this needs", scope="mcp:read mcp:write", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp""#
        )
    );
    assert_eq!(proxied.call("set_x", &json!({"scope": "mcp:write mcp:read"})).status, 200);
    assert_eq!(proxied.world.upstream.seen().len(), 2);
}

#[test]
fn a_certificate_that_the_proxy_tells_of_proves_nothing() {
    let proxied = Proxied::new();
    let bound = json!({"scope": "mcp:read", "cnf": {"x5t#S256": b64(proxied.own.sha256())}});
    let answer = proxied.call("get_x", &bound);
    assert_eq!((answer.status, answer.reason().as_deref()), (401, Some("client_certificate_missing")));
    // It did tell of the right one.
    assert_eq!(proxied.call("get_x", &json!({"scope": "mcp:read"})).status, 200);
    let seen = proxied.world.upstream.seen();
    assert_eq!(seen.len(), 1);
    let hex: String = proxied.own.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    let told = String::from_utf8_lossy(seen[0].header("x-forwarded-client-cert").unwrap());
    assert!(told.contains(&format!("Hash={hex}")), "{told}");
}
