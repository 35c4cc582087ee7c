//! Every command whose output nobody reads to its end, as before `head`: it ends quietly, and with the exit code that it
//! has otherwise.

use std::fs;
use std::io::PipeWriter;
use std::path::Path;
use std::process::{Command, Stdio};

fn command(arguments: &[&str]) -> (Command, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command.env("API_KEY_PEPPER", "p".repeat(40)).stdin(Stdio::null());
    (command, writer)
}

/// A file of this test's.
fn file(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unread");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The exit code of a command behind whose output there is nobody, and what it says on standard error.
fn unread(arguments: &[&str]) -> (Option<i32>, String) {
    let (mut command, writer) = command(arguments);
    command.stdout(writer);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn no_command_complains_where_nobody_reads() {
    let refused = file("refused.yaml", "resource: x");
    let failing = file(
        "failing.yaml",
        "cases: [{name: a, caller: {groups: [dev]}, call: {tool: get_pods}, expect: {decision: deny}}]",
    );
    let record = r#"{"mcp_iap":[{"schema":1,"decision":"d","outcome":"allowed","reason":"allowed","protected_resource":"http://127.0.0.1:10000/mcp","caller":{"issuer":"http://127.0.0.1:9400","subject":"s","groups":["dev"]},"method":"tools/call","tool":"list_pods"}]}"#;
    let log = file("log", record);
    let (demo, cases) = ("examples/demo.yaml", "examples/cases/demo.yaml");
    let list = "examples/cases/demo-tools.json";
    for (arguments, code) in [
        (&["check", demo][..], 0),
        (&["check", "-o", "json", demo], 0),
        (&["check", &refused], 1),
        (&["explain", demo, cases], 0),
        (&["explain", "-o", "json", demo, cases], 0),
        (&["explain", demo, cases, "--list", list], 0),
        (&["explain", "-o", "json", demo, cases, "--list", list], 0),
        (&["test", cases], 0),
        (&["test", "-o", "json", cases], 0),
        (&["test", "--policy", demo, &failing], 1),
        (&["test", "--watch", cases], 0),
        (&["replay", "--config", demo, &log], 0),
        (&["replay", "--config", demo, "-o", "json", &log], 0),
        (&["audit", &log], 0),
        (&["audit", "-o", "json", &log], 0),
        (&["schema"], 0),
        (&["hash-key", "k", "--generate"], 0),
        (&["hash-key", "k", "--generate", "-o", "json"], 0),
        (&["render", "envoy", demo, "--upstream", "http://127.0.0.1:8000"], 0),
        (&["--help"], 0),
    ] {
        let (seen, told) = unread(arguments);
        assert_eq!(seen, Some(code), "{arguments:?}: {told}");
        assert!(!told.contains("panicked") && !told.contains("Broken pipe"), "{arguments:?}: {told}");
    }
}

/// Nor where nobody reads what is said on standard error: the exit code is what it is otherwise.
#[test]
fn no_command_fails_where_nobody_hears_complaints() {
    let refused = file("unheard.yaml", "resource: x");
    let no_log = file("no.log", "this is no log\n");
    let cases = "examples/cases/demo.yaml";
    for (arguments, code) in [
        (&["check", "nosuch.yaml"][..], 2),
        (&["check", "--upstream", "http://127.0.0.1:1", "envoy/envoy.yaml"], 2),
        (&["render", "envoy", &refused, "--upstream", "http://127.0.0.1:8000"], 1),
        (&["explain", "examples/demo.yaml", cases, "--case", "nosuch"], 2),
        (&["test", "nosuch.yaml"], 2),
        (&["audit", &no_log], 0),
        (
            &[
                "init",
                "--upstream",
                "http://127.0.0.1:1/mcp",
                "--issuer",
                "http://127.0.0.1:1",
                "--write",
                "-",
            ],
            1,
        ),
        (&["nosuch"], 2),
        // What can be told only there is not lost in silence.
        (&["hash-key", "k", "--generate"], 1),
    ] {
        let (mut command, writer) = command(arguments);
        let output =
            command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
