//! The audit record's schema: current, and with just the fields that the core writes.

#[path = "support/record_schema.rs"]
mod record_schema;

use mcp_iap::audit::{Document, Form, Masks, Outcome, Record, Shown};
use mcp_iap::head::Head;
use mcp_iap::identity::{Actors, Caller};
use mcp_iap::kube::User;
use mcp_iap::mcp::{Arguments, Era, Operation, Told};
use mcp_iap::oauth::Scope;
use mcp_iap::policy::{Attribute, Call, Denial};
use mcp_iap::reason::Reason;
use mcp_iap::secret::Secret;
use mcp_iap::spiffe::SpiffeId;
use record_schema::{faults, shipped};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

const DECISION: &str = "2bc006681efddbe43e032ea76f59a43a";

fn scope(text: &str) -> Scope {
    Scope::granted(&Value::from(text)).unwrap()
}

fn token_caller() -> Caller {
    Caller {
        issuer: "https://i".into(),
        subject: "dana".to_owned(),
        client_id: Some("agent".to_owned()),
        groups: (0..40).map(|number| format!("g{number}")).collect(),
        scope: scope("a b"),
        ..Caller::default()
    }
}

/// Who acts for somebody: more than are kept, with names that are too long, and with something else.
fn actors() -> Actors {
    let act = json!({"sub": "é".repeat(300), "iss": "https://i", "client_id": "c", "act": 7});
    Actors::of(
        &(0..40)
            .fold(act, |act, _| json!({"sub": "\u{1b}", "iss": "https://i", "client_id": "c", "act": act})),
    )
}

/// More than stands in a record, of every kind.
fn note_attributes(record: &mut Record, masks: &Masks) {
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let values =
        [json!("é".repeat(300)), json!(7), json!(0.5), json!(null), json!([true, "s3cret"]), json!({"a": 1})];
    let claims = names.iter().map(|name| Rc::from(name.as_str())).zip(values.into_iter().cycle().skip(1));
    let caller = Caller::default().with_claims(claims.take(30).collect());
    let (head, arguments) =
        (Head::from_pairs([("x-device", "managed")]), Arguments::from_pairs(vec![("n", "[7]")]));
    let call = Call { head: Some(&head), ..Call::of(&caller).to(&[], &arguments) };
    let reads = [Attribute::Header("x-device"), Attribute::Argument("n"), Attribute::Argument("m")];
    let mut reads = reads.into_iter().chain(names.iter().map(|name| Attribute::Claim(name)));
    let shown = Shown { all_arguments: true, clear_arguments: &[] };
    record.note_attributes(&mut reads, &call, &shown, &masks.and(None));
}

/// Everything that a record can have, by the calls by which the gate fills it, and in its bounds.
fn records() -> Vec<Value> {
    let long = "é\u{1b}".repeat(300);
    let callers = [
        token_caller()
            .through(SpiffeId::parse("spiffe://example.org/agent").unwrap())
            .with_actors(Some(actors())),
        Caller::of_kubernetes(User { name: long.clone(), groups: Vec::new() }),
        Caller::of_api_key("ci", &[]),
        Caller::of_workload(SpiffeId::parse("spiffe://example.org/agent").unwrap()),
        Caller::anonymous(),
    ];
    let names: Vec<Rc<str>> = ["text", "number", "truth", "none", "secret"].map(Rc::from).to_vec();
    let pairs = vec![
        ("text", "\"\\u001b[2J\""),
        ("number", "7"),
        ("truth", "true"),
        ("none", "null"),
        ("secret", "\"s3cret\""),
    ];
    let masks = Masks { forms: vec![Form::new("s3cret"), Form::new("tools/")], ..Masks::none() };
    let secrets = masks.and(None);
    let answers = [Told::Error(-32602), Told::ToolError, Told::Unread, Told::Good].into_iter().cycle();
    let operations =
        [Operation::Tool(&long), Operation::Prompt("p"), Operation::Resource("r:x"), Operation::Task("t")];
    let mut records = vec![serde_json::from_str(&Record::new(DECISION.to_owned()).to_json()).unwrap()];
    let operations = operations.into_iter().chain([Operation::Open]);
    let key = Secret::new(vec![7; 32]);
    let mut keys = [Some(&key), None].into_iter().cycle();
    for ((caller, operation), told) in callers.into_iter().zip(operations).zip(answers) {
        let mut record = Record::new(DECISION.to_owned());
        record.note_http_method("POST", &secrets);
        record.note_protected_resource("https://r/mcp");
        record.note_caller(Rc::new(caller));
        record.note_method("tools/call", &secrets);
        record.note_era(Era::Modern);
        record.note_operation(operation, &secrets);
        record.note_arguments(&names, &Arguments::from_pairs(pairs.clone()), &secrets);
        record.note_digest(&key, b"{}");
        record.note_session(keys.next().unwrap(), b"s-1");
        note_attributes(&mut record, &masks);
        record.note_trace(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for what in ["keys", "introspection", "token_review"] {
            record.note_wait(what, Duration::from_millis(7));
        }
        record.note_replaced();
        record.note_shadow(Some(Outcome::Refused), Some(Reason::DeniedByRule), Some("freeze"));
        record.note_failing("source");
        record.note_exchange("k8s", false, Duration::from_millis(7), Some("timeout"));
        record.note_exchange_user(Some("dana"));
        record.note_listed(1, 2);
        record.note_denial(&Denial {
            rule: Some("few".into()),
            argument: Some("n".into()),
            scope: scope("w"),
            ..Reason::InsufficientScope.into()
        });
        let mut written = record.write();
        written.add_upstream_status(502);
        assert_eq!(written.add_answer(told), told != Told::Good);
        records.push(serde_json::from_str(written.json()).unwrap());
    }
    records
}

/// The paths of all members, but for those of `arguments`, which callers' tools name, and of `attributes`, which rules do.
fn members(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        if !matches!(path.as_str(), "arguments" | "attributes.values") {
            members(value, &format!("{path}."), into);
        }
        into.insert(path);
    }
}

fn properties(schema: &Value, definitions: &Value, path: &str, into: &mut BTreeSet<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &definitions[reference.strip_prefix("#/$defs/").unwrap()],
        None => schema,
    };
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        properties(schema, definitions, &format!("{path}."), into);
        into.insert(path);
    }
}

#[test]
fn the_schema_is_current() {
    let seen = Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(["schema", "audit-record"]).output().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit-record.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &seen.stdout).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert_eq!(seen, wanted, "{} is not current; `make golden` writes it", path.display());
}

#[test]
fn the_schema_has_just_the_fields_that_are_written_and_documented() {
    let (mut written, mut known) = (BTreeSet::new(), BTreeSet::new());
    for record in records() {
        assert_eq!(faults(&record), Vec::<String>::new(), "{record}");
        members(&record, "", &mut written);
    }
    let schema = shipped();
    properties(&schema, &schema["$defs"], "", &mut known);
    assert_eq!(known, written);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    const OBJECTS: [&str; 9] = [
        "answer",
        "arguments_digest",
        "attributes",
        "caller",
        "exchange",
        "listed",
        "session",
        "shadow",
        "waited_ms",
    ];
    for path in known.iter().filter(|path| !OBJECTS.contains(&path.as_str())) {
        let is_told = docs
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .any(|row| row.split('|').next().unwrap_or_default().contains(path.as_str()));
        assert!(is_told, "docs/audit.md has no row for {path}");
    }
}

/// What reads records takes them as they are written.
#[test]
fn every_record_is_read() {
    for record in records() {
        let document: Document = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(document.decision, DECISION, "{record}");
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let good = records().remove(1);
    for (pointer, value) in [
        ("/schema", json!(2)),
        ("/decision", json!("2bc0")),
        ("/outcome", json!("maybe")),
        ("/reason", json!("because")),
        ("/tool", json!(7)),
        ("/caller/kind", json!("token")),
        ("/caller/groups", json!("sre")),
        ("/arguments/text", json!(["a"])),
        ("/arguments/text", json!(1.5)),
        ("/attributes/values/x", json!({})),
        ("/attributes/values/x", json!([[1]])),
        ("/attributes/values/x", json!(vec![1; 33])),
        ("/attributes/absent", json!(vec!["x"; 33])),
        ("/attributes/not_whole", json!("claims.x")),
        ("/session/hmac_sha256", json!("s-1")),
        ("/caller/actors", json!(vec![json!({}); 9])),
        ("/caller/actors", json!([{"sub": "agent"}])),
        ("/caller/actors", json!({"subject": "agent"})),
        ("/caller/actors_incomplete", json!("yes")),
        ("/shadow/outcome", json!("aborted")),
        ("/upstream_status", json!(42)),
        ("/traceparent", json!("00-rubbish")),
        ("/masked", json!("tool")),
        ("/arguments_digest/hmac_sha256", json!("ab")),
        ("/waited_ms/keys", json!("7")),
        ("/answer/error", json!("x")),
        ("/answer/unread", json!(1)),
    ] {
        let mut record = good.clone();
        match record.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                record.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        assert!(!faults(&record).is_empty(), "{pointer}: {record}");
    }
    for path in [
        "",
        "/caller",
        "/shadow",
        "/exchange",
        "/listed",
        "/arguments_digest",
        "/waited_ms",
        "/answer",
        "/session",
        "/attributes",
    ] {
        let mut record = good.clone();
        record.pointer_mut(path).unwrap()["more"] = json!(1);
        assert!(!faults(&record).is_empty(), "{path}: {record}");
    }
    for field in ["schema", "decision", "outcome", "reason"] {
        let mut record = good.clone();
        record.as_object_mut().unwrap().remove(field);
        assert!(!faults(&record).is_empty(), "without {field}");
    }
}
