//! An Envoy configuration around the document: what the two must agree on.

use super::Findings;
use super::around::is_on;
use mcp_iap::config::{ConfigError, yaml};
use mcp_iap::gate::Settings;
use serde_json::Value;

/// One Wasm plugin of an Envoy configuration.
pub struct Plugin {
    /// The text of its StringValue.
    pub document: String,
    /// Its `PluginConfig`.
    pub config: Value,
}

/// The plugins of mcp-iap inside an Envoy configuration, and the configuration; `None` for every other document.
pub fn plugins(text: &[u8]) -> Option<(Value, Vec<Plugin>)> {
    let document: Value = yaml::read(std::str::from_utf8(text).ok()?).ok()?;
    let document = snake_case(document);
    let found = plugins_of(&document);
    let is_envoy = ["static_resources", "dynamic_resources", "http_filters"]
        .iter()
        .any(|field| document.get(field).is_some())
        || document.pointer("/resources/0/@type").is_some();
    if found.is_empty() && !is_envoy { None } else { Some((document, found)) }
}

/// The same of what was read already.
pub fn plugins_of(document: &Value) -> Vec<Plugin> {
    fn walk(value: &Value, into: &mut Vec<Plugin>) {
        match value {
            Value::Object(members) => {
                let text = value.pointer("/configuration/value").and_then(Value::as_str);
                if let Some(text) = text.filter(|_| members.contains_key("vm_config")) {
                    let plugin = Plugin { document: text.to_owned(), config: value.clone() };
                    into.extend(Some(plugin).filter(|plugin| is_ours(&plugin.config)));
                }
                members.values().for_each(|value| walk(value, into));
            }
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, &mut found);
    found
}

/// Envoy takes each field in lowerCamelCase too (protobuf's JSON mapping): here all have the names of the schema.
/// The document that it hands over stays as it is, and so do keys that are no fields.
pub fn snake_case(value: Value) -> Value {
    const MAPS: [&str; 4] =
        ["typed_per_filter_config", "key_values", "filter_metadata", "typed_filter_metadata"];
    match value {
        Value::Object(members) => {
            let renamed = members.into_iter().map(|(key, value)| {
                let key = field_name(&key);
                let value = match value {
                    value if key == "configuration" => value,
                    Value::Object(members) if MAPS.contains(&key.as_str()) => {
                        members.into_iter().map(|(name, value)| (name, snake_case(value))).collect()
                    }
                    value => snake_case(value),
                };
                (key, value)
            });
            renamed.collect()
        }
        Value::Array(elements) => elements.into_iter().map(snake_case).collect(),
        value => value,
    }
}

fn field_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

impl Plugin {
    /// It is a resource by itself, which a manager elsewhere names by `config_discovery`.
    pub fn is_discovered(&self, envoy: &Value) -> bool {
        let resources = envoy["resources"].as_array().into_iter().flatten();
        resources.into_iter().any(|one| one["typed_config"]["config"] == self.config)
    }
}

/// Whether listeners, or a Wasm filter of one, come from another file or a server.
pub fn is_part(envoy: &Value) -> bool {
    fn discovers(value: &Value) -> bool {
        let kinds = value["config_discovery"]["type_urls"].as_array().into_iter().flatten();
        let is_wasm = |kind: &Value| kind.as_str().is_some_and(|kind| kind.ends_with(".http.wasm.v3.Wasm"));
        kinds.into_iter().any(is_wasm)
            || match value {
                Value::Object(members) => members.values().any(discovers),
                Value::Array(elements) => elements.iter().any(discovers),
                _ => false,
            }
    }
    envoy.pointer("/dynamic_resources/lds_config").is_some() || discovers(envoy)
}

/// Whether a `PluginConfig` is ours: an Envoy may have other Wasm filters, which bear other names, and whose text is
/// none of our documents.
pub fn is_ours(config: &Value) -> bool {
    let text = config["configuration"]["value"].as_str().unwrap_or_default();
    let document: Value = yaml::read(text).unwrap_or_default();
    let is_named = |field: &str| config[field] == "mcp_iap";
    let code = config["vm_config"]["code"].to_string();
    let fields = ["issuers", "token_review", "api_keys", "mesh_identity", "require_auth"];
    let is_written = fields.iter().any(|field| document.get(field).is_some());
    is_named("name") || is_named("root_id") || code.contains("mcp_iap") || is_written
}

/// What doesn't fit between Envoy's configuration and the document in it.
pub fn compare(envoy: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    let flag = "allow_on_headers_stop_iteration";
    let is_set = plugin.config[flag] == true || plugin.config[flag] == "true";
    if is_set != settings.allow_on_headers_stop_iteration {
        let reason = format!("is {is_set} in Envoy and {} in the document", !is_set);
        findings.errors.push(ConfigError::new(
            flag,
            reason,
            "set both alike, to `true` where Envoy's can be set",
        ));
    }
    compare_policy(&plugin.config, findings);
    compare_vm(envoy, plugin, findings);
    let clusters = envoy.pointer("/static_resources/clusters").and_then(Value::as_array);
    // Clusters that come from elsewhere can't be looked up here.
    if envoy.get("static_resources").is_none() || envoy.pointer("/dynamic_resources/cds_config").is_some() {
        return;
    }
    let names: Vec<_> =
        clusters.into_iter().flatten().filter_map(|cluster| cluster.get("name")?.as_str()).collect();
    let of_issuers = settings
        .issuers
        .iter()
        .filter_map(|issuer| Some((format!("issuers[{}].cluster", issuer.index), issuer.cluster()?)));
    let exchanges = settings.resources.iter().filter_map(|resource| resource.outgoing.exchange());
    let of_exchanges =
        exchanges.map(|one| (format!("{}.cluster", one.path), one.endpoint().cluster.as_str()));
    let of_judges = settings
        .judges()
        .map(|(path, _, endpoint, _)| (format!("{path}.cluster"), endpoint.cluster.as_str()));
    for (path, cluster) in of_issuers.chain(of_exchanges).chain(of_judges) {
        if !names.contains(&cluster) {
            let fix = "add the cluster (`mcp-iap render envoy --filter` prints it), or name another";
            findings.errors.push(ConfigError::new(path, "is no cluster of this Envoy", fix).value(cluster));
        }
    }
}

/// What Envoy does when the filter can't run. `FailurePolicy` may be written as number too: UNSPECIFIED 0,
/// FAIL_RELOAD 1, FAIL_CLOSED 2, FAIL_OPEN 3.
pub fn compare_policy(config: &Value, findings: &mut Findings) {
    let policy = &config["failure_policy"];
    let field = "failure_policy";
    let shown = if policy.is_null() { Value::from("unset") } else { policy.clone() };
    let reloads = *policy == "FAIL_RELOAD" || *policy == 1;
    let closes = policy.is_null() || *policy == "FAIL_CLOSED" || *policy == 2;
    if is_on(&config["fail_open"]) || !(reloads || closes) {
        let reason = "passes requests unguarded when the filter can't run";
        findings.errors.push(ConfigError::new(field, reason, "use `FAIL_RELOAD`").value(shown));
    } else if closes {
        let reason = "refuses everything until Envoy starts anew, should the filter ever fall";
        findings.warnings.push(ConfigError::new(field, reason, "use `FAIL_RELOAD`").value(shown));
    }
}

/// Filters with one `vm_id` share data, and with it the issuers' keys.
fn compare_vm(envoy: &Value, plugin: &Plugin, findings: &mut Findings) {
    fn vms<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("vm_config"));
                members.values().for_each(|value| vms(value, into));
            }
            Value::Array(elements) => elements.iter().for_each(|value| vms(value, into)),
            _ => {}
        }
    }
    let id = |vm: &'_ Value| vm.get("vm_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(own) = plugin.config.get("vm_config") else { return };
    let name = id(own);
    if name.is_empty() {
        let reason = "is not set: each worker fetches the issuers' keys for itself";
        findings.warnings.push(ConfigError::new("vm_config.vm_id", reason, "give it one, like `mcp_iap`"));
        return;
    }
    let mut all = Vec::new();
    vms(envoy, &mut all);
    if all.iter().any(|vm| id(vm) == name && vm.get("code") != own.get("code")) {
        let reason = "is that of another filter too, which could put keys where this one takes them";
        let fix = "give each filter one of its own";
        findings.errors.push(ConfigError::new("vm_config.vm_id", reason, fix).value(name));
    }
}
