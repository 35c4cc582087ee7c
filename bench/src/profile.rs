//! Where Envoy's processor time goes, by what `perf` finds it in: Envoy's own code, compiled modules, the kernel.

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Samples a second of processor time: no divisor of a clock's period.
const FREQUENCY: &str = "1999";

/// Parts of a whole that is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Envoy's own code and libraries.
    pub envoy: f64,
    /// What V8 made of modules.
    pub module: f64,
    pub kernel: f64,
}

/// A running `perf record`.
pub struct Profile {
    child: Child,
    file: PathBuf,
}

impl Profile {
    /// Of the process `pid`; samples go into `folder`.
    pub fn start(pid: u32, folder: &Path) -> Result<Self> {
        let file = folder.join("perf.data");
        let child = Command::new("perf")
            .args(["record", "--quiet", "--event", "cpu-clock", "--freq", FREQUENCY])
            .args(["--pid", &pid.to_string(), "--output"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .context("perf (of linux-perf, linux-tools or perf)")?;
        Ok(Self { child, file })
    }

    /// Ends it, and reads what it found.
    pub fn end(mut self) -> Result<Shares> {
        // Interrupted it writes its file.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().context("kill")?;
        self.child.wait()?;
        let report = Command::new("perf")
            .args(["report", "--stdio", "--sort", "dso", "--fields", "overhead,dso", "--input"])
            .arg(&self.file)
            .output()
            .context("perf report")?;
        let shares = read(&String::from_utf8_lossy(&report.stdout));
        ensure!(shares != Shares::default(), "perf found nothing: may this user profile processes?");
        Ok(shares)
    }
}

/// Reads lines such as `13.40%  [JIT] tid 19472`.
fn read(report: &str) -> Shares {
    let mut shares = Shares::default();
    for line in report.lines() {
        let Some((share, place)) = line.trim().split_once('%') else { continue };
        let (Ok(share), place) = (share.parse::<f64>(), place.trim()) else { continue };
        *match place {
            _ if place.starts_with("[kernel") => &mut shares.kernel,
            _ if place.starts_with("[JIT]") => &mut shares.module,
            _ => &mut shares.envoy,
        } += share / 100.0;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_for_what_they_name() {
        let shares = read(
            "# Overhead  Shared Object\n\n 60.50%  envoy\n 16.00%  [kernel.kallsyms]\n 20.00%  [JIT] tid 7\n  3.50%  libc.so.6\n",
        );
        assert_eq!(shares, Shares { envoy: 0.64, module: 0.2, kernel: 0.16 });
    }
}
