//! Clusters: how issuers and upstreams are reached, by TLS with the right name, or not at all.

use super::address::Host;
use super::plan::Cluster;
use super::yaml::{indent, scalar};
use std::path::Path;

/// The list entry of one cluster.
pub fn cluster(cluster: &Cluster, ca: &str) -> String {
    let Cluster { name, endpoint, credential, gives_tokens, is_grpc, purpose } = cluster;
    let name = scalar(name);
    let (discovery, address) = match &endpoint.host {
        Host::Address(address) => ("type: STATIC".to_owned(), address.to_string()),
        Host::Name(name) => ("type: STRICT_DNS\n  dns_lookup_family: V4_PREFERRED".to_owned(), name.clone()),
    };
    // An IPv4 address is never read as a number.
    let address = if endpoint.host.is_v4() { address } else { scalar(&address) };
    let mut text = format!(
        "# {purpose}.
- name: {name}
  connect_timeout: 2s
  {discovery}
  load_assignment:
    cluster_name: {name}
    endpoints:
    - lb_endpoints:
      - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {} }} }} }}
",
        endpoint.port
    );
    if *is_grpc {
        text.push_str("  # Of what waits until it can be sent; Envoy's own is 3.\n  circuit_breakers: { thresholds: [{ max_retries: 100 }] }\n");
    }
    if endpoint.tls {
        text.push_str(&indent(&upstream_tls(&endpoint.host, ca), 2));
    }
    if endpoint.tls || credential.is_some() || *is_grpc {
        let filters = credential.as_deref().map(|file| credential_filter(file, *gives_tokens));
        text.push_str(&indent(&protocol(endpoint.tls, *is_grpc, &filters.unwrap_or_default()), 2));
    }
    text
}

fn upstream_tls(host: &Host, ca: &str) -> String {
    let (sni, kind, name) = match host {
        Host::Name(name) => (format!("    sni: {}\n", scalar(name)), "DNS", scalar(name)),
        // SNI has no addresses (RFC 6066 section 3).
        Host::Address(address) => (String::new(), "IP_ADDRESS", scalar(&address.to_string())),
    };
    let ca = scalar(ca);
    format!(
        r#"transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{sni}    common_tls_context:
      tls_params: {{ tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }}
      # Without this Envoy takes any certificate, and whoever answers is believed.
      validation_context:
        trusted_ca: {{ filename: {ca} }}
        match_typed_subject_alt_names:
        - {{ san_type: {kind}, matcher: {{ exact: {name} }} }}
"#
    )
}

/// gRPC is HTTP/2; else by TLS the protocol is negotiated (ALPN), and without it is HTTP/1.1.
fn protocol(tls: bool, is_grpc: bool, filters: &str) -> String {
    let protocol = match (is_grpc, tls) {
        (true, _) => "explicit_http_config: { http2_protocol_options: {} }",
        (false, true) => "auto_config: { http_protocol_options: {}, http2_protocol_options: {} }",
        (false, false) => "explicit_http_config: { http_protocol_options: {} }",
    };
    format!(
        r#"typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    {protocol}
{}"#,
        indent(filters, 4)
    )
}

fn credential_filter(file: &str, gives_tokens: bool) -> String {
    let value = if gives_tokens {
        "# The token's file holds the whole value: `Basic ` and the base64 of `id:secret`."
    } else {
        "# Envoy 1.36 does not have this field: without it the token's file holds the whole value.\n        header_value_prefix: \"Bearer \""
    };
    let (file, folder) = (scalar(file), scalar(&folder(file)));
    format!(
        r#"# Envoy adds the credential on the way out; the filter's VM never has it. The file names it:
#
#   resources:
#   - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
#     name: credential
#     generic_secret:
#       secret: {{ filename: FOLDER/token, watched_directory: {{ path: FOLDER }} }}
#
# The token's file has no line end. A new one is picked up when it is moved into its folder.
http_filters:
- name: envoy.filters.http.credential_injector
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    overwrite: true
    credential:
      name: envoy.http.injected_credentials.generic
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
        credential:
          name: credential
          sds_config:
            path_config_source: {{ path: {file}, watched_directory: {{ path: {folder} }} }}
        header: authorization
        {value}
- name: envoy.filters.http.upstream_codec
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
"#
    )
}

/// The folder that a file stands in, `.` for a bare name.
pub fn folder(file: &str) -> String {
    match Path::new(file).parent().and_then(Path::to_str) {
        None | Some("") => ".".to_owned(),
        Some(folder) => folder.to_owned(),
    }
}
