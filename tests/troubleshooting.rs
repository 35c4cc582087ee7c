//! `docs/troubleshooting.md` quotes what is really said: reason codes are those of `src/reason.rs`, lines of
//! the filter stand in its source, lines of Envoy in `integration/said.rs`, which has a real one say them.

use mcp_iap::reason::Reason;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code spans in the first column of the table below a heading.
fn first_column(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells =
        section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    spans.map(str::to_owned).collect()
}

/// The parts of a quoted line between what varies.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    let line = line.trim_start_matches("mcp-iap: ");
    line.split('<').flat_map(|piece| piece.rsplit('>').next()).map(str::trim).filter(|part| part.len() > 2)
}

/// All that the files say, with texts that go over several lines put together.
fn source(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, into);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let joined = text.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
            into.push_str(&joined);
        }
    }
}

fn holds(heading: &str, at_least: usize, said: &str) {
    let lines = first_column(heading);
    assert!(lines.len() >= at_least, "only {} lines below {heading}", lines.len());
    for line in &lines {
        assert!(parts(line).count() > 0, "{line}");
        for part in parts(line) {
            assert!(said.contains(part), "nobody says `{part}` of `{line}`");
        }
    }
}

#[test]
fn reason_codes_are_those_that_there_are() {
    let codes = first_column("From a reason code");
    assert!(codes.len() > 25, "only {}", codes.len());
    for code in codes {
        assert!(Reason::ALL.iter().any(|reason| reason.code() == code), "{code}");
    }
}

#[test]
fn lines_of_the_filter_are_what_it_says() {
    let mut said = String::new();
    for folder in ["src/filter", "src/gate", "src/callout", "src/oauth"] {
        source(&root().join(folder), &mut said);
    }
    holds("From a line of the filter", 12, &said);
}

#[test]
fn lines_of_envoy_are_what_it_says() {
    let said = fs::read_to_string(root().join("integration/said.rs")).unwrap();
    holds("From a line of Envoy", 6, &said);
}
