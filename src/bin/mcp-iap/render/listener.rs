//! The listener: its address, its TLS, and the HTTP connection manager with the filter.

use super::cluster::folder;
use super::log::access_log;
use super::options::Options;
use super::plan::Plan;
use super::rate_limit;
use super::route::virtual_hosts;
use super::yaml::{indent, scalar};
use crate::fault::Fault;
use std::net::SocketAddr;

/// `{ socket_address: ... }`
pub fn address(socket: &SocketAddr) -> String {
    let ip = match socket {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => scalar(&v6.ip().to_string()),
    };
    format!("{{ socket_address: {{ address: {ip}, port_value: {} }} }}", socket.port())
}

/// The list entry below `listeners`; `filter` is the entry below `http_filters`. With `by_xds` the clusters
/// come by CDS.
///
/// # Errors
/// Resources that can't be told apart.
pub fn listener(plan: &Plan, options: &Options, filter: &str, by_xds: bool) -> Result<String, Fault> {
    let routes = if by_xds {
        "          # Clusters come in a file of their own, which Envoy may read a moment later.
          validate_clusters: false\n"
    } else {
        ""
    };
    let tls = downstream_tls(options).map(|tls| indent(&tls, 4)).unwrap_or_default();
    Ok(format!(
        r#"- name: mcp
  address: {}
  # At least `limits.body_bytes`: a larger body is answered 413 either way.
  per_connection_buffer_limit_bytes: {}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: mcp
        use_remote_address: true
        stream_idle_timeout: 3600s
        request_headers_timeout: 10s
        # A request must be here, and decided, within this time; what the answer takes is not counted.
        request_timeout: 60s
        access_log:
{}        http_filters:
{}        - name: envoy.filters.http.router
          typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
        route_config:
{routes}          virtual_hosts:
{}{tls}"#,
        address(&options.listen),
        plan.buffer,
        indent(&access_log(&plan.loggers), 8),
        indent(&format!("{filter}{}", rate_limit::filter(plan)), 8),
        indent(&virtual_hosts(plan)?, 10),
    ))
}

/// `transport_socket` of the filter chain, where clients connect by TLS.
fn downstream_tls(options: &Options) -> Option<String> {
    let certificate = match (&options.tls_sds, &options.tls_certificate, &options.tls_private_key) {
        (Some(file), _, _) => format!(
            "tls_certificate_sds_secret_configs:
- name: server_certificate
  sds_config:
    path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}\n",
            scalar(file),
            scalar(&folder(file))
        ),
        (None, Some(chain), Some(key)) => format!(
            "# Read once, at the start. Give the files by SDS to have new ones picked up.
tls_certificates:
- certificate_chain: {{ filename: {} }}
  private_key: {{ filename: {} }}\n",
            scalar(chain),
            scalar(key)
        ),
        _ => return None,
    };
    let (require, clients) = match &options.client_ca {
        Some(ca) => (
            "    # Who shows no certificate of these authorities gets no connection.\n    require_client_certificate: true\n",
            format!("validation_context:\n  trusted_ca: {{ filename: {} }}\n", scalar(ca)),
        ),
        None => ("", String::new()),
    };
    Some(format!(
        r#"transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
{require}    common_tls_context:
      # At least 1.2; every client that has 1.3 gets 1.3.
      tls_params: {{ tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }}
      alpn_protocols: [h2, http/1.1]
{}"#,
        indent(&(certificate + &clients), 6)
    ))
}
