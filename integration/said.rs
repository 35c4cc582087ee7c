//! What Envoy says when it does not start, word by word: `docs/troubleshooting.md` quotes these lines, and
//! `tests/troubleshooting.rs` holds it to this table.

use crate::envoy::{Envoy, binary, root};
use std::process::Command;

const UPSTREAM: [&str; 2] = ["--upstream", "http://127.0.0.1:8000"];
const GOOD: &str = "dist/mcp_iap.wasm";

/// Options of `mcp-iap render envoy` beside the upstream and the module; a text to be replaced in what it
/// prints; the module; what Envoy says.
const CASES: &[(&[&str], (&str, &str), &str, &str)] = &[
    (&[], ("", ""), "no-such-file.wasm", "Invalid path: "),
    (&["--ca", "/no-such-file.crt"], ("", ""), GOOD, "Invalid path: "),
    (&[], ("", ""), "Makefile", "Failed to load Wasm code"),
    (&[], ("groups:", "gruops:"), GOOD, "Plugin configured to fail closed failed to load"),
    (&[], ("cluster: mcp_server\n", "cluster: nowhere\n"), GOOD, "route: unknown cluster '"),
    (&[], ("failure_policy:", "failure_policies:"), GOOD, "has unknown fields"),
    (
        &["--tls-certificate", "no.pem", "--tls-private-key", "no.key"],
        ("", ""),
        GOOD,
        "Failed to load incomplete private key from path: ",
    ),
    (
        &["--credential", "login.example.com=c.yaml"],
        ("node: { id: mcp_iap, cluster: mcp_iap }", ""),
        GOOD,
        "node 'id' and 'cluster' are required",
    ),
];

#[test]
fn what_is_quoted_of_envoy_is_what_it_says() {
    for (options, (from, to), wasm, told) in CASES {
        let rendered = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
            .args(["render", "envoy", "examples/smallest.yaml", "--wasm"])
            .arg(root().join(wasm))
            .args(UPSTREAM)
            .args(*options)
            .current_dir(root())
            .output()
            .unwrap();
        let text = String::from_utf8(rendered.stdout).unwrap();
        assert!(text.contains(from), "{from}");
        let output = Envoy::validate_text(&text.replacen(from, to, 1), &binary("ENVOY"));
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && log.contains(told), "{told}: {log}");
    }
}
