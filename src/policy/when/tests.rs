//! What expressions mean, what is refused before a call, and what is an error at run time.

use super::*;
use crate::head::Head;
use crate::identity::Caller;
use crate::jose::Sender;
use crate::mcp::{Arguments, Operation};
use crate::oauth::Scope;
use crate::policy::Known;
use crate::time::UnixTime;
use proptest::prelude::*;
use serde_json::json;
use std::net::IpAddr;

struct Office;

impl Sender for Office {
    fn certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn address(&self) -> Option<IpAddr> {
        Some([10, 1, 2, 3].into())
    }
}

/// `Some` of what the expression says, `None` for an error.
fn evaluate(text: &str) -> Option<bool> {
    let when =
        When::compile(text, &["x-device".to_owned()]).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let token =
        json!({"mfa": true, "level": 3, "realm": {"roles": ["a", "b"], "name": "R"}, "https://x/y": "z"});
    let claims = when.claims().iter().filter_map(|path| {
        let value = token.get(&**path).or_else(|| token.pointer(&format!("/{}", path.replace('.', "/"))))?;
        Some((Rc::clone(path), value.clone()))
    });
    let caller = Caller {
        issuer: "https://i".into(),
        subject: "dana".into(),
        groups: vec!["dev".into(), "sre".into()],
        scope: Scope::granted(&"read write".into()).unwrap(),
        ..Caller::default()
    };
    let caller = caller.with_claims(claims.collect());
    let long = format!("\"{}\"", "x".repeat(value::MAX_TEXT));
    let arguments = Arguments::from_pairs(vec![
        ("replicas", "5"),
        ("ratio", "0.5"),
        ("large", "99999999999999999999"),
        ("name", "\"web-1\""),
        ("flag", "true"),
        ("none", "null"),
        ("list", "[1,\"two\",3.0]"),
        ("same", "{\"cpu\":2.0,\"labels\":{\"tier\":\"web\"}}"),
        ("other", "{\"cpu\":3,\"labels\":5}"),
        ("mixed", "{\"cpu\":\"2\",\"labels\":{\"tier\":\"web\"}}"),
        ("spec", "{\"cpu\":2,\"labels\":{\"tier\":\"web\"}}"),
        ("twice", "{\"a\":1,\"a\":2}"),
        ("a-b", "1"),
        ("Force", "true"),
        ("huge", "1.7e308"),
        ("long", &long),
    ]);
    let head = Head::from_pairs([("x-device", "managed")]);
    let call = Call {
        method: "tools/call",
        head: Some(&head),
        sender: Some(&Office),
        // Friday, 2026-11-20T22:30:15Z
        now: Some(UnixTime(1_795_213_815)),
        ..Call::of(&caller)
    };
    match when.check(&call.to(&[Operation::Tool("scale")], &arguments)) {
        Verdict::Holds => Some(true),
        Verdict::Fails(_) => Some(false),
        Verdict::Unevaluated(_) => None,
        Verdict::Unknown => panic!("{text}: all is known"),
    }
}

#[test]
fn expressions_mean_what_cel_says() {
    for text in [
        "true",
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "7 / 2 == 3 && 7 % 3 == 1 && -7 / 2 == -3",
        "1.5 + 1.5 == 3.0",
        "'a' + \"b\" == 'ab'",
        "r'\\n' == '\\\\n'",
        "'\\u00e9' != 'e'",
        "!(1 > 2) && !!true",
        "1 < 2 ? true : false",
        "2 in [1, 2, 3] && !(4 in [1, 2, 3])",
        "-9223372036854775808 < 9223372036854775807",
        "caller.issuer == 'https://i' && caller.subject == 'dana'",
        "'sre' in caller.groups && !('ops' in caller.groups)",
        "size(caller.groups) == 2 && caller.scopes.size() == 2",
        "caller.groups[0] == 'dev'",
        "caller.scopes == ['read', 'write']",
        "caller.claims.mfa && caller.claims['level'] >= 3",
        "'b' in caller.claims.realm.roles && caller.claims.realm['name'] == 'R'",
        "caller.claims.realm.roles[1] == 'b'",
        "caller.claims['https://x/y'] == 'z'",
        "has(caller.claims.mfa) && !has(caller.claims.other)",
        "method == 'tools/call' && tool == 'scale' && prompt == '' && resource == '' && task == ''",
        "args.replicas <= 10 && args.replicas == 5.0 && args.ratio < 1",
        "args.large > 10",
        "args['a-b'] == 1",
        "args.name.startsWith('web') && args.name.endsWith('-1') && args.name.contains('b-')",
        "args.flag && args.none == null",
        "args.list[0] == 1 && args.list[2] == 3 && 'two' in args.list && size(args.list) == 3",
        "args.spec.cpu == 2 && args.spec.labels.tier == 'web' && 'cpu' in args.spec",
        "has(args.spec.labels.tier) && !has(args.spec.labels.x) && !has(args.absent)",
        "args.name != null && null != args.spec && !(null in args.list)",
        "args.spec == args.same && args.list == [1.0, 'two', 3] && 3 in args.list",
        "args.spec != args.other && args.list != [2, 2, 2]",
        "int('7') == 7 && int(7.9) == 7 && double(1) == 1.0 && string(5) == '5' && string(true) == 'true'",
        "source.address == '10.1.2.3'",
        "headers['x-device'] == 'managed'",
        "now > timestamp('2026-11-20T00:00:00Z') && now < timestamp('2026-11-21T00:00:00+01:00') + duration('1h30m')",
        "now - timestamp('2026-11-20T22:30:00Z') == duration('15s')",
        "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 20 && now.getDayOfMonth() == 19",
        "now.getDayOfWeek() == 5 && now.getHours() == 22 && now.getMinutes() == 30 && now.getSeconds() == 15",
        "now.getHours('Europe/Zurich') == 23 && now.getDayOfWeek('Asia/Tokyo') == 6",
        // Either side decides alone.
        "true || args.absent",
        "args.absent > 1 || true",
        "!(args.absent && false) && !(false && args.absent)",
    ] {
        assert_eq!(evaluate(text), Some(true), "{text}");
    }
    for text in ["false", "'10' < '9' && false", "[1] == [2]", "[1] == ['1', 2]", "args.name in ['web-2']"] {
        assert_eq!(evaluate(text), Some(false), "{text}");
    }
}

#[test]
fn what_cannot_be_said_is_an_error_and_never_false() {
    for text in [
        "args.absent > 1",
        "!args.absent",
        "args.absent || false",
        "args.absent && true",
        "caller.client_id == 'x'",
        "caller.kubernetes_user == 'x'",
        "caller.api_key != 'x'",
        "caller.spiffe_id.startsWith('spiffe://')",
        "caller.claims.absent == 1",
        "args.name",
        "args.name < 5",
        // A server may take one kind for the other: `'5'` for 5, `null` for an empty text.
        "args.replicas == '5'",
        "args.replicas != '5'",
        "args.name == 5",
        "args.spec == 1",
        "args.none == 'x'",
        "args.none != args.name",
        "args.flag == 1",
        "args.replicas in ['5', '6']",
        "!(args.replicas in ['5', '6'])",
        "args.replicas in [6, '5']",
        "args.list == ['1', 'two', 3]",
        "args.spec == args.mixed",
        "args.replicas.part == 1",
        "args.list[7] == 1",
        "args.list['x'] == 1",
        "args.spec[0] == 1",
        "1 / (args.replicas - 5) == 1",
        "args.replicas + 9223372036854775807 > 0",
        "-(args.replicas - 5 - 9223372036854775807 - 1) > 0",
        "int(args.name) == 1",
        "timestamp(args.name) > now",
        "args.twice.a == 1",
        "args.long == ''",
        "size(args.name + args.name) > 0 && args.long != ''",
        "args.flag + args.flag == 2",
        "'x' in args.name",
        "has(args.name.part)",
        // A server may take `Force` for `force`.
        "has(args.force)",
        "!has(args.force)",
        "has(args.spec.Cpu)",
        "!('CPU' in args.spec)",
        // Neither too large nor no number at all.
        "double('inf') > 1.0",
        "double('nan') != 1.0",
        "double('1e999') > 1.0",
        "args.ratio / 0.0 > 1.0",
        "0.0 / 0.0 != 1.0",
        "args.huge * args.huge > 1.0",
        "args.huge + args.huge > 1.0",
        "-args.huge - args.huge < 1.0",
    ] {
        assert_eq!(evaluate(text), None, "{text}");
    }
}

/// An API key, a workload and Kubernetes have neither subject nor issuer of a token.
#[test]
fn who_has_no_token_equals_nobody() {
    let (caller, arguments) = (Caller::of_api_key("ci", &[]), Arguments::from_pairs(vec![("user", "\"\"")]));
    for text in ["args.user == caller.subject", "caller.subject != 'dana'", "caller.issuer != 'https://i'"] {
        let when = When::compile(text, &[]).unwrap();
        let verdict = when.check(&Call::of(&caller).to(&[Operation::Tool("t")], &arguments));
        assert!(matches!(verdict, Verdict::Unevaluated(_)), "{text}: {verdict:?}");
    }
}

#[test]
fn what_is_undeclared_mistyped_or_without_bound_is_refused() {
    let nested = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let (signs, wide) = ("!".repeat(300) + "true", vec!["1"; 200].join(" + ") + " == 200");
    let long = format!("tool == '{}'", "x".repeat(2_000));
    for (text, part) in [
        ("", "ends too early, at character 1"),
        ("tool ==", "ends too early"),
        ("tool = 'x'", "has a character that no expression has, at character 6"),
        ("tool == 'x' 1", "has something unexpected, at character 13"),
        ("tool == 'x", "text without an end"),
        ("tool == '\\x41'", "has an escape that is none"),
        ("tool == b'x'", "is no text that is known here"),
        ("1u == 1", "is no number"),
        ("1e3 == 1", "is no number"),
        ("9223372036854775808 == 1", "has a number that is too large"),
        ("for == 1", "a word that CEL keeps for itself"),
        ("tol == 'x'", "did you mean `tool`?"),
        ("caller.group == 'x'", "did you mean `groups`?"),
        ("caller == 1", "has `caller` by itself"),
        ("caller.claims == 1", "has `caller.claims` by itself"),
        ("args == 1", "has `args` by itself"),
        ("args[tool] == 1", "asks for a name that is not written"),
        ("headers['x-other'] == 'a'", "none of `trusted_headers`"),
        ("source.port == 1", "use one of `address`"),
        ("caller.groups.all(g, g == 'x')", "has the comprehension `all`"),
        ("caller.groups.exists(g, g == 'x')", "has the comprehension `exists`"),
        ("caller.groups.map(g, g) == []", "has the comprehension `map`"),
        ("caller.groups.filter(g, true) == []", "has the comprehension `filter`"),
        ("[1].exists_one(x, x == 1)", "has the comprehension `exists_one`"),
        ("tool.matches('^(a+)+$')", "has a regular expression"),
        ("matches(tool, 'a')", "has `matches`, which is not declared"),
        ("tool", "is a text where a truth value is needed"),
        ("1 + 1", "is an integer where a truth value is needed"),
        ("tool == 1", "has `==` between a text and an integer"),
        ("1 < 'a'", "has `<` between an integer and a text"),
        ("1 + 1.0 == 2", "has `+` between an integer and a decimal number"),
        ("true + true == 2", "has `+` between"),
        ("tool - 'x' == ''", "has `-` between"),
        ("1.5 % 1.0 == 0.5", "has `%` between"),
        ("'a' in tool", "has `in` between a text and a text"),
        ("!tool", "is a text where a truth value is needed"),
        ("-tool == 1", "has a minus sign before what is no number"),
        ("tool && true", "is a text where a truth value is needed"),
        ("tool.part == 1", "asks a text for its `part`"),
        ("tool[0] == 'a'", "asks a text for a part"),
        ("has(tool)", "asks `has` of what is always there"),
        ("size(1) == 1", "asks for the size of an integer"),
        ("size() == 1", "gives `size` not just one value"),
        ("tool.startsWith(1)", "is an integer where a text is needed"),
        ("tool.startsWith()", "gives `startsWith` a wrong number of values"),
        ("now.getHours('Mars') == 1", "names no time zone"),
        ("now.getHours(tool) == 1", "names no time zone"),
        ("timestamp('tomorrow') > now", "has no instant"),
        ("duration('1d') == duration('1h')", "has no duration"),
        ("int(true) == 1", "has `int` of a truth value"),
        ("tool == 'é'", "has characters beyond ASCII"),
        (&nested, "nests too deep"),
        (&signs, "nests too deep"),
        (&wide, "is too large"),
        (&long, "is too long"),
    ] {
        let Err(fault) = When::compile(text, &["x-device".to_owned()]) else { panic!("accepted: {text}") };
        let told = format!("{}; {}", fault.reason, fault.fix);
        assert!(told.contains(part), "{text}: {told}");
    }
}

/// Only what is read must be known.
#[test]
fn what_it_reads_and_nobody_knows_leaves_it_open() {
    let caller = Caller::default();
    let nothing =
        Call { known: Known { claims: false, ..Known::ALL }, sender: None, now: None, ..Call::of(&caller) };
    for (text, is_open) in [
        ("args.x == 1", true),
        ("has(args.x)", true),
        ("caller.claims.x == 1", true),
        ("source.address == ''", true),
        ("headers['x-device'] == ''", true),
        ("now > timestamp('2026-11-20T00:00:00Z')", true),
        // Of a template, which is no operation.
        ("resource == ''", true),
        ("method == '' && caller.subject == ''", false),
    ] {
        let when = When::compile(text, &["x-device".to_owned()]).unwrap();
        assert_eq!(when.check(&nothing) == Verdict::Unknown, is_open, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Whatever is accepted can be evaluated, and nothing panics on the way.
    #[test]
    fn any_words_do_not_panic(words in proptest::collection::vec(prop::sample::select(vec![
        "args", ".", "replicas", "large", "list", "spec", "cpu", "[", "]", "(", ")", "0", "1", "9223372036854775807",
        "1.5", "-", "+", "*", "/", "%", "&&", "||", "!", "==", "<", "in", "?", ":", "caller", "groups", "claims",
        "now", "getHours", "'Europe/Zurich'", "'a'", "size", "has", "int", "true", "null", "tool", "startsWith",
        "args.replicas", "args.large", "caller.groups", "duration('1h')", "timestamp('2026-12-20T00:00:00Z')",
    ]), 0..12)) {
        let text = words.join(" ");
        if When::compile(&text, &["x-device".to_owned()]).is_ok() {
            evaluate(&text);
        }
    }

    #[test]
    fn any_text_does_not_panic(text in "[ -~]{0,80}") {
        let _ = When::compile(&text, &[]);
    }
}
