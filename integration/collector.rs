//! A receiver of records by gRPC: the programs of `sinks/`, which say what they stand in for.

use crate::envoy::{root, scratch};
use crate::failures::eventually;
use serde_json::Value;
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs until it is dropped.
pub struct Collector {
    pub port: u16,
    process: Child,
    received: PathBuf,
}

impl Collector {
    /// Of this kind, `als` or `otlp`.
    pub fn start(kind: &str, port: u16) -> Self {
        let deps = std::env::var("MCP_IAP_DEPS").unwrap_or_else(|_| ".deps".to_owned());
        let python = Path::new(&deps).join(format!("{kind}-venv/bin/python"));
        assert!(python.is_file(), "{} is missing: run `scripts/deps.sh collectors`", python.display());
        let folder = scratch();
        let received = folder.join("received.jsonl");
        let process = Command::new(python)
            .arg(root().join(format!("sinks/{kind}.py")))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(File::create(&received).unwrap())
            .stderr(File::create(folder.join("collector.log")).unwrap())
            .spawn()
            .unwrap();
        let collector = Self { port, process, received };
        eventually("the collector listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        collector
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.received).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What came, once it is `count` lines: Envoy sends each second.
    pub fn lines(&self, count: usize) -> Vec<Value> {
        eventually("records at a collector", || self.received().len() >= count);
        self.received()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
