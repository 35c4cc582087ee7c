//! `mcp-iap replay`: what another policy would decide of records, and where they don't tell.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A record that was allowed, with other members of it and of its caller, in its line.
fn line(record: &Value, caller: &Value) -> String {
    let mut one = json!({"schema": 1, "decision": "d", "outcome": "allowed", "reason": "allowed",
        "protected_resource": "https://r/mcp",
        "caller": {"issuer": "https://i", "subject": "dana", "client_id": "agent", "groups": ["dev"], "scope": "read"},
        "http_method": "POST", "method": "tools/call", "tool": "scale"});
    for (name, value) in caller.as_object().unwrap() {
        one["caller"][name] = value.clone();
    }
    for (name, value) in record.as_object().unwrap() {
        one[name] = value.clone();
    }
    json!({"time": "2026-11-21T10:00:00.5Z", "source": "10.0.0.1", "mcp_iap": [one]}).to_string()
}

fn replay(folder: &Path, rules: &str, lines: &str, arguments: &[&str]) -> Output {
    let policy = format!("resource: https://r/mcp\nissuers: [{{issuer: 'https://i'}}]\nrules: [{rules}]\n");
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    fs::write(folder.join("log"), lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.current_dir(folder).args(["replay", "--config", "policy.yaml", "log"]).args(arguments);
    command.output().unwrap()
}

/// What would be decided of one record: `allow by RULE`, `deny REASON`, `? ATTRIBUTES` or `not_asked`; and the exit code.
fn would(rules: &str, record: &Value, caller: &Value) -> (String, i32) {
    let output = replay(&folder(), rules, &line(record, caller), &["-o", "json"]);
    let told = text(&output.stdout);
    let first: Value =
        serde_json::from_str(told.lines().next().unwrap_or_else(|| panic!("{}", text(&output.stderr))))
            .unwrap();
    let would = &first["would"];
    let shown = match would["decision"].as_str().unwrap() {
        "allow" => format!("allow by {}", would["rule"].as_str().unwrap_or("nothing")),
        "deny" => format!("deny {}", would["reason"].as_str().unwrap_or("somehow")),
        "undecidable" => {
            let names = would["missing"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            format!("? {}", names.collect::<Vec<_>>().join(" "))
        }
        other => other.to_owned(),
    };
    (shown, output.status.code().unwrap())
}

const SCALE: &str = "{id: a, allow: {tools: [scale]}";

/// What is recorded decides, and what is not does not.
#[test]
fn each_attribute_decides_where_it_is_recorded_and_else_nothing_does() {
    let none = json!({});
    let with = |name: &str, value: Value| json!({"arguments": {name: value}});
    let limit = format!("{SCALE}, arguments: {{n: {{integer: {{max: 3}}}}}}}}");
    let one_of = format!("{SCALE}, arguments: {{n: {{in: [web]}}}}}}");
    let many: Vec<String> = (0..32).map(|number| format!("g{number}")).collect();
    let few: Vec<String> = many.iter().take(31).cloned().collect();
    let team = format!("{SCALE}, to: {{claims: {{team: [x]}}}}}}");
    let read = |values: Value, absent: &[&str], not_whole: &[&str]| json!({"attributes": {"values": values, "absent": absent, "not_whole": not_whole}});
    let masked = |name: &str| json!({"masked": [name], "attributes": {"values": {name: "x"}}});
    let when = |text: &str| format!("{SCALE}, when: '{text}'}}");
    for (rules, record, caller, wanted) in [
        (format!("{SCALE}}}"), none.clone(), none.clone(), "allow by a"),
        ("{id: a, allow: {tools: [other]}}".to_owned(), none.clone(), none.clone(), "deny no_rule_allows"),
        ("{id: a, deny: {tools: [scale]}}".to_owned(), none.clone(), none.clone(), "deny denied_by_rule"),
        // Arguments: one by one.
        (limit.clone(), none.clone(), none.clone(), "? arguments.n"),
        (limit.clone(), with("n", json!(3)), none.clone(), "allow by a"),
        (limit.clone(), with("n", json!(4)), none.clone(), "deny argument_out_of_range"),
        (limit.clone(), with("m", json!(3)), none.clone(), "? arguments.n"),
        (limit, with("n", json!("3.5")), none.clone(), "? arguments.n"),
        (one_of.clone(), with("n", json!("web")), none.clone(), "allow by a"),
        (one_of.clone(), with("n", json!("db")), none.clone(), "deny argument_not_in_list"),
        (one_of.clone(), with("n", json!("1e400")), none.clone(), "? arguments.n"),
        (one_of.clone(), with("n", json!("-1e400")), none.clone(), "? arguments.n"),
        (one_of.clone(), with("n", json!("1e400x")), none.clone(), "deny argument_not_in_list"),
        (one_of.clone(), with("n", json!("***REDACTED***")), none.clone(), "? arguments.n"),
        (one_of.clone(), with("n", json!("x".repeat(256))), none.clone(), "? arguments.n"),
        (one_of.clone(), with("n", json!("x".repeat(250))), none.clone(), "deny argument_not_in_list"),
        (one_of.clone(), with("n", json!("\u{1b}".repeat(42))), none.clone(), "? arguments.n"),
        (when("args.n < 3 && args.m == 1"), with("n", json!(1)), none.clone(), "? arguments.m"),
        (when("args.n < 3"), with("n", json!(1)), none.clone(), "allow by a"),
        (when("args.n < 3"), with("n", json!(7)), none.clone(), "deny condition_not_met"),
        // Claims, headers, time, address.
        (format!("{SCALE}, to: {{claims: {{team: [x]}}}}}}"), none.clone(), none.clone(), "? claims.team"),
        (when("caller.claims.team == \"x\""), none.clone(), none.clone(), "? claims.team"),
        (format!("{SCALE}, to: {{source: [10.0.0.0/8]}}}}"), none.clone(), none.clone(), "allow by a"),
        (
            format!("{SCALE}, to: {{source: [11.0.0.0/8]}}}}"),
            none.clone(),
            none.clone(),
            "deny source_not_allowed",
        ),
        (
            format!("{SCALE}, time: {{until: '2026-11-21T10:00:01Z'}}}}"),
            none.clone(),
            none.clone(),
            "allow by a",
        ),
        (
            format!("{SCALE}, time: {{until: '2026-11-21T10:00:00Z'}}}}"),
            none.clone(),
            none.clone(),
            "deny outside_time_window",
        ),
        // What the old rules read of it: values, and that there was none.
        (team.clone(), read(json!({"claims.team": "x"}), &[], &[]), none.clone(), "allow by a"),
        (team.clone(), read(json!({"claims.team": ["y", "x"]}), &[], &[]), none.clone(), "allow by a"),
        (team.clone(), read(json!({"claims.team": "y"}), &[], &[]), none.clone(), "deny claim_mismatch"),
        (team.clone(), read(json!({"claims.teams": "x"}), &[], &[]), none.clone(), "? claims.team"),
        (team.clone(), read(json!({}), &["claims.team"], &[]), none.clone(), "deny claim_mismatch"),
        (team.clone(), read(json!({}), &["claims.team.x", "team"], &[]), none.clone(), "? claims.team"),
        (team.clone(), read(json!({}), &[], &["claims.team"]), none.clone(), "? claims.team"),
        (
            team.clone(),
            read(json!({"claims.team": "x"}), &[], &["claims.team"]),
            none.clone(),
            "? claims.team",
        ),
        (team, masked("claims.team"), none.clone(), "? claims.team"),
        (
            when("caller.claims.team == \"x\""),
            read(json!({"claims.team": "x"}), &[], &[]),
            none.clone(),
            "allow by a",
        ),
        (
            when("has(caller.claims.team)"),
            read(json!({}), &["claims.team"], &[]),
            none.clone(),
            "deny condition_not_met",
        ),
        (
            when("has(caller.claims.team)"),
            read(json!({"claims.team": null}), &[], &[]),
            none.clone(),
            "allow by a",
        ),
        (
            when("caller.claims.team == \"x\" && caller.claims.level > 2"),
            read(json!({"claims.team": "x"}), &[], &[]),
            none.clone(),
            "? claims.level",
        ),
        (one_of.clone(), read(json!({"arguments.n": "web"}), &[], &[]), none.clone(), "allow by a"),
        (
            one_of.clone(),
            read(json!({"arguments.n": "db"}), &[], &[]),
            none.clone(),
            "deny argument_not_in_list",
        ),
        (one_of.clone(), read(json!({}), &["arguments.n"], &[]), none.clone(), "deny argument_missing"),
        (one_of, read(json!({"arguments.n": "web"}), &[], &["arguments.n"]), none.clone(), "? arguments.n"),
        (when("!has(args.n)"), read(json!({}), &["arguments.n"], &[]), none.clone(), "allow by a"),
        // Groups: of 32 there may be more.
        (format!("{SCALE}, to: {{groups: [dev]}}}}"), none.clone(), none.clone(), "allow by a"),
        (format!("{SCALE}, to: {{groups: [sre]}}}}"), none.clone(), none.clone(), "deny no_rule_allows"),
        (
            format!("{SCALE}, to: {{groups: [sre]}}}}"),
            none.clone(),
            json!({"groups": few}),
            "deny no_rule_allows",
        ),
        (
            format!("{SCALE}, to: {{groups: [sre]}}}}"),
            none.clone(),
            json!({"groups": many}),
            "? caller.groups",
        ),
        (format!("{SCALE}, to: {{groups: [g7]}}}}"), none.clone(), json!({"groups": many}), "allow by a"),
        (
            format!("{SCALE}, to: {{groups: [sre]}}}}"),
            none.clone(),
            json!({"groups": ["x".repeat(255)]}),
            "? caller.groups",
        ),
        (when("\"sre\" in caller.groups"), none.clone(), json!({"groups": many}), "? caller.groups"),
        (when("\"sre\" in caller.groups"), none.clone(), none.clone(), "deny condition_not_met"),
        (
            format!("{{id: d, deny: {{tools: [scale]}}, to: {{groups: [sre]}}}}, {SCALE}}}"),
            none.clone(),
            json!({"groups": many}),
            "? caller.groups",
        ),
        // Scopes, and names that may be longer than what is recorded.
        (format!("{SCALE}, scope: read}}"), none.clone(), none.clone(), "allow by a"),
        (format!("{SCALE}, scope: write}}"), none.clone(), none.clone(), "deny insufficient_scope"),
        (format!("{SCALE}}}"), none.clone(), json!({"scope": "s".repeat(256)}), "? caller.scope"),
        (format!("{SCALE}}}"), json!({"tool": "x".repeat(253)}), none.clone(), "? tool"),
        (format!("{SCALE}}}"), none.clone(), json!({"subject": "é".repeat(127)}), "? caller.subject"),
        // Callers whom the document does not know.
        (format!("{SCALE}}}"), none.clone(), json!({"issuer": "https://j"}), "deny unknown_issuer"),
        (
            format!("{SCALE}}}"),
            none.clone(),
            json!({"issuer": null, "subject": null, "api_key": "ci"}),
            "deny unknown_api_key",
        ),
        (
            format!("{SCALE}}}"),
            json!({"caller": {"kind": "anonymous", "groups": []}}),
            none.clone(),
            "deny missing_token",
        ),
        (
            format!("{SCALE}}}"),
            json!({"protected_resource": "https://other/mcp"}),
            none.clone(),
            "? protected_resource",
        ),
        (format!("{SCALE}}}"), json!({"protected_resource": null}), none.clone(), "? protected_resource"),
        // Of several things that one request asks for, one is recorded.
        (
            "{id: a, allow: {resources: ['r:*']}}".to_owned(),
            json!({"tool": null, "method": "subscriptions/listen", "resource": "r:x"}),
            none.clone(),
            "? the other resources and tasks",
        ),
        (
            "{id: a, allow: {resources: ['s:*']}}".to_owned(),
            json!({"tool": null, "method": "subscriptions/listen", "resource": "r:x"}),
            none.clone(),
            "deny no_rule_allows",
        ),
        (
            "{id: a, allow: {resources: ['r:*']}}".to_owned(),
            json!({"tool": null, "method": "resources/read", "resource": "r:x"}),
            none,
            "allow by a",
        ),
    ] {
        let (seen, code) = would(&rules, &record, &caller);
        assert_eq!(seen, wanted, "{rules}\n{record} {caller}");
        // It was allowed.
        let expected = if wanted.starts_with("deny") { 1 } else { 3 * i32::from(wanted.starts_with('?')) };
        assert_eq!(code, expected, "{rules}");
    }
}

/// What was decided then, by its reason: it may be before the rules, or behind them.
#[test]
fn a_change_is_one_of_what_the_rules_said() {
    let allows = format!("{SCALE}}}");
    let denies = "{id: a, allow: {tools: [other]}}";
    let refused = |reason: &str| json!({"outcome": "refused", "reason": reason});
    for (rules, record, wanted) in [
        (allows.as_str(), json!({}), ("allow by a", 0)),
        (denies, json!({}), ("deny no_rule_allows", 1)),
        (&allows, refused("denied_by_rule"), ("allow by a", 1)),
        (denies, refused("denied_by_rule"), ("deny no_rule_allows", 0)),
        // Allowed by the rules, refused by the token endpoint.
        (&allows, refused("target_refused"), ("allow by a", 0)),
        (denies, refused("target_refused"), ("deny no_rule_allows", 1)),
        (&allows, refused("duplicate_key"), ("not_asked", 3)),
        (&allows, refused("token_expired"), ("not_asked", 3)),
        (&allows, refused("client_gone"), ("not_asked", 3)),
        // Refused by its headers, before the body told what it is about.
        (
            &allows,
            json!({"outcome": "refused", "reason": "no_rule_allows", "method": null, "tool": null}),
            ("? method", 3),
        ),
        (
            &allows,
            json!({"outcome": "refused", "reason": "unknown_method", "era": "modern", "method": "initialize", "tool": null}),
            ("not_asked", 3),
        ),
    ] {
        let (seen, code) = would(rules, &record, &json!({}));
        assert_eq!((seen.as_str(), code), wanted, "{rules}\n{record}");
    }
}

#[test]
fn a_rate_is_not_counted_and_said_to_be_there() {
    let rated = format!("{SCALE}, rate: {{calls: 2, per: 1m}}}}");
    let limited = json!({"outcome": "refused", "reason": "rate_limited", "rule": "a"});
    assert_eq!(would(&rated, &limited, &json!({})), ("? rate".to_owned(), 3));
    assert_eq!(would(&format!("{SCALE}}}"), &limited, &json!({})), ("allow by a".to_owned(), 1));
    let output = replay(&folder(), &rated, &line(&json!({}), &json!({})), &[]);
    let told = text(&output.stdout);
    let said = "1 would be allowed by a rule with a `rate`, which is not counted here";
    assert!(told.contains(said), "{told}");
    // One that allows it for the target that the first rule names counts as well.
    let folder = folder();
    let policy = "resource: https://r/mcp
issuers: [{issuer: 'https://i'}]
token_exchange:
  client_id: c
  audience: x
  target: {default: write}
  targets: [{name: read, scope: r}, {name: write, scope: w}]
rules:
  - {id: a, allow: {tools: [scale], target: [write]}, exchange: read}
  - {id: b, allow: {tools: [scale], target: [read]}, rate: {calls: 2, per: 1m}}
";
    for (policy, is_said) in
        [(policy.to_owned(), true), (policy.replace(", rate: {calls: 2, per: 1m}", ""), false)]
    {
        fs::write(folder.join("exchanged.yaml"), policy).unwrap();
        fs::write(folder.join("log"), line(&json!({}), &json!({}))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
        command.current_dir(&folder).args(["replay", "--config", "exchanged.yaml", "log"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).contains(said), is_said, "{}", text(&output.stdout));
    }
}

/// Of several documents in one Envoy each knows its own callers.
#[test]
fn a_caller_is_asked_for_in_the_document_of_his_resource() {
    let folder = folder();
    let plugin = |resource: &str, issuer: &str| {
        let document = format!(
            "resource: {resource}\nissuers: [{{issuer: '{issuer}'}}]\nrules: [{{id: a, allow: {{tools: [scale]}}}}]\n"
        );
        json!({"typed_config": {"config": {"name": "mcp_iap", "vm_config": {},
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document}}}})
    };
    let envoy =
        json!({"http_filters": [plugin("https://r/mcp", "https://i"), plugin("https://s/mcp", "https://j")]});
    fs::write(folder.join("envoy.json"), envoy.to_string()).unwrap();
    let of = |resource: &str, issuer: &str| {
        line(&json!({"protected_resource": resource}), &json!({"issuer": issuer})) + "\n"
    };
    let log = of("https://r/mcp", "https://i")
        + &of("https://s/mcp", "https://j")
        + &of("https://s/mcp", "https://i");
    fs::write(folder.join("log"), log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.current_dir(&folder).args(["replay", "--config", "envoy.json", "-o", "json", "log"]);
    let output = command.output().unwrap();
    let told = text(&output.stdout);
    let would: Vec<Value> =
        told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["would"].clone()).collect();
    assert_eq!((&would[0]["decision"], &would[1]["decision"]), (&json!("allow"), &json!("allow")), "{told}");
    assert_eq!(would[2]["reason"], json!("unknown_issuer"), "{told}");
}

/// "Nothing changes" is not what was found where nothing could be said.
#[test]
fn where_nothing_can_be_said_that_is_said() {
    let strange = line(&json!({"protected_resource": "https://other/mcp"}), &json!({}));
    let rules = format!("{SCALE}}}");
    let output = replay(&folder(), &rules, &strange, &[]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("they are for https://other/mcp, the document guards https://r/mcp"), "{told}");
    let both = strange + "\n" + &line(&json!({}), &json!({}));
    assert_eq!(replay(&folder(), &rules, &both, &[]).status.code(), Some(0));
    let expired = line(&json!({"outcome": "refused", "reason": "token_expired"}), &json!({}));
    let output = replay(&folder(), &rules, &expired, &[]);
    assert!(text(&output.stderr).contains("no rule was asked about any"), "{}", text(&output.stderr));
}

#[test]
fn the_summary_says_what_changes_with_examples() {
    let lines = [
        line(&json!({"decision": "d1"}), &json!({})),
        line(&json!({"decision": "d2", "tool": "get"}), &json!({})),
        line(&json!({"decision": "d3", "tool": "drop\u{1b}[2J"}), &json!({})),
        line(
            &json!({"decision": "d4", "outcome": "refused", "reason": "no_rule_allows", "tool": "get"}),
            &json!({}),
        ),
        "no record".to_owned(),
    ];
    let rules =
        "{id: a, allow: {tools: [scale]}, arguments: {n: {present: true}}}, {id: b, allow: {tools: [get]}}";
    let output = replay(&folder(), rules, &lines.join("\n"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "4 records against policy.yaml

       1  allowed->denied
               1  no_rule_allows
                  2026-11-21T10:00:00  dana  tools/call drop\\u{1b}[2J  d3
       1  denied->allowed
               1  allowed by b
                  2026-11-21T10:00:00  dana  tools/call get  d4
       1  allowed->undecidable
               1  depends on arguments.n
                  2026-11-21T10:00:00  dana  tools/call scale  d1
       1  allowed->allowed

not recorded, and decisive:
       1  arguments.n
";
    assert_eq!(text(&output.stdout), wanted);
    assert!(text(&output.stderr).contains("1 line is none of the access log"));
    let output = replay(&folder(), rules, &lines.join("\n"), &["-o", "json"]);
    let told = text(&output.stdout);
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(last["summary"]["changes"]["allowed->denied"], 1);
    assert_eq!(last["summary"]["missing"], json!({"arguments.n": 1}));
    assert!(!told.contains('\u{1b}'));
}

#[test]
fn what_can_t_be_replayed_is_refused() {
    let folder = folder();
    assert_eq!(replay(&folder, SCALE, "", &[]).status.code(), Some(1), "the policy is refused");
    assert_eq!(replay(&folder, &format!("{SCALE}}}"), "", &[]).status.code(), Some(2), "no record");
    assert_eq!(replay(&folder, &format!("{SCALE}}}"), "", &["no-such-file"]).status.code(), Some(2));
}
