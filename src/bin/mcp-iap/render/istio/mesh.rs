//! What stands beside the filter: only mutual TLS, only the mesh (or the gateway) to the server, records in the access
//! log, tags for the counters.

use super::super::filter::stats_tags;
use super::super::yaml::{indent, literal, scalar};
use super::options::{Options, Place};
use mcp_iap::config::yaml;
use serde_json::{Value, json};

/// The provider of access logs that `istio/mesh.yaml` defines.
const PROVIDER: &str = "mcp-iap-audit";

/// PeerAuthentication of the server.
pub fn only_mutual_tls(options: &Options) -> String {
    let (namespace, labels) = options.server();
    format!(
        "# To the server only by mutual TLS.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
{}
spec:
  selector: {{ matchLabels: {labels} }}
  mtls: {{ mode: STRICT }}
",
        options.metadata(&options.name, namespace)
    )
}

/// AuthorizationPolicy of the server.
pub fn only_the_mesh(options: &Options) -> String {
    let (namespace, labels) = options.server();
    let (who, principal) = match (options.at, &options.service_account) {
        (Place::Gateway, Some(account)) => (
            "Only the gateway, whose filter has decided, reaches the server: nobody goes past it.",
            format!("{}/ns/{}/sa/{account}", options.trust_domain, options.namespace),
        ),
        _ => (
            "Only workloads of the mesh reach the server; what they may do there, the filter decides.",
            "*".to_owned(),
        ),
    };
    format!(
        "# {who}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
{}
spec:
  selector: {{ matchLabels: {labels} }}
  action: ALLOW
  rules:
  - from:
    - source: {{ principals: [{}] }}
    # As HTTP alone: what Istio takes for TCP would go past the filter, and has no method.
    to:
    - operation: {{ methods: [GET, POST, DELETE, OPTIONS, HEAD] }}
",
        options.metadata(&options.name, namespace),
        scalar(&principal)
    )
}

/// Telemetry of the workload in whose proxy the filter stands.
pub fn records(options: &Options) -> String {
    let side = match options.at {
        Place::Sidecar => "    match: { mode: SERVER }\n",
        Place::Gateway => "",
    };
    format!(
        "# Each request's audit record goes into the access log, by the provider that istio/mesh.yaml defines.
apiVersion: telemetry.istio.io/v1
kind: Telemetry
{}
spec:
  selector: {{ matchLabels: {} }}
  accessLogging:
  - providers: [{{ name: {PROVIDER} }}]
{side}",
        options.metadata(&options.name, &options.namespace),
        options.labels()
    )
}

/// The part of the bootstrap that makes tags of the counters' names.
pub fn counters(options: &Options) -> String {
    let tags: Value = yaml::read(stats_tags()).unwrap_or_default();
    let bootstrap = format!("{:#}\n", json!({ "stats_config": tags }));
    let name = format!("{}-bootstrap", options.name);
    format!(
        "# Tags of the filter's counters. Envoy takes them when it starts: the pods of the workload need the annotation
#   sidecar.istio.io/bootstrapOverride: {name}
# Without it the counters are there, and have the tags in their names.
apiVersion: v1
kind: ConfigMap
{}
data:
{}",
        options.metadata(&name, &options.namespace),
        indent(&literal("custom_bootstrap.json", &bootstrap), 2)
    )
}
