//! `mcp-iap hash-key`: what it prints is an entry that the filter takes, and weak keys are refused.

use mcp_iap::api_key::{KeyHash, weakness};
use mcp_iap::secret::Secret;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const PEPPER: &str = "a-pepper-of-at-least-32-bytes-for-tests";

fn hash_key(arguments: &[&str], pepper: Option<&str>, key: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.arg("hash-key").args(arguments).env_remove("API_KEY_PEPPER").env_remove("OTHER");
    if let Some(pepper) = pepper {
        command.env("API_KEY_PEPPER", pepper);
    }
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may not ask for it.
    let _ = process.stdin.take().unwrap().write_all(key.as_bytes());
    process.wait_with_output().unwrap()
}

fn hash(key: &str) -> String {
    KeyHash::of(key.as_bytes(), &Secret::new(PEPPER.into())).to_hex()
}

#[test]
fn what_it_prints_is_an_entry() {
    let arguments = ["ci-2026", "--group", "ci", "--group", "dev", "--max-age", "720h"];
    for line_end in ["", "\n", "\r\n"] {
        let seen = hash_key(&arguments, Some(PEPPER), &format!("Abcdefghijklmno1{line_end}"));
        assert_eq!(seen.status.code(), Some(0), "{}", String::from_utf8_lossy(&seen.stderr));
        let entry = String::from_utf8(seen.stdout).unwrap();
        assert!(entry.contains(&hash("Abcdefghijklmno1")) && !entry.contains("Abcdefghijklmno1"), "{entry}");
        let document = format!(
            "resource: https://mcp.example.com/mcp\napi_keys:\n  pepper: ${{PEPPER}}\n  keys:\n{entry}rules: []\n"
        );
        mcp_iap::gate::Settings::load_in(document.as_bytes(), &|_| Some(PEPPER.to_owned())).unwrap();
    }
}

#[test]
fn a_generated_key_is_strong_and_told_once() {
    let seen = hash_key(&["ci", "--generate"], Some(PEPPER), "");
    let told = String::from_utf8(seen.stderr).unwrap();
    let key = told.lines().last().unwrap();
    assert!(key.starts_with("mcp_iap_") && key.len() == 51 && weakness(key).is_none(), "{told}");
    let entry = String::from_utf8(seen.stdout).unwrap();
    assert!(entry.contains(&hash(key)) && !entry.contains(key), "{entry}");

    let seen = hash_key(&["ci", "--generate", "-o", "json"], Some(PEPPER), "");
    assert!(seen.stderr.is_empty());
    let told: Value = serde_json::from_slice(&seen.stdout).unwrap();
    let other = told["key"].as_str().unwrap();
    assert_eq!(told["entry"]["hash"], hash(other));
    assert_ne!(other, key);
    let read = hash_key(&["ci", "-o", "json"], Some(PEPPER), other);
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!((&read["entry"]["hash"], read.get("key")), (&told["entry"]["hash"], None));
}

#[test]
fn exit_codes_tell_a_weak_key_from_a_mistake() {
    let cases: &[(&[&str], Option<&str>, &str, i32)] = &[
        (&["ci"], Some(PEPPER), "abcdefghijklmno1", 1),
        (&["ci"], Some(PEPPER), "Short1-", 1),
        (&["ci"], Some(PEPPER), "", 1),
        (&["ci"], Some(PEPPER), "Abcdefghijklmno1\nx", 1),
        (&["ci"], Some("short"), "Abcdefghijklmno1", 1),
        (&["ci"], None, "Abcdefghijklmno1", 2),
        (&["ci", "--pepper-env", "OTHER"], Some(PEPPER), "Abcdefghijklmno1", 2),
        (&["c i"], Some(PEPPER), "Abcdefghijklmno1", 2),
        (&["ci", "--max-age", "30d"], Some(PEPPER), "Abcdefghijklmno1", 2),
        (&["ci", "--expires-at", "tomorrow"], Some(PEPPER), "Abcdefghijklmno1", 2),
        (&[], Some(PEPPER), "Abcdefghijklmno1", 2),
    ];
    for (arguments, pepper, key, code) in cases {
        let seen = hash_key(arguments, *pepper, key);
        let told = String::from_utf8_lossy(&seen.stderr).into_owned();
        assert_eq!(seen.status.code(), Some(*code), "{arguments:?} {key}: {told}");
        assert!(seen.stdout.is_empty() && !told.contains("bcdefghijklmno1"), "{told}");
    }
}
