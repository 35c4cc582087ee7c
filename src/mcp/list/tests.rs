//! Messages with lists, honest ones and others, and what is left of them.

use super::*;
use proptest::prelude::*;

/// Everything whose name has no `x`.
fn filtered(message: &str) -> Result<Option<(String, usize, usize)>, Reason> {
    let mut sees = |entry: Entry<'_>| {
        let (Entry::Tool(name) | Entry::Prompt(name) | Entry::Resource(name) | Entry::Template(name)) = entry;
        !name.contains('x')
    };
    let listed = filter(message.as_bytes(), CacheScope::Changes, &mut sees)?;
    Ok(listed.map(|listed| (String::from_utf8(listed.text).unwrap(), listed.shown, listed.hidden)))
}

fn of_tools(tools: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools}}}}}"#)
}

#[test]
fn a_beginning_tells_what_a_message_is() {
    use Beginning::{Call, List, Open, Other};
    let far = format!(r#"{{"result":{{"_meta":"{}","tools":[]}}}}"#, "m".repeat(BEGINNING));
    for (text, expected) in [
        ("", Open),
        (" \n", Open),
        ("{", Open),
        (r#"{"jsonrpc":"2.0","id":1,"res"#, Open),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"#, Open),
        (r#"{"result":{"_meta":{"tools":[]},"nextCursor":"to"#, Open),
        ("{\"result\":{\"_meta\":\"\u{e9}\u{e9}", Open),
        (r#"{"result":{"tools":"#, List),
        (r#" { "id" : 1 , "result" : { "x" : "\ud800" , "prompts" : 1"#, List),
        (r#"{"result":{"nextCursor":"","resources":["#, List),
        (r#"{"result":{"resourceTemplates":["#, List),
        (r#"{"result":{"\u0074ools":["#, List),
        (r#"{"id":1,"result":{"content":[],"tools":["#, Other),
        (r#"{"result":{}"#, Other),
        (r#"{"result":{"x":{"tools":[]}}"#, Other),
        (r#"{"tools":[]}"#, Other),
        (r#"{"error":{"#, Other),
        ("[", Other),
        ("\u{1f}\u{8b}", Other),
        (r#"{"method":"a","result":{"tools":[]}}"#, Call),
        (&far, Open),
    ] {
        assert_eq!(beginning(text.as_bytes()), expected, "{text}");
    }
    // Cut within a character.
    assert_eq!(beginning(b"{\"result\":{\"_meta\":\"\xc3"), Open);
    assert_eq!(beginning(b"\xff{"), Other);
}

/// JavaScript writes half a pair as it is told to; what nobody reads here is nobody's business.
#[test]
fn half_a_surrogate_pair_hides_no_more_than_what_it_names() {
    for half in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x"] {
        let own = format!(r#"{{"name":"a","description":"{half}"}}"#);
        let other = format!(r#"{{"name":"b{half}"}}"#);
        let all = of_tools(&format!("[{other},{own}]")).replace("\"id\":1", &format!(r#""id":"{half}""#));
        let rest = all.replace(&format!("{other},"), "");
        assert_eq!(filtered(&all), Ok(Some((rest, 1, 1))), "{half}");
        // What is looked at can't be taken in two ways.
        let named = of_tools(&format!(r#"[{{"name":"a","{half}":1}}]"#));
        assert_eq!(filtered(&named), Ok(Some((of_tools("[]"), 0, 1))));
    }
    // A request goes on to a server that may read it in another way.
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":{"y":"\ud800"}}}}"#;
    assert_eq!(crate::mcp::Message::parse(call).err(), Some(Reason::InvalidJson));
    for broken in [r"\ud8", r"\ud80g", r"\x"] {
        assert_eq!(
            filtered(&of_tools(&format!(r#"[{{"name":"a","d":"{broken}"}}]"#))),
            Err(Reason::InvalidJson)
        );
    }
}

#[test]
fn what_stays_stays_byte_for_byte() {
    for (before, after) in [
        (r#"[]"#, r#"[]"#),
        (r#"[ ]"#, r#"[ ]"#),
        (r#"[{"name":"a"}]"#, r#"[{"name":"a"}]"#),
        (r#"[{"name":"x"}]"#, r#"[]"#),
        (r#"[ {"name":"x"} , {"name":"x"} ]"#, r#"[  ]"#),
        (r#"[ {"name":"x"} , {"name":"a"} ]"#, r#"[ {"name":"a"} ]"#),
        (r#"[ {"name":"a"} , {"name":"x"} ]"#, r#"[ {"name":"a"} ]"#),
        (
            "[{\"name\":\"a\"},\n\t{\"name\":\"x\"},\n\t{\"name\":\"b\"}]",
            "[{\"name\":\"a\"},\n\t{\"name\":\"b\"}]",
        ),
        (
            r#"[{"name":"x"},{"name":"a"},{"name":"x"},{"name":"b"},{"name":"x"}]"#,
            r#"[{"name":"a"},{"name":"b"}]"#,
        ),
        // Numbers, escapes, unknown members and their order are nobody's business.
        (
            r#"[{"v":1.0e+2,"name":"\u0061","z":{"Name":1,"name":2},"a":[-0,"\/"]},{"name":"x"}]"#,
            r#"[{"v":1.0e+2,"name":"\u0061","z":{"Name":1,"name":2},"a":[-0,"\/"]}]"#,
        ),
        // One name twice is twice what it is.
        (r#"[{"name":"a"},{"name":"a"},{"name":"x"},{"name":"x"}]"#, r#"[{"name":"a"},{"name":"a"}]"#),
    ] {
        let (text, ..) = filtered(&of_tools(before)).unwrap().unwrap();
        assert_eq!(text, of_tools(after), "{before}");
    }
}

#[test]
fn an_entry_without_a_certain_name_is_not_shown() {
    for entry in [
        r#"{"name":"\u0078"}"#,
        r#"{"n\u0061me":"x"}"#,
        r#"{}"#,
        r#"{"title":"a"}"#,
        r#"{"Name":"a"}"#,
        r#"{"name":"a","Name":"x"}"#,
        r#"{"name":"a","name":"x"}"#,
        r#"{"name":"x","name":"a"}"#,
        r#"{"name":"a","n\u0061me":"x"}"#,
        r#"{"name":null}"#,
        r#"{"name":1}"#,
        r#"{"name":["a"]}"#,
        r#"{"name":""}"#,
        r#"{"name":" a"}"#,
        r#"{"name":"a\u0000"}"#,
        r#"{"name":"a","name\u0000":"x"}"#,
        r#"{"name":"a","NAME":"x"}"#,
        r#""a""#,
        r#"["a"]"#,
        r#"[{"name":"a"}]"#,
        "null",
        "7",
    ] {
        let listed = filtered(&of_tools(&format!(r#"[{{"name":"b"}},{entry}]"#))).unwrap();
        assert_eq!(listed, Some((of_tools(r#"[{"name":"b"}]"#), 1, 1)), "{entry}");
    }
}

#[test]
fn each_kind_of_list_by_its_own_member() {
    for (list, key, good, bad) in [
        ("tools", "name", "a", "x"),
        ("prompts", "name", "a", "x"),
        ("resources", "uri", "docs://a", "docs://x"),
        ("resources", "uri", "docs://a", "docs://b/../a"),
        ("resourceTemplates", "uriTemplate", "docs://{a}", "docs://{a}/x"),
        ("resourceTemplates", "uriTemplate", "docs://a", "docs://b/../a"),
    ] {
        let with =
            |entries: &str| format!(r#"{{"result":{{"nextCursor":"","{list}":[{entries}],"ttlMs":5e3}}}}"#);
        let entry = |name: &str| format!(r#"{{"{key}":"{name}"}}"#);
        let listed = filtered(&with(&format!("{},{}", entry(bad), entry(good)))).unwrap();
        assert_eq!(listed, Some((with(&entry(good)), 1, 1)), "{list}");
    }
    let all = r#"{"result":{"tools":[{"name":"x"}],"prompts":[{"name":"x"}],"id":1,"resources":[],"resourceTemplates":[{"uriTemplate":"x"}]}}"#;
    let none = r#"{"result":{"tools":[],"prompts":[],"id":1,"resources":[],"resourceTemplates":[]}}"#;
    assert_eq!(filtered(all).unwrap(), Some((none.to_owned(), 0, 3)));
}

#[test]
fn what_is_no_list_passes() {
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","data":{"tools":[{"name":"x"}]}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"x"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"public","content":[{"tools":[{"name":"x"}]}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{"tools":{}}}}"#,
    ] {
        assert_eq!(filtered(message), Ok(None), "{message}");
    }
}

#[test]
fn what_may_be_read_in_two_ways_is_refused() {
    let deep = format!("{}{}", "[".repeat(80), "]".repeat(80));
    for message in [
        r#""#,
        r#"["#,
        r#"[{"result":{"tools":[]}}]"#,
        r#""text""#,
        r#"{"result":{"tools":[]}} {"result":{"tools":[]}}"#,
        r#"{"result":{"tools":[]}}x"#,
        r#"{"result":{"tools":[{"name":"a"}"#,
        r#"{"result":{"tools":[{"name":"a"},]}}"#,
        r#"{"result":{"tools":[{"name":"a" "b"}]}}"#,
        r#"{"result":{"tools":[{"name":NaN}]}}"#,
        r#"{"result":{"tools":[],"tools":[{"name":"x"}]}}"#,
        r#"{"result":{"tools":[],"Tools":[{"name":"x"}]}}"#,
        r#"{"result":{"Tools":[{"name":"x"}]}}"#,
        r#"{"result":{"tool\u017f":[{"name":"x"}]}}"#,
        r#"{"result":{"resourcetemplates":[]}}"#,
        r#"{"result":{"tools\u0000":[{"name":"x"}]}}"#,
        r#"{"result":{"tools":{"0":{"name":"x"}}}}"#,
        r#"{"result":{"tools":null}}"#,
        r#"{"result":[{"name":"x"}]}"#,
        r#"{"result":null}"#,
        r#"{"result":{},"result":{"tools":[{"name":"x"}]}}"#,
        r#"{"result":{},"Result":{"tools":[{"name":"x"}]}}"#,
        r#"{"RESULT":{"tools":[{"name":"x"}]}}"#,
        "\u{feff}{\"result\":{\"tools\":[]}}",
        &of_tools(&deep),
    ] {
        assert!(filtered(message).is_err(), "{message}");
    }
    assert!(filter(b"{\"result\":{\"tools\":[\"\xff\"]}}", CacheScope::Changes, &mut |_| true).is_err());
}

#[test]
fn nobody_else_keeps_what_is_for_one() {
    let scoped = |message: &str, scope| {
        let listed = filter(message.as_bytes(), scope, &mut |_| true).unwrap().unwrap();
        String::from_utf8(listed.text).unwrap()
    };
    for (before, legacy, modern) in [
        (
            r#"{"result":{"tools":[],"cacheScope":"public"}}"#,
            r#"{"result":{"tools":[],"cacheScope":"private"}}"#,
            r#"{"result":{"tools":[],"cacheScope":"private"}}"#,
        ),
        (
            r#"{"result":{ "cacheScope" : 7 ,"tools":[]}}"#,
            r#"{"result":{ "cacheScope" : "private" ,"tools":[]}}"#,
            r#"{"result":{ "cacheScope" : "private" ,"tools":[]}}"#,
        ),
        (
            r#"{"result": { "tools":[]}}"#,
            r#"{"result": { "tools":[]}}"#,
            r#"{"result": {"cacheScope":"private", "tools":[]}}"#,
        ),
    ] {
        let scoped =
            [CacheScope::Stays, CacheScope::Changes, CacheScope::Needed].map(|scope| scoped(before, scope));
        assert_eq!(scoped, [before, legacy, modern]);
    }
    let twice = r#"{"result":{"cacheScope":"private","tools":[],"CacheScope":"public"}}"#;
    assert!(filter(twice.as_bytes(), CacheScope::Stays, &mut |_| true).is_err());
}

/// A list takes no longer than its bound, whoever fills it.
#[test]
fn lists_and_names_are_bounded() {
    let many = |count: usize| of_tools(&format!("[{}]", vec![r#"{"name":"a"}"#; count].join(",")));
    assert!(filtered(&many(MAX_ENTRIES)).is_ok());
    assert_eq!(filtered(&many(MAX_ENTRIES + 1)).unwrap_err(), Reason::ListTooLarge);
    let named = |length: usize| of_tools(&format!(r#"[{{"name":"{}"}}]"#, "a".repeat(length)));
    assert_eq!(filtered(&named(MAX_NAME)).unwrap().unwrap().1, 1);
    assert_eq!(filtered(&named(MAX_NAME + 1)).unwrap().unwrap().1, 0);
}

/// What is cut side by side is one cut: entries that nobody sees take no memory.
#[test]
fn cuts_side_by_side_are_one() {
    let mut edits = Edits::default();
    let text = format!(r#"[{{"name":"a"}}{}]"#, ",0".repeat(1_000));
    edits.entries(&mut Reader::new(text.as_bytes()), "tools", &mut |_| true).unwrap();
    assert_eq!(edits.places.len(), 1);
    assert_eq!(edits.apply(text.as_bytes()).text, br#"[{"name":"a"}]"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// What is left is what a parser would have left, and whatever else stands there is the same.
    #[test]
    fn cuts_as_a_parser_would(
        names in proptest::collection::vec("[ax]{1,2}", 0..8),
        space in "[ \n\t]{0,2}",
        more in "[a-z]{0,3}",
    ) {
        let entry = |name: &String| format!(r#"{space}{{"title":"{more}",{space}"name":"{name}","n":1.50}}{space}"#);
        let with = |entries: Vec<String>| {
            format!(r#"{{"id":"{more}","result":{{{space}"ttlMs":1e3,"tools":[{}],"nextCursor":"{more}"}}}}"#, entries.join(","))
        };
        let message = with(names.iter().map(entry).collect());
        let (text, shown, hidden) = filtered(&message).unwrap().unwrap();
        let kept: Vec<&String> = names.iter().filter(|name| !name.contains('x')).collect();
        let expected: serde_json::Value =
            serde_json::from_str(&with(kept.iter().map(|name| entry(name)).collect())).unwrap();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
        prop_assert_eq!((shown, hidden), (kept.len(), names.len().saturating_sub(kept.len())));
        for name in kept {
            prop_assert!(text.contains(entry(name).trim()));
        }
        if hidden == 0 {
            prop_assert_eq!(text, message);
        }
    }

    #[test]
    fn never_panics(message in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = filtered(&message);
        let _ = filter(&bytes, CacheScope::Needed, &mut |_| false);
        let _ = filtered(&of_tools(&message));
    }
}
