//! The host, in the gate's terms: the only file that speaks to it.
//!
//! Every status is an error of ours, none a panic.

use super::abi;
pub(super) use super::abi::Status;
use crate::cache::{NoSharedData, SharedData, Stored};
use crate::callout::{Callout, CalloutError, Endpoint, Reply};
use crate::gate::Answer;
use crate::head::Head;
use crate::jose::{HostCrypto, Sender};
use crate::time::Timestamp;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const CALLOUT_HEADERS: u32 = 6;
const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALLOUT_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;
const HTTP_REQUEST: u32 = 0;
const INFO: u32 = 2;
const WARN: u32 = 3;
const ERROR: u32 = 4;
const NOT_FOUND: Status = Status(1);
const BAD_ARGUMENT: Status = Status(2);
const CAS_MISMATCH: Status = Status(8);
const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
/// A version that nothing has: what is put with it stands only where nothing stood.
const NO_VERSION: u32 = u32::MAX;

/// Where the access log finds the audit record: `%FILTER_STATE(wasm.mcp_iap:PLAIN)%`.
const AUDIT_PROPERTY: &str = "mcp_iap";

pub(super) fn info(message: &str) {
    abi::log(INFO, message);
}

pub(super) fn warn(message: &str) {
    abi::log(WARN, message);
}

pub(super) fn error(message: &str) {
    abi::log(ERROR, message);
}

/// The time now; the epoch where the host has none, at which no token is valid yet.
pub(super) fn now() -> Timestamp {
    let nanoseconds = abi::time_nanoseconds().unwrap_or_default();
    Timestamp(nanoseconds / 1_000_000)
}

pub(super) fn configuration() -> Result<Vec<u8>, Status> {
    abi::buffer(PLUGIN_CONFIGURATION, usize::MAX)
}

/// Asks for the root's tick after `period`; works from a stream's callback too.
pub(super) fn tick_every(period: Duration) -> Result<(), Status> {
    abi::set_tick_period(u32::try_from(period.as_millis()).unwrap_or(u32::MAX))
}

/// Which context the following calls are about.
pub(super) fn become_context(id: u32) -> Result<(), Status> {
    abi::set_effective_context(id)
}

/// The request's head; `None` where it can't be read.
pub(super) fn request_head() -> Option<Head> {
    Head::from_abi(abi::header_map(REQUEST_HEADERS).ok()?)
}

/// The request's body so far, `size` bytes of it.
pub(super) fn request_body(size: usize) -> Option<Vec<u8>> {
    if size == 0 {
        return Some(Vec::new());
    }
    let body = abi::buffer(REQUEST_BODY, size).ok()?;
    (body.len() == size).then_some(body)
}

/// The head of the answer; `None` where it can't be read.
pub(super) fn response_head() -> Option<Head> {
    Head::from_abi(abi::header_map(RESPONSE_HEADERS).ok()?)
}

/// What the host holds of the answer's body, `size` bytes.
pub(super) fn response_body(size: usize) -> Option<Vec<u8>> {
    if size == 0 {
        return Some(Vec::new());
    }
    let body = abi::buffer(RESPONSE_BODY, size).ok()?;
    (body.len() == size).then_some(body)
}

/// Puts this in the place of the `size` bytes that the host holds of the answer's body.
pub(super) fn replace_response_body(size: usize, body: &[u8]) -> Result<(), Status> {
    abi::replace_buffer(RESPONSE_BODY, size, body)
}

/// Sets or removes `Authorization` of the request.
pub(super) fn set_authorization(value: Option<&str>) -> Result<(), Status> {
    match value {
        Some(value) => abi::replace_header(REQUEST_HEADERS, "authorization", value),
        None => abi::remove_header(REQUEST_HEADERS, "authorization"),
    }
}

pub(super) fn remove_header(name: &str) -> Result<(), Status> {
    abi::remove_header(REQUEST_HEADERS, name)
}

pub(super) fn remove_response_header(name: &str) -> Result<(), Status> {
    abi::remove_header(RESPONSE_HEADERS, name)
}

pub(super) fn set_response_header(name: &str, value: &str) -> Result<(), Status> {
    abi::replace_header(RESPONSE_HEADERS, name, value)
}

/// Adds to what the upstream itself says.
pub(super) fn add_response_header(name: &str, value: &str) -> Result<(), Status> {
    abi::add_header(RESPONSE_HEADERS, name, value)
}

/// The status of the answer, of whomever it is.
pub(super) fn status() -> Option<u16> {
    std::str::from_utf8(&abi::header(RESPONSE_HEADERS, ":status").ok()?).ok()?.parse().ok()
}

/// A header of the answer, where it has one.
pub(super) fn response_header(name: &str) -> Option<String> {
    String::from_utf8(abi::header(RESPONSE_HEADERS, name).ok()?).ok()
}

/// Whether the answer's head tells how long it is; where the host does not say, it does.
pub(super) fn has_length() -> bool {
    match abi::header(RESPONSE_HEADERS, "content-length") {
        Ok(length) => !length.is_empty(),
        Err(status) => status != NOT_FOUND,
    }
}

/// Whether the answer is the upstream's, and not Envoy's own.
pub(super) fn is_of_the_upstream() -> bool {
    code_details().is_some_and(|details| details == b"via_upstream")
}

/// Who in Envoy answered, and why: its response code details.
pub(super) fn code_details() -> Option<Vec<u8>> {
    abi::property("response\0code_details").ok()
}

/// How much of the request the host has received, head and body, in bytes.
pub(super) fn received() -> u64 {
    let size = abi::property("request\0total_size").ok().and_then(|bytes| bytes.try_into().ok());
    size.map_or(0, u64::from_le_bytes)
}

/// Whether the request has got an answer, of whomever; one whose client left has none.
pub(super) fn is_answered() -> bool {
    abi::property("response\0code").is_ok_and(|code| code.iter().any(|byte| *byte != 0))
}

/// Lets the request go on from wherever it was paused.
pub(super) fn resume_request() -> Result<(), Status> {
    abi::continue_stream(HTTP_REQUEST)
}

/// Ends the request with an answer of ours.
pub(super) fn answer(answer: &Answer) -> Result<(), Status> {
    let pairs: Vec<(&str, &[u8])> =
        answer.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let details = format!("mcp_iap_{}", answer.reason.code());
    abi::send_local_response(u32::from(answer.status), &details, &serialize(&pairs), &answer.body)
}

/// Gives the audit record to the access log.
pub(super) fn set_audit_record(json: &str) -> Result<(), Status> {
    abi::set_property(AUDIT_PROPERTY, json)
}

/// Gives the filters behind this one a value: `filter_state["wasm.NAME"]`.
pub(super) fn hand_on(name: &str, value: &str) -> Result<(), Status> {
    abi::set_property(name, value)
}

pub(super) fn define_counter(name: &str) -> Result<u32, Status> {
    abi::define_metric(COUNTER, name)
}

pub(super) fn define_gauge(name: &str) -> Result<u32, Status> {
    abi::define_metric(GAUGE, name)
}

pub(super) fn record(gauge: u32, value: u64) -> Result<(), Status> {
    abi::record(gauge, value)
}

pub(super) fn increment(counter: u32, by: u64) -> Result<(), Status> {
    abi::increment(counter, i64::try_from(by).unwrap_or(i64::MAX))
}

/// What all workers of this Envoy see, of filters with this `vm_id`. Without one it belongs to every filter that
/// has none, whoever wrote it: then nothing is shared.
pub(super) fn shared_data() -> Rc<dyn SharedData> {
    let is_ours = abi::property("plugin_vm_id").is_ok_and(|id| !id.is_empty());
    if is_ours {
        return Rc::new(Shared);
    }
    info("mcp-iap: this filter has no `vm_id` of its own: each worker fetches keys for itself");
    Rc::new(NoSharedData)
}

struct Shared;

impl SharedData for Shared {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        abi::shared_data(key).ok()
    }

    fn set(&self, key: &str, value: &[u8], version: Option<u32>) -> Stored {
        match abi::set_shared_data(key, value, version.unwrap_or(NO_VERSION)) {
            Ok(()) => Stored::Done,
            Err(CAS_MISMATCH) => Stored::Changed,
            Err(_) => Stored::Absent,
        }
    }
}

/// Envoy's BoringSSL, by its foreign function `verify_signature`.
#[derive(Debug, Default)]
pub(super) struct Crypto {
    is_absent: Cell<bool>,
}

impl HostCrypto for Crypto {
    fn verify(&self, hash: &str, spki: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        if self.is_absent.get() {
            return None;
        }
        // `VerifySignatureArguments` of Envoy's source/extensions/common/wasm/ext/verify_signature.proto.
        let arguments = protobuf(&[(1, hash.as_bytes()), (2, spki), (3, signature), (4, text)]);
        match abi::call_foreign_function("verify_signature", &arguments) {
            // `VerifySignatureResult`: field 1 is true. A false one is left out (proto3).
            Ok(result) => Some(result.starts_with(&[8, 1])),
            Err(NOT_FOUND) => {
                self.is_absent.set(true);
                warn(
                    "mcp-iap: the host has no `verify_signature`: signatures cost more here, and ES512 is refused",
                );
                None
            }
            // It can't read the key.
            Err(_) => None,
        }
    }
}

/// The client of the stream whose context is current, by Envoy's TLS handshake with it.
#[derive(Debug)]
pub(super) struct Client;

impl Sender for Client {
    fn certificate(&self) -> Option<[u8; 32]> {
        // Envoy's attribute: hexadecimal, empty where the client showed none, absent without TLS.
        let digest = abi::property("connection\0sha256_peer_certificate_digest").ok()?;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> = digest.iter().map(digit).collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| (high << 4) | low).collect();
        bytes.try_into().ok()
    }

    fn address(&self) -> Option<IpAddr> {
        // With the port; of a client on a pipe a path.
        let address = abi::property("source\0address").ok()?;
        let address: SocketAddr = std::str::from_utf8(&address).ok()?.parse().ok()?;
        Some(address.ip())
    }

    fn uri(&self) -> Option<String> {
        // Envoy's attribute; empty or absent where there is none.
        let uri = String::from_utf8(abi::property("connection\0uri_san_peer_certificate").ok()?).ok()?;
        (!uri.is_empty()).then_some(uri)
    }
}

/// A message of fields of bytes (protobuf's encoding: tag, length, content).
fn protobuf(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, content) in fields {
        out.push((number << 3) | 2);
        let mut length = content.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap_or_default());
        out.extend_from_slice(content);
    }
    out
}

/// Sends a callout; the reply comes to the context that is the effective one.
pub(super) fn dispatch(callout: &Callout) -> Result<u32, CalloutError> {
    let Callout { endpoint, timeout, content, headers, max_reply: _ } = callout;
    let Endpoint { cluster, scheme, authority, path } = endpoint;
    let method = if content.is_some() { "POST" } else { "GET" };
    let mut pairs: Vec<(&str, &[u8])> = vec![
        (":method", method.as_bytes()),
        (":scheme", scheme.as_bytes()),
        (":authority", authority.as_bytes()),
        (":path", path.as_bytes()),
        // A Kubernetes API server gives its key set as the second alone (RFC 7517 section 8.5).
        ("accept", b"application/json, application/jwk-set+json"),
    ];
    pairs.extend(content.iter().map(|content| ("content-type", content.media_type.as_bytes())));
    pairs.extend(headers.iter().map(|(name, value)| (*name, value.expose())));
    let body = content.as_ref().map(|content| content.body.expose()).unwrap_or_default();
    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    abi::http_call(cluster, &serialize(&pairs), body, timeout).map_err(|status| match status {
        BAD_ARGUMENT => CalloutError::UnknownCluster,
        _ => CalloutError::NotSent,
    })
}

/// The reply to a callout, of which `size` is the body's.
pub(super) fn reply(size: usize, max_reply: usize) -> Result<Reply, CalloutError> {
    if size > max_reply {
        return Err(CalloutError::Unreadable);
    }
    let head =
        abi::header_map(CALLOUT_HEADERS).ok().and_then(Head::from_abi).ok_or(CalloutError::Unreadable)?;
    let body = if size == 0 {
        Vec::new()
    } else {
        abi::buffer(CALLOUT_BODY, size).map_err(|_| CalloutError::Unreadable)?
    };
    Ok(Reply { head, body })
}

/// The host's form of a header map; see [`Head::from_abi`].
fn serialize(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or_default().to_le_bytes();
    let mut out = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        out.extend(number(name.len()));
        out.extend(number(value.len()));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}
