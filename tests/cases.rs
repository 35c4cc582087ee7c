//! `mcp-iap explain` and `mcp-iap test`: the shipped cases hold, a difference is told, and a line of the access
//! log is explained as far as it says.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn mcp_iap(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(arguments).current_dir(root()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of its own for each test.
fn file(name: &str, content: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cases");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each example has its cases, and they hold.
#[test]
fn the_shipped_cases_hold() {
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let cases = format!("examples/cases/{name}");
        let output = mcp_iap(&["test", &cases]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{cases}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let passed: usize = text(&output.stdout).split(' ').next().unwrap().parse().unwrap();
        assert!(passed >= 5, "{cases}: {passed} cases");
    }
}

#[test]
fn a_difference_is_told_and_fails() {
    let policy = root().join("examples/demo.yaml");
    let cases = file(
        "wrong.yaml",
        &format!(
            "policy: {}
cases:
  - name: <holds> & more
    caller: {{ groups: [dev] }}
    call: {{ tool: get_x }}
    expect: {{ decision: allow }}
  - name: does not
    caller: {{ groups: [sre] }}
    call: {{ tool: scale_deployment, arguments: {{ namespace: web, replicas: 50 }} }}
    expect: {{ decision: allow, rule: dev-reads, reason: allowed }}
",
            policy.display()
        ),
    );
    let junit = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cases/junit.xml");
    let output = mcp_iap(&["test", &cases, "--junit", junit.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for part in [
        "does not\n",
        "decision: expected allow, is deny (argument_out_of_range, by the rule sre-scales)",
        "rule: expected dev-reads, is sre-scales",
        "reason: expected allowed, is argument_out_of_range",
        "1 passed, 1 failed",
    ] {
        assert!(told.contains(part), "no `{part}`:\n{told}");
    }
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("&lt;holds&gt; &amp; more"), "{xml}");
    let json = json_lines(&mcp_iap(&["test", "-o", "json", &cases]));
    assert_eq!((&json[0]["ok"], &json[1]["ok"]), (&Value::Bool(true), &Value::Bool(false)));
    let decided = |line: &Value| {
        [&line["decision"], &line["reason"], &line["rule"]].map(|one| one.as_str().unwrap().to_owned())
    };
    assert_eq!(decided(&json[0]), ["allow", "allowed", "dev-reads"]);
    assert_eq!(decided(&json[1]), ["deny", "argument_out_of_range", "sre-scales"]);
}

/// Who mistypes a name is told those that there are, and no flood of them.
#[test]
fn a_case_that_is_not_there_is_answered_with_those_that_are() {
    let policy = root().join("examples/demo.yaml").to_str().unwrap().to_owned();
    let cases = |count: usize| {
        let each = (0..count).map(|n| {
            format!(
                "  - {{ name: case-{n}, caller: [{{ groups: [dev] }}, {{ groups: [sre] }}], call: {{ tool: get_x }} }}\n"
            )
        });
        file(&format!("many-{count}.yaml"), &format!("cases:\n{}", each.collect::<String>()))
    };
    let told = |count: usize, name: &str| {
        let output = mcp_iap(&["explain", &policy, &cases(count), "--case", name]);
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    assert_eq!(
        told(2, "cas-1"),
        "mcp-iap: there is no case `cas-1`; did you mean `case-1`?\nthere are:\n  case-0\n  case-1\n"
    );
    assert!(told(20, "nosuch").ends_with("  case-19\n"), "{}", told(20, "nosuch"));
    let many = told(500, "no\u{1b}such");
    assert!(many.ends_with("  case-19\n  and 480 more\n") && !many.contains('\u{1b}'), "{many}");
}

/// A rule that names the target of the exchange: what is said for both, and a case can expect the target.
#[test]
fn a_target_that_a_rule_names_is_explained_and_expected() {
    let policy = file(
        "by-rule.yaml",
        "resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
token_exchange:
  target: { argument: cluster, default: staging }
  targets: [{ name: staging, audience: a }, { name: prod, audience: b }]
rules:
  - { id: reads, allow: { tools: ['get_*'] }, exchange: prod }
  - { id: rest, allow: { tools: ['*'] } }
  - { id: closed, deny: { tools: ['get_secret'], target: [prod] } }
",
    );
    let case = |tool: &str, expect: &str| {
        file(
            &format!("by-rule-{tool}.cases.yaml"),
            &format!(
                "policy: {policy}\ncases: [{{ name: it, call: {{ tool: {tool} }}, expect: {{ {expect} }} }}]"
            ),
        )
    };
    for (tool, expect, told) in [
        ("get_x", "decision: allow, rule: reads, target: prod", "1 passed, 0 failed"),
        ("scale", "decision: allow, rule: rest, target: staging", "1 passed, 0 failed"),
        ("get_secret", "decision: deny, rule: closed, target: prod", "1 passed, 0 failed"),
        ("get_y", "decision: allow, target: staging", "target: expected staging, is prod"),
    ] {
        let seen = text(&mcp_iap(&["test", &case(tool, expect)]).stdout);
        assert!(seen.contains(told), "{tool}: {seen}");
    }
    let calls = case("get_secret", "decision: deny");
    assert_eq!(
        text(&mcp_iap(&["explain", &policy, &calls]).stdout),
        "it:  calls tools/call get_secret
  allow reads   matches
  allow rest    matches
  deny  closed  fails at `target` (no_rule_allows)
  with a token for prod, for which rules must allow it as well:
  allow reads   matches
  allow rest    matches
  deny  closed  matches
refused by closed: denied_by_rule; the caller is told \"a rule denies this\"
"
    );
    let json = json_lines(&mcp_iap(&["explain", "-o", "json", &policy, &calls]));
    assert_eq!(
        (&json[0]["target"], &json[0]["rules_for_target"][2]["says"]),
        (&"prod".into(), &"matches".into())
    );
}

/// What a case names that is not there would show something else than it says.
#[test]
fn names_that_are_not_known_are_told() {
    let policy = file(
        "names.yaml",
        "resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
trusted_headers: [x-device-trust]
rules: [{ id: dev-reads, allow: { tools: ['get_*'] } }]
shadow_rules: [{ id: shadow-reads, allow: { tools: ['get_*'] } }]
",
    );
    for (number, (more, expect, told)) in [
        ("", "rule: dev-raeds", "there is no rule `dev-raeds`; did you mean `dev-reads`?"),
        ("", "reason: no_rule_alows", "there is no reason `no_rule_alows`; did you mean `no_rule_allows`?"),
        (
            "headers: { x-device-trsut: a },",
            "rule: dev-reads",
            "no trusted header `x-device-trsut`; did you mean",
        ),
        (
            "caller: { issuer: https://elsewhere },",
            "rule: dev-reads",
            "there is no issuer `https://elsewhere`",
        ),
        ("", "rule: shadow-reads", "rule: expected shadow-reads, is dev-reads"),
        ("headers: { x-device-trust: a },", "rule: dev-reads", "1 passed"),
    ]
    .into_iter()
    .enumerate()
    {
        let cases = format!(
            "policy: {policy}\ncases: [{{ name: a, {more} call: {{ tool: get_x }}, expect: {{ decision: allow, {expect} }} }}]"
        );
        let output = mcp_iap(&["test", &file(&format!("names-{number}.yaml"), &cases)]);
        let seen = text(&output.stdout) + &text(&output.stderr);
        assert!(seen.contains(told), "{expect}: {seen}");
        assert_eq!(output.status.code() == Some(0), told == "1 passed", "{seen}");
    }
}

/// A record has the first of many groups: what depends on the others is not known, and told so.
#[test]
fn a_record_whose_groups_are_cut_is_undecided() {
    let policy = file(
        "groups.yaml",
        "resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - { id: reads, allow: { tools: ['get_*'] }, to: { groups: [g5] } }
  - { id: scales, allow: { tools: [scale] }, to: { groups: [sre] } }
  - { id: cel, allow: { tools: [restart] }, when: '\"sre\" in caller.groups' }
",
    );
    let record = |count: usize, tool: &str, subject: &str| {
        let groups: Vec<String> = (0..count).map(|number| format!("g{number}")).collect();
        serde_json::json!({"schema": 1, "decision": "d", "outcome": "allowed", "reason": "allowed", "rule": "scales",
            "caller": {"issuer": "https://login.example.com", "subject": subject, "groups": groups},
            "method": "tools/call", "tool": tool})
        .to_string()
    };
    for (count, tool, decision) in [
        (32, "get_x", "allow"),
        (32, "scale", "undecided"),
        (32, "restart", "undecided"),
        (31, "scale", "deny"),
        (31, "restart", "deny"),
    ] {
        let line = file(&format!("groups-{count}-{tool}.jsonl"), &record(count, tool, "dana"));
        let json = json_lines(&mcp_iap(&["explain", "-o", "json", &policy, &line]));
        assert_eq!(json[0]["decision"], decision, "{count} {tool}: {}", json[0]);
        assert_eq!(json[0]["has_more_groups"], count == 32);
        let told = text(&mcp_iap(&["explain", &policy, &line]).stdout);
        assert_eq!(told.contains("may not have all of the caller's groups"), count == 32, "{told}");
        assert_eq!(told.contains("depends on `"), decision == "undecided", "{told}");
    }
    let line = file("cut.jsonl", &record(1, "scale", &"é".repeat(128)));
    let output = mcp_iap(&["explain", &policy, &line]);
    assert!(text(&output.stderr).contains("may be cut in the record"), "{output:?}");
}

#[test]
fn what_is_no_case_is_told_with_its_place() {
    for (name, content, part) in [
        ("field.yaml", "cases: [{name: a, call: {tol: x}}]", "`cases[0].call"),
        ("two.yaml", "cases: [{name: a, call: {tool: x, prompt: y}}]", "calls several things"),
        ("none.yaml", "cases: [{name: a, call: {}}]", "says not what is called"),
        ("method.yaml", "cases: [{name: a, call: {method: tools/call}}]", "acts on something"),
        ("time.yaml", "cases: [{name: a, call: {tool: x}, time: noon}]", "`noon` is no instant"),
        ("source.yaml", "cases: [{name: a, call: {tool: x}, source: home}]", "source"),
        (
            "policy.yaml",
            "cases: [{name: a, call: {tool: x}, expect: {decision: allow}}]",
            "names no `policy`",
        ),
        (
            "expect.yaml",
            "policy: /dev/null\ncases: [{name: a, call: {tool: x}}]",
            "there is no configuration",
        ),
    ] {
        let output = mcp_iap(&["test", &file(name, content)]);
        let told = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {told}");
        assert!(told.contains(part), "{name}: {told}");
    }
    let absent = mcp_iap(&["test", "no-such-file.yaml"]);
    assert_eq!(absent.status.code(), Some(2));
}

const POLICY: &str = "
resource: https://r/mcp
issuers: [{issuer: 'https://i'}]
rules:
  - {id: freeze, deny: {tools: [t]}, time: {from: '2026-12-20T00:00:00Z', until: '2027-01-03T00:00:00Z'}}
  - {id: few, allow: {tools: [t]}, to: {source: [10.0.0.0/8]}, arguments: {n: {integer: {max: 3}}}}
  - {id: lead, allow: {tools: [t]}, to: {claims: {role: [lead]}}, when: 'args.n <= 9'}
  - {id: read, allow: {tools: ['get_*']}, scope: 'r w'}
";

fn explain(line: &str) -> Value {
    let policy = file(&format!("policy-of-line-{}.yaml", line.len()), POLICY);
    let lines = file(&format!("line-{}.json", line.len()), line);
    let output = mcp_iap(&["explain", "-o", "json", &policy, &lines]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    json_lines(&output).remove(0)
}

/// Refused for certain, but why is not: an argument that is not recorded may have failed before the time did.
#[test]
fn a_reason_that_a_record_does_not_tell_is_not_made_up() {
    let policy = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: [{id: few, allow: {tools: [t]}, arguments: {n: {present: true}}, time: {until: '2020-01-01T00:00:00Z'}}]\n";
    let policy = file("vague.yaml", policy);
    let line = r#"{"time":"2026-12-01T10:00:00Z","mcp_iap":[{"schema":1,"decision":"d","outcome":"refused","reason":"argument_missing","rule":"few","protected_resource":"https://r/mcp","caller":{"issuer":"https://i","subject":"s","groups":[]},"method":"tools/call","tool":"t"}]}"#;
    let lines = file("vague.json", line);
    let seen = json_lines(&mcp_iap(&["explain", "-o", "json", &policy, &lines])).remove(0);
    assert_eq!(
        (&seen["decision"], &seen["reason"], &seen["rule"]),
        (&"deny".into(), &Value::Null, &Value::Null)
    );
    let told = text(&mcp_iap(&["explain", &policy, &lines]).stdout);
    assert!(
        told.contains(
            "fails at `time` (outside_time_window), if not before at `arguments.n`, which is not known"
        ),
        "{told}"
    );
    assert!(told.contains("refused: for which reason depends on what is not known"), "{told}");
}

/// What a record has not is not known, and is not made up.
#[test]
fn a_line_of_the_access_log_is_explained_as_far_as_it_says() {
    let line = |time: &str, source: &str, tool: &str| {
        format!(
            r#"{{"time":"{time}","source":"{source}","mcp_iap":[{{"schema":1,"decision":"d","outcome":"refused","reason":"denied_by_rule","rule":"freeze","protected_resource":"https://r/mcp","caller":{{"issuer":"https://i","subject":"s","groups":[],"scope":"r"}},"era":"modern","http_method":"POST","method":"tools/call","tool":"{tool}"}}]}}"#
        )
    };
    let seen = explain(&line("2026-12-24T10:00:00.123Z", "10.0.0.1", "t"));
    assert_eq!(
        (&seen["decision"], &seen["reason"], &seen["rule"]),
        (&"deny".into(), &"denied_by_rule".into(), &"freeze".into())
    );
    assert_eq!(seen["recorded"]["rule"], "freeze");
    let seen = explain(&line("2026-12-01T10:00:00.123Z", "10.0.0.1", "t"));
    assert_eq!(seen["decision"], "undecided");
    let says: Vec<_> = seen["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["says"].as_str().unwrap(), rule["clause"].as_str()))
        .collect();
    assert_eq!(
        says,
        [
            ("fails", Some("time")),
            ("unknown", Some("arguments.n")),
            ("unknown", Some("to.claims.role")),
            ("nothing", None)
        ]
    );
    let seen = explain(&line("2026-12-01T10:00:00.1Z", "10.0.0.1", "get_x"));
    assert_eq!(
        (&seen["reason"], &seen["rules"][3]["says"]),
        (&"insufficient_scope".into(), &"lacks_scope".into())
    );
    let seen = explain(&line("2026-12-01T10:00:00.1Z", "10.0.0.1", "other"));
    assert_eq!((&seen["reason"], &seen["rule"]), (&"no_rule_allows".into(), &Value::Null));
}

/// To list tasks is about all of them, and what no rule was asked about is not explained by rules.
#[test]
fn a_line_says_what_it_was_about_and_whether_rules_were_asked() {
    let line = |reason: &str, rule: &str, method: &str| {
        format!(
            r#"{{"mcp_iap":[{{"schema":1,"decision":"d","outcome":"refused","reason":"{reason}",{rule}"protected_resource":"https://r/mcp","caller":{{"issuer":"https://i","subject":"s","groups":[],"scope":""}},"method":"{method}"}}]}}"#
        )
    };
    let seen = explain(&line("no_rule_allows", "", "tasks/list"));
    assert_eq!((&seen["decision"], &seen["reason"]), (&"deny".into(), &"no_rule_allows".into()));
    let seen = explain(&line("key_variant", r#""rule":"few","#, "tools/list"));
    assert_eq!(seen["recorded"]["reason"], "key_variant");
    let policy = file("policy-of-refused.yaml", POLICY);
    for reason in ["duplicate_key", "key_variant", "ambiguous_uri", "unknown_target"] {
        let lines = file("refused-before.json", &line(reason, "", "resources/read"));
        let output = mcp_iap(&["explain", &policy, &lines]);
        let told = text(&output.stderr);
        assert!(told.contains(&format!("d: was refused ({reason}) before rules were asked")), "{told}");
        assert_eq!(text(&output.stdout), "");
    }
}

/// A case says all: what it does not name is absent, but for time and address, which nothing stands for.
#[test]
fn a_case_without_a_time_is_undecided_where_the_time_decides() {
    let policy = file("policy-of-cases.yaml", POLICY);
    let case = "call: {tool: t, arguments: {n: 4}}, caller: {claims: {role: lead}}";
    let cases = file(
        "times.yaml",
        &format!(
            "cases:\n  - {{name: without, {case}, expect: {{decision: undecided}}}}\n  - {{name: with, time: '2026-12-01T00:00:00Z', {case}, expect: {{decision: allow, rule: lead}}}}\n"
        ),
    );
    let output = mcp_iap(&["test", "--policy", &policy, &cases]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let told = text(&mcp_iap(&["explain", &policy, &cases, "--case", "without"]).stdout);
    assert!(told.contains("deny  freeze  depends on `time`, which is not known"), "{told}");
    assert!(told.contains("undecided: it depends on what is not known"), "{told}");
}

/// Each entry, and of those that are hidden why: the same as the filter's, which cuts them out.
#[test]
fn a_list_is_explained_entry_by_entry() {
    let policy = file(
        "policy-of-list.yaml",
        "resource: https://r/mcp
issuers: [{issuer: 'https://i'}]
rules:
  - { id: reads, allow: { tools: ['get_*'], resources: ['a://*'] }, to: { groups: [dev] } }
  - { id: steps, allow: { tools: [step] }, scope: w, arguments: { n: { integer: { max: 3 } } } }
  - { id: frozen, deny: { tools: [get_secret], resources: ['a://secret/*'] } }
",
    );
    let tools = "{\"result\":{\"tools\":[{\"name\":\"get_a\"},{\"name\":\"get_secret\"},{\"name\":\"step\"},{\"name\":\"x\"},{}]}}";
    let templates =
        "{\"resourceTemplates\":[{\"uriTemplate\":\"a://{x}\"},{\"uriTemplate\":\"a://secret/{x}\"}]}";
    let cases = file(
        "cases-of-list.yaml",
        "cases:
- {name: dev, caller: {subject: d, groups: [dev]}, call: {method: tools/list}}
- {name: key, caller: {api_key: k, groups: [ops]}, call: {method: tools/list}}
",
    );
    let listed = |list: &str, name: &str| {
        let list = file("list.json", list);
        let output = mcp_iap(&["explain", "-o", "json", "--case", name, "--list", &list, &policy, &cases]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        json_lines(&output).remove(0)
    };
    let entry = |name: &str, why: Option<(&str, Option<&str>, Option<&str>)>| match why {
        None => json!({"name": name, "listed": true}),
        Some((reason, rule, clause)) => {
            json!({"name": name, "listed": false, "reason": reason, "rule": rule, "clause": clause})
        }
    };
    let (none, denied) = ("no_rule_allows", Some(("denied_by_rule", Some("frozen"), None)));
    assert_eq!(
        listed(tools, "dev"),
        json!({"name": "dev", "unusable": 1, "entries": [
            entry("get_a", None), entry("get_secret", denied), entry("step", None), entry("x", Some((none, None, None)))]})
    );
    assert_eq!(
        listed(tools, "key")["entries"],
        json!([
            entry("get_a", Some((none, Some("reads"), Some("to.groups")))),
            entry("get_secret", denied),
            entry("step", Some(("insufficient_scope", Some("steps"), Some("scope")))),
            entry("x", Some((none, None, None)))
        ])
    );
    let hidden =
        json!({"name": "a://secret/{x}", "listed": false, "reason": null, "rule": null, "clause": null});
    assert_eq!(listed(templates, "dev")["entries"], json!([entry("a://{x}", None), hidden]));
    let output =
        mcp_iap(&["explain", "--case", "dev", "--list", &file("list2.json", tools), &policy, &cases]);
    assert_eq!(
        text(&output.stdout),
        "dev: d sees 2 of 5
  get_a       listed
  get_secret  hidden by frozen: denied_by_rule
  step        listed
  x           hidden: no_rule_allows
  and 1 hidden whose names no request can have
"
    );
    // As `curl` shows it where the server answers with a stream.
    let stream = format!(
        "event: message\r\ndata: {{\"method\":\"notifications/message\"}}\r\n\r\nid: 1\r\ndata: {tools}\r\n\r\n"
    );
    assert_eq!(listed(&stream, "dev"), listed(tools, "dev"));
    for (broken, said) in [
        ("{", "no JSON"),
        ("{\"tools\":1}", "can't be read"),
        ("{}", "no list"),
        ("data: {}\n\n", "no event stream with one"),
    ] {
        let output = mcp_iap(&["explain", "--list", &file("broken.json", broken), &policy, &cases]);
        assert_eq!(output.status.code(), Some(2), "{broken}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

/// The shadow rules are asked by name, and only there where there are some.
#[test]
fn shadow_rules_are_asked_instead_of_the_rules() {
    let policy = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: [{id: live, allow: {tools: [t]}}]\n";
    let shadow = format!("{policy}shadow_rules: [{{id: shadow, deny: {{tools: [t]}}}}]\n");
    let (plain, shadow) = (file("plain.yaml", policy), file("shadow.yaml", &shadow));
    let case = |name: &str, expected: &str| {
        file(name, &format!("cases: [{{name: a, call: {{tool: t}}, expect: {expected}}}]"))
    };
    let live = case("live-cases.yaml", "{decision: allow, rule: live}");
    let denied = case("shadow-cases.yaml", "{decision: deny, rule: shadow}");
    assert_eq!(mcp_iap(&["test", "--policy", &shadow, &live]).status.code(), Some(0));
    assert_eq!(mcp_iap(&["test", "--policy", &shadow, "--shadow", &denied]).status.code(), Some(0));
    assert_eq!(mcp_iap(&["test", "--policy", &shadow, "--shadow", &live]).status.code(), Some(1));
    let told = text(&mcp_iap(&["explain", "--shadow", &shadow, &live]).stdout);
    assert!(told.contains("deny  shadow  matches") && told.contains("refused by shadow"), "{told}");
    let told = mcp_iap(&["explain", "--shadow", &plain, &live]);
    assert_eq!(told.status.code(), Some(2));
    assert!(text(&told.stderr).contains("there are no `shadow_rules`"));
}

/// A case says nothing of what was called before; a record of a call that was too often does.
#[test]
fn a_rate_is_told_and_taken_as_a_record_says() {
    let policy = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: [{id: few, allow: {tools: [t]}, rate: {calls: 2, per: 1m}}]\n";
    let policy = file("rate.yaml", policy);
    let cases = file("rate-cases.yaml", "cases: [{name: a, call: {tool: t}}]");
    let told = text(&mcp_iap(&["explain", &policy, &cases]).stdout);
    assert!(
        told.contains("few  matches, at most 2 calls per 1m") && told.contains("allowed by few"),
        "{told}"
    );
    let record = |reason: &str| {
        format!(
            r#"{{"mcp_iap":[{{"schema":1,"decision":"d","outcome":"refused","reason":"{reason}","rule":"few","protected_resource":"https://r/mcp","caller":{{"issuer":"https://i","subject":"s","groups":[]}},"method":"tools/call","tool":"t"}}]}}"#
        )
    };
    for (reason, decision) in [("rate_limited", "deny"), ("no_rule_allows", "allow")] {
        let lines = file("rate-record.json", &record(reason));
        let seen = json_lines(&mcp_iap(&["explain", "-o", "json", &policy, &lines])).remove(0);
        assert_eq!(seen["decision"], decision, "{seen}");
        assert_eq!(seen["reason"] == "rate_limited", reason == "rate_limited", "{seen}");
        assert_eq!(seen["rules"][0]["rate"], serde_json::json!({"calls": 2, "per": "1m"}));
    }
}

/// Where the caller or the call is a list, each is a case of its own, by a name that tells which.
#[test]
fn a_list_is_a_case_for_each() {
    let policy = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules:
  - {id: few, allow: {tools: [get_*, scale]}, to: {groups: [dev]}, arguments: {n: {integer: {max: 10}}}}\n";
    let policy = file("lists.yaml", policy);
    let cases = "cases:
  - name: reads
    caller: [{subject: dana, groups: [dev]}, {groups: [dev, sre]}, {}, {}]
    call: [{tool: get_a, arguments: {n: 1}}, {tool: scale, arguments: {n: 2}}, {tool: scale, arguments: {n: 50}}]
    expect: {decision: allow}
  - {name: one, caller: [{subject: dana, groups: [dev]}], call: {tool: get_a, arguments: {n: 1}}, expect: {decision: allow}}
";
    let cases = file("lists-cases.yaml", cases);
    let junit = file("lists.xml", "");
    let seen = mcp_iap(&["test", "-o", "json", "--policy", &policy, "--junit", &junit, &cases]);
    assert_eq!(seen.status.code(), Some(1));
    let lines = json_lines(&seen);
    let ok = |line: &Value| (line["case"].as_str().unwrap().to_owned(), line["ok"] == true);
    let expected = [
        ("reads: dana, get_a", true),
        ("reads: dana, scale {\"n\":2}", true),
        ("reads: dana, scale {\"n\":50}", false),
        ("reads: dev+sre, get_a", true),
        ("reads: dev+sre, scale {\"n\":2}", true),
        ("reads: dev+sre, scale {\"n\":50}", false),
        ("reads: #3, get_a", false),
        ("reads: #3, scale {\"n\":2}", false),
        ("reads: #3, scale {\"n\":50}", false),
        ("reads: #4, get_a", false),
        ("reads: #4, scale {\"n\":2}", false),
        ("reads: #4, scale {\"n\":50}", false),
        ("one: dana", true),
    ];
    let expected: Vec<_> = expected.map(|(name, is_ok)| (name.to_owned(), is_ok)).into();
    assert_eq!(lines.iter().map(ok).collect::<Vec<_>>(), expected);
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("tests=\"13\" failures=\"8\""), "{xml}");
    assert!(xml.contains("name=\"reads: dana, scale {&quot;n&quot;:50}\"><failure"), "{xml}");
    // By the name of all, and by that of one.
    for (name, count) in [("reads", 12), ("reads: dana, get_a", 1), ("read", 0)] {
        let seen = mcp_iap(&["explain", "-o", "json", "--case", name, &policy, &cases]);
        assert_eq!(json_lines(&seen).len(), count, "{name}");
    }
    for (index, (entry, told)) in [
        ("caller: [], call: {tool: x}", "`cases[0].caller`: an empty list"),
        ("call: []", "`cases[0].call`: an empty list"),
        ("caller: [{}, {grups: [a]}], call: {tool: x}", "`cases[0].caller[1]"),
        ("call: [{tool: x}, {tool: x, arguments: [1]}]", "`cases[0].call[1].arguments`"),
        ("call: [{tool: x}, {}]", "`cases[0].call[1]` says not what is called"),
        ("call: [{tool: x}, [{tool: y}]]", "`cases[0].call[1]`"),
        ("call: x", "`cases[0].call`: invalid type: string \"x\", expected fields, or a list of such"),
        ("call: {tool: x}, time: soon", "`cases[0].time`: `soon` is no instant"),
    ]
    .into_iter()
    .enumerate()
    {
        let cases = file(&format!("bad-list-{index}.yaml"), &format!("cases: [{{name: a, {entry}}}]"));
        let seen = mcp_iap(&["test", "--policy", &policy, &cases]);
        let said = text(&seen.stderr);
        assert!(seen.status.code() == Some(2) && said.contains(told), "{entry}: {said}");
    }
}

/// The schema is current, takes every shipped file of cases, and what a file may not have it does not.
#[test]
fn the_schema_of_cases_is_that_of_what_is_read() {
    let now = text(&mcp_iap(&["schema", "cases"]).stdout);
    let path = root().join("docs/cases.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &now).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), now, "`make golden` writes it");
    let schema = jsonschema::validator_for(&serde_json::from_str(&now).unwrap()).unwrap();
    let read = |text: &str| -> Value { mcp_iap::config::yaml::read(text).unwrap() };
    for entry in fs::read_dir(root().join("examples/cases")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let cases = read(&fs::read_to_string(&path).unwrap());
            assert!(schema.is_valid(&cases), "{}", path.display());
        }
    }
    let of = |case: &str| read(&format!("cases: [{{name: a, {case}}}]"));
    assert!(schema.is_valid(&of("caller: [{subject: a}, {}], call: [{tool: x}]")));
    for case in [
        "call: []",
        "call: x",
        "caller: [], call: {tool: x}",
        "call: {tol: x}",
        "call: [{tol: x}]",
        "caller: {}",
    ] {
        assert!(!schema.is_valid(&of(case)), "{case}");
    }
}

/// A rate that is counted elsewhere has no other rule to go on with, and where none was used up the record says nothing
/// of it.
#[test]
fn a_global_rate_is_told_and_final() {
    let policy = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules:
  - {id: few, allow: {tools: [t]}, rate: {calls: 2, per: 1m, global: true}}
  - {id: more, allow: {tools: [t]}}\n";
    let policy = file("global-rate.yaml", policy);
    let cases = file("rate-cases.yaml", "cases: [{name: a, call: {tool: t}}]");
    let told = text(&mcp_iap(&["explain", &policy, &cases]).stdout);
    assert!(told.contains("few   matches, at most 2 calls per 1m, counted for all Envoys\n"), "{told}");
    let record = r#"{"mcp_iap":[{"schema":1,"decision":"d","outcome":"refused","reason":"rate_limited","rule":"few","protected_resource":"https://r/mcp","caller":{"issuer":"https://i","subject":"s","groups":[]},"method":"tools/call","tool":"t"}]}"#;
    let lines = file("global-rate-record.json", record);
    let seen = json_lines(&mcp_iap(&["explain", "-o", "json", &policy, &lines])).remove(0);
    assert_eq!((&seen["decision"], &seen["rule"]), (&"deny".into(), &"few".into()), "{seen}");
    let advice = text(&mcp_iap(&["check", &policy]).stdout);
    assert!(advice.contains("rules[1]\n"), "the second rule never decides: {advice}");
}

/// Each policy of the guide is followed by its cases, and they hold.
#[test]
fn the_policies_of_the_guide_hold_their_cases() {
    let guide = fs::read_to_string(root().join("docs/policy.md")).unwrap();
    let blocks: Vec<&str> =
        guide.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    let (pairs, rest) = blocks.as_chunks::<2>();
    assert!(pairs.len() >= 8 && rest.is_empty(), "a policy, then its cases");
    for (number, [policy, cases]) in pairs.iter().enumerate() {
        let policy = file(&format!("guide-{number}.yaml"), policy);
        let checked = mcp_iap(&["check", &policy]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
        let cases = file(&format!("guide-{number}-cases.yaml"), cases);
        let output = mcp_iap(&["test", "--policy", &policy, &cases]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{cases}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

#[test]
fn a_change_of_a_watched_policy_is_tested() {
    let policy = file("watched.yaml", &fs::read_to_string(root().join("examples/smallest.yaml")).unwrap());
    let cases = file(
        "watched-cases.yaml",
        "policy: watched.yaml\ncases: [{name: a, caller: {groups: [dev]}, call: {tool: get_x}, expect: {decision: allow}}]",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    let mut watching = command.args(["test", "--watch", &cases]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Vec<_> = lines.by_ref().take(2).collect();
    let changed = fs::read_to_string(&policy).unwrap().replace("groups: [dev]", "groups: [ops]");
    fs::write(&policy, changed).unwrap();
    let second = lines.find(|line| line.contains("passed"));
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(first, ["1 passed, 0 failed", "waiting for a change"]);
    assert_eq!(second.as_deref(), Some("0 passed, 1 failed"));
}

/// A target that there is not is no difference but a mistake.
#[test]
fn a_target_that_is_expected_must_be_there() {
    let policy = "resource: https://r/mcp
issuers: [{issuer: 'https://i'}]
token_exchange: {client_id: c, audience: x, target: {argument: cluster, default: prod}, targets: [{name: prod}, {name: staging}]}
rules: [{id: a, allow: {tools: [t]}}]
";
    let policy = file("targets.yaml", policy);
    let case = |target: &str| {
        format!(
            "cases: [{{name: a, call: {{tool: t, arguments: {{cluster: staging}}}}, expect: {{decision: allow, target: {target}}}}}]"
        )
    };
    for (target, code, said) in [
        ("staging", 0, ""),
        ("prod", 1, ""),
        ("stagin", 2, "there is no target `stagin`; did you mean `staging`?"),
    ] {
        let output = mcp_iap(&["test", "--policy", &policy, &file("targets-cases.yaml", &case(target))]);
        assert_eq!(output.status.code(), Some(code), "{target}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

/// Lines that are none are told by their numbers.
#[test]
fn a_line_that_can_t_be_explained_is_told_by_its_number() {
    let line = r#"{"mcp_iap":[{"schema":1,"decision":"d","outcome":"allowed","reason":"allowed","protected_resource":"https://r/mcp","caller":{"issuer":"https://i","subject":"s","groups":[]},"method":"tools/call","tool":"t"}]}"#;
    let lines = file("numbered.log", &format!("{line}\n\nnothing\n"));
    let output = mcp_iap(&["explain", &file("numbered.yaml", POLICY), &lines]);
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stderr);
    assert!(told.contains("numbered.log: line 3: is no line of the access log"), "{told}");
}
