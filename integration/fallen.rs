//! A VM that falls, and a module that does not load: calls are refused, each of them is a line, and Envoy's metrics tell.
//!
//! What falls is the shipped module with one instruction more, which traps, at the beginning of one of its callbacks: a
//! defect as it would be.

use crate::accounting::audit;
use crate::client::{Request, finish};
use crate::dynamic::{Dynamic, document, module};
use crate::envoy::{Changes, binary, scratch};
use crate::stub::{Reply, Stub};
use crate::world::{KEYS, World, call, claims, post};
use serde_json::{Value, json};
use std::time::Duration;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// The opcode of `unreachable`.
const TRAP: u8 = 0;
const CODE_SECTION: u8 = 10;

fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// The module, which traps in this callback.
fn trapping(module: &[u8], callback: &str) -> Vec<u8> {
    let (mut imported, mut index, mut at, mut section) = (0, None, 0, 0..0);
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                let is_function = |ty| matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                imported = imports.into_imports().filter(|one| is_function(one.as_ref().unwrap().ty)).count();
            }
            Payload::ExportSection(exports) => {
                let mut found = exports.into_iter().map(Result::unwrap);
                let is_it =
                    |one: &wasmparser::Export<'_>| one.name == callback && one.kind == ExternalKind::Func;
                index = found.find(is_it).map(|one| one.index as usize);
            }
            Payload::CodeSectionStart { range, .. } => {
                section = range;
                at = index.expect("the callback") - imported;
            }
            Payload::CodeSectionEntry(body) => {
                let (whole, from) = (body.range(), body.get_operators_reader().unwrap().original_position());
                let mut bytes = module[whole.clone()].to_vec();
                if bodies.len() == at {
                    bytes.insert(from - whole.start, TRAP);
                }
                bodies.push(bytes);
            }
            _ => {}
        }
    }
    let mut code = number(bodies.len());
    for body in bodies {
        code.extend(number(body.len()));
        code.extend(body);
    }
    // The section's own length stands before it, behind its id.
    let before = section.start - number(section.len()).len() - 1;
    assert_eq!(module[before], CODE_SECTION);
    [&module[..before], &[CODE_SECTION], &number(code.len()), &code, &module[section.end..]].concat()
}

fn world(envoy: &str, callback: &str) -> World {
    let file = scratch().join("trapping.wasm");
    std::fs::write(&file, trapping(&std::fs::read(module()).unwrap(), callback)).unwrap();
    let replace = vec![("filename: dist/mcp_iap.wasm", format!("filename: {}", file.display()))];
    World::new(&Changes { replace, binary: Some(binary(envoy)), concurrency: Some(1), ..Changes::default() })
}

fn good() -> Request {
    post(&KEYS.rs256(&claims(&["dev"])), call("get_pods", &json!({})))
}

fn metadata(world: &World) -> u16 {
    Request::new("GET", "/.well-known/oauth-protected-resource").send(world.envoy.port).status
}

/// Status, details and the record's reason.
fn said(line: &Value) -> (u64, String, Option<String>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (line["status"].as_u64().unwrap(), text(&line["details"]).unwrap(), text(&line["mcp_iap"][0]["reason"]))
}

/// The line says it in one way, whatever was asked.
fn fell(reason: Option<&str>) -> (u64, String, Option<String>) {
    (503, "wasm_fail_stream".to_owned(), reason.map(str::to_owned))
}

#[test]
fn a_vm_that_falls_refuses_and_comes_back() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let world = world(envoy, "proxy_on_request_body");
        assert_eq!(metadata(&world), 200);
        let waits = good().start_with_half_a_body(world.envoy.port);
        // It falls; who waited falls with it, and who comes before there is another is refused.
        assert_eq!(good().send(world.envoy.port).status, 503);
        assert_eq!(finish(waits).status, 503);
        assert_eq!(good().send(world.envoy.port).status, 503);
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(metadata(&world), 200);
        let lines = world.envoy.access_lines(5);
        let answered = (200, "mcp_iap_metadata".to_owned(), Some("metadata".to_owned()));
        let seen: Vec<_> = lines.iter().map(said).collect();
        assert_eq!(seen, [answered.clone(), fell(None), fell(None), fell(None), answered]);
        assert!(world.upstream.seen().is_empty());
        let metric =
            |name: &str| world.envoy.metric(&format!("envoy_wasm_mcp_iap_vm_reload_{name}{{}}")).unwrap();
        assert!(
            metric("success") >= 1 && metric("backoff") >= 1,
            "{} {}",
            metric("success"),
            metric("backoff")
        );
        let (table, beside) = audit(&lines);
        assert_eq!(table.lines().count(), 3, "a header and two answers: {table}");
        assert!(
            beside.contains("3 lines have no record: ") && beside.contains("(wasm_fail_stream 3)"),
            "{beside}"
        );
        assert_eq!(beside.lines().count(), 1, "{beside}");
    }
}

/// The record that was given before is in the line: the call was allowed, and made.
#[test]
fn a_vm_that_falls_after_the_decision_leaves_its_record() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let world = world(envoy, "proxy_on_response_headers");
        assert_eq!(good().send(world.envoy.port).status, 503);
        let lines = world.envoy.access_lines(1);
        assert_eq!(lines.iter().map(said).collect::<Vec<_>>(), [fell(Some("allowed"))]);
        assert_eq!(world.upstream.seen().len(), 1);
        let (table, _) = audit(&lines);
        assert!(table.contains("allowed   503"), "{table}");
    }
}

/// Where the filter comes by a file of its own, Envoy starts without it, and lets nothing pass.
#[test]
fn a_module_that_does_not_load_refuses_everything() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let upstream = Stub::start(|_| Reply::new(200, "{}"));
        let changes = Changes { binary: Some(binary(envoy)), ..Changes::default() };
        let rule = "  - { id: dev, allow: { tools: [get_*] }, to: { groups: [dev] } }\n";
        let document = document(1, rule, "");
        let gate = Dynamic::start_edited(&changes, &document, upstream.port, "mcp_iap.wasm", "nowhere.wasm");
        for _ in 0..2 {
            assert_eq!(good().send(gate.envoy.port).status, 500);
        }
        let lines = gate.envoy.access_lines(2);
        assert_eq!(lines.len(), 2, "{lines:#?}");
        for line in &lines {
            assert_eq!((said(line), &line["flags"]), ((500, String::new(), None), &json!("NFCF")), "{line}");
        }
        assert!(upstream.seen().is_empty());
        let failed = "envoy_extension_config_discovery_http_filter_mcp_iap_config_fail{}";
        assert_eq!(gate.envoy.metric(failed), Some(1));
        assert!(audit(&lines).1.contains("(NFCF 2)"));
    }
}
