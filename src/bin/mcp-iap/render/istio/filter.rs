//! The EnvoyFilter: what a WasmPlugin has no field for. The filter is discovered, as a WasmPlugin's is, so that
//! istio-agent fetches the module, and denies everything where it can't.

use super::super::filter;
use super::super::plan::{MIN_BUFFER, Plan};
use super::super::rate_limit;
use super::super::yaml::{indent, scalar};
use super::options::{Options, Place};

/// The EnvoyFilter with the document in it.
pub fn manifest(options: &Options, plan: &Plan) -> String {
    let (context, port) = match (options.at, options.port) {
        (Place::Sidecar, Some(port)) => ("SIDECAR_INBOUND", format!("        portNumber: {port}\n")),
        (Place::Sidecar, None) => ("SIDECAR_INBOUND", String::new()),
        (Place::Gateway, _) => ("GATEWAY", String::new()),
    };
    let code = format!(
        "remote: {{ http_uri: {{ uri: {}, timeout: 30s, cluster: _ }}, sha256: \"{}\" }}",
        scalar(&options.image),
        options.sha256
    );
    let buffer = if plan.buffer > MIN_BUFFER {
        format!(
            "  # At least `limits.body_bytes`: a larger body is answered 413 either way.
  - applyTo: LISTENER
    match: {{ context: {context} }}
    patch:
      operation: MERGE
      value: {{ per_connection_buffer_limit_bytes: {} }}\n",
            plan.buffer
        )
    } else {
        String::new()
    };
    let counting = match &plan.rate_limit_service {
        Some(service) => format!(
            "{}  - applyTo: HTTP_FILTER
    match:
      context: {context}
      listener:
{port}        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {{ name: mcp_iap }}
    patch:
      operation: INSERT_AFTER
      value:
{}",
            indent(rate_limit::ABOUT, 2),
            indent(&rate_limit::config(service, &plan.settings), 8)
        ),
        None => String::new(),
    };
    format!(
        r#"# The filter, at full strength: of a refused call the server sees nothing.
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
{}
spec:
  workloadSelector: {{ labels: {} }}
  configPatches:
  # As the first filter: before Istio's own for tokens and policies. No port listens before it is there.
  - applyTo: HTTP_FILTER
    match:
      context: {context}
      listener:
{port}        filterChain: {{ filter: {{ name: envoy.filters.network.http_connection_manager }} }}
    patch:
      operation: INSERT_FIRST
      value:
        name: mcp_iap
        config_discovery:
          config_source: {{ ads: {{}}, initial_fetch_timeout: 0s, resource_api_version: V3 }}
          type_urls:
          - type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          # What istio-agent puts in its place where it can't fetch the module: all is denied.
          - type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
{counting}{buffer}  # istio-agent fetches the module by `uri` and hands Envoy a file instead.
  - applyTo: EXTENSION_CONFIG
    match: {{ context: {context} }}
    patch:
      operation: ADD
      value:
        name: mcp_iap
{}"#,
        options.metadata(&options.name, &options.namespace),
        options.labels(),
        indent(&filter::typed_config(plan, &code), 8),
    )
}
