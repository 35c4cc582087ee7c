//! Who counts global rates: Envoy's rate limit filter must stand behind ours and be told by what to count.

use super::Findings;
use super::around::{self, is_on};
use super::envoy::Plugin;
use mcp_iap::config::ConfigError;
use mcp_iap::gate::{DESCRIPTOR, Settings};
use serde_json::Value;

/// Looks at each HTTP connection manager that has the plugin.
pub fn check(envoy: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    let mut rates = settings.resources.iter().flat_map(|resource| resource.policies.rates());
    if !rates.any(|(_, rate)| rate.is_global) {
        return;
    }
    let mut managers = Vec::new();
    let is_looked_for = |config: &Value| *config == plugin.config;
    around::find(envoy, None, &is_looked_for, &mut managers);
    for manager in managers.iter().filter(|manager| !manager.filters.is_empty()) {
        let filters = manager.value["http_filters"].as_array().into_iter().flatten();
        let behind = filters.skip_while(|one| !is_looked_for(&one["typed_config"]["config"]));
        let counting: Vec<_> = behind.filter(|one| counts(one, manager.value)).collect();
        if counting.is_empty() {
            let reason = "have no rate limit filter behind this one that counts rates with `global: true`";
            let fix = "add the one that `mcp-iap render envoy --filter --rate-limit-service URL` prints";
            findings.errors.push(ConfigError::new("http_filters", reason, fix));
        } else if counting.iter().all(|one| !is_on(&one["typed_config"]["failure_mode_deny"])) {
            let reason = "is not set: while the rate limit service can't be asked, nothing is limited";
            findings.warnings.push(ConfigError::new("failure_mode_deny", reason, "set it to `true`"));
        }
    }
}

/// Whether it is a rate limit filter with all that is handed on, its own or that of its routes.
fn counts(filter: &Value, manager: &Value) -> bool {
    let kind = filter["typed_config"]["@type"].as_str().unwrap_or_default();
    let routes = &manager["route_config"];
    let is_named = |property: &str| {
        let wanted = format!("wasm.{property}");
        [&filter["typed_config"]["rate_limits"], routes].iter().any(|one| one.to_string().contains(&wanted))
    };
    kind.ends_with(".http.ratelimit.v3.RateLimit")
        && !is_on(&filter["disabled"])
        && DESCRIPTOR.iter().all(|(_, property)| is_named(property))
}
