//! What the gate allows must be allowed under every reading that a lenient server might make of the same
//! bytes: first or last of two members, names without regard to case, a NUL that ends a name, data
//! behind the first value, a mark in front of it.

use mcp_iap::config;
use mcp_iap::identity::Caller;
use mcp_iap::mcp::Message;
use mcp_iap::policy::{Call, PolicySet};
use proptest::prelude::*;
use serde::Deserialize as _;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

const RULES: &str = "{resource: 'https://r/mcp', issuers: [{issuer: 'https://i'}], rules: [
  {id: reads, allow: {tools: ['get_*']}},
  {id: small, allow: {tools: [scale]}, arguments: {replicas: {integer: {max: 3}}}},
  {id: gently, allow: {tools: [drain]}, arguments: {force: {present: false}}},
  {id: kindly, allow: {tools: [evict]}, when: '!has(args.force)'}]}";

/// JSON with nothing lost: members in order, names as they are.
#[derive(Clone, Debug)]
enum Loose {
    Object(Vec<(String, Loose)>),
    Array(Vec<Loose>),
    Text(String),
    Other(String),
}

impl<'de> serde::Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Loose::Object(members))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Loose::Array(elements))
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose::Text(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
                Ok(Loose::Other(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose::Other(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
                Ok(Loose::Other(number.to_string()))
            }
            fn visit_bool<E>(self, bool: bool) -> Result<Loose, E> {
                Ok(Loose::Other(bool.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose::Other("null".to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Every value that some reader takes for the member `name`.
fn members<'a>(value: &'a Loose, name: &str) -> Vec<&'a Loose> {
    let Loose::Object(members) = value else { return Vec::new() };
    let folded = |text: &str| -> String {
        let text = text.split('\0').next().unwrap_or_default();
        text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
    };
    members
        .iter()
        .filter(|(candidate, _)| folded(candidate) == folded(name))
        .map(|(_, value)| value)
        .collect()
}

fn messages(value: &Loose) -> Vec<&Loose> {
    match value {
        Loose::Array(elements) => elements.iter().collect(),
        value => vec![value],
    }
}

/// Whether under some reading of `body` a forbidden call is made.
fn may_do_harm(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut stream = serde_json::Deserializer::from_slice(body);
    let mut values = Vec::new();
    while let Ok(value) = Loose::deserialize(&mut stream) {
        values.push(value);
    }
    values.iter().flat_map(messages).any(|message| {
        let calls = members(message, "method")
            .iter()
            .any(|method| matches!(method, Loose::Text(text) if text == "tools/call"));
        calls
            && members(message, "params").iter().any(|params| {
                members(params, "name").iter().any(|name| match name {
                    Loose::Text(name) if name == "delete" => true,
                    Loose::Text(name) if name == "scale" => {
                        members(params, "arguments").iter().any(|arguments| {
                            members(arguments, "replicas")
                                .iter()
                                .any(|replicas| matches!(replicas, Loose::Other(number) if number == "50"))
                        })
                    }
                    Loose::Text(name) if name == "drain" || name == "evict" => members(params, "arguments")
                        .iter()
                        .any(|arguments| !members(arguments, "force").is_empty()),
                    _ => false,
                })
            })
    })
}

fn is_allowed(policies: &PolicySet, body: &[u8]) -> bool {
    let caller = Caller { issuer: "https://i".into(), subject: "s".into(), ..Caller::default() };
    Message::parse(body).is_ok_and(|message| {
        message.operations().is_ok_and(|operations| {
            policies.decide(&Call::of(&caller).to(&operations, &message.arguments)).is_ok()
        })
    })
}

fn pick(options: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(options).prop_map(str::to_owned)
}

/// Bodies made of the pieces that confuse parsers, some of them whole and good.
fn body() -> impl Strategy<Value = String> {
    let replicas = (
        pick(&[
            "replicas",
            "Replicas",
            "replica\u{17f}",
            "replicas\\u0000",
            "r\\u0065plicas",
            "force",
            "Force",
            "force\\u0000",
        ]),
        pick(&["1", "50", "\"50\"", "3.0"]),
    );
    let arguments = proptest::collection::vec(replicas, 0..3).prop_map(object);
    let member = prop_oneof![
        3 => (pick(&["name", "Name", "n\\u0061me", "name\\u0000", "NAME"]), pick(&["\"get_x\"", "\"delete\"", "\"scale\"", "\"d\\u0065lete\"", "\"drain\"", "\"evict\""])),
        1 => (pick(&["arguments", "Arguments", "argument\u{17f}"]), arguments),
        1 => (pick(&["_meta", "x"]), pick(&["{}", "null", "[{\"name\":\"delete\"}]"])),
    ];
    let params = proptest::collection::vec(member, 0..4).prop_map(object);
    let envelope = prop_oneof![
        4 => (pick(&["method", "Method", "m\\u0065thod", "method\\u0000"]), pick(&["\"tools/call\"", "\"tools\\/call\"", "\"tools/list\"", "\"ping\""])),
        4 => (pick(&["params", "Params", "param\u{17f}", "params\\u0000"]), params),
        1 => (pick(&["id", "x", "result"]), pick(&["1", "{}"])),
    ];
    let message = proptest::collection::vec(envelope, 0..5).prop_map(|mut members| {
        members.insert(0, ("jsonrpc".to_owned(), "\"2.0\"".to_owned()));
        members.insert(0, ("id".to_owned(), "7".to_owned()));
        object(members)
    });
    (pick(&["", " ", "\u{feff}", "["]), proptest::collection::vec(message, 1..3), pick(&["", "]", "\0", " "]))
        .prop_map(|(before, messages, behind)| {
            format!("{before}{}{behind}", messages.join(if before == "[" { "," } else { "" }))
        })
}

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn what_is_allowed_does_no_harm_under_any_reading() {
    let mut errors = Vec::new();
    let policies =
        PolicySet::compile(&config::load(RULES.as_bytes()).unwrap().guarded().unwrap()[0], &[], &mut errors);
    let (mut allowed, mut harmful) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60_000));
    let counts = std::cell::RefCell::new((&mut allowed, &mut harmful));
    runner
        .run(&(body(), any::<prop::sample::Index>(), any::<u8>(), 0..8_u8), |(body, at, byte, mutate)| {
            let mut body = body.into_bytes();
            if mutate == 0 {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let (is_allowed, may_harm) = (is_allowed(&policies, &body), may_do_harm(&body));
            let mut counts = counts.borrow_mut();
            *counts.0 += u32::from(is_allowed);
            *counts.1 += u32::from(may_harm);
            prop_assert!(!(is_allowed && may_harm), "{}", String::from_utf8_lossy(&body));
            Ok(())
        })
        .unwrap();
    assert!(
        allowed > 100 && harmful > 3_000,
        "the cases are not what they should be: {allowed} allowed, {harmful} harmful"
    );
}
