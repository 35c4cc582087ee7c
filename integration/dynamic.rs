//! A gate whose Envoy reads its files anew: written by `mcp-iap render envoy --xds-dir`, and changed as its
//! users change it.

use crate::envoy::{Changes, Envoy, root, scratch};
use crate::world::{ISSUER, RESOURCE};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Envoy, and the folder that it watches.
pub struct Dynamic {
    pub envoy: Envoy,
    folder: PathBuf,
    listen: u16,
    admin: u16,
}

impl Dynamic {
    /// Starts Envoy with this document in front of the upstream at this port.
    pub fn start(changes: &Changes, document: &str, upstream: u16) -> Self {
        Self::start_edited(changes, document, upstream, "", "")
    }

    /// The same with the filter's file edited before Envoy starts.
    pub fn start_edited(changes: &Changes, document: &str, upstream: u16, from: &str, to: &str) -> Self {
        let folder = scratch();
        let (mut listen, mut admin) = (0, 0);
        let envoy = Envoy::run(changes, |port, admin_port| {
            (listen, admin) = (port, admin_port);
            let output = render(&folder, document, port, admin_port, upstream, &module());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            edit(&folder, from, to);
            std::fs::read_to_string(folder.join("xds/envoy.yaml")).unwrap()
        });
        Self { envoy, folder, listen, admin }
    }

    /// Runs the command again, with another document, upstream or module.
    pub fn render(&self, document: &str, upstream: u16, module: &Path) -> Output {
        render(&self.folder, document, self.listen, self.admin, upstream, module)
    }

    /// Runs the command again for a document with several resources; `upstreams` says where each is.
    pub fn render_several(&self, document: &str, upstreams: &[(&str, u16)]) -> Output {
        let upstream = |(resource, port): &(&str, u16)| format!("{resource}=http://127.0.0.1:{port}");
        let upstreams: Vec<_> = upstreams.iter().map(upstream).collect();
        render_to(&self.folder, document, self.listen, self.admin, &upstreams, &module())
    }

    /// As somebody does who edits the filter's file by hand.
    pub fn edit_filter(&self, from: &str, to: &str) {
        edit(&self.folder, from, to);
    }

    /// The module under another name, and with another checksum: a custom section that says nothing.
    pub fn other_module(&self) -> PathBuf {
        let file = self.folder.join("mcp_iap_2.wasm");
        let mut module = std::fs::read(module()).unwrap();
        module.extend_from_slice(b"\0\x05\x04next");
        std::fs::write(&file, module).unwrap();
        file
    }

    /// A counter or gauge of Envoy's.
    pub fn stat(&self, name: &str) -> u64 {
        let all = self.envoy.admin("/stats").unwrap();
        let value = all.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        value.unwrap_or_else(|| panic!("no {name}:\n{all}")).parse().unwrap()
    }

    /// Waits until `is_so`, and says how long that took.
    pub fn wait(&self, what: &str, within: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < within, "after {within:?}: {what}\n{}", self.envoy.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        started.elapsed()
    }
}

impl Drop for Dynamic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join("xds/filter.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}:\n{text}");
    let beside = folder.join("edited");
    std::fs::write(&beside, text.replace(from, to)).unwrap();
    std::fs::rename(beside, file).unwrap();
}

pub fn module() -> PathBuf {
    root().join("dist/mcp_iap.wasm")
}

fn render(folder: &Path, document: &str, listen: u16, admin: u16, upstream: u16, wasm: &Path) -> Output {
    render_to(folder, document, listen, admin, &[format!("http://127.0.0.1:{upstream}")], wasm)
}

fn render_to(
    folder: &Path,
    document: &str,
    listen: u16,
    admin: u16,
    upstreams: &[String],
    wasm: &Path,
) -> Output {
    let file = folder.join("mcp-iap.yaml");
    std::fs::write(&file, document).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
        .args(["render", "envoy", file.to_str().unwrap(), "--wasm", wasm.to_str().unwrap()])
        .args(["--listen", &format!("127.0.0.1:{listen}"), "--admin", &format!("127.0.0.1:{admin}")])
        .args(upstreams.iter().flat_map(|upstream| ["--upstream", upstream]))
        .args(["--xds-dir", folder.join("xds").to_str().unwrap()])
        .output()
        .unwrap()
}

/// A document with these rules, whose issuer's keys are at `keys`.
pub fn document(keys: u16, rules: &str, more: &str) -> String {
    format!(
        "resource: {RESOURCE}
issuers:
  - {{ issuer: '{ISSUER}', jwks_uri: 'http://127.0.0.1:{keys}/jwks', insecure_http: true, cluster: keys }}
rules:
{rules}{more}"
    )
}
