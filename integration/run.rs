//! `mcp-iap run` for real: what it says, what it shows, and that nothing is left behind.

use crate::envoy::{binary, free_port, root, scratch};
use crate::stub::{Reply, Stub};
use crate::world::{KEYS, call, claims, post, provide};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running `mcp-iap run`; what it writes goes to files.
struct Run {
    process: Child,
    port: u16,
    admin: u16,
    folder: PathBuf,
    upstream: Stub,
}

impl Run {
    /// For a document whose keys are at the port `keys`.
    fn start(keys: u16, more: &[&str]) -> Self {
        let (port, admin, folder) = (free_port(), free_port(), scratch());
        let upstream = Stub::start(|_| Reply::new(200, "{}"));
        let to = format!("http://127.0.0.1:{}", upstream.port);
        let process = command(keys, &folder)
            .args(["--upstream", &to, "--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin", &format!("127.0.0.1:{admin}"), "--envoy"])
            .arg(binary("ENVOY"))
            .args(more)
            .stdout(File::create(folder.join("out")).unwrap())
            .stderr(File::create(folder.join("err")).unwrap())
            .spawn()
            .unwrap();
        Self { process, port, admin, folder, upstream }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn wait_for(&mut self, name: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.read(name).contains(text) {
            let ended = self.process.try_wait().unwrap();
            let said = || format!("{}\n{}", self.read("out"), self.read("err"));
            assert!(ended.is_none() && Instant::now() < deadline, "no `{text}`, {ended:?}:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, tool: &str) -> u16 {
        self.ask_as("dana", tool)
    }

    fn ask_as(&self, subject: &str, tool: &str) -> u16 {
        let mut claims = claims(&["dev"]);
        claims["sub"] = json!(subject);
        post(&KEYS.es256(&claims), call(tool, &json!({}))).send(self.port).status
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How it ended; there is no process on its ports any more, and no file of it.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.read("out"));
            std::thread::sleep(Duration::from_millis(20));
        };
        for port in [self.port, self.admin] {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "somebody is left on port {port}");
        }
        let left: Vec<_> = std::fs::read_dir(self.folder.join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        status
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal("-TERM");
            let _ = self.process.wait();
        }
    }
}

fn command(keys: u16, folder: &std::path::Path) -> Command {
    let document = format!(
        "resource: http://127.0.0.1:10000/mcp
issuers:
  - {{ issuer: 'http://127.0.0.1:9400', jwks_uri: 'http://127.0.0.1:{keys}/jwks', insecure_http: true, cluster: keys }}
rules:
  - {{ id: dev, allow: {{ tools: [get_*] }}, to: {{ groups: [dev] }} }}
  - {{ id: never, deny: {{ tools: [drop_*] }}, message: ask the sre }}
"
    );
    let file = folder.join("mcp-iap.yaml");
    std::fs::write(&file, document).unwrap();
    std::fs::create_dir_all(folder.join("tmp")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.args(["run", file.to_str().unwrap()]).current_dir(root()).env("TMPDIR", folder.join("tmp"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn shows_what_it_guards_and_each_decision_and_leaves_nothing_behind() {
    let provider = Stub::start(provide);
    let mut run = Run::start(provider.port, &[]);
    run.wait_for("out", "ready; Ctrl-C ends it");
    // The gate refuses control characters in names, not what turns the direction; and subjects are the
    // issuer's business, who may let its users choose them.
    assert_eq!((run.ask("get_pods"), run.ask("drop_table"), run.ask("drop_\u{202e}x")), (200, 403, 403));
    assert_eq!(run.ask_as("\u{1b}[2J\u{9b}1m\n10:00:00  allowed", "drop_y"), 403);
    run.wait_for("out", "drop_y");
    assert_eq!(std::fs::read_dir(run.folder.join("tmp")).unwrap().count(), 1);
    run.signal("-INT");
    assert_eq!(run.ended().code(), Some(0), "{}", run.read("err"));
    let out = run.read("out");
    for line in [
        "guards    http://127.0.0.1:10000/mcp".to_owned(),
        format!("upstream  http://127.0.0.1:{}", run.upstream.port),
        format!(
            "listens   http://127.0.0.1:{}/mcp, for clients that call http://127.0.0.1:10000/mcp",
            run.port
        ),
        "issuer    http://127.0.0.1:9400 by cluster keys".to_owned(),
        "aud       http://127.0.0.1:10000/mcp in its tokens".to_owned(),
        "rules     1 allow and 1 deny; what no rule allows is refused".to_owned(),
        format!("admin     http://127.0.0.1:{}", run.admin),
        format!("Envoy     {}", binary("ENVOY").display()),
        "keys of http://127.0.0.1:9400 through cluster keys: 2 usable".to_owned(),
    ] {
        assert_eq!(out.lines().filter(|shown| **shown == line).count(), 1, "{line}\n{out}");
    }
    let decisions: Vec<_> = out.lines().skip_while(|line| !line.starts_with("TIME ")).skip(1).collect();
    assert_eq!(decisions.len(), 4, "{out}");
    let parts = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(parts(decisions[0]), "allowed 200 dana by agent tools/call get_pods dev");
    let refused = parts(decisions[1]);
    let (told, id) = refused.split_once("; decision ").unwrap();
    assert_eq!(told, "refused 403 dana by agent tools/call drop_table denied_by_rule (never) ask the sre");
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()), "{refused}");
    assert!(parts(decisions[2]).contains(" drop_\\u{202e}x "), "{out}");
    assert!(parts(decisions[3]).starts_with("refused 403 \\u{1b}[2J\\u{9b}1m"), "{out}");
    let plain = |c: char| c.is_ascii_graphic() || matches!(c, ' ' | '\n' | '…');
    assert!(out.chars().all(plain), "{out:?}");
}

/// What is killed can end nobody: the kernel ends Envoy.
#[test]
fn killed_it_takes_envoy_along() {
    let provider = Stub::start(provide);
    let mut run = Run::start(provider.port, &[]);
    run.wait_for("out", "ready; Ctrl-C ends it");
    run.signal("-KILL");
    run.process.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    while !(is_free(run.port) && is_free(run.admin)) {
        assert!(Instant::now() < deadline, "Envoy is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn passes_records_on_as_json() {
    let provider = Stub::start(provide);
    let mut run = Run::start(provider.port, &["-o", "json"]);
    run.wait_for("err", "ready; Ctrl-C ends it");
    let (subject, tool) = ("\u{7f}\u{9b}31m\u{1b}", "drop_\u{202e}x");
    assert_eq!(run.ask_as(subject, tool), 403);
    run.wait_for("out", "drop_");
    run.signal("-TERM");
    assert_eq!(run.ended().code(), Some(0));
    let out = run.read("out");
    assert!(out.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{out:?}");
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 1);
    let record = &records[0]["mcp_iap"][0];
    assert_eq!((&record["caller"]["subject"], &record["tool"]), (&json!(subject), &json!(tool)));
    assert!(run.read("err").contains("guards "));
}

#[test]
fn says_why_there_are_no_keys_and_serves() {
    let mut run = Run::start(free_port(), &[]);
    run.wait_for("out", "ready; Ctrl-C ends it");
    assert!(run.read("out").contains(
        "keys of http://127.0.0.1:9400 through cluster keys: the key set was answered with status 503"
    ));
    assert_eq!(run.ask("get_pods"), 503);
    run.wait_for("out", "identity_provider_unavailable");
    run.signal("-HUP");
    assert_eq!(run.ended().code(), Some(0));
}

#[test]
fn an_envoy_that_dies_is_told() {
    let provider = Stub::start(provide);
    let mut run = Run::start(provider.port, &[]);
    run.wait_for("out", "ready; Ctrl-C ends it");
    // It may be gone before it has answered.
    let mut admin = TcpStream::connect(("127.0.0.1", run.admin)).unwrap();
    admin.write_all(b"POST /quitquitquit HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert_eq!(run.ended().code(), Some(1));
    let said = run.read("err");
    assert!(
        said.contains("Envoy ended by itself, ") && said.contains("keys of http://127.0.0.1:9400"),
        "{said}"
    );

    // One that does not even start: the certificate is none.
    let mut run =
        Run::start(provider.port, &["--tls-certificate", "Makefile", "--tls-private-key", "Makefile"]);
    assert_eq!(run.process.wait().unwrap().code(), Some(1));
    assert_eq!(run.ended().code(), Some(1));
    assert!(run.read("err").contains("Failed to load certificate chain"), "{}", run.read("err"));
}

/// On a machine that has much to do, what Envoy said last comes when it has ended.
#[test]
fn what_envoy_said_last_is_waited_for() {
    let folder = scratch();
    let script = folder.join("envoy");
    std::fs::write(&script, "#!/bin/sh\n(sleep 0.4; echo that is why >&2) &\nexit 3\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let [listen, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let output = command(1, &folder)
        .args(["--upstream", "http://127.0.0.1:1", "--listen", &listen, "--admin", &admin, "--envoy"])
        .arg(script)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("that is why"), "{said}");
}

#[test]
fn says_what_is_missing_before_it_starts() {
    let folder = scratch();
    let (taken, free) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    let (taken, free) =
        (taken.local_addr().map(|at| (taken, at.to_string())).unwrap(), format!("127.0.0.1:{free}"));
    let envoy = binary("ENVOY");
    let envoy = envoy.to_str().unwrap();
    for (arguments, code, told) in [
        (
            vec!["--listen", &taken.1, "--envoy", envoy],
            1,
            format!("{} can't be had, and Envoy's listener needs it", taken.1),
        ),
        (
            vec!["--listen", &free, "--admin", &taken.1, "--envoy", envoy],
            1,
            "Envoy's admin interface needs it".to_owned(),
        ),
        (vec!["--listen", &free], 1, "run `make envoy`".to_owned()),
        (vec!["--envoy", "no-such-envoy"], 2, "there is no such program".to_owned()),
        (vec!["--wasm", "no-such-file", "--envoy", envoy], 2, "there is no such file".to_owned()),
    ] {
        let output = command(1, &folder)
            .args(["--upstream", "http://127.0.0.1:1"])
            .args(&arguments)
            .env("PATH", "/nonexistent")
            .env("MCP_IAP_DEPS", "/nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(&told), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
}
