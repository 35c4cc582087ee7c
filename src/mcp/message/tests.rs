//! What a message may look like, and what must be refused because an upstream may read it differently.

use super::*;
use proptest::prelude::*;

fn refused(body: &str) -> Reason {
    Message::parse(body.as_bytes()).and_then(|message| message.operations().map(|_| ())).unwrap_err()
}

#[test]
fn reads_a_call_whatever_the_order() {
    for body in [
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","arguments":{"n":1,"o":{"x":[]}}}}"#,
        r#" {"params":{"arguments":{"n":1,"o":{"x":[]}},"name":"t"},"method":"tools/call","id":"a","jsonrpc":"2.0"} "#,
        r#"{"jsonrpc":"2.0","id":"a","method":"tools\/call","params":{"n\u0061me":"\u0074","arguments":{"n":1,"o":{"x":[]}}}}"#,
    ] {
        let message = Message::parse(body.as_bytes()).unwrap();
        assert_eq!(message.role, Role::Request);
        assert_eq!(message.id, Some("\"a\""));
        assert_eq!(message.operations().unwrap(), [Operation::Tool("t")]);
        assert_eq!(message.arguments.get("n"), Some(&b"1"[..]));
        assert_eq!(message.arguments.get("o"), Some(&br#"{"x":[]}"#[..]));
        assert_eq!(message.arguments.get("absent"), None);
    }
}

#[test]
fn says_what_each_method_acts_on() {
    let cases: &[(&str, &str, &[Operation<'_>])] = &[
        ("initialize", "{}", &[Operation::Open]),
        ("tools/list", "{}", &[Operation::Open]),
        ("prompts/get", r#"{"name":"p"}"#, &[Operation::Prompt("p")]),
        ("resources/read", r#"{"uri":"file:///x"}"#, &[Operation::Resource("file:///x")]),
        ("resources/subscribe", r#"{"uri":"u"}"#, &[Operation::Resource("u")]),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"}}"#, &[Operation::Prompt("p")]),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"u"}}"#, &[Operation::Resource("u")]),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, &[Operation::Open]),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a","b"],"taskIds":["t"]}}"#,
            &[Operation::Resource("a"), Operation::Resource("b"), Operation::Task("t")],
        ),
        ("tasks/result", r#"{"taskId":"t"}"#, &[Operation::Task("t")]),
        ("tasks/list", "{}", &[Operation::Task("")]),
    ];
    for (method, params, expected) in cases {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let message = Message::parse(body.as_bytes()).unwrap();
        assert_eq!(message.operations().unwrap(), *expected, "{method}");
    }
    let answer = Message::parse(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
    assert_eq!((answer.role, answer.operations().unwrap()), (Role::Response, vec![Operation::Open]));
}

#[test]
fn refuses_what_servers_read_differently() {
    let call =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let cases = [
        (call(r#"{"name":"delete\u0000"}"#), Reason::InvalidMessage),
        (call(r#"{"name":" delete"}"#), Reason::InvalidMessage),
        (call(r#"{"name":""}"#), Reason::InvalidMessage),
        (
            call(r#"{"name":"x"}"#)
                .replace("tools/call", "resources/read")
                .replace("name", "uri")
                .replace("x", "file:///a/../b"),
            Reason::AmbiguousUri,
        ),
        ("[]".to_owned(), Reason::Batch),
        (format!(" \n[{}]", call("{}")), Reason::Batch),
        (call(r#"{"name":"a","name":"b"}"#), Reason::DuplicateKey),
        (call(r#"{"name":"a","n\u0061me":"b"}"#), Reason::DuplicateKey),
        (call(r#"{"name":"a","Name":"b"}"#), Reason::DuplicateKey),
        (call(r#"{"Name":"b"}"#), Reason::KeyVariant),
        (call(r#"{"name\u0000":"b"}"#), Reason::KeyVariant),
        (call(r#"{"name":"a","argument\u017f":{}}"#), Reason::KeyVariant),
        (call(r#"{"name":"a","arguments":{"n":1,"n":2}}"#), Reason::DuplicateKey),
        (call(r#"{"name":"a","arguments":{"n":1,"N":2}}"#), Reason::DuplicateKey),
        (call(r#"{"name":"a","arguments":[]}"#), Reason::InvalidMessage),
        (call(r#"{"name":"a","arguments":"null"}"#), Reason::InvalidMessage),
        (call(r#"{"name":["a"]}"#), Reason::InvalidMessage),
        (call("{}"), Reason::InvalidMessage),
        (call("[]"), Reason::InvalidMessage),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#.into(),
            Reason::DuplicateKey,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call"}"#.into(), Reason::KeyVariant),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping"}"#.into(), Reason::DuplicateKey),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.into(), Reason::InvalidMessage),
        (r#"{"id":1,"method":"ping"}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#.into(), Reason::InvalidMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#.into(), Reason::InvalidMessage),
        ("7".into(), Reason::InvalidMessage),
        (String::new(), Reason::InvalidJson),
        (format!("{}x", call(r#"{"name":"a"}"#)), Reason::InvalidJson),
        (format!("\u{feff}{}", call(r#"{"name":"a"}"#)), Reason::InvalidJson),
    ];
    for (body, expected) in cases {
        assert_eq!(refused(&body), expected, "{body}");
    }
    assert_eq!(
        Message::parse(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}").unwrap_err(),
        Reason::InvalidJson
    );
}

#[test]
fn arguments_count_only_where_a_server_reads_them() {
    for (method, has) in [
        ("tools/call", true),
        ("prompts/get", true),
        ("resources/read", false),
        ("completion/complete", false),
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"arguments":{{"a":1}}}}}}"#);
        let message = Message::parse(body.as_bytes()).unwrap();
        assert_eq!(message.arguments.get("a").is_some(), has, "{method}");
    }
}

#[test]
fn bounds_ids_and_subscriptions() {
    let id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "a".repeat(300));
    assert_eq!(refused(&id), Reason::InvalidMessage);
    let uris = vec!["\"u\""; 300].join(",");
    let many = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"resourceSubscriptions":[{uris}]}}}}}}"#
    );
    assert_eq!(refused(&many), Reason::TooManyMembers);
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Message::parse(&bytes).map(|message| message.operations().map(|_| ()));
    }

    #[test]
    fn a_changed_byte_does_not_panic(at in 0_usize..120, byte in any::<u8>()) {
        let mut body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":1.5e3,"s":"\u00e9"},"_meta":{}}}"#.to_vec();
        let at = at.min(body.len().saturating_sub(1));
        body[at] = byte;
        let _ = Message::parse(&body).map(|message| message.operations().map(|_| ()));
    }
}

#[test]
fn a_method_that_mcp_does_not_have_is_none_of_its_operations() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"a"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"admin/exec"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/other"}"#,
    ] {
        let message = Message::parse(body.as_bytes()).unwrap();
        assert_eq!(message.operations(), Ok(vec![Operation::Unknown]), "{body}");
    }
}
