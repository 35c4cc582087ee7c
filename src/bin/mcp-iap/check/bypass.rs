//! Ways to an MCP server that pass the filter by: routes where it is off, and other listeners without it. A server
//! is known by its cluster and by its endpoints: the cluster that led there before bears another name.

use super::Findings;
use super::around::{self, Manager};
use super::envoy::is_ours;
use mcp_iap::config::ConfigError;
use serde_json::Value;
use std::collections::BTreeSet;

/// Looks at all managers of an Envoy configuration, those without the filter too.
pub fn check(envoy: &Value, findings: &mut Findings) {
    let mut managers = Vec::new();
    around::find(envoy, None, &is_ours, &mut managers);
    let ways: Vec<_> = managers
        .iter()
        .flat_map(|manager| {
            let routes = around::routes(&manager.value["route_config"], &manager.filters);
            routes.into_iter().flat_map(|route| route.ways).map(move |way| (manager, way))
        })
        .collect();
    let servers: BTreeSet<&str> =
        ways.iter().filter(|(_, way)| !way.is_off).flat_map(|(_, way)| way.clusters.clone()).collect();
    let endpoints: BTreeSet<String> = servers.iter().flat_map(|server| endpoints(envoy, server)).collect();
    let leads_there =
        |cluster: &str| servers.contains(cluster) || !self::endpoints(envoy, cluster).is_disjoint(&endpoints);
    for (manager, way) in ways.iter().filter(|(_, way)| way.is_off) {
        let place = place(manager, &way.place);
        if findings.errors.iter().any(|error| error.path == place) {
            continue;
        }
        if let Some(cluster) = way.clusters.iter().find(|cluster| leads_there(cluster)) {
            let reason = if manager.filters.is_empty() {
                "leads to the MCP server without the filter"
            } else {
                "leads to the MCP server with the filter off"
            };
            let fix = "take it out, leave the filter on there, or lead it elsewhere";
            findings.errors.push(ConfigError::new(place, reason, fix).value(*cluster));
        } else if way.is_unknown {
            let reason =
                "leads where the request says, with the filter off: to the MCP server too, it may be";
            findings.warnings.push(ConfigError::new(place, reason, "name the cluster"));
        }
    }
    for manager in managers.iter().filter(|manager| !manager.filters.is_empty()) {
        check_upgrades(manager, findings);
    }
    let mut proxies = Vec::new();
    tcp_proxies(envoy, &mut proxies);
    for proxy in proxies {
        let weighted = proxy["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
        let names = weighted.map(|one| &one["name"]).chain([&proxy["cluster"]]).filter_map(Value::as_str);
        for cluster in names.filter(|cluster| leads_there(cluster)) {
            let reason = "leads to the MCP server without the filter";
            let fix = "take it out, or lead it elsewhere";
            findings.errors.push(ConfigError::new("tcp_proxy", reason, fix).value(cluster));
        }
    }
}

/// Where it stands; with its listener where that one has no filter of ours.
fn place(manager: &Manager, route: &str) -> String {
    let listener = manager.listener.and_then(|listener| listener["name"].as_str());
    match listener.filter(|_| manager.filters.is_empty()) {
        Some(listener) => format!("listeners.{listener}.{route}"),
        None => route.to_owned(),
    }
}

/// An upgrade may have filters of its own, which stand in place of the manager's.
fn check_upgrades(manager: &Manager, findings: &mut Findings) {
    for (index, upgrade) in manager.value["upgrade_configs"].as_array().into_iter().flatten().enumerate() {
        let filters = upgrade["filters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has_ours = filters
            .iter()
            .any(|one| is_ours(&one["typed_config"]["config"]) && !around::is_on(&one["disabled"]));
        if !filters.is_empty() && !has_ours {
            let reason = "replaces the manager's filters, and has not this one";
            let fix = "put the filter there too, or take the list out";
            findings.errors.push(ConfigError::new(format!("upgrade_configs[{index}].filters"), reason, fix));
        }
    }
}

fn tcp_proxies<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    if value["@type"].as_str().is_some_and(|kind| kind.ends_with(".tcp_proxy.v3.TcpProxy")) {
        into.push(value);
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| tcp_proxies(value, into)),
        Value::Array(elements) => elements.iter().for_each(|value| tcp_proxies(value, into)),
        _ => {}
    }
}

/// The addresses of a cluster, as texts that are alike where they are the same.
fn endpoints(envoy: &Value, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let clusters = envoy.pointer("/static_resources/clusters").and_then(Value::as_array);
    for cluster in clusters.into_iter().flatten().filter(|cluster| cluster["name"] == name) {
        addresses(&cluster["load_assignment"], &mut found);
    }
    found
}

fn addresses(value: &Value, into: &mut BTreeSet<String>) {
    if let Some(path) = value["pipe"]["path"].as_str() {
        into.insert(path.to_owned());
    }
    let socket = &value["socket_address"];
    if let Some(host) = socket["address"].as_str() {
        let host = match host.trim_end_matches('.').to_ascii_lowercase().as_str() {
            "localhost" | "::1" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
            host => host.to_owned(),
        };
        let port = &socket["port_value"];
        let port = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        into.insert(format!("{host} {port}"));
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| addresses(value, into)),
        Value::Array(elements) => elements.iter().for_each(|value| addresses(value, into)),
        _ => {}
    }
}
