//! Manifests as `render istio-*` writes them: of each filter in them the document is checked, and whether flag, failure
//! policy, its place in the mesh and what counts for it fit. What Istio makes of others on the cluster is not seen.

use super::Findings;
use super::envoy::{self, Plugin};
use super::mesh::{self, Place};
use super::rate_limit;
use crate::environment::Environment;
use mcp_iap::config::{ConfigError, yaml};
use mcp_iap::gate::Settings;
use serde_json::{Value, json};

/// The manifests of a file; `None` where it holds something else.
pub fn read(text: &[u8]) -> Option<Vec<Value>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let read = documents.iter().map(|text| yaml::read(text)).collect::<Result<Vec<Value>, _>>().ok()?;
    let manifests: Vec<_> = read.into_iter().filter(|manifest| !manifest.is_null()).collect();
    let is_manifest = |manifest: &Value| manifest["apiVersion"].is_string() && manifest["kind"].is_string();
    (!manifests.is_empty() && manifests.iter().all(is_manifest)).then_some(manifests)
}

/// Checks each filter of ours.
pub fn check(manifests: &[Value], findings: &mut Findings) {
    let filters = filters(manifests);
    for Filter { plugin, place, patches } in &filters {
        let environment = Environment::of_plugin(&plugin.config);
        let Some((settings, config)) = findings.check(plugin.document.as_bytes(), &environment) else {
            continue;
        };
        mesh::check_source(*place, settings.by_source(&config), findings);
        let Some(manifest) = patches else {
            compare_module(plugin, &settings, findings);
            rate_limit::refuse(&settings, findings);
            continue;
        };
        envoy::compare(manifest, plugin, &settings, findings);
        match mesh::managers(manifest, plugin) {
            managers if managers.is_empty() => rate_limit::refuse(&settings, findings),
            managers => rate_limit::check(&Value::from(managers), plugin, &settings, findings),
        }
    }
    if filters.is_empty() {
        let reason = "holds manifests without a filter of mcp-iap";
        let fix = "check what `mcp-iap render istio-envoyfilter` or `istio-wasmplugin` prints, or the document itself";
        findings.errors.push(ConfigError::new("", reason, fix));
    }
}

/// The documents in them.
pub fn documents(manifests: &[Value]) -> Vec<String> {
    filters(manifests).into_iter().map(|filter| filter.plugin.document).collect()
}

/// A filter, and what is around it.
struct Filter {
    plugin: Plugin,
    place: Place,
    /// The EnvoyFilter that it stands in, with the names of Envoy's schema; none of a module.
    patches: Option<Value>,
}

fn filters(manifests: &[Value]) -> Vec<Filter> {
    let of_modules = |manifest: &Value, module: &Value| -> Vec<Filter> {
        let place = mesh::place_of_module(manifest, manifests);
        of_module(module).into_iter().map(|plugin| Filter { plugin, place, patches: None }).collect()
    };
    let of = |manifest: &Value| match manifest["kind"].as_str() {
        Some("EnvoyFilter") => {
            let manifest = envoy::snake_case(manifest.clone());
            let each = envoy::plugins_of(&manifest).into_iter().map(|plugin| {
                let place = mesh::place_of_patches(&manifest, &plugin);
                Filter { plugin, place, patches: Some(manifest.clone()) }
            });
            each.collect()
        }
        Some("WasmPlugin") => of_modules(manifest, &manifest["spec"]),
        Some("TrafficExtension") => of_modules(manifest, &manifest["spec"]["wasm"]),
        _ => Vec::new(),
    };
    manifests.iter().flat_map(of).collect()
}

/// What istiod makes of a module's fields, as far as it is looked at here.
fn of_module(module: &Value) -> Vec<Plugin> {
    let document = &module["pluginConfig"];
    if !document.is_object() {
        return Vec::new();
    }
    let named = |value_from: &'static str| {
        let variables = module["vmConfig"]["env"].as_array().into_iter().flatten();
        let is_from = move |one: &&Value| one["valueFrom"].as_str().unwrap_or("INLINE") == value_from;
        variables.filter(is_from).filter_map(|one| Some((one["name"].as_str()?, &one["value"])))
    };
    let from_host: Vec<_> = named("HOST").map(|(name, _)| name).collect();
    let written: serde_json::Map<_, _> =
        named("INLINE").map(|(name, value)| (name.to_owned(), value.clone())).collect();
    // Without a word Istio closes; what it has no word for opens.
    let policy = match module["failStrategy"].as_str() {
        None | Some("FAIL_CLOSE") => "FAIL_CLOSED",
        Some(policy) => policy,
    };
    let text = document.to_string();
    let config = json!({
        "root_id": module["pluginName"],
        "configuration": {"value": text},
        "failure_policy": policy,
        "vm_config": {
            "code": {"remote": module["url"]},
            "environment_variables": {"host_env_keys": from_host, "key_values": written},
        },
    });
    if !envoy::is_ours(&config) {
        return Vec::new();
    }
    vec![Plugin { document: text, config }]
}

/// It has no `vm_id`, and the flag is off: there are no fields for them.
fn compare_module(plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    if settings.allow_on_headers_stop_iteration {
        let reason = "is true, and Istio has no field for it here: each request would wait for a body that never comes";
        let fix = "write `allow_on_headers_stop_iteration: false` and know what that means (docs/istio.md), or use an EnvoyFilter";
        findings.errors.push(ConfigError::new("allow_on_headers_stop_iteration", reason, fix));
    }
    envoy::compare_policy(&plugin.config, findings);
}
