//! The filter: Envoy's callbacks, turned into the gate's terms and back (Proxy-Wasm ABI 0.2.1).
//!
//! [`root`] owns one configuration and everything that requests share, [`stream`] is one request,
//! [`host`] alone speaks to the host. Nothing is decided here.

mod abi;
mod host;
mod metrics;
mod root;
mod stream;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}
