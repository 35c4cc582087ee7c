//! mcp-iap: an identity-aware proxy for MCP, as one Proxy-Wasm filter.
//!
//! For `wasm32-wasip1` this library is the filter that Envoy loads; natively it is the same decision
//! core without a host, used by the command line and the tests. The way of a request is
//! [`gate::admit`], read top to bottom.
//!
//! A module may import only from the lines below its own (`tests/layering.rs` holds this):
//!
//! ```text
//! filter (wasm32)    bin/mcp-iap (native)
//!          gate      the one flow; Reason -> Refusal
//!         callout    a request out, a typed reply back, awaited; single-flight
//!          cache     bounded, clock passed in
//!  audit, upstream   records, and the credentials that can be forwarded
//!         policy     rules, compiled; the decision
//!        identity    the caller
//!         config     the user's document, as written
//! mcp oauth jose kube spiffe one standard each, pure
//!        api_key     one secret of a caller
//!       head, json   what comes over the wire
//! bytes, reason, secret, time plain data
//! ```

// One panic kills a worker's VM and every request on it, so nothing that can panic compiles.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented,
    clippy::panic_in_result_fn
)]
#![deny(clippy::indexing_slicing, reason = "panics out of bounds: use get()")]
#![deny(clippy::string_slice, reason = "panics inside a character: use get()")]
#![deny(clippy::arithmetic_side_effects, reason = "overflow panics or wraps: say which you mean")]
#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "the filter logs through the host"
)]
#![deny(clippy::allow_attributes, reason = "exceptions are #[expect(..., reason)]")]
#![warn(unreachable_pub)]

pub mod api_key;
pub mod audit;
mod bytes;
pub mod cache;
pub mod callout;
pub mod config;
#[cfg(target_arch = "wasm32")]
mod filter;
pub mod gate;
pub mod head;
pub mod identity;
pub mod jose;
pub mod json;
pub mod kube;
pub mod mcp;
pub mod oauth;
pub mod policy;
pub mod reason;
pub mod secret;
pub mod spiffe;
pub mod time;
pub mod upstream;
