//! Scenarios on a real Envoy that runs the very files in `envoy/` that users copy, with ports and file
//! names changed. The identity provider and the upstream are stand-ins that answer as scripted and record
//! every byte; the real ones run in `make demo`.
//!
//! Run by `make integration`, which builds the filter and brings the Envoys.

mod accounting;
mod answers;
mod bound;
mod certificates;
mod client;
mod cluster;
mod collector;
mod credentials;
mod dynamic;
mod envoy;
mod exchange;
mod explained;
mod failing;
mod failures;
mod fallen;
mod front;
mod global_rate;
mod http2;
mod init;
mod introspection;
mod istio;
mod jose;
mod keys;
mod kube;
mod lists;
mod loading;
mod metrics;
mod policy;
mod provider;
mod proxied;
mod rate_limit_service;
mod rates;
#[path = "../tests/support/record_schema.rs"]
mod record_schema;
mod reload;
mod rendered;
mod resources;
mod richer;
mod rows;
mod run;
mod said;
mod secrets;
mod shadow;
mod sinks;
mod soak;
mod streaming;
mod stub;
#[path = "../tests/support/mod.rs"]
mod support;
mod table;
mod tls;
mod world;
