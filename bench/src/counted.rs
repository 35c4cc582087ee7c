//! The module in an interpreter that counts: how many instructions a warm request takes, and how often it calls its
//! host. Both are the same on every machine, however busy, so that a regression shows where times are noisy.
//!
//! The host is a stand-in for Envoy 1.40: it answers with one request, one provider's documents, and what Envoy
//! answers to the rest. What it is not asked in a measured case is answered as by an Envoy that does nothing.

use crate::case::{self, Case, Kind, Requests};
use crate::issuer::Issuer;
use crate::server::Server;
use crate::{Options, configuration};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use wasmi::{Caller, Config, Engine, Extern, Func, Linker, Module, Store, Val};

/// Requests before counting begins: keys are there, maps have grown.
const WARM: u64 = 64;
/// Requests that are counted.
const COUNTED: u64 = 64;
/// How much of a body Envoy's codec brings at once.
const PIECE: usize = 16 << 10;
/// How much of a stream of events comes at once: its events are cut anywhere.
const EVENTS: usize = 1000;
/// How many times what is known a case may take.
const MOST: f64 = 1.05;
/// The provider's port, which nobody listens at.
const PORT: u16 = 9;
const ROOT: i32 = 1;
/// Of `verify_signature`: `result: true`.
const VERIFIED: &[u8] = b"\x08\x01";
/// Of the MCP server.
const ANSWER: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}"#;
/// Kinds of buffers and of header maps (Proxy-Wasm ABI 0.2.1).
const RESPONSE_BODY: usize = 1;
const CALLOUT_BODY: usize = 4;
const CONFIGURATION: usize = 7;
const REQUEST_HEAD: usize = 0;

/// What one request costs.
struct Count {
    instructions: u64,
    host_calls: u64,
}

#[derive(Default)]
struct Host {
    document: Vec<u8>,
    head: Vec<u8>,
    body: Vec<u8>,
    answer_head: Vec<(String, String)>,
    answer: Vec<u8>,
    /// How much of the answer comes at once.
    answer_piece: usize,
    /// What the host holds of it just now.
    here: Vec<u8>,
    /// What the provider answers, by what stands in the path.
    provider: Vec<(&'static str, Vec<u8>)>,
    /// Callouts that are under way.
    callouts: Vec<Vec<u8>>,
    callout_body: Vec<u8>,
    now: u64,
    calls: u64,
    said: Vec<String>,
    status: Option<i32>,
}

/// Counts each case, prints it beside what `file` says, and tells whether none takes much more.
pub fn compare(options: &Options, cases: &[&Case], issuer: &Issuer, file: &Path) -> Result<bool> {
    let module = fs::read(&options.module).with_context(|| options.module.display().to_string())?;
    let known = fs::read_to_string(file).unwrap_or_default();
    let known = |name: &str| {
        let line = known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.replace(',', "").parse::<u64>().ok()
    };
    println!("{:28} {:>14} {:>10} {:>8}", "", "instructions", "host calls", "known x");
    let (mut lines, mut is_good) = (String::new(), true);
    for case in cases.iter().filter(|case| case.tokens == 1 && !case.http2) {
        let count = count(&module, case, issuer).context(case.name)?;
        let ratio = known(case.name).map(|known| count.instructions as f64 / known as f64);
        let shown = ratio.map_or("new".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{:28} {:>14} {:>10} {shown:>8}", case.name, count.instructions, count.host_calls);
        writeln!(
            lines,
            "{}: {} instructions, {} host calls",
            case.name, count.instructions, count.host_calls
        )?;
        is_good &= ratio.is_some_and(|ratio| ratio <= MOST);
    }
    if options.update {
        fs::write(file, lines)?;
        return Ok(true);
    }
    if !is_good {
        println!("\na case is new or takes more than {MOST} times what {} says", file.display());
    }
    Ok(is_good)
}

/// Counts what a request of `case` costs in `module`.
fn count(module: &[u8], case: &Case, issuer: &Issuer) -> Result<Count> {
    let server = Server::of(issuer, PORT);
    let requests = case.requests(issuer, PORT);
    let engine = Engine::new(Config::default().consume_fuel(true));
    let module = Module::new(&engine, module)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let event = |message: &str| format!("event: message\ndata: {message}\n\n");
    let answer = match case.kind {
        Kind::Call => ANSWER.to_vec(),
        Kind::List => case::list().into_bytes(),
        Kind::Session => (case::reports(99) + &event(std::str::from_utf8(ANSWER)?)).into_bytes(),
        Kind::Stream => {
            let (before, behind) = (case::reports(25), case::reports(25));
            [before, event(&case::list()), behind].concat().into_bytes()
        }
    };
    let is_stream = matches!(case.kind, Kind::Session | Kind::Stream);
    let host = Host {
        document: configuration::document(case, &server).into_bytes(),
        head: pairs(&head(case.kind, &requests)),
        body: requests.body.to_vec(),
        answer_head: answer_head(&answer, is_stream),
        answer_piece: if is_stream { EVENTS } else { usize::MAX },
        answer,
        provider: vec![
            ("/.well-known/", server.discovery().into_bytes()),
            ("/jwks", server.jwks.clone().into_bytes()),
        ],
        now: u64::try_from(since.as_nanos())?,
        ..Host::default()
    };
    let mut store = Store::new(&engine, host);
    store.set_fuel(u64::MAX)?;
    let mut linker = Linker::new(&engine);
    for import in module.imports() {
        let Some(ty) = import.ty().func() else { continue };
        let name = import.name().to_owned();
        linker.func_new(import.module(), import.name(), ty.clone(), move |caller, given, answers| {
            let given: Vec<i32> = given.iter().map(|value| value.i32().unwrap_or(0)).collect();
            let answer =
                called(caller, &name, &given).map_err(|error| wasmi::Error::new(error.to_string()))?;
            answers.iter_mut().for_each(|place| *place = Val::I32(answer));
            Ok(())
        })?;
    }
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    let mut vm = Vm { store, instance };
    vm.call("_initialize", &[])?;
    vm.call("proxy_on_context_create", &[ROOT, 0])?;
    vm.call("proxy_on_vm_start", &[ROOT, 0])?;
    let size = i32::try_from(vm.store.data().document.len())?;
    if vm.call("proxy_on_configure", &[ROOT, size])? != Some(1) {
        bail!("the document is refused: {:?}", vm.store.data().said);
    }
    for _ in 0..8 {
        vm.tick()?;
    }
    let mut passed = Vec::new();
    for number in 0..WARM {
        passed = vm.request(number, case.status)?;
    }
    check_passed(case.kind, &vm.store.data().answer, &passed)?;
    let before = (vm.store.get_fuel()?, vm.store.data().calls);
    for number in 0..COUNTED {
        vm.request(WARM + number, case.status)?;
    }
    let after = (vm.store.get_fuel()?, vm.store.data().calls);
    Ok(Count { instructions: (before.0 - after.0) / COUNTED, host_calls: (after.1 - before.1) / COUNTED })
}

/// Whether what went on of an answer is what ought to.
fn check_passed(kind: Kind, answer: &[u8], passed: &[u8]) -> Result<()> {
    let passed = String::from_utf8_lossy(passed);
    let is_good = match kind {
        Kind::Call | Kind::Session => passed.as_bytes() == answer,
        Kind::List | Kind::Stream => passed.contains("read_0") && !passed.contains("drop_"),
    };
    if !is_good {
        bail!("what passed of the answer: {passed}");
    }
    Ok(())
}

struct Vm {
    store: Store<Host>,
    instance: wasmi::Instance,
}

impl Vm {
    /// Calls what the module exports under this name, if it does.
    fn call(&mut self, name: &str, given: &[i32]) -> Result<Option<i32>> {
        let Some(function) = self.instance.get_func(&self.store, name) else { return Ok(None) };
        let ty = function.ty(&self.store);
        let given: Vec<Val> = given.iter().take(ty.params().len()).map(|number| Val::I32(*number)).collect();
        let mut answers = vec![Val::I32(0); ty.results().len()];
        function.call(&mut self.store, &given, &mut answers).with_context(|| name.to_owned())?;
        Ok(answers.first().and_then(Val::i32))
    }

    /// A tick, and the answers to what was asked for.
    fn tick(&mut self) -> Result<()> {
        self.store.data_mut().now += 1_000_000_000;
        self.call("proxy_on_tick", &[ROOT])?;
        let asked = std::mem::take(&mut self.store.data_mut().callouts);
        for (token, body) in asked.into_iter().enumerate() {
            let size = i32::try_from(body.len())?;
            self.store.data_mut().callout_body = body;
            self.call("proxy_on_http_call_response", &[ROOT, i32::try_from(token)?, 1, size, 0])?;
        }
        Ok(())
    }

    /// Sends a request, and gives what went on of the answer.
    fn request(&mut self, number: u64, expected: u16) -> Result<Vec<u8>> {
        let id = i32::try_from(number + 2)?;
        let size = self.store.data().body.len();
        self.store.data_mut().status = None;
        self.call("proxy_on_context_create", &[id, ROOT])?;
        let mut action = self.call("proxy_on_request_headers", &[id, 14, i32::from(size == 0)])?;
        let mut here = 0;
        while here < size && self.store.data().status.is_none() {
            here = size.min(here + PIECE);
            action =
                self.call("proxy_on_request_body", &[id, i32::try_from(here)?, i32::from(here == size)])?;
        }
        let status = self.store.data().status.or((action == Some(0)).then_some(200));
        if status != Some(i32::from(expected)) {
            bail!("{status:?} instead of {expected}: {:?}", self.store.data().said);
        }
        let answer = self.store.data().answer.clone();
        self.call("proxy_on_response_headers", &[id, 3, 0])?;
        let (mut passed, mut from) = (Vec::new(), 0);
        while from < answer.len() {
            let to = from.saturating_add(self.store.data().answer_piece).min(answer.len());
            self.store.data_mut().here = answer[from..to].to_vec();
            let size = i32::try_from(to - from)?;
            self.call("proxy_on_response_body", &[id, size, i32::from(to == answer.len())])?;
            passed.append(&mut self.store.data_mut().here);
            from = to;
        }
        self.call("proxy_on_done", &[id])?;
        self.call("proxy_on_log", &[id])?;
        self.call("proxy_on_delete", &[id])?;
        Ok(passed)
    }
}

/// What the host answers: 0 is Ok, 1 is NotFound (Proxy-Wasm ABI 0.2.1).
fn called(mut caller: Caller<'_, Host>, name: &str, given: &[i32]) -> Result<i32> {
    caller.data_mut().calls += 1;
    let arg = |index: usize| given.get(index).map_or(0, |number| *number as usize);
    match name {
        "proxy_log" => {
            let said = String::from_utf8_lossy(&read(&caller, arg(1), arg(2))?).into_owned();
            caller.data_mut().said.push(said);
        }
        "proxy_get_current_time_nanoseconds" => {
            let now = caller.data().now.to_le_bytes();
            write(&mut caller, arg(0), &now)?;
        }
        "proxy_get_buffer_bytes" => {
            let host = caller.data();
            let buffer = match arg(0) {
                CONFIGURATION => host.document.clone(),
                CALLOUT_BODY => host.callout_body.clone(),
                RESPONSE_BODY => host.here.clone(),
                _ => host.body.clone(),
            };
            return give(caller, &buffer, arg(3), arg(4));
        }
        "proxy_set_buffer_bytes" if arg(0) == RESPONSE_BODY => {
            caller.data_mut().here = read(&caller, arg(3), arg(4))?;
        }
        "proxy_get_header_map_pairs" => {
            let host = caller.data();
            let map = if arg(0) == REQUEST_HEAD { host.head.clone() } else { pairs(&host.answer_head) };
            return give(caller, &map, arg(1), arg(2));
        }
        "proxy_get_header_map_value" => {
            let name = read(&caller, arg(1), arg(2))?;
            let mut values = caller.data().answer_head.iter();
            let found = values.find(|(own, _)| own.as_bytes() == name).map(|(_, value)| value.clone());
            return found.map_or(Ok(1), |value| give(caller, value.as_bytes(), arg(3), arg(4)));
        }
        "proxy_get_property" => {
            let path = read(&caller, arg(0), arg(1))?;
            let path = String::from_utf8_lossy(&path).into_owned();
            if path.contains("code_details") {
                return give(caller, b"via_upstream", arg(2), arg(3));
            }
            if path.contains("total_size") {
                return give(caller, &[0; 8], arg(2), arg(3));
            }
            return Ok(1);
        }
        "proxy_get_shared_data" => return Ok(1),
        "proxy_call_foreign_function" => return give(caller, VERIFIED, arg(4), arg(5)),
        "proxy_http_call" => {
            let asked = String::from_utf8_lossy(&read(&caller, arg(2), arg(3))?).into_owned();
            let host = caller.data_mut();
            let answer = host.provider.iter().find(|(path, _)| asked.contains(path));
            let answer = answer.map(|(_, body)| body.clone()).with_context(|| asked.clone())?;
            host.callouts.push(answer);
            let token = u32::try_from(host.callouts.len() - 1)?.to_le_bytes();
            write(&mut caller, arg(9), &token)?;
        }
        "proxy_send_local_response" => caller.data_mut().status = Some(given[0]),
        "proxy_define_metric" => write(&mut caller, arg(3), &1_u32.to_le_bytes())?,
        // Not random: every run takes the same way.
        "random_get" => write(&mut caller, arg(0), &vec![7; arg(1)])?,
        "environ_sizes_get" => {
            write(&mut caller, arg(0), &[0; 4])?;
            write(&mut caller, arg(1), &[0; 4])?;
        }
        _ => {}
    }
    Ok(0)
}

/// Puts bytes where the module allocates them, and tells it where.
fn give(mut caller: Caller<'_, Host>, bytes: &[u8], data: usize, size: usize) -> Result<i32> {
    let allocate: Func = ["proxy_on_memory_allocate", "malloc"]
        .iter()
        .find_map(|name| caller.get_export(name).and_then(Extern::into_func))
        .context("no allocator")?;
    let mut at = [Val::I32(0)];
    allocate.call(&mut caller, &[Val::I32(i32::try_from(bytes.len())?)], &mut at)?;
    let at = at[0].i32().context("no address")?;
    write(&mut caller, at as usize, bytes)?;
    write(&mut caller, data, &at.to_le_bytes())?;
    write(&mut caller, size, &u32::try_from(bytes.len())?.to_le_bytes())?;
    Ok(0)
}

fn memory(caller: &Caller<'_, Host>) -> Result<wasmi::Memory> {
    caller.get_export("memory").and_then(Extern::into_memory).context("no memory")
}

fn read(caller: &Caller<'_, Host>, at: usize, size: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    memory(caller)?.read(caller, at, &mut bytes)?;
    Ok(bytes)
}

fn write(caller: &mut Caller<'_, Host>, at: usize, bytes: &[u8]) -> Result<()> {
    Ok(memory(caller)?.write(caller, at, bytes)?)
}

/// The head as Envoy gives it for the load's request.
fn head(kind: Kind, requests: &Requests) -> Vec<(String, String)> {
    let authorization = requests.authorization.first().map_or("", String::as_str);
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    if matches!(kind, Kind::Session | Kind::Stream) {
        let is_stream = kind == Kind::Stream;
        let mut map = vec![
            (":authority", "127.0.0.1"),
            (":path", "/mcp"),
            (":method", if is_stream { "GET" } else { "POST" }),
            (":scheme", "http"),
            ("accept", "application/json, text/event-stream"),
            ("authorization", authorization),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-session-id", "4c1f6d8e-0f2b-4b7e-9a53-1d0f3a2b9c77"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"),
        ];
        map.extend((!is_stream).then_some(("content-type", "application/json")));
        return map.into_iter().map(owned).collect();
    }
    let tool = requests.tool.map(|tool| ("mcp-name", tool));
    let size = requests.body.len().to_string();
    let map = [
        (":authority", "127.0.0.1"),
        (":path", "/mcp"),
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", authorization),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", requests.method),
        ("content-length", &size),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
    ];
    map.into_iter().chain(tool).map(owned).collect()
}

/// The head of the MCP server's answer.
fn answer_head(answer: &[u8], is_stream: bool) -> Vec<(String, String)> {
    if is_stream {
        return [(":status", "200"), ("content-type", "text/event-stream")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    }
    let size = answer.len().to_string();
    [(":status", "200"), ("content-type", "application/json"), ("content-length", size.as_str())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// A header map in the ABI's form.
fn pairs(map: &[(String, String)]) -> Vec<u8> {
    let mut out = (map.len() as u32).to_le_bytes().to_vec();
    for (name, value) in map {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in map {
        for text in [name, value] {
            out.extend(text.as_bytes());
            out.push(0);
        }
    }
    out
}
