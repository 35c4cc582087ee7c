//! Rules that name the target of the exchange: whoever gets a token for a target is allowed what he asks for there as
//! well. Attacks on that, what is remembered and listed, and what shadow rules and rates make of it.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::gate::Settings;
use mcp_iap::identity::Caller;
use mcp_iap::mcp::{Arguments, Entry, Operation};
use mcp_iap::oauth::Scope;
use mcp_iap::policy::{Call, Limiter, NotTaken, Rate};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker, reply};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

fn document(rules: &str) -> String {
    format!(
        "
resource: https://mcp.example.com/mcp
issuers: [{{ issuer: https://login.example.com }}]
token_exchange:
  token_endpoint: https://login.example.com/token
  client_id: gate
  target: {{ argument: cluster, default: staging }}
  targets:
    - {{ name: staging, audience: k8s-staging }}
    - {{ name: prod, audience: k8s-prod }}
    - {{ name: prod-read, audience: k8s-prod, scope: 'k8s:read' }}
    - {{ name: vault, audience: vault, tools: [get_secret] }}
rules:
{rules}"
    )
}

fn provider(path: &str) -> Result<Reply, CalloutError> {
    let url = "https://login.example.com";
    match path {
        "/.well-known/openid-configuration" => {
            reply("200", json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string().as_bytes())
        }
        "/jwks" => reply("200", ISSUER.jwks().to_string().as_bytes()),
        "/token" => reply(
            "200",
            json!({"access_token": "issued", "token_type": "Bearer", "expires_in": 300,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})
            .to_string()
            .as_bytes(),
        ),
        _ => reply("404", b"{}"),
    }
}

fn send(worker: &Worker, method: &str, params: &Value) -> Ended {
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "aud": "https://mcp.example.com/mcp",
        "exp": NOW + 300});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    worker.post(&ISSUER.es256(&claims), &[], body.as_bytes(), &provider)
}

fn call(worker: &Worker, tool: &str, arguments: &Value) -> Ended {
    send(worker, "tools/call", &json!({"name": tool, "arguments": arguments}))
}

/// The target whose token the upstream got, or the reason and the rule for which it got none. What was asked for, what is
/// recorded and what was forwarded agree.
fn came_to(worker: &Worker, ended: &Ended) -> String {
    let asked = worker.sent.borrow().iter().filter(|callout| callout.endpoint.path == "/token").count();
    let reason = ended.record["reason"].as_str().unwrap();
    if reason != "allowed" {
        assert_eq!((ended.credential.as_deref(), asked), (None, 0), "{}", ended.record);
        return format!("{reason} {}", ended.record["rule"].as_str().unwrap_or("-"));
    }
    assert_eq!(ended.credential.as_deref(), Some("Bearer issued"));
    let target = ended.record["exchange"]["target"].as_str().unwrap().to_owned();
    let sent = worker.sent.borrow();
    let callout = sent.iter().rfind(|callout| callout.endpoint.path == "/token").unwrap();
    let form = String::from_utf8(callout.content.as_ref().unwrap().body.expose().to_vec()).unwrap();
    let audience = match target.as_str() {
        "prod-read" => "audience=k8s-prod&scope=k8s%3Aread",
        "prod" | "staging" => &format!("audience=k8s-{target}"),
        _ => "audience=vault",
    };
    assert!(form.contains(audience), "{target}: {form}");
    target
}

/// Each set of rules, a call, and where it comes to.
#[test]
fn a_rule_names_the_target_and_no_target_is_reached_that_is_denied() {
    const READS: &str = "  - { id: reads, allow: { tools: ['get_*'] }, exchange: prod-read }\n";
    const ALL: &str = "  - { id: all, allow: { tools: ['*'] } }\n";
    for (rules, tool, arguments, expected) in [
        (READS.to_owned(), "get_x", json!({}), "prod-read"),
        (READS.to_owned(), "get_x", json!({"cluster": "prod"}), "prod-read"),
        (READS.to_owned(), "get_x", json!({"cluster": "prod-read"}), "prod-read"),
        // A rule beats what a target says of its tools, and the argument must name a target all the same.
        (READS.to_owned(), "get_secret", json!({}), "prod-read"),
        (READS.to_owned(), "get_x", json!({"cluster": "nowhere"}), "unknown_target -"),
        (READS.to_owned(), "scale", json!({}), "no_rule_allows -"),
        (format!("{READS}{ALL}"), "scale", json!({}), "staging"),
        // The first that allows it decides.
        (format!("{ALL}{READS}"), "get_x", json!({}), "staging"),
        // Denied there, wherever the rule stands, and whoever would have allowed it for the call's own target.
        (
            format!("{READS}{ALL}  - {{ id: closed, deny: {{ tools: ['*'], target: [prod-read] }} }}\n"),
            "get_x",
            json!({}),
            "denied_by_rule closed",
        ),
        (
            format!("  - {{ id: closed, deny: {{ tools: ['*'], target: [prod-read] }} }}\n{READS}{ALL}"),
            "get_x",
            json!({"cluster": "prod"}),
            "denied_by_rule closed",
        ),
        // By a clause that can't be evaluated, too.
        (
            format!(
                "{READS}  - {{ id: closed, deny: {{ tools: ['*'], target: [prod-read] }}, when: args.force == true }}\n"
            ),
            "get_x",
            json!({}),
            "condition_error closed",
        ),
        // And denied for the target that the call names: a rule can't lead around that.
        (
            format!("{READS}  - {{ id: closed, deny: {{ tools: ['*'], target: [staging] }} }}\n"),
            "get_x",
            json!({}),
            "denied_by_rule closed",
        ),
        // Not denied there, but not allowed either.
        (
            "  - { id: of-staging, allow: { tools: ['get_*'], target: [staging] }, exchange: prod }\n"
                .to_owned(),
            "get_x",
            json!({}),
            "no_rule_allows of-staging",
        ),
        // Allowed by another.
        (
            "  - { id: of-staging, allow: { tools: ['get_*'], target: [staging] }, exchange: prod }\n  \
             - { id: of-prod, allow: { tools: ['*'], target: [prod] } }\n"
                .to_owned(),
            "get_x",
            json!({}),
            "prod",
        ),
        // One that would have it exchanged for a third allows nothing for the second: there is no way on.
        (
            "  - { id: of-staging, allow: { tools: ['get_*'], target: [staging] }, exchange: prod }\n  \
             - { id: of-prod, allow: { tools: ['*'], target: [prod] }, exchange: prod-read }\n  \
             - { id: of-prod-read, allow: { tools: ['*'], target: [prod-read] } }\n"
                .to_owned(),
            "get_x",
            json!({}),
            "no_rule_allows of-prod",
        ),
    ] {
        let worker = Worker::new(&document(&rules));
        let ended = call(&worker, tool, &arguments);
        assert_eq!(came_to(&worker, &ended), expected, "{tool} {arguments}\n{rules}");
    }
}

/// One request has one token: for a target that all of it is allowed for.
#[test]
fn of_several_operations_all_are_for_one_target() {
    let rules = "  - { id: a, allow: { resources: ['a://*'] } }
  - { id: b, allow: { resources: ['b://*'] }, exchange: prod }
  - { id: c, allow: { resources: ['c://*'] }, exchange: prod-read }
  - { id: d, allow: { resources: ['d://*'] } }
  - { id: not-d, deny: { resources: ['d://*'], target: [prod] } }
  - { id: s, allow: { resources: ['s://*'] }, exchange: staging }
";
    for (uris, expected) in [
        (vec!["a://x"], "staging"),
        (vec!["b://x"], "prod"),
        (vec!["a://x", "b://x"], "prod"),
        (vec!["b://x", "c://x"], "no_rule_allows c"),
        (vec!["c://x", "b://x"], "no_rule_allows b"),
        (vec!["d://x"], "staging"),
        (vec!["b://x", "d://x"], "denied_by_rule not-d"),
        (vec!["d://x", "b://x"], "denied_by_rule not-d"),
        // Its own target, and another.
        (vec!["s://x", "a://x"], "staging"),
        (vec!["s://x", "b://x"], "no_rule_allows s"),
    ] {
        let worker = Worker::new(&document(rules));
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        let ended = send(&worker, "subscriptions/listen", &params);
        assert_eq!(came_to(&worker, &ended), expected, "{uris:?}");
    }
}

struct Counted(RefCell<Vec<String>>);

impl Limiter for Counted {
    fn look(&self, _: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        Ok(())
    }

    fn take(&self, rule: &str, _: &Rate, _: &Caller) -> Result<(), NotTaken> {
        self.0.borrow_mut().push(rule.to_owned());
        Ok(())
    }

    fn give_back(&self, _: &str, _: &Rate, _: &Caller) {}
}

/// A rule that allows it for the other target is no way around the rate of the one that names it, nor the other way.
#[test]
fn the_rates_of_both_are_taken_and_the_scopes_of_both_asked_for() {
    let rules = "  - { id: in-prod, allow: { tools: ['*'], target: [prod] }, scope: b, rate: { calls: 1, per: 1s } }
  - { id: reads, allow: { tools: ['get_*'], target: [staging] }, scope: a, rate: { calls: 1, per: 1m }, exchange: prod }
";
    let settings = Settings::load(document(rules).as_bytes()).unwrap();
    let policies = &settings.resources[0].policies;
    let arguments = Arguments::default();
    let decide = |scope: &str, counted: &Counted| {
        let scope = Scope::granted(&json!(scope)).unwrap();
        let caller = Caller { scope, ..Caller::default() };
        let call = Call::of(&caller).to(&[Operation::Tool("get_x")], &arguments);
        let call = Call { target: Some("staging"), ..call };
        policies
            .decide_within(&call, counted)
            .map(|permit| (permit.rule().unwrap().to_string(), permit.exchange().map(str::to_owned)))
    };
    let counted = Counted(RefCell::default());
    for scope in ["", "a", "b"] {
        let denial = decide(scope, &counted).unwrap_err();
        assert_eq!(denial.reason.code(), "insufficient_scope", "{scope}");
        assert_eq!(denial.scope.to_string(), "a b", "{scope}");
        assert_eq!(denial.message.unwrap().to_string(), "needs a token with the scope a b", "{scope}");
    }
    assert!(counted.0.borrow().is_empty(), "nothing is taken of what is refused");
    assert_eq!(decide("a b", &counted).unwrap(), ("reads".to_owned(), Some("prod".to_owned())));
    assert_eq!(*counted.0.borrow(), ["reads", "in-prod"]);
    // Whom a scope would not help is not told of one.
    let closed = format!("{rules}  - {{ id: closed, deny: {{ tools: ['*'], target: [prod] }} }}\n");
    let settings = Settings::load(document(&closed).as_bytes()).unwrap();
    let caller = Caller::default();
    let call = Call::of(&caller).to(&[Operation::Tool("get_x")], &arguments);
    let denial =
        settings.resources[0].policies.decide(&Call { target: Some("staging"), ..call }).unwrap_err();
    assert_eq!(denial.reason.code(), "denied_by_rule");
}

/// What is refused in any case is in no list; what depends on arguments, on the target among them, may be.
#[test]
fn lists_hide_what_is_denied_for_the_target_that_a_rule_names() {
    const CLOSED: &str = "  - { id: closed, deny: { tools: ['*'], resources: ['*'], target: [prod] } }\n";
    const RULES: &str =
        "  - { id: reads, allow: { tools: ['get_*'], resources: ['docs://*'] }, exchange: prod }\n";
    const BEFORE: &str = "  - { id: of-vault, allow: { tools: ['get_*'], target: [vault] } }\n";
    const ASKED: &str =
        "  - { id: asked, allow: { tools: ['get_*'] }, arguments: { x: { present: true } } }\n";
    for (rules, is_seen) in [
        (RULES.to_owned(), true),
        // With the argument the first decides, and names no target.
        (format!("{ASKED}{RULES}{CLOSED}"), true),
        (format!("{RULES}{CLOSED}"), false),
        // Of a call for the vault the first decides, and names no target.
        (format!("{BEFORE}{RULES}{CLOSED}"), true),
        (format!("{RULES}{BEFORE}{CLOSED}"), true),
    ] {
        let settings = Settings::load(document(&rules).as_bytes()).unwrap();
        let policies = &settings.resources[0].policies;
        let caller = Caller::default();
        let target = (!rules.contains("of-vault")).then_some("staging");
        let call = Call { arguments: None, target, ..Call::of(&caller) };
        assert_eq!(policies.could_allow(&call, Entry::Tool("get_x")), is_seen, "{rules}");
        if target.is_some() && !rules.contains("asked") {
            for entry in [Entry::Resource("docs://a"), Entry::Template("docs://{x}")] {
                assert_eq!(policies.could_allow(&call, entry), is_seen, "{rules}");
            }
        }
    }
}

/// Shadow rules are judged for the target that they name themselves.
#[test]
fn shadow_rules_name_targets_of_their_own() {
    let live = "  - { id: reads, allow: { tools: ['get_*'] } }\n";
    let shadow = "shadow_rules:
  - { id: reads, allow: { tools: ['get_*'] }, exchange: prod }
  - { id: closed, deny: { tools: ['*'], target: [prod] } }
";
    let worker = Worker::new(&document(&format!("{live}{shadow}")));
    let ended = call(&worker, "get_x", &json!({}));
    assert_eq!(came_to(&worker, &ended), "staging", "a shadow names no target for a real call");
    assert_eq!(ended.record["shadow"]["rule"], "closed", "{}", ended.record);
    assert_eq!(ended.record["shadow"]["reason"], "denied_by_rule");
}

/// Two rules with two targets: two tokens, each remembered for its own.
#[test]
fn a_token_is_remembered_for_the_target_that_the_rule_names() {
    let rules = "  - { id: reads, allow: { tools: ['get_*'] }, exchange: prod-read }
  - { id: all, allow: { tools: ['*'] } }
";
    let worker = Worker::new(&document(rules));
    let mut seen = Vec::new();
    for tool in ["get_x", "scale", "get_y", "scale"] {
        let ended = call(&worker, tool, &json!({"cluster": "prod"}));
        let exchange = &ended.record["exchange"];
        seen.push((exchange["target"].as_str().unwrap().to_owned(), exchange["cached"] == true));
    }
    let expected = [("prod-read", false), ("prod", false), ("prod-read", true), ("prod", true)];
    assert_eq!(seen, expected.map(|(target, cached)| (target.to_owned(), cached)));
}
