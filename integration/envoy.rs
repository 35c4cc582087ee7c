//! A real Envoy on the shipped bootstrap: ports changed, everything else as users copy it.

use crate::client::{KeepAlive, Request};
use crate::record_schema;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a scenario changes of the shipped file.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The shipped file, `envoy/envoy.yaml` unless given.
    pub shipped: Option<&'static str>,
    /// The filter's configuration instead of the shipped one.
    pub configuration: Option<String>,
    /// Texts to be replaced; each must be there.
    pub replace: Vec<(&'static str, String)>,
    /// The binary instead of `$ENVOY`.
    pub binary: Option<PathBuf>,
    /// Worker threads; two unless given.
    pub concurrency: Option<u32>,
}

impl Changes {
    /// `allow_on_headers_stop_iteration` is set neither in Envoy nor in the configuration.
    pub fn without_flag() -> Self {
        Self { replace: vec![Self::no_flag_in_envoy(), Self::no_flag_in_configuration()], ..Self::default() }
    }

    pub fn no_flag_in_envoy() -> (&'static str, String) {
        ("allow_on_headers_stop_iteration: true", "allow_on_headers_stop_iteration: false".to_owned())
    }

    pub fn no_flag_in_configuration() -> (&'static str, String) {
        let rules = "                    rules:\n";
        (rules, format!("                    allow_on_headers_stop_iteration: false\n{rules}"))
    }
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of the whole process.
    pub resident: u64,
    /// The linear memories of all Wasm VMs; they never shrink.
    pub wasm: u64,
}

/// A running Envoy; ends when dropped.
pub struct Envoy {
    pub port: u16,
    admin: u16,
    process: Child,
    folder: PathBuf,
    configuration: PathBuf,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Envoy that an environment variable names.
pub fn binary(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from).unwrap_or_default();
    assert!(path.is_file(), "${variable} names no Envoy: run these tests by `make integration`");
    path
}

/// The minor version of an Envoy 1.
pub fn minor_version(binary: &Path) -> u32 {
    let output = Command::new(binary).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let minor = text.split("/1.").nth(1).and_then(|rest| rest.split('.').next());
    minor.and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("no version: {text}"))
}

/// A log that nobody keeps.
pub fn no_log() -> Vec<(&'static str, String)> {
    let kind = "stream.v3.StdoutAccessLog\n";
    vec![(kind, "file.v3.FileAccessLog\n              path: /dev/null\n".to_owned())]
}

/// A port that nobody listens on, below those that the kernel gives to connections: one of these is soon taken, and
/// who asks again and again whether somebody listens there at last meets himself.
pub fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 11_000 + u16::from_le_bytes(random) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The shipped bootstrap with changes, and with ports of this run.
pub fn bootstrap(changes: &Changes, listener: u16, admin: u16, upstream: u16, provider: u16) -> String {
    let shipped = changes.shipped.unwrap_or("envoy/envoy.yaml");
    let mut text = fs::read_to_string(root().join(shipped)).unwrap();
    let wasm = root().join("dist/mcp_iap.wasm");
    assert!(wasm.is_file(), "dist/mcp_iap.wasm is missing: run `make build`");
    if let Some(configuration) = &changes.configuration {
        text = with_configuration(&text, configuration);
    }
    let own = [
        ("port_value: 10000", format!("port_value: {listener}")),
        ("port_value: 9901", format!("port_value: {admin}")),
        ("port_value: 8000", format!("port_value: {upstream}")),
        ("port_value: 9400", format!("port_value: {provider}")),
        ("filename: dist/mcp_iap.wasm", format!("filename: {}", wasm.display())),
    ];
    for (from, to) in changes.replace.iter().chain(&own) {
        let is_changed = changes.replace.iter().any(|(changed, _)| changed == from);
        assert!(is_changed || text.contains(from), "the shipped file has no `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// Puts another text in the place of the block below the StringValue.
fn with_configuration(text: &str, configuration: &str) -> String {
    let (before, rest) =
        text.split_once("                  value: |\n").expect("the configuration's StringValue");
    let is_inside = |line: &&str| line.starts_with("                    ") || line.trim().is_empty();
    let inside: usize = rest.split_inclusive('\n').take_while(is_inside).map(str::len).sum();
    let indented: String =
        configuration.lines().map(|line| format!("                    {line}\n")).collect();
    format!("{before}                  value: |\n{indented}{}", &rest[inside..])
}

impl Envoy {
    /// Starts Envoy and waits until it is ready.
    pub fn start(changes: &Changes, upstream: u16, provider: u16) -> Self {
        Self::run(changes, |port, admin| bootstrap(changes, port, admin, upstream, provider))
    }

    /// Starts Envoy on the bootstrap that `text` writes for these ports of the listener and the admin
    /// interface, and waits until it is ready. Of `changes` only the process counts.
    pub fn run(changes: &Changes, text: impl FnOnce(u16, u16) -> String) -> Self {
        let (port, admin) = (free_port(), free_port());
        let folder = scratch();
        fs::write(folder.join("envoy.yaml"), text(port, admin)).unwrap();
        let binary = changes.binary.clone().unwrap_or_else(|| binary("ENVOY"));
        let process = Command::new(binary)
            .arg("-c")
            .arg(folder.join("envoy.yaml"))
            .args(["--disable-hot-restart", "-l", "warning", "--component-log-level", "wasm:info"])
            .args(["--file-flush-interval-msec", "20", "--concurrency"])
            .arg(changes.concurrency.unwrap_or(2).to_string())
            .stdout(File::create(folder.join("access.jsonl")).unwrap())
            .stderr(File::create(folder.join("envoy.log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let configuration = folder.join("envoy.yaml");
        let mut envoy = Self { port, admin, process, folder, configuration };
        // It compiles the module first, on a machine that may do other things too.
        let deadline = Instant::now() + Duration::from_secs(90);
        while envoy.admin("/ready").is_none_or(|answer| !answer.contains("LIVE")) {
            let ended = envoy.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "Envoy is not ready: {ended:?}\n{}",
                envoy.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        envoy
    }

    /// Loads a bootstrap without serving.
    pub fn validate(changes: &Changes) -> Output {
        let text = bootstrap(changes, free_port(), free_port(), 1, 1);
        Self::validate_text(&text, &changes.binary.clone().unwrap_or_else(|| binary("ENVOY")))
    }

    /// The same of any text.
    pub fn validate_text(text: &str, binary: &Path) -> Output {
        let folder = scratch();
        fs::write(folder.join("envoy.yaml"), text).unwrap();
        Command::new(binary)
            .args(["--mode", "validate", "-l", "info", "-c"])
            .arg(folder.join("envoy.yaml"))
            .output()
            .unwrap()
    }

    /// Where the admin interface is.
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// An answer of the admin interface; `None` while there is none: it listens before Envoy has loaded the filter,
    /// which takes long on a machine that is busy.
    pub fn admin(&self, path: &str) -> Option<String> {
        let answer = KeepAlive::new(self.admin).send(&Request::new("GET", path)).ok()?;
        Some(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The value of the metric with this name and these labels, as Prometheus reads it.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let stats = self.admin("/stats/prometheus")?;
        stats.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// The CPU time that Envoy has used, all threads.
    pub fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanoseconds = |task: fs::DirEntry| -> u64 {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        Duration::from_nanos(tasks.flatten().map(nanoseconds).sum())
    }

    /// The memory that Envoy takes.
    pub fn memory(&self) -> Memory {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
        // V8 reserves gigabytes of address space for a linear memory, of which the part that is in use can be written.
        let maps = read("maps");
        let ranges: Vec<_> = maps
            .lines()
            .map(|line| {
                let mut fields = line.split_whitespace();
                let (from, to) = fields.next().unwrap().split_once('-').unwrap();
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                (number(from), number(to), fields.next().unwrap())
            })
            .collect();
        let is_reserve = |(from, to, access): &(u64, u64, &str)| *access == "---p" && to - from > 1 << 32;
        let pairs = ranges.iter().zip(ranges.iter().skip(1));
        let used = pairs.filter(|(used, next)| used.2 == "rw-p" && used.1 == next.0 && is_reserve(next));
        Memory { resident: resident * 1024, wasm: used.map(|(used, _)| used.1 - used.0).sum() }
    }

    /// Envoy's own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("envoy.log")).unwrap_or_default()
    }

    /// The file in which the document stands.
    pub fn configuration(&self) -> PathBuf {
        self.configuration.clone()
    }

    /// The same, with the document in another file than the one that it runs.
    pub fn with_configuration(mut self, file: PathBuf) -> Self {
        self.configuration = file;
        self
    }

    /// The access log as text so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.folder.join("access.jsonl")).unwrap_or_default()
    }

    /// The lines of the access log, once there are at least `count`; a moment longer, for one too many. Each record is
    /// as the schema has it.
    pub fn access_lines(&self, count: usize) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let read = || -> Vec<String> { self.access_log().lines().map(str::to_owned).collect() };
        while read().len() < count && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(60));
        let lines: Vec<serde_json::Value> = read()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        for line in &lines {
            for record in line["mcp_iap"].as_array().unwrap_or_else(|| panic!("no list: {line}")) {
                assert_eq!(record_schema::faults(record), Vec::<String>::new(), "{record}");
            }
        }
        lines
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("Envoy's log and access log are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A new folder below the build's own.
pub fn scratch() -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{count}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
