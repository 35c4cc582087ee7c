//! `docker-compose.yaml`: what it names is there, and nobody reaches the MCP server past Envoy.
//!
//! `make test-compose` runs it.

use serde_json::{Value, json};
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_compose_file_fits_the_rest() {
    let file: Value = mcp_iap::config::yaml::read(&read("docker-compose.yaml")).unwrap();
    let makefile = read("Makefile");
    let version = makefile.lines().find_map(|line| line.strip_prefix("ENVOY_VERSION := ")).unwrap();
    let services = &file["services"];
    assert_eq!(services["envoy"]["image"], format!("envoyproxy/envoy:v{version}"));
    let command = services["envoy"]["command"].as_array().unwrap();
    assert!(read(command[2].as_str().unwrap()).contains("filename: dist/mcp_iap.wasm"));
    for service in ["provider", "server"] {
        read(&format!("{}/Dockerfile", services[service]["build"].as_str().unwrap()));
    }
    for (name, service) in services.as_object().unwrap() {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to other machines");
        }
    }
    assert_eq!(services["server"].get("ports"), None);
    assert_eq!(services["server"]["networks"], json!(["servers"]));
    assert_eq!(file["networks"]["servers"]["internal"], true);
    assert_eq!(
        services["provider"]["networks"],
        json!(["clients"]),
        "the provider does not reach the server"
    );
}
