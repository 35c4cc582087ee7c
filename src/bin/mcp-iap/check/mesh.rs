//! Where in a mesh a filter stands, as far as its manifests tell, and what istiod makes of the patches of an EnvoyFilter, as
//! its sources have it (`pilot/pkg/networking/core/envoyfilter/listener_patch.go`). What can't be told is not guessed.

use super::Findings;
use super::envoy::Plugin;
use crate::render::forged;
use mcp_iap::config::ConfigError;
use serde_json::{Value, json};

/// The proxy that a filter stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Sidecar,
    Gateway,
    /// It may be either.
    Untold,
}

/// Looks at what of the document goes by the client's address, which in a sidecar is the caller's own word.
pub fn check_source(place: Place, paths: Vec<String>, findings: &mut Findings) {
    match place {
        Place::Gateway => {}
        Place::Sidecar => findings.errors.extend(paths.into_iter().map(forged)),
        Place::Untold => findings.warnings.extend(paths.into_iter().map(|path| {
            let reason = "goes by the client's address, which is whatever the caller writes into `x-forwarded-for` if this \
                          stands in a sidecar; nothing here tells where it stands";
            let fix = "for a gateway say so: `context: GATEWAY`, or `match: [{ mode: CLIENT }]` of a module";
            ConfigError::new(path, reason, fix)
        })),
    }
}

/// Of an EnvoyFilter: by the context of the patches that bring the plugin into a listener. Where none here does, by that
/// of the patch that holds it.
pub fn place_of_patches(filter: &Value, plugin: &Plugin) -> Place {
    let bringing: Vec<_> = http_filters(filter).filter(|patch| brings(filter, patch, plugin)).collect();
    let holding = || patches(filter).filter(|patch| holds(&patch["patch"]["value"], plugin)).collect();
    let patches: Vec<_> = if bringing.is_empty() { holding() } else { bringing };
    let contexts: Vec<_> = patches.iter().filter_map(|patch| patch["match"]["context"].as_str()).collect();
    if contexts.iter().any(|context| context.starts_with("SIDECAR_")) {
        Place::Sidecar
    } else if !contexts.is_empty()
        && contexts.len() == patches.len()
        && contexts.iter().all(|one| *one == "GATEWAY")
    {
        Place::Gateway
    } else {
        Place::Untold
    }
}

/// Of a WasmPlugin or TrafficExtension: by `match`, where `SERVER` is never a gateway's and `CLIENT` never a sidecar's way
/// in; else by the PeerAuthentication that `render` writes with it: its workload is the server.
pub fn place_of_module(manifest: &Value, manifests: &[Value]) -> Place {
    let matches = manifest["spec"]["match"].as_array().into_iter().flatten();
    let modes: Vec<_> = matches.map(|one| one["mode"].as_str().unwrap_or("UNDEFINED")).collect();
    if modes.contains(&"SERVER") {
        return Place::Sidecar;
    }
    if !modes.is_empty() && modes.iter().all(|mode| *mode == "CLIENT") {
        return Place::Gateway;
    }
    let workload = |one: &Value| (one["metadata"]["namespace"].clone(), one["spec"]["selector"].clone());
    let is_of_the_server = |one: &&Value| {
        one["kind"] == "PeerAuthentication" && one["metadata"]["name"] == manifest["metadata"]["name"]
    };
    match manifests.iter().find(is_of_the_server).map(workload) {
        Some((_, selector)) if selector.is_null() => Place::Untold,
        Some(server) if server == workload(manifest) => Place::Sidecar,
        Some(_) => Place::Gateway,
        None => Place::Untold,
    }
}

/// The HTTP connection managers that an EnvoyFilter brings the plugin into, each with the filters that the same patches put
/// there, before Envoy's router; none where that can't be told.
pub fn managers(filter: &Value, plugin: &Plugin) -> Vec<Value> {
    let known = ["INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"];
    let is_known = |patch: &Value| known.iter().any(|one| patch["patch"]["operation"] == *one);
    if !http_filters(filter).all(is_known) {
        return Vec::new();
    }
    let bringing = http_filters(filter).filter(|patch| brings(filter, patch, plugin));
    bringing
        .map(|patch| {
            let chain = chain(patch);
            let mut filters = vec![json!({"name": "envoy.filters.http.router"})];
            for other in http_filters(filter).filter(|other| self::chain(other) == chain) {
                let mut entry = other["patch"]["value"].clone();
                if brings(filter, other, plugin) {
                    entry["typed_config"] = json!({"config": plugin.config});
                }
                insert(&mut filters, other, entry);
            }
            json!({"http_filters": filters})
        })
        .collect()
}

fn insert(filters: &mut Vec<Value>, patch: &Value, entry: Value) {
    let name = &patch["match"]["listener"]["filter_chain"]["filter"]["sub_filter"]["name"];
    let found = filters.iter().position(|one| one["name"] == *name);
    let at = match (patch["patch"]["operation"].as_str(), found) {
        (Some("INSERT_FIRST"), _) => Some(0),
        (Some("INSERT_BEFORE"), at) => at,
        (_, at) => at.map(|at| at + 1),
    };
    if let Some(at) = at {
        filters.insert(at, entry);
    }
}

/// Which listeners and chains a patch is for: all of its match but the filter beside which it puts its own.
fn chain(patch: &Value) -> Value {
    let mut chain = patch["match"].clone();
    if let Some(filter) = chain.pointer_mut("/listener/filter_chain/filter").and_then(Value::as_object_mut) {
        filter.remove("sub_filter");
    }
    chain
}

fn patches(filter: &Value) -> impl Iterator<Item = &Value> {
    filter["spec"]["config_patches"].as_array().into_iter().flatten()
}

fn http_filters(filter: &Value) -> impl Iterator<Item = &Value> {
    patches(filter).filter(|patch| patch["apply_to"] == "HTTP_FILTER")
}

/// Whether a patch puts the plugin into a listener: by itself, or as what Envoy discovers by its name.
fn brings(filter: &Value, patch: &Value, plugin: &Plugin) -> bool {
    let value = &patch["patch"]["value"];
    let is_named = |one: &Value| {
        one["apply_to"] == "EXTENSION_CONFIG"
            && one["patch"]["value"]["name"] == value["name"]
            && holds(&one["patch"]["value"], plugin)
    };
    holds(value, plugin) || (value["config_discovery"].is_object() && patches(filter).any(is_named))
}

fn holds(value: &Value, plugin: &Plugin) -> bool {
    value["typed_config"]["config"] == plugin.config
}
