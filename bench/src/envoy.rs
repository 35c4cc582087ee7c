//! An Envoy with one worker, alone on a processor, and what it used of it.

use crate::case::{Case, Variant};
use crate::server::Server;
use crate::{Options, configuration};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A running Envoy; it ends with the value.
pub struct Envoy {
    /// Each variant and its port.
    pub variants: Vec<(Variant, u16)>,
    child: Child,
}

impl Envoy {
    /// Starts it and waits until it listens.
    pub async fn start(
        case: &Case,
        variants: &[Variant],
        options: &Options,
        server: &Server,
        collector: Option<u16>,
    ) -> Result<Self> {
        let folder = std::path::absolute(&options.out)?;
        let free: Vec<TcpListener> = (0..=variants.len())
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<std::io::Result<_>>()?;
        let mut ports = vec![];
        for listener in free {
            ports.push(listener.local_addr()?.port());
        }
        let admin = ports.remove(0);
        let variants: Vec<(Variant, u16)> = variants.iter().copied().zip(ports).collect();
        let text = configuration::bootstrap(case, options, server, &folder, admin, collector, &variants)?;
        let file = folder.join("envoy.yaml");
        fs::write(&file, text)?;
        let log = folder.join("envoy.log");
        let output = File::create(&log)?;
        let child = Command::new("taskset")
            .args(["--cpu-list", "0"])
            .arg(&options.envoy)
            .args(["--concurrency", "1", "--log-level", "warning", "--disable-hot-restart", "-c"])
            .arg(&file)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("taskset (of util-linux) and Envoy")?;
        let mut envoy = Self { variants, child };
        let start = Instant::now();
        for (_, port) in envoy.variants.clone() {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if envoy.child.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(30) {
                    bail!("Envoy does not start: {}", fs::read_to_string(&log)?);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(envoy)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, of all its threads.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split(' ').next().context("schedstat")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(sum))
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
