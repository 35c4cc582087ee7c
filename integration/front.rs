//! Another real Envoy in front of the gate's: it ends the clients' TLS, and asks them for a certificate.

use crate::certificates::Certificate;
use crate::envoy::{Changes, Envoy, scratch};
use crate::tls::Trust;

/// How it goes on to the gate.
pub enum To<'a> {
    /// In plain text, asking for another host.
    Plain(&'static str),
    /// By TLS, with this certificate of its own.
    Tls(&'a Certificate),
}

/// Starts it before the gate at the port `behind`; `details` say what it tells of its clients' certificates, a line of
/// the connection manager's each.
pub fn front(trust: &Trust, behind: u16, to: &To<'_>, details: &[&str]) -> Envoy {
    let files = trust.folder.display();
    let details: String = details.iter().map(|line| format!("          {line}\n")).collect();
    let (route, tls) = match to {
        To::Plain(host) => (format!("cluster: gate, host_rewrite_literal: \"{host}\""), String::new()),
        To::Tls(own) => {
            let folder = scratch();
            own.write(&folder);
            ("cluster: gate".to_owned(), upstream_tls(&folder.display().to_string(), &files.to_string()))
        }
    };
    Envoy::run(&Changes::default(), |port, admin| {
        format!(
            "admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{{ certificate_chain: {{ filename: {files}/tls.crt }}, private_key: {{ filename: {files}/tls.key }} }}]
            validation_context: {{ trusted_ca: {{ filename: {files}/client-ca.crt }} }}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
{details}          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: [\"*\"], routes: [{{ match: {{ prefix: / }}, route: {{ {route} }} }}] }}
  clusters:
  - name: gate
    connect_timeout: 2s
    load_assignment:
      cluster_name: gate
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {behind} }} }} }} }}] }}]
{tls}"
        )
    })
}

fn upstream_tls(own: &str, files: &str) -> String {
    format!(
        "    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: mcp.example.com
        common_tls_context:
          tls_certificates: [{{ certificate_chain: {{ filename: {own}/tls.crt }}, private_key: {{ filename: {own}/tls.key }} }}]
          validation_context: {{ trusted_ca: {{ filename: {files}/ca.crt }} }}
"
    )
}
