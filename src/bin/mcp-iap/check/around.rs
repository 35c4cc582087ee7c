//! What stands around the filter in an Envoy configuration: routes that pass it by or cut calls, a log without
//! records, a buffer that is too small. Only what stands there: what comes by RDS or LDS is not seen.

use super::Findings;
use super::envoy::Plugin;
use mcp_iap::config::ConfigError;
use mcp_iap::gate::Settings;
use serde_json::Value;
use std::collections::BTreeSet;

/// Envoy's own `per_connection_buffer_limit_bytes`.
const BUFFER: u64 = 1024 * 1024;
const RECORD: &str = "FILTER_STATE(wasm.mcp_iap";

/// Looks at each HTTP connection manager that has the plugin.
pub fn check(envoy: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    let mut managers = Vec::new();
    find(envoy, None, plugin, &mut managers);
    for Manager { listener, value, filter } in managers {
        if !value["access_log"].to_string().contains(RECORD) {
            let fix = "add the entry that `mcp-iap render envoy --filter` prints";
            findings.warnings.push(ConfigError::new("access_log", "writes no records", fix));
        }
        let field = "per_connection_buffer_limit_bytes";
        let buffer = listener.map(|listener| listener[field].as_u64().unwrap_or(BUFFER));
        if let Some(buffer) = buffer.filter(|buffer| *buffer < settings.limits.body_bytes as u64) {
            let reason = "is below `limits.body_bytes`: Envoy answers 413 before the filter does";
            findings.warnings.push(ConfigError::new(field, reason, "raise it to that").value(buffer));
        }
        for resource in &settings.resources {
            check_routes(&value["route_config"], filter, resource.protected.path(), findings);
        }
    }
}

/// An HTTP connection manager with the plugin, and its listener.
struct Manager<'a> {
    listener: Option<&'a Value>,
    value: &'a Value,
    /// What the filter is called there.
    filter: &'a str,
}

fn find<'a>(value: &'a Value, listener: Option<&'a Value>, plugin: &Plugin, into: &mut Vec<Manager<'a>>) {
    let listener = if value.get("filter_chains").is_some() { Some(value) } else { listener };
    let filters = value.get("http_filters").and_then(Value::as_array);
    let ours = filters.into_iter().flatten().find(|one| one["typed_config"]["config"] == plugin.config);
    if let Some(filter) = ours.and_then(|one| one["name"].as_str()) {
        into.push(Manager { listener, value, filter });
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| find(value, listener, plugin, into)),
        Value::Array(elements) => elements.iter().for_each(|value| find(value, listener, plugin, into)),
        _ => {}
    }
}

/// The routes for a resource's path, and those that lead to its server in another way.
fn check_routes(config: &Value, filter: &str, path: &str, findings: &mut Findings) {
    let routes = routes(config, filter);
    let hosts: BTreeSet<usize> = routes.iter().map(|route| route.host).collect();
    let first = |host: &usize| routes.iter().find(|route| route.host == *host && route.takes(path));
    let own: Vec<&Route> = hosts.iter().filter_map(first).collect();
    let servers: BTreeSet<&str> =
        own.iter().filter(|route| !route.is_off).flat_map(|route| route.clusters()).collect();
    for route in &routes {
        if !route.is_off {
            continue;
        }
        if own.iter().any(|own| own.place == route.place) {
            let reason = format!("takes {path}, with the filter off");
            let fix = "put the route for the resource before it";
            findings.errors.push(ConfigError::new(&route.place, reason, fix));
        } else if let Some(cluster) = route.clusters().find(|cluster| servers.contains(cluster)) {
            let reason = "leads to the MCP server with the filter off";
            let fix = "leave the filter on there, or lead it elsewhere";
            findings.errors.push(ConfigError::new(&route.place, reason, fix).value(cluster));
        }
    }
    for route in own.iter().filter(|route| !route.is_off) {
        let action = &route.value["route"];
        if action["timeout"] != "0s" && action.is_object() {
            let path = format!("{}.route.timeout", route.place);
            let reason = "cuts long calls and event streams; Envoy's default is 15s";
            findings.warnings.push(ConfigError::new(path, reason, "write `timeout: 0s`"));
        }
        if !action["retry_policy"].is_null() || !route.of_host["retry_policy"].is_null() {
            let path = format!("{}.route.retry_policy", route.place);
            findings.warnings.push(ConfigError::new(path, "repeats calls", "take it out"));
        }
    }
}

/// A route with what holds for its virtual host.
struct Route<'a> {
    place: String,
    host: usize,
    of_host: &'a Value,
    value: &'a Value,
    is_off: bool,
}

fn routes<'a>(config: &'a Value, filter: &str) -> Vec<Route<'a>> {
    let each = |value: &'a Value| value.as_array().into_iter().flatten().enumerate();
    let mut found = Vec::new();
    for (host, of_host) in each(&config["virtual_hosts"]) {
        for (index, value) in each(&of_host["routes"]) {
            let place = format!("virtual_hosts[{host}].routes[{index}]");
            // The innermost word counts.
            let own = [value, of_host, config].map(|one| &one["typed_per_filter_config"][filter]);
            let own = own.into_iter().find(|one| !one.is_null());
            let is_off = own.is_some_and(|own| own["disabled"] == true);
            found.push(Route { place, host, of_host, value, is_off });
        }
    }
    found
}

impl Route<'_> {
    /// Whether each request for this path takes it: `false` where that hangs on more than path or prefix.
    fn takes(&self, path: &str) -> bool {
        let matching = &self.value["match"];
        let more = ["headers", "query_parameters", "grpc", "dynamic_metadata", "runtime_fraction"];
        if more.iter().any(|name| !matching[*name].is_null()) {
            return false;
        }
        let below = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
        matching["path"] == path
            || matching["prefix"].as_str().is_some_and(|prefix| path.starts_with(prefix))
            || matching["path_separated_prefix"].as_str().is_some_and(below)
    }

    fn clusters(&self) -> impl Iterator<Item = &str> {
        let action = &self.value["route"];
        let weighted = action["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
        weighted.map(|one| &one["name"]).chain([&action["cluster"]]).filter_map(Value::as_str)
    }
}
