//! The README shows what really ran: its demo is that of `docs/demo.txt`, its example the shipped one,
//! its command what the command answers.

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The code blocks of this kind, in order.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_demo_is_the_golden_one() {
    let (readme, demo) = (read("README.md"), read("docs/demo.txt"));
    let shown = blocks(&readme, "text")[0];
    let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    let golden: Vec<&str> = demo
        .lines()
        .filter(|line| line.starts_with("     STEP") || line.starts_with("pass ") || line.ends_with("failed"))
        .collect();
    assert_eq!(lines.len(), golden.len());
    for (line, golden) in lines.iter().zip(golden) {
        assert!(golden.starts_with(line), "{line}\nis not how this begins:\n{golden}");
    }
    let record = blocks(&readme, "json")[0].trim();
    assert!(demo.lines().any(|line| line == record), "{record}");
}

#[test]
fn the_example_is_the_shipped_one() {
    let (readme, example) = (read("README.md"), read("examples/smallest.yaml"));
    for line in blocks(&readme, "yaml")[0].lines() {
        assert!(example.lines().any(|shipped| shipped.starts_with(line)), "{line}");
    }
}

#[test]
fn check_answers_as_shown() {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
        .args(["check", "examples/smallest.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(read("README.md").contains(said.trim()), "{said}");
}
