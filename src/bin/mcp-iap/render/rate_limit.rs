//! What counts global rates: Envoy's rate limit filter, which stands behind ours and asks a rate limit service, and the
//! configuration of that service (the form of envoyproxy/ratelimit).

use super::plan::{Cluster, Plan};
use super::yaml::{indent, scalar};
use mcp_iap::gate::{DESCRIPTORS, Descriptor, Settings};
use std::fmt::Write as _;

/// What the limits stand below, in the service.
pub const DOMAIN: &str = "mcp-iap";

/// The list entry below `http_filters`, behind that of the filter; nothing where nothing is counted.
pub fn filter(plan: &Plan) -> String {
    let Some(service) = &plan.rate_limit_service else { return String::new() };
    let entry = indent(&config(service, &plan.settings), 2);
    format!("{ABOUT}-{}", entry.strip_prefix(' ').unwrap_or(&entry))
}

/// What the filter is for, as comments.
pub const ABOUT: &str = "\
# Counts for all Envoys that have this service. What it counts by the filter above hands on in filter state: no
# client can set it, no server sees it. A request without it is not counted.
";

/// The entry by itself.
pub fn config(service: &Cluster, settings: &Settings) -> String {
    let list = |descriptor: &Descriptor| {
        let entries: String = descriptor.iter().map(|(key, property)| entry(key, property)).collect();
        format!("- actions:\n{}", indent(&entries, 2))
    };
    let lists: String = needed(settings).iter().map(list).collect();
    format!(
        r#"name: envoy.filters.http.ratelimit
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
  domain: {DOMAIN}
  # While the service can't be asked, what it should count is refused.
  failure_mode_deny: true
  timeout: 0.5s
  # By these the filter above knows when there is a call again, and whether anything was counted.
  enable_x_ratelimit_headers: DRAFT_VERSION_03
  rate_limit_service:
    transport_api_version: V3
    grpc_service: {{ envoy_grpc: {{ cluster_name: {}, authority: {} }} }}
  rate_limits:
{}"#,
        scalar(&service.name),
        scalar(&service.endpoint.authority()),
        indent(&lists, 2)
    )
}

/// The descriptors that Envoy must make: as many as rules may be counted of one request.
pub fn needed(settings: &Settings) -> &'static [Descriptor] {
    let counts = settings.resources.iter().map(|resource| resource.policies.counted_together().len());
    DESCRIPTORS.get(..counts.max().unwrap_or_default()).unwrap_or(&DESCRIPTORS)
}

/// Where Envoy finds a value.
pub fn expression(property: &str) -> String {
    format!("filter_state[\"wasm.{property}\"]")
}

fn entry(key: &str, property: &str) -> String {
    let expression = expression(property);
    format!(
        r#"- extension:
    name: {key}
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor
      descriptor_key: {key}
      text: '{expression}'
"#
    )
}

/// The configuration of the service; `None` where no rule has a global rate.
pub fn service(settings: &Settings) -> Option<String> {
    let mut text = format!(
        "# The limits of `rate` with `global: true`, for a rate limit service that reads the form of envoyproxy/ratelimit.\n\
         # Each caller is counted by itself, under a digest.\ndomain: {DOMAIN}\ndescriptors:\n"
    );
    let mut is_any = false;
    for resource in &settings.resources {
        let mut rates = resource.policies.rates().filter(|(_, rate)| rate.is_global).peekable();
        if rates.peek().is_none() {
            continue;
        }
        is_any = true;
        let identifier = scalar(resource.protected.identifier());
        let _ = write!(text, "- key: resource\n  value: {identifier}\n  descriptors:\n");
        for (rule, rate) in rates {
            let unit = match rate.seconds() {
                1 => "second",
                60 => "minute",
                3600 => "hour",
                _ => "day",
            };
            let _ = write!(
                text,
                "  - key: rule\n    value: {}\n    descriptors:\n    - key: caller\n      \
                 rate_limit: {{ unit: {unit}, requests_per_unit: {} }}\n",
                scalar(rule),
                rate.calls
            );
        }
    }
    is_any.then_some(text)
}
