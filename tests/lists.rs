//! What a caller may see of a list: natively. Never less than he may use, whatever the arguments; nothing of which it
//! is certain that he may not. And what goes on of an answer, whatever the server sends.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use mcp_iap::config;
use mcp_iap::gate::Lists;
use mcp_iap::head::Head;
use mcp_iap::identity::Caller;
use mcp_iap::mcp::{Arguments, Entry, Operation};
use mcp_iap::oauth::Scope;
use mcp_iap::policy::{Call, PolicySet};
use mcp_iap::reason::Reason;
use mcp_iap::time::UnixTime;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::flow::{Ended, NOW, Worker};
use support::issuer::Issuer;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("a"));

fn compile(rules: &str) -> PolicySet {
    try_compile(rules).unwrap_or_else(|errors| panic!("{errors}\n{rules}"))
}

fn try_compile(rules: &str) -> Result<PolicySet, String> {
    let document = format!(
        "resource: https://mcp.example.com/mcp\nissuers: [{{issuer: 'https://a'}}]\ntrusted_headers: [x-site]\nrules:\n{rules}"
    );
    let config = config::load(document.as_bytes()).unwrap();
    let mut errors = Vec::new();
    let policies = PolicySet::compile(&config.guarded().unwrap()[0], &["https://a"], &mut errors);
    if errors.is_empty() { Ok(policies) } else { Err(format!("{errors:?}")) }
}

/// A token's caller.
fn caller(groups: &[&str], scope: &str) -> Caller {
    Caller {
        issuer: "https://a".into(),
        subject: "dana".into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scope: Scope::granted(&json!(scope)).unwrap(),
        ..Caller::default()
    }
}

/// Whether he sees it, at this time.
fn sees(policies: &PolicySet, caller: &Caller, entry: Entry<'_>, head: &Head, now: u64) -> bool {
    let none = Arguments::default();
    let arguments = (!matches!(entry, Entry::Tool(_) | Entry::Prompt(_))).then_some(&none);
    let call = Call { arguments, head: Some(head), now: Some(UnixTime(now)), ..Call::of(caller) };
    policies.could_allow(&call, entry)
}

/// Thursday at noon, UTC; the hours are 08:00 to 18:00.
const NOON: u64 = 1_767_268_800;
const NIGHT: u64 = NOON + 12 * 3600;

const RULES: &str = r#"
  - { id: reads, allow: { tools: [get_*], prompts: [help] }, to: { groups: [dev] } }
  - { id: frozen, deny: { tools: [get_secret] } }
  - { id: careful, deny: { tools: [get_prod] }, arguments: { namespace: { in: [prod] } } }
  - { id: scales, allow: { tools: [scale] }, to: { groups: [dev] }, arguments: { replicas: { integer: { max: 10 } } } }
  - { id: steps, allow: { tools: [step] }, to: { groups: [dev] }, scope: mcp:write }
  - { id: steps-within, allow: { tools: [stepscale] }, to: { groups: [dev] }, scope: mcp:write, arguments: { n: { integer: { max: 10 } } } }
  - { id: scales-within, allow: { tools: [scale_two] }, to: { groups: [dev] }, arguments: { n: { integer: { max: 10 } } } }
  - { id: steps-beyond, allow: { tools: [scale_two, set_prod] }, to: { groups: [dev] }, scope: mcp:write }
  - { id: careful-too, deny: { tools: [set_prod] }, arguments: { namespace: { in: [prod] } } }
  - { id: scoped, allow: { tools: [scoped] }, to: { scopes: [mcp:read] } }
  - { id: daily, allow: { tools: [daily] }, time: { days: [mon-sun], hours: "08:00-18:00", zone: UTC } }
  - { id: here, allow: { tools: [here] }, to: { headers: { x-site: [hq] } } }
  - { id: of-arguments, allow: { tools: [of_arguments] }, when: args.x == 1 && "ops" in caller.groups }
  - { id: of-callers, allow: { tools: [of_callers] }, when: "'ops' in caller.groups" }
  - { id: of-itself, allow: { tools: [itself_*] }, when: tool == "itself_a" }
  - { id: docs, allow: { resources: ["docs://public/*", "search://?q=*"] } }
  - { id: secret-docs, deny: { resources: ["docs://public/secret/*", "docs://public/key"] } }
  - { id: some-docs, deny: { resources: ["docs://public/some/*"] }, to: { groups: [dev] } }
  - { id: own, allow: { resources: ["own://*"] }, when: resource == "own://" + caller.subject }
"#;

#[test]
fn hidden_is_only_what_no_arguments_could_make_allowed() {
    let policies = compile(RULES);
    let dev = caller(&["dev"], "mcp:read");
    let ops = caller(&["ops"], "");
    let nobody = Caller::default();
    let key = Caller::of_api_key("ci", &["dev".to_owned()]);
    let (at_hq, elsewhere) = (Head::from_pairs([("x-site", "hq")]), Head::default());
    for (caller, tool, now, head, is_seen) in [
        (&dev, "get_pods", NOON, &elsewhere, true),
        (&ops, "get_pods", NOON, &elsewhere, false),
        (&nobody, "get_pods", NOON, &elsewhere, false),
        (&dev, "get_secret", NOON, &elsewhere, false),
        (&dev, "unheard_of", NOON, &elsewhere, false),
        // What depends on arguments could be allowed, and what a deny rule says of them could be not.
        (&dev, "get_prod", NOON, &elsewhere, true),
        (&dev, "scale", NOON, &elsewhere, true),
        (&ops, "scale", NOON, &elsewhere, false),
        (&nobody, "of_arguments", NOON, &elsewhere, true),
        // Who, when and from where are known.
        (&ops, "of_callers", NOON, &elsewhere, true),
        (&dev, "of_callers", NOON, &elsewhere, false),
        (&dev, "itself_a", NOON, &elsewhere, true),
        (&dev, "itself_b", NOON, &elsewhere, false),
        (&dev, "daily", NOON, &elsewhere, true),
        (&dev, "daily", NIGHT, &elsewhere, false),
        (&dev, "here", NOON, &at_hq, true),
        (&dev, "here", NOON, &elsewhere, false),
        (&dev, "scoped", NOON, &elsewhere, true),
        (&ops, "scoped", NOON, &elsewhere, false),
        // A scope can be asked for, but not for a key.
        (&dev, "step", NOON, &elsewhere, true),
        (&ops, "step", NOON, &elsewhere, false),
        (&key, "step", NOON, &elsewhere, false),
        // Whatever the arguments are; unless another rule asks for none.
        (&dev, "stepscale", NOON, &elsewhere, true),
        (&key, "stepscale", NOON, &elsewhere, false),
        (&dev, "set_prod", NOON, &elsewhere, true),
        (&key, "set_prod", NOON, &elsewhere, false),
        (&key, "scale_two", NOON, &elsewhere, true),
        (&key, "get_pods", NOON, &elsewhere, true),
    ] {
        assert_eq!(sees(&policies, caller, Entry::Tool(tool), head, now), is_seen, "{tool} {caller:?}");
    }
    let prompt = |caller, name| sees(&policies, caller, Entry::Prompt(name), &elsewhere, NOON);
    assert_eq!((prompt(&dev, "help"), prompt(&ops, "help"), prompt(&dev, "get_pods")), (true, false, false));
}

#[test]
fn a_template_is_hidden_only_where_no_uri_of_it_could_be_allowed() {
    let policies = compile(RULES);
    let (dev, ops) = (caller(&["dev"], ""), caller(&["ops"], ""));
    for (caller, template, is_seen) in [
        (&dev, "docs://public/{name}", true),
        (&dev, "docs://public/a", true),
        (&dev, "docs://{+path}", true),
        (&dev, "docs://{folder}/b", true),
        (&dev, "{+uri}", true),
        (&dev, "docs://private/{name}", false),
        (&dev, "docs://privat{+name}", false),
        (&dev, "doc://{name}", false),
        // Each URI of it is denied, or none certainly is.
        (&dev, "docs://public/secret/{name}", false),
        (&dev, "docs://public/{name}/secret", true),
        (&dev, "docs://public/key", false),
        (&dev, "docs://public/key?v={version}", false),
        (&dev, "docs://public/some/{name}", false),
        (&ops, "docs://public/some/{name}", true),
        // An allow rule without a query takes no URI with one.
        (&dev, "docs://public/a?v={version}", false),
        (&dev, "search://?q={text}", true),
        (&dev, "search://{?q}", true),
        (&dev, "search://?p={text}", false),
        // Which one it will be is not known; a URI that is written out is.
        (&dev, "own://{name}", true),
        (&dev, "own://dana", true),
        (&dev, "own://sam", false),
        // What does not end could be anything.
        (&dev, "docs://{", true),
    ] {
        let is_shown = sees(&policies, caller, Entry::Template(template), &Head::default(), NOON);
        assert_eq!(is_shown, is_seen, "{template}");
    }
    let uri = |uri| sees(&policies, &dev, Entry::Resource(uri), &Head::default(), NOON);
    assert_eq!((uri("docs://public/a"), uri("docs://public/key"), uri("docs://x")), (true, false, false));
}

/// A resource that may be subscribed to is to be found, whether it may be read or not.
#[test]
fn each_method_on_a_resource_counts() {
    for method in ["resources/read", "resources/subscribe", "subscriptions/listen"] {
        let policies = compile(&format!("  - {{ id: m, allow: {{ methods: [{method}] }} }}"));
        for entry in [Entry::Resource("a://b"), Entry::Template("a://{b}")] {
            assert!(sees(&policies, &Caller::default(), entry, &Head::default(), NOON), "{method} {entry:?}");
        }
        assert!(!sees(&policies, &Caller::default(), Entry::Tool("a"), &Head::default(), NOON), "{method}");
    }
}

const TOOLS: &[&str] = &["get_a", "get_b", "set_a"];
const URIS: &[&str] = &["docs://a", "docs://a/b", "docs://b?x=a", "docs://a?x", "mail://a"];
const TEMPLATES: &[(&str, &[&str])] = &[
    ("docs://{n}", &["docs://a", "docs://b", "docs://"]),
    ("docs://{n}/b", &["docs://a/b", "docs://x/b"]),
    ("docs://a{?x}", &["docs://a", "docs://a?x=1"]),
    ("docs://b?x={v}", &["docs://b?x=a", "docs://b?x="]),
    ("{+u}", URIS),
    ("mail://{n}", &["mail://a", "mail://b"]),
];
const ARGUMENTS: &[&[(&str, &str)]] = &[
    &[],
    &[("n", "1")],
    &[("n", "20")],
    &[("n", "\"1\"")],
    &[("s", "\"a\"")],
    &[("s", "\"b\""), ("n", "1")],
    &[("s", "\"a\""), ("n", "20")],
    &[("S", "\"a\""), ("n", "1")],
    &[("s", "null")],
];

fn a_rule() -> impl Strategy<Value = String> {
    let one_of = |texts: &'static [&'static str]| prop::sample::select(texts);
    (
        one_of(&["allow", "allow", "deny"]),
        one_of(&[
            "tools: [get_*]",
            "tools: ['*']",
            "tools: [get_a]",
            "tools: ['*_a']",
            "prompts: [get_*]",
            "methods: [tools/call]",
            "methods: ['prompts/*']",
            "methods: [resources/read]",
            "resources: ['docs://*']",
            "resources: ['docs://a*']",
            "resources: ['*://a']",
            "resources: ['docs://*?x=*']",
            "resources: ['docs://b']",
        ]),
        one_of(&["", "groups: [dev]", "scopes: [r]", "subjects: [dana]", "headers: { x-site: [hq] }"]),
        one_of(&[
            "",
            "",
            "n: { integer: { max: 10 } }",
            "s: { in: [a] }",
            "s: { present: false }",
            "s: { present: true }",
        ]),
        one_of(&[
            "",
            "",
            "args.n == 1",
            "'dev' in caller.groups",
            "tool == 'get_a' || resource == 'docs://a'",
            "has(args.s)",
            "caller.subject == args.s",
        ]),
        one_of(&["", "w", "r w"]),
        one_of(&["", "", "time: { days: [mon-sun], hours: '08:00-18:00', zone: UTC }"]),
    )
        .prop_map(|(effect, about, to, arguments, when, scope, time)| {
            let mut rule = format!("{effect}: {{ {about} }}");
            if !to.is_empty() {
                rule += &format!(", to: {{ {to} }}");
            }
            if !arguments.is_empty() {
                rule += &format!(", arguments: {{ {arguments} }}");
            }
            if !when.is_empty() {
                rule += &format!(", when: \"{when}\"");
            }
            if !scope.is_empty() && effect == "allow" {
                rule += &format!(", scope: {scope}");
            }
            if !time.is_empty() {
                rule += &format!(", {time}");
            }
            rule
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Whatever the rules are: what some arguments or some URI make allowed is seen, so that what is hidden is refused
    /// whatever is tried; and so is what a scope alone lacks, by who can get one.
    #[test]
    fn what_may_be_used_is_seen(
        rules in proptest::collection::vec(a_rule(), 1..6),
        is_dev in any::<bool>(),
        scope in prop::sample::select(&["", "r", "r w"][..]),
        has_token in any::<bool>(),
        site in prop::sample::select(&["hq", "home"][..]),
        now in prop::sample::select(&[NOON, NIGHT][..]),
    ) {
        let rules: Vec<String> =
            rules.iter().enumerate().map(|(number, rule)| format!("  - {{ id: r{number}, {rule} }}\n"))
                // Not every combination can be: resources have no arguments.
                .filter(|rule| try_compile(rule).is_ok()).collect();
        prop_assume!(!rules.is_empty());
        let policies = compile(&rules.concat());
        let token = caller(if is_dev { &["dev"] } else { &[] }, scope);
        let key = Caller { scope: token.scope.clone(), ..Caller::of_api_key("k", &token.groups) };
        let caller = if has_token { token } else { key };
        let head = Head::from_pairs([("x-site", site)]);
        // With no arguments but these, whether it is allowed, or would be with a scope that can be had.
        let may = |method: &str, operation: Operation<'_>, arguments: &[(&str, &str)]| {
            let arguments = Arguments::from_pairs(arguments.to_vec());
            let operations = [operation];
            let call = Call { method, head: Some(&head), now: Some(UnixTime(now)), ..Call::of(&caller) };
            match policies.decide(&call.to(&operations, &arguments)) {
                Ok(_) => true,
                Err(denial) => has_token && denial.reason == Reason::InsufficientScope,
            }
        };
        let seen = |entry| sees(&policies, &caller, entry, &head, now);
        for name in TOOLS {
            for arguments in ARGUMENTS {
                let tool = may("tools/call", Operation::Tool(name), arguments);
                prop_assert!(!tool || seen(Entry::Tool(name)), "{name} {arguments:?}\n{}", rules.concat());
                let prompt = may("prompts/get", Operation::Prompt(name), arguments);
                prop_assert!(!prompt || seen(Entry::Prompt(name)), "{name} {arguments:?}\n{}", rules.concat());
            }
        }
        for uri in URIS {
            // Nothing about it is unknown: it is seen just where it may be read.
            let is_read = may("resources/read", Operation::Resource(uri), &[]);
            prop_assert!(!is_read || seen(Entry::Resource(uri)), "{uri}\n{}", rules.concat());
        }
        for (template, uris) in TEMPLATES {
            let is_read = uris.iter().any(|uri| may("resources/read", Operation::Resource(uri), &[]));
            prop_assert!(!is_read || seen(Entry::Template(template)), "{template}\n{}", rules.concat());
        }
    }
}

// --- what goes on of an answer ---

const DOCUMENT: &str = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: 'https://login.example.com' }]
rules: [{ id: reads, allow: { tools: [get_*] }, to: { groups: [dev] } }]
limits: { list_bytes: 2000 }
";

fn providers(path: &str) -> Result<Reply, CalloutError> {
    support::flow::provider(&ISSUER, path)
}

/// A request that went on: a POST of this method, or a GET.
fn sent(document: &str, groups: &[&str], method: Option<&str>, is_modern: bool) -> Ended {
    sent_by(&Worker::new(document), groups, method, is_modern, &[])
}

/// The same with headers, by a worker that serves others too.
fn sent_by(
    worker: &Worker,
    groups: &[&str],
    method: Option<&str>,
    is_modern: bool,
    headers: &[(&'static str, &'static str)],
) -> Ended {
    let claims = json!({"iss": "https://login.example.com", "sub": "dana", "groups": groups,
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60});
    let authorization = format!("Bearer {}", ISSUER.rs256(&claims));
    let mut head = vec![
        (":method", if method.is_some() { "POST" } else { "GET" }),
        (":path", "/mcp"),
        ("authorization", authorization.as_str()),
        ("accept-encoding", "gzip, br"),
    ];
    let mut body = Vec::new();
    if let Some(method) = method {
        head.push(("content-type", "application/json"));
        let mut message =
            json!({"jsonrpc": "2.0", "id": "i-1", "method": method, "params": {"name": "get_a"}});
        if is_modern {
            head.extend([("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]);
            message["params"] = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}}});
            if method == "tools/call" {
                head.push(("mcp-name", "get_a"));
                message["params"]["name"] = json!("get_a");
            }
        }
        body = message.to_string().into_bytes();
    }
    head.extend(headers);
    let ended = worker.run(&head, Ok(&body), &providers);
    assert_eq!(ended.record["reason"], "allowed", "{}", ended.record);
    ended
}

/// What goes on of an answer that comes in these pieces, and the record then.
fn goes_on(ended: &Ended, content_type: &str, pieces: &[&[u8]]) -> (String, Value) {
    let mut lists = Lists::of(&ended.request, &Head::from_pairs([("content-type", content_type)])).unwrap();
    let (mut out, mut record) = (Vec::new(), Value::Null);
    for (number, piece) in pieces.iter().enumerate() {
        out.extend(lists.push(piece, number + 1 == pieces.len()));
        if let Some(news) = lists.news() {
            record = serde_json::from_str(news.record.json()).unwrap();
        }
    }
    (String::from_utf8(out).unwrap(), record)
}

const SSE: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

fn listed(tools: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"i-1","result":{{"nextCursor":"n","tools":[{tools}],"ttlMs":1.0e3}}}}"#)
}

#[test]
fn a_caller_is_answered_what_he_may_see() {
    let all = listed(r#"{"name":"drop"},{"name":"get_a","n":1.50},{"name":"get_b"}"#);
    let own = listed(r#"{"name":"get_a","n":1.50},{"name":"get_b"}"#);
    for size in [1, 3, 1000] {
        let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), false);
        let pieces: Vec<&[u8]> = all.as_bytes().chunks(size).collect();
        let (out, record) = goes_on(&dev, JSON, &pieces);
        assert_eq!((out, &record["listed"]), (own.clone(), &json!({"shown": 2, "hidden": 1})));
        assert_eq!((&record["outcome"], &record["method"]), (&json!("allowed"), &json!("tools/list")));

        let stream = format!(": hello\n\nid: 1\ndata: {all}\n\n");
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let (out, record) = goes_on(&dev, SSE, &pieces);
        assert_eq!(out, format!(": hello\n\nid: 1\ndata: {own}\n\n"));
        assert_eq!(record["listed"], json!({"shown": 2, "hidden": 1}));
    }
    // Who may do nothing sees nothing, and is told no error.
    let nobody = sent(DOCUMENT, &[], Some("tools/list"), false);
    let (out, record) = goes_on(&nobody, JSON, &[all.as_bytes()]);
    assert_eq!((out, &record["listed"]), (listed(""), &json!({"shown": 0, "hidden": 3})));
    // So may whoever is asked for nothing.
    let open = "resource: https://mcp.example.com/mcp\nrequire_auth: false\nrules: [{ id: r, allow: { tools: [drop] } }]\n";
    let claimless = Worker::new(open).run(
        &[(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json")],
        Ok(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
        &providers,
    );
    assert_eq!(goes_on(&claimless, JSON, &[all.as_bytes()]).0, listed(r#"{"name":"drop"}"#));
}

#[test]
fn what_is_not_a_list_passes_as_it_is() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), true);
    for message in [
        r#"{"jsonrpc":"2.0","id":"i-1","error":{"code":-32601,"message":"no"}}"#,
        r#" {"jsonrpc":"2.0", "id":"i-1","result":{ } }"#,
    ] {
        assert_eq!(goes_on(&dev, JSON, &[message.as_bytes()]), (message.to_owned(), Value::Null));
        let stream = format!("data: {message}\r\n\r\n");
        assert_eq!(goes_on(&dev, SSE, &[stream.as_bytes()]), (stream, Value::Null));
    }
    // Where there are no sessions an answer is what was asked for.
    for other in ["tools/call", "server/discover"] {
        let modern = sent(DOCUMENT, &["dev"], Some(other), true).request;
        assert!(!modern.has_lists(), "{other}");
    }
    let stream = sent(DOCUMENT, &["dev"], None, false).request;
    assert!(stream.has_lists() && !stream.is_watched());
}

#[test]
fn a_list_is_the_callers_alone() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), true);
    let (out, _) =
        goes_on(&dev, JSON, &[br#"{"result":{"tools":[{"name":"get_a"}],"cacheScope":"public"}}"#]);
    assert_eq!(out, r#"{"result":{"tools":[{"name":"get_a"}],"cacheScope":"private"}}"#);
    let (out, _) = goes_on(&dev, JSON, &[br#"{"result":{"tools":[]}}"#]);
    assert_eq!(out, r#"{"result":{"cacheScope":"private","tools":[]}}"#);
    // The older revisions have no such member.
    let legacy = sent(DOCUMENT, &["dev"], Some("tools/list"), false);
    let (out, _) = goes_on(&legacy, JSON, &[br#"{"result":{"tools":[]}}"#]);
    assert_eq!(out, r#"{"result":{"tools":[]}}"#);
}

/// The message of an error, its id and its reason.
fn error(text: &str) -> (Value, Value) {
    let error: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    assert!(error["result"].is_null(), "{text}");
    (error["id"].clone(), error["error"]["data"]["reason"].clone())
}

#[test]
fn what_can_t_be_read_is_answered_with_an_error() {
    let secret = r#"{"name":"drop_secret"}"#;
    let all = listed(secret);
    let compressed = "\u{1f}\u{8b}\u{8}drop_secret";
    let long = format!("{all}{}", " ".repeat(2000));
    for (content_type, answer, reason) in [
        (JSON, format!("data: {all}\n\n"), "list_unreadable"),
        (JSON, format!("{all}{all}"), "list_unreadable"),
        (JSON, format!("[{all}]"), "list_unreadable"),
        (JSON, all[..all.len() - 1].to_owned(), "list_unreadable"),
        (JSON, String::new(), "list_unreadable"),
        (JSON, compressed.to_owned(), "list_unreadable"),
        (JSON, long.clone(), "list_too_large"),
        (SSE, format!("data: {all}{all}\n\n"), "list_unreadable"),
        (SSE, format!("data: [{all}]\n\n"), "list_unreadable"),
        (SSE, format!("data: {}\n\n", &all[1..]), "list_unreadable"),
        (SSE, format!("Data: {all}\n\n"), "list_unreadable"),
        (SSE, format!("data: {long}\n\n"), "list_too_large"),
        (SSE, format!("data: {compressed}\n\n"), "list_unreadable"),
    ] {
        for size in [5, 100_000] {
            let nobody = sent(DOCUMENT, &[], Some("tools/list"), false);
            let mut pieces: Vec<&[u8]> = answer.as_bytes().chunks(size).collect();
            pieces.push(b"");
            let (out, record) = goes_on(&nobody, content_type, &pieces);
            let message = if content_type == SSE { out.trim().strip_prefix("data: ").unwrap() } else { &out };
            assert_eq!(error(message), (json!("i-1"), json!(reason)), "{answer}");
            assert_eq!(
                (&record["outcome"], &record["reason"]),
                (&json!("refused"), &json!(reason)),
                "{answer}"
            );
        }
    }
    // JSON called a stream is a stream without an event.
    let nobody = sent(DOCUMENT, &[], Some("tools/list"), false);
    assert_eq!(goes_on(&nobody, SSE, &[b"\n{\n}"]).0, "\n{\n}");
    for pairs in [
        &[("content-type", "text/html")][..],
        &[],
        &[("content-type", JSON), ("content-type", SSE)],
        &[("content-type", "application/json, text/event-stream")],
        &[("content-type", JSON), ("content-encoding", "gzip")],
        &[("content-type", SSE), ("content-encoding", "identity, br")],
    ] {
        let head = Head::from_pairs(pairs.iter().copied());
        assert_eq!(Lists::of(&nobody.request, &head).err(), Some(Reason::ListUnreadable), "{pairs:?}");
    }
}

/// Two answers in one stream, of whatever ids, and what comes before and behind them.
#[test]
fn each_message_of_a_stream_is_looked_at() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), false);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"drop"}}"#;
    let list =
        |id: &str, names: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{names}]}}}}"#);
    let stream = |first: &str, second: &str| {
        let notes = format!("event: message\ndata: {note}\n\n").repeat(20);
        format!("{notes}data: {}\n\ndata: {}\n\n{notes}", list("999", first), list("\"i-1\"", second))
    };
    let all = stream(r#"{"name":"drop"},{"name":"get_a"}"#, r#"{"name":"get_b"},{"name":"drop"}"#);
    let (out, record) = goes_on(&dev, SSE, &[all.as_bytes()]);
    assert_eq!(out, stream(r#"{"name":"get_a"}"#, r#"{"name":"get_b"}"#));
    assert_eq!(record["listed"], json!({"shown": 2, "hidden": 2}));
}

/// A stream of a legacy session repeats what it likes: of a list nobody knows that it is one, but by its shape.
#[test]
fn what_a_stream_repeats_is_filtered_too() {
    let dev = sent(DOCUMENT, &["dev"], None, false);
    let event = |message: &str| format!("id: 1\ndata: {message}\n\n");
    let all = listed(r#"{"name":"drop"},{"name":"get_a"}"#);
    let result = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"tools"}]}}"#;
    let stream = [": open\n\n", "id: 0\ndata:\n\n", &event(result), &event(&all), &event(result)].concat();
    let (out, record) = goes_on(&dev, SSE, &[stream.as_bytes()]);
    assert_eq!(out, stream.replace(r#"{"name":"drop"},"#, ""));
    assert_eq!(record["listed"], json!({"shown": 1, "hidden": 1}));
    // Some clients read it as events whatever it is called, and some as what it is called.
    for content_type in ["text/plain", "text/html", "text/event-stream, application/json", ""] {
        let head = Head::from_pairs([("content-type", content_type)]);
        assert_eq!(Lists::of(&dev.request, &head).err(), Some(Reason::ListUnreadable), "{content_type}");
    }
    // Nobody knows to which request an error is the answer; the rest of the stream goes on, and it was allowed.
    let broken = event(&all[1..]);
    let (out, record) =
        goes_on(&dev, SSE, &[[broken.as_str(), &event(result), &event(&all)].concat().as_bytes()]);
    let (first, rest) = out.split_once("\n\n").unwrap();
    assert_eq!(error(first.strip_prefix("id: 1\ndata: ").unwrap()), (Value::Null, json!("list_unreadable")));
    assert_eq!(rest, event(result) + &event(&all).replace(r#"{"name":"drop"},"#, ""));
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("allowed"), &json!("allowed")));
    assert_eq!(record["listed"], json!({"shown": 1, "hidden": 1, "replaced": 1}));
}

/// What tells something is not the answer, and takes nobody's place: the list that follows is.
#[test]
fn what_can_t_be_read_beside_an_answer_is_not_the_answer() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), false);
    let own = listed(r#"{"name":"get_a"}"#);
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    let long = format!("\"{}\"", "x".repeat(3000));
    for (params, reason) in [(deep, "list_unreadable"), (long, "list_too_large")] {
        let note = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#);
        let stream = format!("data: {note}\n\ndata: {own}\n\n");
        for size in [7, 10_000] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let (out, record) = goes_on(&dev, SSE, &pieces);
            let (first, rest) = out.split_once("\n\n").unwrap();
            assert_eq!(error(first.strip_prefix("data: ").unwrap()), (Value::Null, json!(reason)));
            assert_eq!(rest, format!("data: {own}\n\n"));
            assert_eq!((&record["outcome"], &record["listed"]["replaced"]), (&json!("allowed"), &json!(1)));
        }
    }
}

/// What goes on of each piece of the answer to a request in a session, whose length was told, and the record then.
fn watched(ended: &Ended, content_type: &str, pieces: &[&[u8]]) -> (Vec<String>, Value) {
    watched_of(Lists::watched(&ended.request, content_type, true).unwrap().unwrap(), pieces)
}

/// The same, where no length was.
fn watched_in_chunks(ended: &Ended, content_type: &str, pieces: &[&[u8]]) -> (Vec<String>, Value) {
    watched_of(Lists::watched(&ended.request, content_type, false).unwrap().unwrap(), pieces)
}

fn watched_of(mut lists: Lists, pieces: &[&[u8]]) -> (Vec<String>, Value) {
    let mut record = Value::Null;
    let mut out = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        out.push(String::from_utf8(lists.push(piece, number + 1 == pieces.len())).unwrap());
        if let Some(news) = lists.news() {
            record = serde_json::from_str(news.record.json()).unwrap();
        }
    }
    (out, record)
}

/// The attack: a list and something else are asked for by one `id`, and the server sends the list to where that `id`
/// came from last.
#[test]
fn a_list_in_the_place_of_another_answer_is_filtered() {
    let all = listed(r#"{"name":"drop"},{"name":"get_a"}"#);
    let own = listed(r#"{"name":"get_a"}"#);
    for method in ["ping", "tools/call", "initialize"] {
        let dev = sent(DOCUMENT, &["dev"], Some(method), false);
        assert!(dev.request.is_watched(), "{method}");
        assert!(dev.request.withheld_headers().any(|name| name == "accept-encoding"), "{method}");
        for size in [1, 7, 100, 10_000] {
            let pieces: Vec<&[u8]> = all.as_bytes().chunks(size).collect();
            let (out, record) = watched(&dev, JSON, &pieces);
            // Its head has gone on with its length.
            assert_eq!((out.concat().trim_end(), out.concat().len()), (own.as_str(), all.len()));
            assert_eq!(record["listed"], json!({"shown": 1, "hidden": 1}), "{record}");
            assert_eq!(record["method"], json!(method));
            let note = "data: {\"method\":\"notifications/progress\"}\n\n";
            let stream = |list: &str| format!(": hi\n\n{note}id: 1\ndata: {list}\n\n");
            let came = stream(&all) + note;
            let pieces: Vec<&[u8]> = came.as_bytes().chunks(size).collect();
            let (out, record) = watched(&dev, SSE, &pieces);
            assert_eq!(out.concat(), stream(&own) + note);
            assert_eq!(record["listed"], json!({"shown": 1, "hidden": 1}), "{record}");
        }
        // What can't be read of it does not pass, even where no error is as short.
        let tiny = r#"{"result":{"tools":[{"name":"drop"}"#;
        let (out, record) = watched(&dev, JSON, &[tiny.as_bytes()]);
        assert_eq!((out.concat().trim_end(), out.concat().len()), ("", tiny.len()));
        assert_eq!(record["reason"], json!("list_unreadable"));
        for (content_type, broken) in [(JSON, tiny.to_owned()), (SSE, format!("data:{tiny}\n\n"))] {
            let (out, record) = watched_in_chunks(&dev, content_type, &[broken.as_bytes()]);
            let message = out.concat();
            let message = message.strip_prefix("data:").unwrap_or(&message);
            assert_eq!(error(message), (json!("i-1"), json!("list_unreadable")));
            assert_eq!(record["reason"], json!("list_unreadable"));
        }
        let long = listed(&format!(r#"{{"name":"drop","x":"{}"}}"#, "y".repeat(3000)));
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(500).collect();
        let (out, _) = watched(&dev, JSON, &pieces);
        assert_eq!(error(out.concat().trim_end()), (json!("i-1"), json!("list_too_large")));
        assert_eq!(out.concat().len(), long.len());
    }
    // A modern request within a session as well.
    let worker = Worker::new(DOCUMENT);
    for (headers, is_watched) in [(&[][..], false), (&[("mcp-session-id", "s")], true)] {
        let ended = sent_by(&worker, &["dev"], Some("tools/call"), true, headers);
        assert_eq!(ended.request.is_watched(), is_watched, "{headers:?}");
    }
}

/// What is put in the place of an event must not get into the next one, wherever a stream is cut.
#[test]
fn events_beside_a_replaced_one_are_whole() {
    let all = listed(r#"{"name":"drop"},{"name":"get_a"}"#);
    let own = listed(r#"{"name":"get_a"}"#);
    let call = r#"{"jsonrpc":"2.0","id":"i-1","result":{"content":[{"text":"x"}]}}"#;
    let stream = |list: &str| format!("data: {call}\n\ndata:{list}\n\ndata: {call}\n\n");
    let dev = sent(DOCUMENT, &["dev"], Some("ping"), false);
    let came = stream(&all);
    for cut in 0..came.len() {
        let (first, second) = came.split_at(cut);
        let (out, _) = watched(&dev, SSE, &[first.as_bytes(), second.as_bytes()]);
        assert_eq!(out.concat(), stream(&own), "{cut}");
    }
}

/// Where nothing is hidden, nothing is lost: what says who may keep a list does not make it longer than it was told to be.
#[test]
fn a_list_that_is_seen_whole_passes_where_another_answer_was_asked_for() {
    let public = r#"{"id":1,"result":{"cacheScope":"public","tools":[{"name":"get_a"}]}}"#;
    let private = public.replace("public", "private");
    let bare = r#"{"id":1,"result":{"tools":[{"name":"get_a"}]}}"#;
    let added = bare.replace("{\"tools", "{\"cacheScope\":\"private\",\"tools");
    let worker = Worker::new(DOCUMENT);
    let legacy = sent_by(&worker, &["dev"], Some("tools/call"), false, &[]);
    let modern = sent_by(&worker, &["dev"], Some("tools/call"), true, &[("mcp-session-id", "s")]);
    for (ended, came, changed) in [
        (&legacy, public, private.as_str()),
        (&legacy, bare, bare),
        (&modern, public, &private),
        (&modern, bare, &added),
    ] {
        let seen = json!({"shown": 1, "hidden": 0});
        let event = |message: &str| format!("data:{message}\n\n");
        let (out, record) = watched(ended, JSON, &[came.as_bytes()]);
        assert_eq!((out.concat().as_str(), &record["listed"]), (came, &seen));
        let (out, record) = watched_in_chunks(ended, JSON, &[came.as_bytes()]);
        assert_eq!((out.concat().as_str(), &record["listed"]), (changed, &seen));
        // The length of a stream does not go on.
        let (out, record) = watched(ended, SSE, &[event(came).as_bytes()]);
        assert_eq!((out.concat(), &record["listed"]), (event(changed), &seen));
    }
    let mixed = "data:{\"result\":\ndata: {\"tools\":[{\"name\":\"get_a\"}]}}\n\n";
    let (out, record) = watched(&legacy, SSE, &[mixed.as_bytes()]);
    assert_eq!((out.concat().as_str(), &record["listed"]["shown"]), (mixed, &json!(1)));
    let keeps = |content_type, has_length| {
        Lists::watched(&legacy.request, content_type, has_length).unwrap().unwrap().keeps_length()
    };
    assert_eq!([keeps(JSON, true), keeps(JSON, false), keeps(SSE, true)], [true, false, false]);
}

/// Other answers pass as they come: not held, whatever their size, and not changed.
#[test]
fn other_answers_of_a_session_pass_as_they_come() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/call"), false);
    let begun = r#"{"jsonrpc":"2.0","id":"i-1","result":{"content":[{"text":"tools"#;
    let pieces = [begun, "x", "\"}],\"tools\":[{\"name\":\"drop\"}]}}"];
    let (out, record) = watched(&dev, JSON, &pieces.map(str::as_bytes));
    assert_eq!((out, record), (pieces.map(str::to_owned).to_vec(), Value::Null));
    let far = format!(r#"{{"result":{{"_meta":"{}"#, "x".repeat(5000));
    for other in [
        far.as_str(),
        "\u{1f}\u{8b}\u{8}",
        "[{\"result\":{\"tools\":[]}}",
        "<html>",
        "{\"error\":",
        "{\"result\":1",
    ] {
        let (out, record) = watched(&dev, JSON, &[other.as_bytes(), b"y", b"z"]);
        assert_eq!((out, record), (vec![other.to_owned(), "y".to_owned(), "z".to_owned()], Value::Null));
    }
    // Cut before it can be told: held until it can.
    let (out, _) = watched(&dev, JSON, &[b"{\"res", b"ult\":{", b"\"content\":", b"[]}}"]);
    assert_eq!(out, ["", "", "{\"result\":{\"content\":", "[]}}"]);
    assert_eq!(watched(&dev, JSON, &[b"", b"{\"id\"", b""]).0, ["", "", "{\"id\""]);
    for content_type in ["text/html", "application/octet-stream", ""] {
        assert!(Lists::watched(&dev.request, content_type, false).unwrap().is_none(), "{content_type}");
    }
}

/// Many lists at once must not take all of a worker's memory: what is held of all of them is bounded.
#[test]
fn what_a_worker_holds_of_lists_is_bounded() {
    let document = DOCUMENT.replace("list_bytes: 2000", "list_bytes: 67108864");
    let worker = Worker::new(&document);
    let ask = || sent_by(&worker, &["dev"], Some("tools/list"), false, &[]);
    let begin = |ended: &Ended, content_type: &str| {
        Lists::of(&ended.request, &Head::from_pairs([("content-type", content_type)])).unwrap()
    };
    let most = vec![b' '; 60 << 20];
    let more = [b"data: ".to_vec(), vec![b' '; 5 << 20]].concat();
    for (first, second) in [(JSON, SSE), (SSE, JSON), (JSON, JSON), (SSE, SSE)] {
        let (one, two) = (ask(), ask());
        let (mut first, mut refused) = (begin(&one, first), begin(&two, second));
        assert!(first.push(&most, false).is_empty());
        let out = String::from_utf8(refused.push(&more, false)).unwrap();
        let message = out.trim().trim_start_matches("data: ");
        assert_eq!(error(message), (json!("i-1"), json!("overloaded")));
        let record: Value = serde_json::from_str(refused.news().unwrap().record.json()).unwrap();
        assert_eq!((&record["outcome"], &record["reason"]), (&json!("refused"), &json!("overloaded")));
        // A short one still fits, and so does a long one where the first has gone.
        assert!(begin(&ask(), second).push(b"data: {", false).is_empty());
        drop(first);
        assert!(begin(&ask(), second).push(&more, false).is_empty());
    }
    // What is no list needs no room.
    let one = ask();
    let mut first = begin(&one, JSON);
    assert!(first.push(&vec![b' '; 64 << 20], false).is_empty());
    let call = sent_by(&worker, &["dev"], Some("tools/call"), false, &[]);
    let (out, record) = watched(&call, JSON, &[b"{\"res", b"ult\":{\"content\":[]}}"]);
    assert_eq!((out.concat().as_str(), record), ("{\"result\":{\"content\":[]}}", Value::Null));
    let (out, record) = watched(&call, SSE, &[b"data: {\"res", b"ult\":{\"content\":[]}}\n\n"]);
    assert_eq!((out.concat().as_str(), record), ("data: {\"result\":{\"content\":[]}}\n\n", Value::Null));
    let list = listed(&format!(r#"{{"name":"drop","x":"{}"}}"#, "y".repeat(300)));
    let (out, record) = watched(&call, JSON, &[list.as_bytes()]);
    assert_eq!(
        (error(out.concat().trim_end()).1, &record["reason"]),
        (json!("overloaded"), &json!("overloaded"))
    );
}

/// A coding would hide what is listed: so none is asked for where lists may come, and everywhere else it is.
#[test]
fn codings_are_asked_for_where_no_list_is() {
    let early = format!("{DOCUMENT}allow_on_headers_stop_iteration: false\n");
    for (document, method, is_modern, is_removed) in [
        (DOCUMENT, Some("tools/list"), false, true),
        (DOCUMENT, Some("prompts/list"), true, true),
        (DOCUMENT, None, false, true),
        (DOCUMENT, Some("tools/call"), false, true),
        (DOCUMENT, Some("tools/call"), true, false),
        (DOCUMENT, Some("server/discover"), true, false),
        (&early, Some("resources/list"), false, true),
    ] {
        let ended = sent(document, &["dev"], method, is_modern);
        let is_withheld = ended.request.withheld_headers().any(|name| name == "accept-encoding");
        assert_eq!(is_withheld, is_removed, "{method:?}");
    }
}

/// Where the head goes on first, what it announces counts only where that must be what is answered.
#[test]
fn a_head_that_goes_on_early_asks_for_a_coding_only_where_no_list_can_come() {
    let worker = Worker::new(&format!("{DOCUMENT}allow_on_headers_stop_iteration: false\n"));
    let token = format!(
        "Bearer {}",
        ISSUER.rs256(&json!({"iss": "https://login.example.com", "sub": "dana", "groups": ["dev"],
        "aud": "https://mcp.example.com/mcp", "exp": NOW + 60}))
    );
    let modern = ("mcp-protocol-version", "2026-07-28");
    let legacy = ("mcp-protocol-version", "2025-11-25");
    let (call, name) = (("mcp-method", "tools/call"), ("mcp-name", "get_a"));
    for (headers, is_removed) in [
        (&[modern, call, name][..], false),
        (&[modern, ("mcp-method", "tools/list")], true),
        (&[modern], true),
        (&[modern, call, name, ("mcp-session-id", "s")], true),
        // The attack: a legacy server answers a list to whoever used its `id` last, and reads no such header.
        (&[legacy, call, name], true),
        (&[call, name], true),
        (&[], true),
    ] {
        let head = [
            &[
                (":method", "POST"),
                (":path", "/mcp"),
                ("content-type", "application/json"),
                ("authorization", token.as_str()),
                ("accept-encoding", "gzip"),
            ],
            headers,
        ]
        .concat();
        let ended = worker.run(&head, Ok(b"{}"), &providers);
        assert!(ended.head_released, "{headers:?}");
        assert_eq!(ended.withheld == ["accept-encoding"], is_removed, "{headers:?}");
    }
}

#[test]
fn a_defect_of_the_host_is_an_error() {
    let dev = sent(DOCUMENT, &["dev"], Some("tools/list"), false);
    let mut lists = Lists::of(&dev.request, &Head::from_pairs([("content-type", JSON)])).unwrap();
    assert!(lists.push(listed("").as_bytes(), false).is_empty() && lists.is_held());
    let out = lists.fail(0);
    assert_eq!(error(std::str::from_utf8(&out).unwrap()), (json!("i-1"), json!("internal")));
    assert!(lists.push(listed("").as_bytes(), true).is_empty() && !lists.is_held());
    // What the answer's head promises is what comes.
    let mut lists = Lists::watched(&dev.request, JSON, true).unwrap().unwrap();
    assert_eq!((lists.push(b"{\"result\":{", false).len(), lists.fail(9).len()), (0, 20));
}
