//! The language of rules, clause by clause: what holds, what fails and for which reason, and what an absent or
//! odd value means in an allow rule and in a deny rule.

use mcp_iap::config;
use mcp_iap::head::Head;
use mcp_iap::identity::Caller;
use mcp_iap::jose::Sender;
use mcp_iap::mcp::{Arguments, Operation};
use mcp_iap::policy::{Call, PolicySet, parse_instant};
use mcp_iap::time::UnixTime;
use serde_json::{Value, json};
use std::net::IpAddr;

fn policies(rules: &str) -> PolicySet {
    let document = format!(
        "{{resource: 'https://r/mcp', issuers: [{{issuer: 'https://i'}}], trusted_headers: [x-device], rules: [{rules}]}}"
    );
    let config = config::load(document.as_bytes()).unwrap();
    let mut errors = Vec::new();
    let policies = PolicySet::compile(&config.guarded().unwrap()[0], &["https://i"], &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    policies
}

struct At(Option<&'static str>);

impl Sender for At {
    fn certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn address(&self) -> Option<IpAddr> {
        Some(self.0?.parse().unwrap())
    }
}

/// What a test says of a call.
struct Said {
    claims: Value,
    source: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    arguments: &'static [(&'static str, &'static str)],
    now: &'static str,
    method: &'static str,
    operation: Operation<'static>,
}

const SAID: Said = Said {
    claims: Value::Null,
    source: None,
    headers: &[],
    arguments: &[],
    now: "2026-11-20T12:00:00Z",
    method: "tools/call",
    operation: Operation::Tool("t"),
};

fn decide(policies: &PolicySet, said: &Said) -> String {
    let caller = Caller { issuer: "https://i".into(), subject: "s".into(), ..Caller::default() };
    let claims = said.claims.as_object().into_iter().flatten();
    let caller =
        caller.with_claims(claims.map(|(path, value)| (path.as_str().into(), value.clone())).collect());
    let head = Head::from_pairs(said.headers.iter().copied());
    let arguments = Arguments::from_pairs(said.arguments.to_vec());
    let call = Call {
        method: said.method,
        head: Some(&head),
        sender: Some(&At(said.source)),
        now: Some(UnixTime(parse_instant(said.now).unwrap() as u64)),
        ..Call::of(&caller)
    };
    match policies.decide(&call.to(&[said.operation], &arguments)) {
        Ok(permit) => format!("allow {}", permit.rule().map_or("-", |rule| &**rule)),
        Err(denial) => {
            let argument = denial.argument.map(|name| format!(" {name}")).unwrap_or_default();
            format!("{} {}{argument}", denial.reason.code(), denial.rule.as_deref().unwrap_or("-"))
        }
    }
}

/// Each clause by itself, in an allow rule and in a deny rule beside one that allows all.
#[test]
fn each_clause_holds_fails_or_cannot_be_evaluated() {
    const HOLDS: (&str, &str) = ("allow a", "denied_by_rule d");
    let fails = |reason: &'static str| (reason, "allow all");
    let unevaluated = |reason: &'static str| (reason, "denied_by_rule d");
    let claim = |value: Value| Said { claims: json!({"kind": value}), ..SAID };
    let kind = "to: {claims: {kind: [staff, 7, true]}}";
    let suspended = "to: {claims: {kind: [true]}}";
    let office = "to: {source: [10.0.0.0/8, '2001:db8::/32']}";
    let device = "to: {headers: {x-device: [managed, leased]}}";
    let hours = "time: {days: [fri], hours: '22:00-06:00', zone: Europe/Zurich}";
    let number = "arguments: {n: {number: {max: 1.5}}}";
    let gone = "arguments: {force: {present: false}}";
    let there = "arguments: {force: {present: true}}";
    let cases: &[(&str, Said, (&str, &str))] = &[
        (kind, claim(json!("staff")), HOLDS),
        (kind, claim(json!(7)), HOLDS),
        (kind, claim(json!(true)), HOLDS),
        (kind, claim(json!(["x", "staff"])), HOLDS),
        (kind, claim(json!("guest")), fails("claim_mismatch a")),
        (kind, claim(json!("7")), fails("claim_mismatch a")),
        (kind, claim(json!(false)), fails("claim_mismatch a")),
        (kind, claim(json!([])), fails("claim_mismatch a")),
        (kind, claim(json!({"staff": true})), unevaluated("claim_mismatch a")),
        (kind, claim(json!(7.0)), unevaluated("claim_mismatch a")),
        (kind, claim(json!(["guest", {"x": 1}])), unevaluated("claim_mismatch a")),
        (kind, claim(Value::Null), unevaluated("claim_mismatch a")),
        (kind, SAID, unevaluated("claim_mismatch a")),
        (suspended, claim(json!(true)), HOLDS),
        (suspended, claim(json!(false)), fails("claim_mismatch a")),
        (suspended, claim(json!([false])), fails("claim_mismatch a")),
        (suspended, claim(json!("true")), unevaluated("claim_mismatch a")),
        (suspended, claim(json!(1)), unevaluated("claim_mismatch a")),
        (suspended, claim(json!([false, "true"])), unevaluated("claim_mismatch a")),
        (office, Said { source: Some("10.1.2.3"), ..SAID }, HOLDS),
        (office, Said { source: Some("::ffff:10.1.2.3"), ..SAID }, HOLDS),
        (office, Said { source: Some("2001:db8::1"), ..SAID }, HOLDS),
        (office, Said { source: Some("192.0.2.1"), ..SAID }, fails("source_not_allowed a")),
        (office, SAID, unevaluated("source_not_allowed a")),
        (device, Said { headers: &[("x-device", "leased")], ..SAID }, HOLDS),
        (device, Said { headers: &[("X-Device", "managed")], ..SAID }, HOLDS),
        (device, Said { headers: &[("x-device", "Managed")], ..SAID }, fails("attribute_mismatch a")),
        (
            device,
            Said { headers: &[("x-device", "managed"), ("x-device", "managed")], ..SAID },
            unevaluated("attribute_mismatch a"),
        ),
        (device, SAID, unevaluated("attribute_mismatch a")),
        (hours, Said { now: "2026-11-20T21:00:00Z", ..SAID }, HOLDS),
        (hours, Said { now: "2026-11-21T04:59:59Z", ..SAID }, HOLDS),
        (hours, Said { now: "2026-11-21T05:00:00Z", ..SAID }, fails("outside_time_window a")),
        (number, Said { arguments: &[("n", "1.5")], ..SAID }, HOLDS),
        (number, Said { arguments: &[("n", "2")], ..SAID }, fails("argument_out_of_range a n")),
        (number, SAID, ("argument_missing a n", "denied_by_rule d n")),
        (number, Said { arguments: &[("n", "\"1\"")], ..SAID }, ("argument_type a n", "denied_by_rule d n")),
        (gone, SAID, HOLDS),
        (gone, Said { arguments: &[("force", "1")], ..SAID }, fails("argument_not_accepted a force")),
        (
            gone,
            Said { arguments: &[("force", "null")], ..SAID },
            ("argument_type a force", "denied_by_rule d force"),
        ),
        (there, SAID, fails("argument_missing a force")),
        (
            gone,
            Said { arguments: &[("Force", "true")], ..SAID },
            ("key_variant a force", "denied_by_rule d force"),
        ),
        (
            there,
            Said { arguments: &[("FORCE", "true")], ..SAID },
            ("key_variant a force", "denied_by_rule d force"),
        ),
    ];
    for (clause, said, (allow, deny)) in cases {
        let allows = policies(&format!("{{id: a, allow: {{tools: [t]}}, {clause}}}"));
        assert_eq!(decide(&allows, said), *allow, "allow {clause}");
        let denies = policies(&format!(
            "{{id: d, deny: {{tools: [t]}}, {clause}}}, {{id: all, allow: {{tools: [t]}}}}"
        ));
        assert_eq!(decide(&denies, said), *deny, "deny {clause}");
    }
}

/// A refusal is the nearest rule's: of the one that came furthest, the first clause that failed.
#[test]
fn the_nearest_rule_says_why() {
    let rules = policies(
        "{id: who, allow: {tools: [t]}, to: {groups: [none]}},
         {id: where, allow: {tools: [t]}, to: {source: [10.0.0.0/8]}, arguments: {n: {integer: {max: 1}}}},
         {id: when, allow: {tools: [t]}, arguments: {n: {integer: {max: 9}}}, time: {until: '2026-01-01T00:00:00Z'}},
         {id: when2, allow: {tools: [t]}, time: {until: '2026-01-01T00:00:00Z'}},
         {id: other, allow: {tools: [u]}}",
    );
    let outside = Said { source: Some("192.0.2.1"), arguments: &[("n", "10")], ..SAID };
    for (said, expected) in [
        (Said { arguments: &[("n", "9")], ..SAID }, "outside_time_window when"),
        (outside, "outside_time_window when2"),
        (Said { operation: Operation::Tool("u"), ..SAID }, "allow other"),
        (Said { operation: Operation::Tool("v"), ..SAID }, "no_rule_allows -"),
    ] {
        assert_eq!(decide(&rules, &said), expected);
    }
    let rules = policies(
        "{id: who, allow: {tools: [t]}, to: {groups: [none]}}, {id: where, allow: {tools: [t]}, to: {source: [10.0.0.0/8]}}",
    );
    assert_eq!(decide(&rules, &Said { source: Some("192.0.2.1"), ..SAID }), "source_not_allowed where");
}

#[test]
fn tasks_and_methods_are_rules_business() {
    let rules = policies(
        "{id: tasks, allow: {tasks: ['t-*']}},
         {id: extension, allow: {methods: ['acme/run', 'acme/*']}},
         {id: no-lists, deny: {methods: ['resources/*', 'server/*', '*/discover']}},
         {id: reads, allow: {resources: ['docs://*']}}",
    );
    let all = policies("{id: all, allow: {tasks: ['*'], methods: ['*']}}");
    for (method, operation, expected, with_all) in [
        ("tasks/get", Operation::Task("t-1"), "allow tasks", "allow all"),
        ("tasks/get", Operation::Task("x"), "no_rule_allows -", "allow all"),
        ("tasks/list", Operation::Task(""), "no_rule_allows -", "allow all"),
        ("acme/run", Operation::Unknown, "allow extension", "unknown_method -"),
        // A method that is not known is meant by its whole name only.
        ("acme/walk", Operation::Unknown, "unknown_method -", "unknown_method -"),
        ("resources/list", Operation::Open, "denied_by_rule no-lists", "allow -"),
        ("resources/read", Operation::Resource("docs://a"), "denied_by_rule no-lists", "allow all"),
        ("resources/other", Operation::Unknown, "denied_by_rule no-lists", "unknown_method -"),
        ("tools/list", Operation::Open, "allow -", "allow -"),
        ("tools/call", Operation::Tool("t"), "no_rule_allows -", "allow all"),
        // Always open.
        ("server/discover", Operation::Open, "allow -", "allow -"),
        ("", Operation::Open, "allow -", "allow -"),
    ] {
        let said = Said { method, operation, ..SAID };
        assert_eq!(decide(&rules, &said), expected, "{method} {operation:?}");
        assert_eq!(decide(&all, &said), with_all, "{method} {operation:?}");
    }
}

/// What a head leaves open is not refused; what it settles is.
#[test]
fn a_head_is_refused_for_what_no_arguments_change() {
    let rules = policies(
        "{id: a, allow: {tools: [t]}, arguments: {n: {present: true}}, time: {until: '2026-01-01T00:00:00Z'}},
         {id: b, allow: {tools: [u]}, arguments: {n: {present: true}}}",
    );
    let caller = Caller::default();
    let late = Some(UnixTime(1_800_000_000));
    let head = |tool, now| {
        let call = Call { operations: &[Operation::Tool(tool)], now, ..Call::of(&caller) };
        rules.decide_head(&call).map_err(|denial| denial.reason.code()).map(|_| ())
    };
    assert_eq!(head("t", late), Err("outside_time_window"));
    assert_eq!(head("t", Some(UnixTime(0))), Ok(()));
    assert_eq!(head("u", late), Ok(()));
}

/// A call costs what the rules about its name cost: at most ten beside those that match.
#[test]
fn a_thousand_rules_cost_what_matches() {
    let rules: Vec<String> = (0..1_000)
        .map(|n| match n % 4 {
            0 => format!("{{id: r{n}, allow: {{tools: [tool_{n}]}}}}"),
            1 => format!("{{id: r{n}, deny: {{tools: ['team{n}_*']}}, to: {{groups: [x]}}}}"),
            2 => format!("{{id: r{n}, allow: {{resources: ['docs://{n}/*']}}}}"),
            _ => format!("{{id: r{n}, allow: {{tools: ['team{n}_get_*'], prompts: [p{n}]}}}}"),
        })
        .collect();
    let every = "{id: every, deny: {tools: ['*_secret']}}";
    let policies = policies(&format!("{}, {every}", rules.join(",")));
    for (method, operation, most) in [
        ("tools/call", Operation::Tool("tool_400"), 2),
        ("tools/call", Operation::Tool("team401_get_x"), 3),
        ("tools/call", Operation::Tool("team403_get_x"), 3),
        ("tools/call", Operation::Tool("nothing"), 1),
        ("resources/read", Operation::Resource("docs://402/a?b"), 1),
        ("prompts/get", Operation::Prompt("p403"), 1),
        ("tools/list", Operation::Open, 0),
    ] {
        let considered = policies.considered(method, operation);
        assert!(considered <= most, "{operation:?}: {considered} rules");
    }
    let found = Said { operation: Operation::Tool("team403_get_x"), ..SAID };
    assert_eq!(decide(&policies, &found), "allow r403");
    assert_eq!(
        decide(&policies, &Said { operation: Operation::Tool("team403_get_secret"), ..SAID }),
        "denied_by_rule every"
    );
}
