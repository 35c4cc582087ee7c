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
///
/// Beside a sidecar's filter for one port it names that port: of a port that no Service targets istiod makes a filter
/// chain of its own for this alone, and the filter is only where a chain is for its port.
pub fn only_mutual_tls(options: &Options) -> String {
    let (namespace, labels) = options.server();
    let on_port = match (options.at, options.port) {
        (Place::Sidecar, Some(port)) => format!(
            "  # Without this, and without a Service for the port, what comes there would go past the filter.
  portLevelMtls: {{ \"{port}\": {{ mode: STRICT }} }}\n"
        ),
        _ => String::new(),
    };
    format!(
        "# To the server only by mutual TLS.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
{}
spec:
  selector: {{ matchLabels: {labels} }}
  mtls: {{ mode: STRICT }}
{on_port}",
        options.metadata(&options.name, namespace)
    )
}

/// What HTTP's requests to an MCP server, and those of browsers before them, have. What Istio takes for TCP has none.
const METHODS: &str = "[GET, POST, DELETE, OPTIONS, HEAD]";

/// The two AuthorizationPolicies of the server.
///
/// Istio asks those with `DENY` first: what they refuse no other policy of the user's can allow. The one with `ALLOW` is
/// for a namespace where nothing is allowed that no policy names.
pub fn only_by_the_filter(options: &Options) -> [String; 2] {
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
    let principal = scalar(&principal);
    let ports = options.port.map(|port| format!("ports: [\"{port}\"]"));
    let with_ports = ports.as_ref().map(|ports| format!(", {ports}")).unwrap_or_default();
    let on_ports =
        ports.map(|ports| format!("    to:\n    - operation: {{ {ports} }}\n")).unwrap_or_default();
    let head = |name: &str, action: &str| {
        format!(
            "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
{}
spec:
  selector: {{ matchLabels: {labels} }}
  action: {action}
  rules:
",
            options.metadata(name, namespace)
        )
    };
    let allow = head(&options.name, "ALLOW");
    let deny = head(&format!("{}-deny", options.name), "DENY");
    [
        format!(
            "# {who}
{allow}  - from:
    - source: {{ principals: [{principal}] }}
    # As HTTP alone: what Istio takes for TCP would go past the filter, and has no method.
    to:
    - operation: {{ methods: {METHODS}{with_ports} }}
"
        ),
        format!(
            "# The same as a refusal, which comes first: whatever other policies of yours allow.
{deny}  - from:
    - source: {{ notPrincipals: [{principal}] }}
{on_ports}  # Of TCP Istio leaves the methods out, and refuses all of it.
  - to:
    - operation: {{ notMethods: {METHODS}{with_ports} }}
"
        ),
    ]
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
    let how = match options.at {
        Place::Sidecar => format!(
            "the pods of the workload need the annotation
#   sidecar.istio.io/bootstrapOverride: {name}"
        ),
        Place::Gateway => "of a gateway the container istio-proxy needs this
# as a volume at /etc/istio/custom-bootstrap (istio/walkthrough/gateway.yaml; the annotation is for sidecars alone), and
#   ISTIO_BOOTSTRAP_OVERRIDE=/etc/istio/custom-bootstrap/custom_bootstrap.json"
            .to_owned(),
    };
    format!(
        "# Tags of the filter's counters. Envoy takes them when it starts: {how}
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
