//! `envoy/tls.yaml` and `envoy/mtls.yaml` as they stand, with ports and file names of this run: who gets a
//! connection, and from whom keys are taken.

use crate::certificates::{Authority, Certificate};
use crate::client::Answer;
use crate::envoy::{Changes, Envoy, binary, free_port, root, scratch};
use crate::stub::{Reply, Seen, Stub};
use crate::world::{KEYS, World, call, claims, post};
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

pub const ISSUER: &str = "https://login.example.com";

/// Authorities, and a folder with the files that the shipped ones name.
pub struct Trust {
    pub authority: Authority,
    pub clients: Authority,
    pub folder: PathBuf,
}

impl Trust {
    pub fn new() -> Self {
        let (authority, clients, folder) = (Authority::new(), Authority::new(), scratch());
        authority.sign("mcp.example.com").write(&folder);
        authority.write(&folder.join("ca.crt"));
        clients.write(&folder.join("client-ca.crt"));
        Self { authority, clients, folder }
    }

    pub fn bootstrap(&self, file: &str, port: u16, admin: u16, upstream: u16, provider: u16) -> String {
        let mut text = std::fs::read_to_string(root().join("envoy").join(file)).unwrap();
        let folder = self.folder.display();
        for (from, to) in [
            ("address: 0.0.0.0, port_value: 8443", format!("address: 127.0.0.1, port_value: {port}")),
            ("port_value: 9901", format!("port_value: {admin}")),
            (
                "address: tools.internal.example.com, port_value: 8443",
                format!("address: 127.0.0.1, port_value: {upstream}"),
            ),
            (
                "address: login.example.com, port_value: 443",
                format!("address: 127.0.0.1, port_value: {provider}"),
            ),
            (
                "filename: /etc/envoy/mcp_iap.wasm",
                format!("filename: {}/dist/mcp_iap.wasm", root().display()),
            ),
            ("filename: /etc/envoy/tls/", format!("filename: {folder}/")),
            ("filename: /etc/ssl/certs/ca-certificates.crt", format!("filename: {folder}/ca.crt")),
        ] {
            assert!(text.contains(from), "{file} has no `{from}`");
            text = text.replace(from, &to);
        }
        text
    }

    /// An Envoy on a shipped file, its issuer and its upstream with certificates.
    fn world(&self, file: &str, issuer: &Certificate) -> World {
        let provider = Stub::start_tls(issuer.server(), provide);
        let upstream = Stub::start_tls(self.authority.sign("tools.internal.example.com").server(), |_| {
            Reply::new(200, "{}").header("content-type: application/json")
        });
        let envoy = Envoy::run(&Changes::default(), |port, admin| {
            self.bootstrap(file, port, admin, upstream.port, provider.port)
        });
        World { provider, upstream, envoy }
    }

    pub fn issuer(&self) -> Certificate {
        self.authority.sign("login.example.com")
    }
}

pub fn provide(seen: &Seen) -> Reply {
    match seen.path.as_str() {
        "/.well-known/openid-configuration" => {
            Reply::new(200, json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")}).to_string())
        }
        "/keys" => Reply::new(200, KEYS.jwks().to_string()),
        _ => Reply::new(404, ""),
    }
}

fn token() -> String {
    let mut claims = claims(&["dev"]);
    claims["iss"] = json!(ISSUER);
    claims["aud"] = json!("https://mcp.example.com/mcp");
    KEYS.es256(&claims)
}

fn ask(world: &World, client: &std::sync::Arc<rustls::ClientConfig>) -> std::io::Result<Answer> {
    post(&token(), call("get_pods", &json!({}))).send_tls(world.envoy.port, client)
}

/// The first record that comes back to a ClientHello that offers this version and none above it: its type,
/// and the first byte behind its head.
fn hello(port: u16, minor: u8) -> (u8, [u8; 2]) {
    let ciphers = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13];
    let name = b"mcp.example.com";
    let mut extensions = vec![0, 0, 0, name.len() as u8 + 5, 0, name.len() as u8 + 3, 0, 0, name.len() as u8];
    extensions.extend(name);
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, ciphers.len() as u8]);
    body.extend(ciphers);
    body.extend([1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    (answer[0], [answer[5], answer[6]])
}

#[test]
fn a_call_by_tls_passes_and_old_versions_get_no_connection() {
    let trust = Trust::new();
    let world = trust.world("tls.yaml", &trust.issuer());
    for version in [&TLS12, &TLS13] {
        let answer = ask(&world, &trust.authority.client(None, version)).unwrap();
        assert_eq!(answer.status, 200, "{version:?}");
    }
    let (alert, server_hello, fatal_protocol_version) = (21, 2, [2, 70]);
    let (kind, first) = hello(world.envoy.port, 3);
    assert_eq!((kind, first[0]), (22, server_hello), "TLS 1.2");
    for (minor, name) in [(2, "TLS 1.1"), (1, "TLS 1.0"), (0, "SSL 3.0")] {
        assert_eq!(hello(world.envoy.port, minor), (alert, fatal_protocol_version), "{name}");
    }
    let seen = world.upstream.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("host"), Some(&b"tools.internal.example.com:8443"[..]));
    assert_eq!(world.record(2)["outcome"], "allowed");
    world.upstream_saw_no_credential(&token());
}

#[test]
fn who_shows_no_certificate_of_our_authorities_gets_no_connection() {
    let trust = Trust::new();
    let world = trust.world("mtls.yaml", &trust.issuer());
    let own = trust.clients.sign("agent");
    // Signed by the authority of servers, which is none of clients.
    let stranger = trust.authority.sign("agent");
    for version in [&TLS12, &TLS13] {
        assert_eq!(ask(&world, &trust.authority.client(Some(&own), version)).unwrap().status, 200);
        for (shown, told) in [(None, "CertificateRequired"), (Some(&stranger), "UnknownCA")] {
            let error = ask(&world, &trust.authority.client(shown, version)).unwrap_err().to_string();
            assert!(
                error.contains(told) || error.contains("HandshakeFailure"),
                "{version:?} {told}: {error}"
            );
        }
    }
    assert_eq!(world.upstream.seen().len(), 2);
    assert_eq!(world.envoy.access_lines(2).len(), 2);
}

#[test]
fn an_issuer_that_can_not_be_told_to_be_right_gives_no_keys() {
    let trust = Trust::new();
    let other = Authority::new();
    let wrong = [
        ("another name", trust.authority.sign("evil.example.com")),
        ("a name below", trust.authority.sign("a.login.example.com")),
        ("another authority", other.sign("login.example.com")),
        ("a client's authority", trust.clients.sign("login.example.com")),
    ];
    for (fault, certificate) in wrong {
        let world = trust.world("tls.yaml", &certificate);
        let answer = ask(&world, &trust.authority.client(None, &TLS13)).unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_deref()),
            (503, Some("identity_provider_unavailable")),
            "{fault}"
        );
        assert!(world.provider.seen().is_empty(), "{fault}: was asked");
        assert!(world.upstream.seen().is_empty(), "{fault}");
    }
}

#[test]
fn an_upstream_that_can_not_be_told_to_be_right_gets_no_request() {
    let trust = Trust::new();
    let provider = Stub::start_tls(trust.issuer().server(), provide);
    let upstream =
        Stub::start_tls(trust.authority.sign("evil.example.com").server(), |_| Reply::new(200, "{}"));
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        trust.bootstrap("tls.yaml", port, admin, upstream.port, provider.port)
    });
    let world = World { provider, upstream, envoy };
    assert_eq!(ask(&world, &trust.authority.client(None, &TLS13)).unwrap().status, 503);
    assert!(world.upstream.seen().is_empty());
    assert!(world.envoy.access_lines(1)[0]["flags"].as_str().unwrap().contains("UF"));
}

#[test]
fn both_files_load_in_both_envoys() {
    let trust = Trust::new();
    for file in ["tls.yaml", "mtls.yaml"] {
        for envoy in ["ENVOY", "ENVOY_OLDEST"] {
            let text = trust.bootstrap(file, free_port(), free_port(), 1, 1);
            let output = Envoy::validate_text(&text, &binary(envoy));
            assert!(output.status.success(), "{file} {envoy}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
