//! Manifests as `render istio-*` writes them: of each filter in them the document is checked, and whether flag and failure
//! policy fit it. What Istio makes of the manifests, and of others on the cluster, is not seen.

use super::Findings;
use super::envoy::{self, Plugin};
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
    let filters: Vec<_> = manifests.iter().flat_map(filters).collect();
    for (manifest, plugin, compare) in &filters {
        let environment = Environment::of_plugin(&plugin.config);
        if let Some((settings, _)) = findings.check(plugin.document.as_bytes(), &environment) {
            compare(manifest, plugin, &settings, findings);
            rate_limit::refuse(&settings, findings);
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
    manifests.iter().flat_map(filters).map(|(_, plugin, _)| plugin.document).collect()
}

/// The filters of one manifest, with what they must fit and who looks whether they do.
fn filters(manifest: &Value) -> Vec<(Value, Plugin, Compare)> {
    let (manifest, plugins, compare): (_, _, Compare) = match manifest["kind"].as_str() {
        Some("EnvoyFilter") => {
            let manifest = envoy::snake_case(manifest.clone());
            let plugins = envoy::plugins_of(&manifest);
            (manifest, plugins, envoy::compare)
        }
        Some("WasmPlugin") => (Value::Null, of_module(&manifest["spec"]), compare_module),
        Some("TrafficExtension") => (Value::Null, of_module(&manifest["spec"]["wasm"]), compare_module),
        _ => return Vec::new(),
    };
    plugins.into_iter().map(|plugin| (manifest.clone(), plugin, compare)).collect()
}

type Compare = fn(&Value, &Plugin, &Settings, &mut Findings);

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
fn compare_module(_: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    if settings.allow_on_headers_stop_iteration {
        let reason = "is true, and Istio has no field for it here: each request would wait for a body that never comes";
        let fix = "write `allow_on_headers_stop_iteration: false` and know what that means (docs/istio.md), or use an EnvoyFilter";
        findings.errors.push(ConfigError::new("allow_on_headers_stop_iteration", reason, fix));
    }
    envoy::compare_policy(&plugin.config, findings);
}
