//! Tokens bound to a client certificate (RFC 8705 section 3), over `envoy/mtls.yaml` and `envoy/tls.yaml` with real
//! certificates: they count on a connection whose client proved to have it, whatever a header says.

use crate::certificates::{Authority, Certificate};
use crate::client::Answer;
use crate::envoy::{Changes, Envoy, binary};
use crate::stub::{Reply, Stub};
use crate::support::issuer::b64;
use crate::tls::{ISSUER, Trust, provide};
use crate::world::{KEYS, World, call, claims, post};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::{Value, json};
use std::sync::Arc;

/// A token with this `cnf`.
fn bound(confirmation: &Value) -> String {
    let mut claims = claims(&["dev"]);
    claims["iss"] = json!(ISSUER);
    claims["aud"] = json!("https://mcp.example.com/mcp");
    claims["cnf"] = confirmation.clone();
    KEYS.es256(&claims)
}

fn thumbprint(certificate: &Certificate) -> Value {
    json!({"x5t#S256": b64(certificate.sha256())})
}

/// A call with this token, and with a header that names a certificate as a proxy would.
fn send(world: &World, token: &str, client: &Arc<ClientConfig>, told: Option<&Certificate>) -> Answer {
    let mut request = post(token, call("get_pods", &json!({})));
    if let Some(told) = told {
        let hex: String = told.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        let pem = told.pem().replace('\n', "%0A").replace(' ', "%20");
        request = request
            .header("x-forwarded-client-cert", format!("Hash={hex};Subject=\"CN=agent\""))
            .header("client-cert", format!(":{}:", b64(told.sha256())))
            .header("x-ssl-client-cert", pem);
    }
    request.send_tls(world.envoy.port, client).unwrap()
}

fn seen(answer: &Answer) -> String {
    let reason = answer.reason().unwrap_or_else(|| "allowed".to_owned());
    if answer.status == 401 {
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    }
    reason
}

/// An Envoy of this version on a shipped file.
fn world(trust: &Trust, file: &str, envoy: &str) -> World {
    let provider = Stub::start_tls(trust.issuer().server(), provide);
    let upstream = Stub::start_tls(trust.authority.sign("tools.internal.example.com").server(), |_| {
        Reply::new(200, "{}").header("content-type: application/json")
    });
    let changes = Changes { binary: Some(binary(envoy)), ..Changes::default() };
    let envoy =
        Envoy::run(&changes, |port, admin| trust.bootstrap(file, port, admin, upstream.port, provider.port));
    World { provider, upstream, envoy }
}

fn certified(
    trust: &Trust,
    own: &Certificate,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    trust.authority.client(Some(own), version)
}

fn attack(envoy: &str) {
    let trust = Trust::new();
    let world = world(&trust, "mtls.yaml", envoy);
    let (own, other) = (trust.clients.sign("agent"), trust.clients.sign("agent"));
    let (dana, eve) = (certified(&trust, &own, &TLS13), certified(&trust, &other, &TLS13));
    let old = certified(&trust, &own, &TLS12);
    let token = bound(&thumbprint(&own));
    let both = json!({"x5t#S256": b64(own.sha256()), "jkt": b64([1; 32])});
    let leaf_of_nobody = bound(&json!({"x5t#S256": b64([0; 32])}));
    let hex: String = own.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    let rows: Vec<(&str, &str, &Arc<ClientConfig>, Option<&Certificate>, &str)> = vec![
        ("its own certificate", &token, &dana, None, "allowed"),
        ("over TLS 1.2", &token, &old, None, "allowed"),
        ("a stolen token, remembered by now", &token, &eve, None, "client_certificate_mismatch"),
        ("and a header with the right one", &token, &eve, Some(&own), "client_certificate_mismatch"),
        ("a header with a wrong one", &token, &dana, Some(&other), "allowed"),
        ("its own again, the session resumed", &token, &dana, None, "allowed"),
        ("over TLS 1.2, the session resumed", &token, &old, None, "allowed"),
        ("no certificate's digest", &leaf_of_nobody, &dana, None, "client_certificate_mismatch"),
    ];
    for (name, token, client, told, expected) in rows {
        assert_eq!(seen(&send(&world, token, client, told)), expected, "{envoy}: {name}");
    }
    for (confirmation, expected) in [
        (both, "sender_constraint_unsupported"),
        (json!({"jkt": b64([1; 32])}), "sender_constraint_unsupported"),
        (json!({"x5t#S256": hex}), "invalid_claim"),
        (json!({}), "invalid_claim"),
    ] {
        assert_eq!(seen(&send(&world, &bound(&confirmation), &dana, None)), expected, "{confirmation}");
    }
    let allowed = world.upstream.seen().len();
    assert_eq!(allowed, 5);
    for told in world.upstream.seen() {
        assert_eq!(told.header("authorization"), None);
    }
}

#[test]
fn a_stolen_token_is_of_no_use_without_the_certificate() {
    attack("ENVOY");
}

#[test]
fn a_stolen_token_is_of_no_use_without_the_certificate_on_the_oldest_envoy() {
    attack("ENVOY_OLDEST");
}

#[test]
fn without_a_client_certificate_no_header_makes_up_for_it() {
    let trust = Trust::new();
    let own = trust.clients.sign("agent");
    let token = bound(&thumbprint(&own));
    let stranger = Authority::new().sign("agent");
    // A listener that does not ask for one, and one that takes clients without.
    let optional =
        |text: String| text.replace("require_client_certificate: true", "require_client_certificate: false");
    let worlds = [
        ("tls.yaml", world(&trust, "tls.yaml", "ENVOY")),
        ("mtls.yaml", {
            let provider = Stub::start_tls(trust.issuer().server(), provide);
            let upstream =
                Stub::start_tls(trust.authority.sign("tools.internal.example.com").server(), |_| {
                    Reply::new(200, "{}")
                });
            let envoy = Envoy::run(&Changes::default(), |port, admin| {
                optional(trust.bootstrap("mtls.yaml", port, admin, upstream.port, provider.port))
            });
            World { provider, upstream, envoy }
        }),
    ];
    for (file, world) in &worlds {
        let bare = trust.authority.client(None, &TLS13);
        for told in [None, Some(&own), Some(&stranger)] {
            assert_eq!(seen(&send(world, &token, &bare, told)), "client_certificate_missing", "{file}");
        }
        assert!(world.upstream.seen().is_empty(), "{file}");
    }
    let (_, asks) = &worlds[1];
    assert_eq!(seen(&send(asks, &token, &certified(&trust, &own, &TLS13), None)), "allowed");
    // Where none is asked for, one that the client would have is not shown.
    let (_, asks_not) = &worlds[0];
    let shows = certified(&trust, &own, &TLS13);
    assert_eq!(seen(&send(asks_not, &token, &shows, None)), "client_certificate_missing");
}
