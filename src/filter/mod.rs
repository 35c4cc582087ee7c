//! The filter: Envoy's callbacks, turned into the gate's terms and back (Proxy-Wasm ABI 0.2.1).
//!
//! [`exports`] is what Envoy calls, [`root`] owns one configuration and everything that requests share, [`stream`] is one request,
//! [`host`] alone speaks to the host. Nothing is decided here.

mod abi;
mod answer;
mod exports;
mod host;
mod metrics;
mod root;
mod stream;
