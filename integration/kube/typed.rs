//! Types the commands of a document in a bash, with stand-ins for what no pod is there for, and compares what is printed.

use crate::cluster::Cluster;
use crate::envoy::root;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A block of commands of a document, and the comment above it.
pub struct Block {
    pub mark: String,
    pub text: String,
    is_console: bool,
}

impl Block {
    /// Whether it is `make`'s alone.
    pub fn is_made(&self) -> bool {
        self.text.lines().all(|line| line.trim().starts_with("make "))
    }
}

/// The blocks of commands, in their order.
pub fn blocks(document: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let (mut found, mut mark) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            comment.clone_into(&mut mark);
        } else if let Some(language) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| line.trim() != "```");
            let text = body.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect();
            if ["sh", "console"].contains(&language) {
                let is_console = language == "console";
                found.push(Block { mark: std::mem::take(&mut mark), text, is_console });
            }
        } else if !line.is_empty() {
            mark.clear();
        }
    }
    found
}

/// A bash in a folder that looks like the project's.
pub struct Typist {
    folder: PathBuf,
    bash: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const KUBECTL: &str = r#"#!/bin/bash
# Without pods: a pod's curl runs here, what waits for pods ends, and a port of the machine is one already.
case " $* " in
  *" exec "*)
    while [[ $1 != -- ]]; do shift; done
    shift
    [[ $1 == curl ]] || exit 9
    set -- "${@//\/etc\/gate\/ca.crt/FOLDER/server.crt}"
    exec curl --connect-to mcp-server.mcp.svc.cluster.local:8000:127.0.0.1:8000 \
      --connect-to gate.mcp.svc:443:127.0.0.1:8443 "${@:2}" ;;
  *" rollout status "*) exit 0 ;;
  *" port-forward "*) exec sleep 120 ;;
esac
exec REAL --kubeconfig FOLDER/kubeconfig "$@"
"#;
const CURL: &str = r#"#!/bin/bash
for port in 8000 8443; do
  [[ -e FOLDER/port-$port ]] && set -- "${@//127.0.0.1:$port/127.0.0.1:$(<FOLDER/port-$port)}"
done
exec REAL "$@"
"#;

impl Typist {
    pub fn new(folder: &Path, cluster: &Cluster) -> Self {
        let deps = std::env::var("MCP_IAP_DEPS").unwrap_or_else(|_| ".deps".to_owned());
        let kubectl = Path::new(&deps).join("mesh-venv/bin/kubectl");
        assert!(kubectl.is_file(), "{} is missing: run `scripts/deps.sh mesh`", kubectl.display());
        let curl = Path::new("/usr/bin/curl");
        assert!(curl.is_file(), "curl is missing: apt-get install curl");
        for name in ["istio", "kubernetes", "examples"] {
            symlink(root().join(name), folder.join(name)).unwrap();
        }
        fs::write(folder.join("kubeconfig"), cluster.kubeconfig().to_string()).unwrap();
        let programs = folder.join("bin");
        fs::create_dir(&programs).unwrap();
        symlink(env!("CARGO_BIN_EXE_mcp-iap"), programs.join("mcp-iap")).unwrap();
        for (name, text, real) in [("kubectl", KUBECTL, kubectl.as_path()), ("curl", CURL, curl)] {
            let text =
                text.replace("FOLDER", &folder.to_string_lossy()).replace("REAL", &real.to_string_lossy());
            let file = programs.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash")
            .current_dir(folder)
            .envs([("PATH", path), ("HOME", folder.display().to_string())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (bash.stdin.take().unwrap(), bash.stdout.take().unwrap());
        let mut typist = Self { folder: folder.to_owned(), bash, input, output: BufReader::new(output) };
        typist.must("exec 2>&1; trap 'echo \"failed: $BASH_COMMAND\"' ERR");
        typist
    }

    /// What a document reaches at this port of a pod or of the machine stands at another one.
    pub fn stands_at(&self, port: &str, other: u16) {
        fs::write(self.folder.join(format!("port-{port}")), other.to_string()).unwrap();
    }

    /// What a command prints, without the line ends behind it. It must succeed, in all of its parts.
    pub fn must(&mut self, command: &str) -> String {
        write!(self.input, "{command}\nprintf '\\n<<<typed>>>\\n'\n").unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell ended in:\n{command}\n{said}");
            if line == "<<<typed>>>\n" {
                break;
            }
            said += &line;
        }
        assert!(!said.contains("failed: "), "{command}\n{said}");
        said.trim_end().to_owned()
    }

    /// Types a block, and returns how many commands that were. What is printed must be what the document shows.
    pub fn block(&mut self, block: &Block) -> usize {
        if !block.is_console {
            self.must(&block.text);
            return block.text.lines().filter(|line| !line.starts_with(' ')).count();
        }
        let typed: Vec<_> = block.text.split("$ ").skip(1).collect();
        for one in &typed {
            let (command, wanted) = one.split_once('\n').unwrap_or((one, ""));
            let said = self.must(command);
            assert!(wanted.trim_end().is_empty() || fits(wanted.trim_end(), &said), "{command}\n{said}");
        }
        typed.len()
    }
}

/// `<...>` stands for anything.
fn fits(wanted: &str, said: &str) -> bool {
    let parts = wanted.split('<').enumerate().map(|(index, part)| {
        if index == 0 { part } else { part.split_once('>').map_or(part, |(_, rest)| rest) }
    });
    let mut rest = said;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}
