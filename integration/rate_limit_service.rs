//! A stand-in for a rate limit service (envoyproxy/ratelimit and its like, which no package registry has): it speaks
//! Envoy's gRPC protocol (`envoy.service.ratelimit.v3`), reads its limits from the file that `mcp-iap render
//! rate-limit-service` writes, and counts each descriptor in windows that begin with its first call.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use mcp_iap::config::yaml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A descriptor: its entries, key and value, in their order.
pub type Descriptor = Vec<(String, String)>;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Counts,
    /// Not before Envoy has given up.
    Late,
    /// With a gRPC status that is an error.
    Fails,
    /// With bytes that are no message.
    Garbled,
}

/// A running service; ends when dropped.
pub struct Service {
    pub port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    limits: Value,
    manner: Manner,
    seen: Mutex<Vec<Descriptor>>,
    windows: Mutex<BTreeMap<Descriptor, (Instant, u64)>>,
    is_ended: AtomicBool,
}

impl Service {
    /// With the limits that stand in this text, on a port of its own or on this one.
    pub fn start(limits: &str, manner: Manner, port: Option<u16>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port.unwrap_or(0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            limits: yaml::read(limits).unwrap(),
            manner,
            seen: Mutex::default(),
            windows: Mutex::default(),
            is_ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, &shared));
        });
        Self { port, state, thread: Some(thread) }
    }

    /// The descriptors of all calls that it was asked about.
    pub fn seen(&self) -> Vec<Descriptor> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.state.is_ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn serve(listener: std::net::TcpListener, state: &Arc<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while !state.is_ended.load(Ordering::Relaxed) {
        let accepted = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        if let Ok(Ok((stream, _))) = accepted {
            tokio::spawn(converse(stream, Arc::clone(state)));
        }
    }
}

async fn converse(stream: TcpStream, state: Arc<State>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                message.extend_from_slice(&chunk);
            }
            assert_eq!(path, METHOD);
            if state.manner == Manner::Late {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            // A message in a frame of its own (gRPC over HTTP/2): not compressed, its length, its bytes.
            answer(respond, &state, &message[5..]);
        });
    }
}

fn answer(mut respond: SendResponse<Bytes>, state: &State, request: &[u8]) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let status = if state.manner == Manner::Fails { "13" } else { "0" };
    let message = match state.manner {
        Manner::Garbled => vec![0xff; 9],
        _ => state.decide(request),
    };
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0][..], &length, &message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    // Who asked may have given up.
    if let Ok(mut sender) = respond.send_response(head, false)
        && (status != "0" || sender.send_data(frame.into(), false).is_ok())
    {
        let _ = sender.send_trailers(trailers);
    }
}

impl State {
    /// `RateLimitRequest` to `RateLimitResponse`.
    fn decide(&self, request: &[u8]) -> Vec<u8> {
        let fields = fields(request);
        let domain = fields.iter().find(|(number, _)| *number == 1).map(|(_, bytes)| bytes.as_slice());
        assert_eq!(domain, self.limits["domain"].as_str().map(str::as_bytes));
        let (mut statuses, mut is_over) = (Vec::new(), false);
        for (_, bytes) in fields.iter().filter(|(number, _)| *number == 2) {
            let descriptor = descriptor(bytes);
            self.seen.lock().unwrap().push(descriptor.clone());
            let (status, over) = self.count(&descriptor);
            is_over |= over;
            statuses.extend(message(2, &status));
        }
        [number(1, if is_over { 2 } else { 1 }), statuses].concat()
    }

    /// `DescriptorStatus`, and whether there is none left.
    fn count(&self, descriptor: &Descriptor) -> (Vec<u8>, bool) {
        let Some((unit, limit)) = self.limit(descriptor) else { return (number(1, 1), false) };
        let (code, seconds) = match unit.as_str() {
            "second" => (1, 1),
            "minute" => (2, 60),
            "hour" => (3, 3600),
            _ => (4, 86_400),
        };
        let length = Duration::from_secs(seconds);
        let mut windows = self.windows.lock().unwrap();
        let (began, count) = windows.entry(descriptor.clone()).or_insert((Instant::now(), 0));
        if began.elapsed() >= length {
            (*began, *count) = (Instant::now(), 0);
        }
        let is_over = *count >= limit;
        *count += u64::from(!is_over);
        let reset = length.saturating_sub(began.elapsed()).as_secs().max(1);
        let current = [number(1, limit), number(2, code)].concat();
        let status = [
            number(1, if is_over { 2 } else { 1 }),
            message(2, &current),
            number(3, limit - *count),
            message(4, &number(1, reset)),
        ];
        (status.concat(), is_over)
    }

    /// Unit and number of the limit of a descriptor: an entry with its value, or of any value.
    fn limit(&self, descriptor: &Descriptor) -> Option<(String, u64)> {
        let mut at = &self.limits;
        for (key, value) in descriptor {
            let among = at["descriptors"].as_array()?;
            let of = |wanted: Option<&str>| {
                among.iter().find(|one| one["key"] == **key && one["value"].as_str() == wanted)
            };
            at = of(Some(value)).or_else(|| of(None))?;
        }
        let limit = &at["rate_limit"];
        Some((limit["unit"].as_str()?.to_owned(), limit["requests_per_unit"].as_u64()?))
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entry = |bytes: &[u8]| {
        let of = |wanted| fields(bytes).into_iter().find(|(number, _)| *number == wanted);
        let text = |wanted| of(wanted).map(|(_, bytes)| text(&bytes)).unwrap_or_default();
        (text(1), text(2))
    };
    fields(bytes).iter().filter(|(number, _)| *number == 1).map(|(_, bytes)| entry(bytes)).collect()
}

/// The fields of a message that are bytes, texts or messages (protobuf's encoding), by their number; numbers are left out.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return value;
            }
        }
        unreachable!()
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        if tag & 7 == 2 {
            let (content, rest) = bytes.split_at(usize::try_from(value).unwrap());
            found.push((tag >> 3, content.to_vec()));
            bytes = rest;
        } else {
            assert_eq!(tag & 7, 0, "a field of another kind");
        }
    }
    found
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn message(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}
