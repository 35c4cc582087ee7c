//! The rules' meaning as a table: default deny, deny beats allow, and what can't be evaluated never
//! helps the caller.

use mcp_iap::config::{self, ConfigError};
use mcp_iap::identity::Caller;
use mcp_iap::mcp::{Arguments, Operation};
use mcp_iap::policy::{Call, PolicySet};

const RULES: &str = r#"
resource: https://mcp.example.com/mcp
issuers:
  - issuer: https://a
  - issuer: https://b
rules:
  - id: freeze
    deny: { tools: [deploy] }
    arguments: { namespace: { in: [prod] }, replicas: { integer: { min: 100 } } }
  - id: no-contractors
    deny: { tools: ["*_secret"] }
    to: { groups: [contractors] }
  - id: b-reads
    allow: { tools: [get_*] }
    to: { issuer: https://b }
  - id: devs
    allow: { tools: [deploy, get_*], prompts: [help], resources: ["docs://*"] }
    to: { groups: [dev, sre] }
  - id: robot
    allow: { tools: [sync] }
    to: { client_ids: [robot], subjects: [r1, r2] }
  - id: limited
    allow: { tools: [scale] }
    to: { groups: [dev] }
    arguments: { replicas: { integer: { max: 3 } } }
    message: at most three
  - id: wider
    allow: { tools: [scale] }
    to: { groups: [sre] }
    arguments: { replicas: { integer: { max: 10 } } }
"#;

fn caller(issuer: &str, groups: &[&str]) -> Caller {
    Caller {
        issuer: issuer.into(),
        subject: "s".into(),
        client_id: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Caller::default()
    }
}

fn decide(caller: &Caller, operation: Operation<'_>, arguments: &[(&str, &str)]) -> String {
    let mut errors = Vec::new();
    let policies = compile(RULES, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    match policies.decide(&Call::of(caller).to(&[operation], &Arguments::from_pairs(arguments.to_vec()))) {
        Ok(permit) => format!("allow {}", permit.rule().map_or("-", |rule| &**rule)),
        Err(denial) => {
            let rule = denial.rule.as_deref().unwrap_or("-").to_owned();
            let message = denial.message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{} {rule}{message}", denial.reason.code())
        }
    }
}

/// What a head tells of a call: all but its arguments.
fn asks<'a>(caller: &'a Caller, operations: &'a [Operation<'a>]) -> Call<'a> {
    Call { operations, ..Call::of(caller) }
}

fn compile(document: &str, errors: &mut Vec<ConfigError>) -> PolicySet {
    let config = config::load(document.as_bytes()).unwrap();
    let issuers: Vec<&str> = config.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
    PolicySet::compile(&config.guarded().unwrap()[0], &issuers, errors)
}

#[test]
fn rules_mean_what_they_say() {
    use Operation::{Open, Prompt, Resource, Task, Tool};
    let dev = caller("https://a", &["dev"]);
    let sre = caller("https://a", &["x", "sre"]);
    let both = caller("https://a", &["dev", "sre"]);
    let contractor = caller("https://b", &["contractors"]);
    let nobody = caller("https://a", &[]);
    let robot = Caller { client_id: Some("robot".into()), subject: "r2".into(), ..nobody.clone() };
    let other = Caller { subject: "r3".into(), ..robot.clone() };
    let anonymous_client = Caller { client_id: None, ..robot.clone() };
    let cases: &[(&Caller, Operation<'_>, &[(&str, &str)], &str)] = &[
        (&nobody, Open, &[], "allow -"),
        (&nobody, Tool("get_x"), &[], "no_rule_allows devs"),
        (&dev, Tool("get_x"), &[], "allow devs"),
        (&dev, Tool("GET_x"), &[], "no_rule_allows -"),
        (&dev, Prompt("get_x"), &[], "no_rule_allows -"),
        (&dev, Prompt("help"), &[], "allow devs"),
        (&dev, Resource("docs://a/b"), &[], "allow devs"),
        (&dev, Resource("doc://a"), &[], "no_rule_allows -"),
        (&dev, Task("get_x"), &[], "no_rule_allows -"),
        (&contractor, Tool("get_x"), &[], "allow b-reads"),
        (&contractor, Tool("get_secret"), &[], "denied_by_rule no-contractors"),
        (&dev, Tool("get_secret"), &[], "allow devs"),
        (&robot, Tool("sync"), &[], "allow robot"),
        (&other, Tool("sync"), &[], "no_rule_allows robot"),
        (&anonymous_client, Tool("sync"), &[], "no_rule_allows robot"),
        // A deny rule holds if each of its conditions does, or can't be evaluated.
        (&dev, Tool("deploy"), &[("namespace", "\"prod\""), ("replicas", "100")], "denied_by_rule freeze"),
        (&dev, Tool("deploy"), &[("namespace", "\"prod\""), ("replicas", "99")], "allow devs"),
        (&dev, Tool("deploy"), &[("namespace", "\"web\""), ("replicas", "100")], "allow devs"),
        (&dev, Tool("deploy"), &[], "denied_by_rule freeze"),
        (&dev, Tool("deploy"), &[("namespace", "\"prod\"")], "denied_by_rule freeze"),
        (&dev, Tool("deploy"), &[("namespace", "[\"web\"]"), ("replicas", "100")], "denied_by_rule freeze"),
        (&dev, Tool("deploy"), &[("namespace", "\"prod\""), ("replicas", "\"1\"")], "denied_by_rule freeze"),
        (
            &dev,
            Tool("deploy"),
            &[("namespace", "\"prod\""), ("replicas", "99999999999999999999")],
            "denied_by_rule freeze",
        ),
        // The nearest allow rule says why not; any one that holds allows.
        (&dev, Tool("scale"), &[("replicas", "3")], "allow limited"),
        (&dev, Tool("scale"), &[("replicas", "5")], "argument_out_of_range limited: at most three"),
        (&dev, Tool("scale"), &[], "argument_missing limited: at most three"),
        (&sre, Tool("scale"), &[("replicas", "50")], "argument_out_of_range wider: replicas: 50 is above 10"),
        (&both, Tool("scale"), &[("replicas", "5")], "allow wider"),
        (&both, Tool("scale"), &[("replicas", "2")], "allow limited"),
    ];
    for (caller, operation, arguments, expected) in cases {
        assert_eq!(decide(caller, *operation, arguments), *expected, "{operation:?} {arguments:?}");
    }
}

/// At the head arguments are not known: refused is only what none could make allowed.
#[test]
fn a_head_is_refused_only_for_certain() {
    let mut errors = Vec::new();
    let policies = compile(RULES, &mut errors);
    let dev = caller("https://a", &["dev"]);
    let contractor = caller("https://b", &["contractors"]);
    for (caller, tool, passes) in [
        (&dev, "scale", true),
        (&dev, "deploy", true),
        (&dev, "sync", false),
        (&contractor, "get_secret", false),
        (&contractor, "get_x", true),
    ] {
        let head = policies.decide_head(&asks(caller, &[Operation::Tool(tool)]));
        assert_eq!(head.is_ok(), passes, "{tool}");
    }
    assert!(policies.decide_head(&asks(&dev, &[])).is_ok());
}

/// Annotations count as the catalogue has them: a tool that is not in it is never allowed and always denied.
#[test]
fn annotations_come_from_the_catalogue() {
    let document = "
resource: https://h/mcp
issuers: [{issuer: 'https://a'}]
catalogue:
  tools:
    get_pods: {read_only: true}
    get_logs: {read_only: true}
    create_pod: {destructive: false}
    drop_all: {}
rules:
  - {id: reads, allow: {read_only: true}, to: {groups: [reader]}}
  - {id: logs, allow: {tools: ['get_l*'], read_only: true}, to: {groups: [logger]}}
  - {id: careful, allow: {destructive: false}, to: {groups: [careful]}}
  - {id: everything, allow: {tools: ['*'], prompts: ['*']}, to: {groups: [guarded, limited]}}
  - {id: nothing-destroyed, deny: {destructive: true}, to: {groups: [guarded]}}
  - {id: no-changes-of-pods, deny: {tools: ['*_pod*'], read_only: false}, to: {groups: [limited]}}
";
    let mut errors = Vec::new();
    let policies = compile(document, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    for (group, allowed) in [
        ("reader", &["get_pods", "get_logs"][..]),
        ("logger", &["get_logs"]),
        ("careful", &["get_pods", "get_logs", "create_pod"]),
        ("guarded", &["get_pods", "get_logs", "create_pod"]),
        ("limited", &["get_pods", "get_logs", "drop_all", "unheard_of"]),
    ] {
        let caller = caller("https://a", &[group]);
        for tool in ["get_pods", "get_logs", "create_pod", "drop_all", "unheard_of", "new_pod"] {
            let decided =
                policies.decide(&Call::of(&caller).to(&[Operation::Tool(tool)], &Arguments::default()));
            assert_eq!(decided.is_ok(), allowed.contains(&tool), "{group}: {tool}");
        }
        let prompt = policies.decide(&Call::of(&caller).to(&[Operation::Prompt("p")], &Arguments::default()));
        assert_eq!(prompt.is_ok(), matches!(group, "guarded" | "limited"), "{group}");
    }
}
