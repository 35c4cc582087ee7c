//! Scopes: what a token's claim grants, what a rule asks for, and what a client that lacks one is told. RFC 6750
//! section 3.1, MCP 2026-07-28 "Scope Selection Strategy" and "Scope Challenge Handling".

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::config;
use mcp_iap::identity::Caller;
use mcp_iap::mcp::{Arguments, Operation};
use mcp_iap::oauth::Scope;
use mcp_iap::policy::{Call, Denial, PolicySet};
use mcp_iap::reason::Reason;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

const RULES: &str = r#"
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - id: reads
    allow: { tools: [get_*], resources: ["docs://*"] }
    scope: mcp:read
  - id: scales
    allow: { tools: [scale] }
    to: { groups: [sre] }
    scope: mcp:read mcp:write
    arguments: { replicas: { integer: { max: 10 } } }
    message: "Scaling needs the writing scope."
  - id: scales-a-lot
    allow: { tools: [scale] }
    scope: mcp:read mcp:write mcp:admin
  - id: admins
    allow: { tools: [scale, drop] }
    scope: mcp:all
  - id: drops
    allow: { tools: [drop] }
    scope: mcp:drop
  - id: docs-of-ops
    allow: { resources: ["docs://ops/*"] }
    scope: ops docs
  - id: freeze
    deny: { tools: [drop] }
    arguments: { target: { in: [prod] } }
"#;

fn policies(document: &str) -> PolicySet {
    let config = config::load(document.as_bytes()).unwrap();
    let mut errors = Vec::new();
    let policies =
        PolicySet::compile(&config.guarded().unwrap()[0], &["https://login.example.com"], &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    policies
}

fn caller(scope: &str, groups: &[&str]) -> Caller {
    Caller {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scope: Scope::granted(&json!(scope)).unwrap(),
        ..Caller::default()
    }
}

/// As one line: the code, the rule, the scope to ask for.
fn told(denial: &Denial) -> String {
    format!("{} {} {}", denial.reason.code(), denial.rule.as_deref().unwrap_or("-"), denial.scope)
}

#[test]
fn the_smallest_scope_that_allows_this_very_call_is_asked_for() {
    use Operation::{Resource, Tool};
    let policies = policies(RULES);
    let (sre, dev) = (&["sre"][..], &["dev"][..]);
    let three: &[(&str, &str)] = &[("replicas", "3")];
    let fifty: &[(&str, &str)] = &[("replicas", "50")];
    let prod: &[(&str, &str)] = &[("target", "\"prod\"")];
    let test: &[(&str, &str)] = &[("target", "\"test\"")];
    let cases: &[(&str, &[&str], Operation<'_>, &[(&str, &str)], &str)] = &[
        ("mcp:read", dev, Tool("get_x"), &[], "allow reads"),
        ("a mcp:read b", dev, Tool("get_x"), &[], "allow reads"),
        ("", dev, Tool("get_x"), &[], "insufficient_scope reads mcp:read"),
        ("MCP:READ mcp:rea mcp:reads", dev, Tool("get_x"), &[], "insufficient_scope reads mcp:read"),
        // Another rule asks for less of this caller, or is the first of those that ask for as little.
        ("", sre, Tool("scale"), three, "insufficient_scope admins mcp:all"),
        ("mcp:read", sre, Tool("scale"), three, "insufficient_scope scales mcp:read mcp:write"),
        ("mcp:read mcp:write", sre, Tool("scale"), three, "allow scales"),
        ("mcp:all", sre, Tool("scale"), three, "allow admins"),
        (
            "mcp:write mcp:admin",
            dev,
            Tool("scale"),
            &[],
            "insufficient_scope scales-a-lot mcp:read mcp:write mcp:admin",
        ),
        // A rule that is about another caller, or whose arguments are not met, names no scope.
        ("mcp:read", dev, Tool("scale"), three, "insufficient_scope admins mcp:all"),
        (
            "mcp:read mcp:write",
            sre,
            Tool("scale"),
            fifty,
            "insufficient_scope scales-a-lot mcp:read mcp:write mcp:admin",
        ),
        ("", dev, Tool("drop"), test, "insufficient_scope admins mcp:all"),
        // Where no scope would help, none is named.
        ("", dev, Tool("drop"), prod, "denied_by_rule freeze "),
        ("", dev, Tool("drop"), &[], "denied_by_rule freeze "),
        ("", dev, Tool("other"), &[], "no_rule_allows - "),
        ("", dev, Resource("docs://ops/a"), &[], "insufficient_scope reads mcp:read"),
        ("docs", dev, Resource("docs://ops/a"), &[], "insufficient_scope reads mcp:read"),
        ("ops docs", dev, Resource("docs://ops/a"), &[], "allow docs-of-ops"),
        ("ops docs", dev, Resource("docs://b"), &[], "insufficient_scope reads mcp:read"),
    ];
    for (scope, groups, operation, arguments, expected) in cases {
        let decided = policies.decide(
            &Call::of(&caller(scope, groups)).to(&[*operation], &Arguments::from_pairs(arguments.to_vec())),
        );
        let seen = match decided {
            Ok(permit) => format!("allow {}", permit.rule().map_or("-", |rule| &**rule)),
            Err(denial) => told(&denial),
        };
        assert_eq!(seen, *expected, "{scope:?} {groups:?} {operation:?} {arguments:?}");
    }
}

/// One challenge for all that a message does (MCP 2026-07-28, "Scope Challenge Handling").
#[test]
fn several_operations_are_asked_for_together() {
    use Operation::{Open, Resource, Tool};
    let policies = policies(RULES);
    let decide = |scope: &str, operations: &[Operation<'_>]| {
        policies.decide(&Call::of(&caller(scope, &[])).to(operations, &Arguments::default())).map(|_| ())
    };
    let both = [Resource("docs://a"), Tool("drop")];
    // Of the first that lacks one; a deny rule counts wherever it stands.
    assert_eq!(told(&decide("", &both).unwrap_err()), "denied_by_rule freeze ");
    let both = [Open, Resource("docs://a"), Tool("scale")];
    let denial = decide("", &both).unwrap_err();
    assert_eq!((told(&denial).as_str(), denial.operation), ("insufficient_scope reads mcp:read mcp:all", 1));
    let denial = decide("mcp:read", &both).unwrap_err();
    assert_eq!((told(&denial).as_str(), denial.operation), ("insufficient_scope admins mcp:read mcp:all", 2));
    assert_eq!(decide("mcp:all mcp:read", &both), Ok(()));
    let none = [Resource("docs://a"), Tool("other")];
    assert_eq!(told(&decide("", &none).unwrap_err()), "no_rule_allows - ");
}

#[test]
fn a_head_is_refused_for_its_scope_only_where_the_body_changes_nothing() {
    let policies = policies(RULES);
    for (scope, tool, expected) in [
        ("", "get_x", Some("insufficient_scope reads mcp:read")),
        ("mcp:read", "get_x", None),
        // Which scope helps here, arguments decide.
        ("", "drop", None),
        ("mcp:drop", "drop", None),
    ] {
        let decided = policies.decide_head(&Call {
            operations: &[Operation::Tool(tool)],
            ..Call::of(&caller(scope, &["sre"]))
        });
        assert_eq!(decided.err().as_ref().map(told).as_deref(), expected, "{scope} {tool}");
    }
}

/// A rule as the property test draws it.
#[derive(Clone, Debug)]
struct Drawn {
    denies: bool,
    tool: &'static str,
    group: Option<&'static str>,
    scope: Vec<&'static str>,
    most: Option<i64>,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        prop::bool::weighted(0.2),
        prop::sample::select(vec!["get", "set", "*"]),
        prop::option::of(prop::sample::select(vec!["x", "y"])),
        prop::sample::subsequence(NAMES.to_vec(), 0..=4),
        prop::option::of(0..4_i64),
    )
        .prop_map(|(denies, tool, group, scope, most)| Drawn { denies, tool, group, scope, most })
}

fn document(rules: &[Drawn]) -> String {
    let written = rules.iter().enumerate().map(|(place, rule)| {
        let Drawn { denies, tool, group, scope, most } = rule;
        let mut written = json!({
            "id": format!("r{place}"),
            (if *denies { "deny" } else { "allow" }): {"tools": [tool]},
        });
        if let Some(group) = group {
            written["to"] = json!({"groups": [group]});
        }
        if !denies && !scope.is_empty() {
            written["scope"] = json!(scope.join(" "));
        }
        if let Some(most) = most {
            written["arguments"] = json!({"n": {"integer": {"max": most}}});
        }
        written
    });
    json!({"resource": "https://r/mcp", "issuers": [{"issuer": "https://login.example.com"}],
        "rules": written.collect::<Vec<_>>()})
    .to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is asked for suffices, nothing smaller does, and where nothing is asked for no scope would help.
    #[test]
    fn what_is_asked_for_is_the_smallest_that_helps(
        rules in proptest::collection::vec(drawn(), 0..6),
        held in prop::sample::subsequence(NAMES.to_vec(), 0..=4),
        groups in prop::sample::subsequence(vec!["x", "y"], 0..=2),
        number in 0..5_i64,
        tool in prop::sample::select(vec!["get", "set"]),
    ) {
        let policies = policies(&document(&rules));
        let number = number.to_string();
        let decide = |scope: &str| {
            let arguments = Arguments::from_pairs(vec![("n", number.as_str())]);
            policies.decide(&Call::of(&caller(scope, &groups)).to(&[Operation::Tool(tool)], &arguments)).map(|_| ())
        };
        let with = |added: usize| {
            let added = NAMES.iter().enumerate().filter(|(bit, _)| added >> bit & 1 == 1).map(|(_, name)| *name);
            held.iter().copied().chain(added).collect::<Vec<_>>().join(" ")
        };
        let missing = |set: usize| NAMES.iter().enumerate().filter(|(bit, name)| set >> bit & 1 == 1 && !held.contains(*name)).count();
        let smallest = (0..16).filter(|set| decide(&with(*set)).is_ok()).map(missing).min();
        match (decide(&held.join(" ")), smallest) {
            (Ok(()), Some(0)) => {}
            (Err(denial), Some(smallest)) => {
                prop_assert_eq!(denial.reason, Reason::InsufficientScope);
                let asked = denial.scope.names().filter(|name| !held.contains(name)).count();
                prop_assert_eq!(asked, smallest);
                prop_assert!(decide(&denial.scope.to_string()).is_ok(), "alone: {}", denial.scope);
            }
            (Err(denial), None) => {
                prop_assert_ne!(denial.reason, Reason::InsufficientScope);
                prop_assert!(denial.scope.is_empty());
            }
            (Ok(()), other) => prop_assert!(false, "{:?}", other),
        }
    }
}

fn claims(members: Value) -> Value {
    let mut claims = json!({"iss": "https://login.example.com", "sub": "dana", "groups": ["sre"],
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60});
    let Value::Object(members) = members else { unreachable!() };
    claims.as_object_mut().unwrap().extend(members);
    claims
}

fn run(document: &str, authorization: Option<&str>, tool: &str, arguments: &Value) -> Ended {
    let providers = |path: &str| -> Result<Reply, CalloutError> {
        let discovery =
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#;
        if path == "/jwks" {
            reply("200", ISSUER.jwks().to_string().as_bytes())
        } else {
            reply("200", discovery)
        }
    };
    let mut head = vec![(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json")];
    head.extend(authorization.map(|value| ("authorization", value)));
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    Worker::new(document).run(&head, Ok(body.to_string().as_bytes()), &providers)
}

fn call(members: Value, tool: &str) -> Ended {
    let token = ISSUER.es256(&claims(members));
    run(RULES, Some(&format!("Bearer {token}")), tool, &json!({"replicas": 3}))
}

fn challenge(ended: &Ended) -> Option<&str> {
    let headers = &ended.answer.as_ref().unwrap().headers;
    headers.iter().find(|(name, _)| *name == "www-authenticate").map(|(_, value)| value.as_str())
}

#[test]
fn a_scope_is_read_from_either_claim_in_either_form() {
    for (members, expected) in [
        (json!({"scope": "openid mcp:read"}), "allowed"),
        (json!({"scope": ["openid", "mcp:read"]}), "allowed"),
        (json!({"scp": "openid mcp:read"}), "allowed"),
        (json!({"scp": ["mcp:read"]}), "allowed"),
        // The standard's claim counts where both are there.
        (json!({"scope": "openid", "scp": "mcp:read"}), "insufficient_scope"),
        (json!({"scope": "", "scp": "mcp:read"}), "insufficient_scope"),
        (json!({"scope": "mcp:read,mcp:write"}), "insufficient_scope"),
        (json!({"scope": "mcp:read\u{a0}x"}), "insufficient_scope"),
        (json!({"scope": "mcp:read\tx"}), "insufficient_scope"),
        (json!({"scopes": "mcp:read"}), "insufficient_scope"),
        (json!({"Scope": "mcp:read"}), "insufficient_scope"),
        (json!({"roles": ["mcp:read"], "groups": ["mcp:read"]}), "insufficient_scope"),
        (json!({}), "insufficient_scope"),
        (json!({"scope": ["openid mcp:read"]}), "invalid_claim"),
        (json!({"scope": ["mcp:read", null]}), "invalid_claim"),
        (json!({"scope": {"mcp:read": true}}), "invalid_claim"),
        (json!({"scope": null, "scp": "mcp:read"}), "invalid_claim"),
        (json!({"scope": true}), "invalid_claim"),
        (json!({"scp": 1}), "invalid_claim"),
    ] {
        let ended = call(members.clone(), "get_x");
        assert_eq!(ended.record["reason"], expected, "{members}");
    }
}

#[test]
fn who_lacks_a_scope_is_told_which() {
    let ended = call(json!({"scope": "mcp:read other"}), "scale");
    let answer = ended.answer.as_ref().unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(
        challenge(&ended),
        Some(
            r#"Bearer realm="https://mcp.example.com/mcp", error="insufficient_scope", error_description="the token lacks a scope that this needs", scope="mcp:read mcp:write", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp""#
        )
    );
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["id"], 7);
    assert_eq!(body["error"]["code"], 403);
    assert_eq!(body["error"]["message"], "Scaling needs the writing scope.");
    assert_eq!(body["error"]["data"]["reason"], "insufficient_scope");
    let record = &ended.record;
    assert_eq!((&record["outcome"], &record["rule"]), (&json!("refused"), &json!("scales")));
    assert_eq!(
        (&record["scope"], &record["caller"]["scope"]),
        (&json!("mcp:read mcp:write"), &json!("mcp:read other"))
    );

    let ended = call(json!({}), "get_x");
    let body: Value = serde_json::from_str(&ended.answer.as_ref().unwrap().body).unwrap();
    assert_eq!(body["error"]["message"], "needs a token with the scope mcp:read");
    // No scope would help.
    for (tool, arguments) in [("drop", json!({"target": "prod"})), ("other", json!({}))] {
        let token = ISSUER.es256(&claims(json!({"scope": "mcp:read"})));
        let ended = run(RULES, Some(&format!("Bearer {token}")), tool, &arguments);
        assert_eq!((ended.answer.as_ref().unwrap().status, challenge(&ended)), (403, None), "{tool}");
        assert_eq!(ended.record.get("scope"), None);
    }
}

/// A first token is asked for with what the least demanding rule needs, and no more.
#[test]
fn a_first_challenge_asks_for_the_least() {
    let with_scope = r#"Bearer realm="https://mcp.example.com/mcp", scope="mcp:read", resource_metadata="#;
    let without = r#"Bearer realm="https://mcp.example.com/mcp", resource_metadata="#;
    let reads_last = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules:
  - { id: writes, allow: { tools: [set_x] }, scope: mcp:read mcp:write }
  - { id: reads, allow: { tools: [get_x] }, scope: mcp:read }
  - { id: lists, allow: { tools: [list_x] }, scope: mcp:list }
";
    let some_ask_for_nothing = RULES.replacen("    scope: mcp:read\n", "", 1);
    let none_ask = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules: [{ id: freeze, deny: { tools: ['*'] } }]
";
    for (document, expected) in
        [(RULES, with_scope), (reads_last, with_scope), (&some_ask_for_nothing, without), (none_ask, without)]
    {
        let ended = run(document, None, "get_x", &json!({}));
        assert_eq!(ended.record["reason"], "missing_token");
        assert!(challenge(&ended).unwrap().starts_with(expected), "{:?}", challenge(&ended));
    }
    let ended = run(
        RULES,
        Some(&format!("Bearer {}", ISSUER.es256(&claims(json!({"exp": 1}))))),
        "get_x",
        &json!({}),
    );
    let expired = challenge(&ended).unwrap();
    assert!(
        expired.contains(r#"error="invalid_token""#) && expired.contains(r#", scope="mcp:read","#),
        "{expired}"
    );
    let malformed = run(RULES, Some("Bearer a b"), "get_x", &json!({}));
    assert_eq!(malformed.answer.as_ref().unwrap().status, 400);
    assert!(!challenge(&malformed).unwrap().contains("scope="), "{:?}", challenge(&malformed));
}
