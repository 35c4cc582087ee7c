//! What `mcp-iap render envoy` writes for options that no shipped file has, on a real Envoy.

use crate::certificates::Authority;
use crate::client::Request;
use crate::envoy::{Changes, Envoy, binary, free_port, minor_version, scratch};
use crate::stub::{Reply, Stub};
use crate::support::issuer::Issuer;
use crate::world::{KEYS, World, call, claims, now, post, provide};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is rendered for a document in `folder`, with ports and further options.
pub fn render(folder: &Path, document: &str, port: u16, admin: u16, options: &[String]) -> String {
    let file = folder.join("mcp-iap.yaml");
    std::fs::write(&file, document).unwrap();
    let wasm = crate::envoy::root().join("dist/mcp_iap.wasm");
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
        .args(["render", "envoy", file.to_str().unwrap(), "--wasm", wasm.to_str().unwrap()])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A document for a caller in the group `dev`, whose keys are at `keys`.
fn document(keys: u16, more: &str) -> String {
    format!(
        "resource: http://127.0.0.1:10000/mcp
issuers:
  - {{ issuer: 'http://127.0.0.1:9400', jwks_uri: 'http://127.0.0.1:{keys}/jwks', insecure_http: true, cluster: keys }}
rules:
  - {{ id: dev, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}
{more}"
    )
}

pub fn option(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

/// Writes a file and moves it into its place, as Kubernetes does.
pub fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

#[test]
fn envoy_adds_the_credential_of_a_callout_and_takes_a_new_one() {
    let folder = scratch();
    let wanted = Arc::new(Mutex::new(("reviewer-1", KEYS.jwks().to_string())));
    let asked = Arc::clone(&wanted);
    let provider = Stub::start(move |seen| {
        let (token, keys) = asked.lock().unwrap().clone();
        let is_right = seen.header("authorization") == Some(format!("Bearer {token}").as_bytes());
        if is_right { Reply::new(200, keys) } else { Reply::new(401, "") }
    });
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    // As docs/envoy.md says for Envoy 1.36, which has no field for the prefix.
    let has_prefix = minor_version(&binary("ENVOY")) > 36;
    let prefix = if has_prefix { "" } else { "Bearer " };
    put(&folder, "token", &format!("{prefix}reviewer-1"));
    let sds = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "credential",
        "generic_secret": {"secret": {"filename": folder.join("token"), "watched_directory": {"path": folder}}},
    }]});
    let sds_file = folder.join("credential.yaml");
    std::fs::write(&sds_file, sds.to_string()).unwrap();
    let options = [
        option("--upstream", &format!("http://127.0.0.1:{}", upstream.port)),
        option("--credential", &format!("keys={}", sds_file.display())),
    ]
    .concat();
    let mut rendered = String::new();
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        rendered = render(&folder, &document(provider.port, ""), port, admin, &options);
        let is_known = |line: &&str| has_prefix || !line.contains("header_value_prefix");
        rendered.split_inclusive('\n').filter(is_known).collect()
    });
    let world = World { provider, upstream, envoy };
    let ask = |issuer: &Issuer| {
        post(&issuer.es256(&claims(&["dev"])), call("get_pods", &json!({}))).send(world.envoy.port)
    };
    assert_eq!(ask(&KEYS).status, 200);

    // The credential is renewed, and the keys are: what the old one brings is not enough any more.
    let renewed = Issuer::new("renewed");
    *wanted.lock().unwrap() = ("reviewer-2", renewed.jwks().to_string());
    assert_eq!(ask(&renewed).status, 503, "the old credential still counts");
    put(&folder, "token", &format!("{prefix}reviewer-2"));
    let deadline = Instant::now() + Duration::from_secs(15);
    while ask(&renewed).status != 200 {
        assert!(Instant::now() < deadline, "the new credential is not taken\n{}", world.envoy.log());
        std::thread::sleep(Duration::from_millis(300));
    }

    for secret in ["reviewer-1", "reviewer-2"] {
        let dump = world.envoy.admin("/config_dump?include_eds").unwrap();
        for (place, text) in [
            ("the bootstrap", rendered.as_str()),
            ("the configuration", &dump),
            ("the access log", &world.envoy.access_log()),
            ("the log", &world.envoy.log()),
        ] {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
    world.upstream_saw_no_credential("");
}

#[test]
fn a_path_of_the_upstream_is_asked_instead_of_the_resources() {
    let folder = scratch();
    let provider = Stub::start(provide);
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let options = option("--upstream", &format!("http://127.0.0.1:{}/v1/tools", upstream.port));
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        render(&folder, &document(provider.port, "health_paths: [/healthz]\n"), port, admin, &options)
    });
    let token = KEYS.es256(&claims(&["dev"]));
    let mut with_query = post(&token, call("get_pods", &json!({})));
    with_query.path = "/mcp?a=b".to_owned();
    assert_eq!(with_query.send(envoy.port).status, 200);
    assert_eq!(Request::new("GET", "/healthz").send(envoy.port).status, 200);
    assert_eq!(Request::new("GET", "/.well-known/oauth-protected-resource/mcp").send(envoy.port).status, 200);
    assert_eq!(Request::new("GET", "/v1/tools").send(envoy.port).status, 404);
    let paths: Vec<_> = upstream.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/tools?a=b", "/healthz"]);
}

#[test]
fn the_listeners_certificate_is_renewed_by_sds() {
    let folder = scratch();
    let provider = Stub::start(provide);
    let (first, second) = (Authority::new(), Authority::new());
    first.sign("mcp.example.com").write(&folder);
    let sds = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "server_certificate",
        "tls_certificate": {
            "certificate_chain": {"filename": folder.join("tls.crt")},
            "private_key": {"filename": folder.join("tls.key")},
            "watched_directory": {"path": folder},
        },
    }]});
    let sds_file = folder.join("server.yaml");
    std::fs::write(&sds_file, sds.to_string()).unwrap();
    let options =
        [option("--upstream", "http://127.0.0.1:1"), option("--tls-sds", sds_file.to_str().unwrap())]
            .concat();
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        render(&folder, &document(provider.port, ""), port, admin, &options)
    });
    let metadata = Request::new("GET", "/.well-known/oauth-protected-resource");
    let (by_first, by_second) =
        (first.client(None, &rustls::version::TLS13), second.client(None, &rustls::version::TLS13));
    assert_eq!(metadata.send_tls(envoy.port, &by_first).unwrap().status, 200);
    assert!(metadata.send_tls(envoy.port, &by_second).is_err());
    second.sign("mcp.example.com").write(&folder);
    let deadline = Instant::now() + Duration::from_secs(15);
    while metadata.send_tls(envoy.port, &by_second).is_err() {
        assert!(Instant::now() < deadline, "{} s: the old certificate\n{}", now(), envoy.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(metadata.send_tls(envoy.port, &by_first).is_err());
}

/// Envoy reads YAML with another library than ours.
#[test]
fn envoy_reads_hostile_names_as_they_are() {
    let folder = scratch();
    let name = "a\"b\nadmin: { x: 1 }\n# ' \\ \u{2028}\u{85} é | & *";
    let document = json!({
        "resource": "https://r/mcp",
        "issuers": [{"issuer": "https://i", "cluster": name}],
        "rules": [{"id": "a", "deny": {"tools": [name]}}],
        "health_paths": ["/a'b:{}"],
    });
    let file = folder.join("a\"b: # é'\n.crt");
    Authority::new().write(&file);
    let file = file.to_str().unwrap();
    let options = [option("--upstream", "https://127.0.0.1/x'y,:{}"), option("--ca", file)].concat();
    // Line breaks of YAML 1.1 are taken only by their escapes.
    let document = document.to_string().replace('\u{2028}', "\\u2028").replace('\u{85}', "\\u0085");
    for document in [document.clone(), format!("   # deep\n{document}"), format!("\n  \n{document}\n\n \n")] {
        for envoy in ["ENVOY", "ENVOY_OLDEST"] {
            let text = render(&folder, &document, free_port(), free_port(), &options);
            let output = Envoy::validate_text(&text, &binary(envoy));
            assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
