//! Who counts global rates: Envoy's rate limit filter must stand behind ours, be told by what to count, and count at each
//! route to a resource. What can't be told to be right is refused.

use super::Findings;
use super::around::{self, Route, is_on};
use super::envoy::Plugin;
use crate::render::rate_limit::{DOMAIN, expression, needed};
use mcp_iap::config::ConfigError;
use mcp_iap::gate::{Descriptor, Settings};
use serde_json::{Value, json};

/// Looks at each HTTP connection manager that has the plugin.
pub fn check(envoy: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    if global(settings).is_none() {
        return;
    }
    // Envoy's own switches at run time.
    let runtime = envoy["layered_runtime"].to_string();
    if runtime.contains("ratelimit") && runtime.contains("http_filter_en") {
        let reason = "may turn off what counts rates with `global: true`";
        let fix = "take `ratelimit.http_filter_enabled` and `ratelimit.http_filter_enforcing` out";
        findings.errors.push(ConfigError::new("layered_runtime", reason, fix));
    }
    let mut managers = Vec::new();
    let is_looked_for = |config: &Value| *config == plugin.config;
    around::find(envoy, None, &is_looked_for, &mut managers);
    for manager in managers.iter().filter(|manager| !manager.filters.is_empty()) {
        let filters = manager.value["http_filters"].as_array().into_iter().flatten();
        let behind = filters.skip_while(|one| !is_looked_for(&one["typed_config"]["config"]));
        let limiting = behind.filter(|one| limits(one));
        let judged = limiting.map(|one| (one, faults(one, manager, settings)));
        // Another filter may count what is not ours: of several the one counts that is nearest to right.
        let Some((counting, faults)) = judged.min_by_key(|(_, faults)| faults.len()) else {
            let reason = "have no rate limit filter behind this one that counts rates with `global: true`";
            let fix = "render it with `--rate-limit-service URL`, or add what `mcp-iap render envoy --filter` prints with that";
            findings.errors.push(ConfigError::new("http_filters", reason, fix));
            continue;
        };
        let config = &counting["typed_config"];
        if !is_on(&config["failure_mode_deny"]) || !config["failure_mode_deny_percent"].is_null() {
            let reason =
                "is not set, or not for all: while the rate limit service can't be asked, nothing is limited";
            let fix = "set it to `true`, without `failure_mode_deny_percent`";
            findings.warnings.push(ConfigError::new("failure_mode_deny", reason, fix));
        }
        findings.errors.extend(faults);
    }
}

/// Where nothing can count: a WasmPlugin has no rate limit filter behind it, and of patches it may not be told.
pub fn refuse(settings: &Settings, findings: &mut Findings) {
    if let Some(rule) = global(settings) {
        let reason = format!(
            "of the rule {rule:?} is true, and nothing here counts for all Envoys: its calls would go on uncounted"
        );
        let fix = "take it out: each Envoy counts for itself then";
        findings.errors.push(ConfigError::new("rate.global", reason, fix));
    }
}

/// The first rule with a global rate.
fn global(settings: &Settings) -> Option<&str> {
    let mut rates = settings.resources.iter().flat_map(|resource| resource.policies.rates());
    rates.find_map(|(rule, rate)| rate.is_global.then_some(&**rule))
}

fn limits(filter: &Value) -> bool {
    let kind = filter["typed_config"]["@type"].as_str().unwrap_or_default();
    kind.ends_with(".http.ratelimit.v3.RateLimit") && !is_on(&filter["disabled"])
}

/// Why a rate limit filter does not count each call.
fn faults(filter: &Value, manager: &around::Manager, settings: &Settings) -> Vec<ConfigError> {
    let name = filter["name"].as_str().unwrap_or_default();
    let config = &filter["typed_config"];
    let mut faults = Vec::new();
    let mut fault = |path: String, value: &Value, reason: &str, fix: &str| {
        let fault = ConfigError::new(path, reason, fix);
        faults.push(if value.is_null() { fault } else { fault.value(value.clone()) });
    };
    if config["domain"] != DOMAIN {
        let reason = "is not what the limits for global rates stand below";
        fault(format!("{name}.domain"), &config["domain"], reason, "write `domain: mcp-iap`");
    }
    let whole = [
        ("request_type", json!("both")),
        ("stage", json!(0)),
        ("filter_enabled", Value::Null),
        ("filter_enforced", Value::Null),
    ];
    for (field, whole) in whole {
        let value = &config[field];
        if !value.is_null() && *value != whole {
            fault(format!("{name}.{field}"), value, "leaves calls uncounted", "take the line out");
        }
    }
    let lists = config["rate_limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let missing = needed(settings).iter().find(|wanted| !lists.iter().any(|list| is_ours(list, wanted)));
    if let Some([_, (_, rule), _]) = missing {
        let reason = &format!(
            "has no list of just the three actions that count global rates, with `{}` for the rule, whichever route a call \
             takes",
            expression(rule)
        );
        let fix = "write `rate_limits` of this filter, not of a route, as `mcp-iap render envoy --filter` prints them";
        fault(format!("{name}.rate_limits"), &Value::Null, reason, fix);
    }
    let routes = &manager.value["route_config"];
    let ours = around::routes(routes, &manager.filters);
    let is_guarded = |place: &str| {
        ours.iter().any(|route| route.place == place && route.ways.iter().any(|way| !way.is_off))
    };
    let all = around::routes(routes, &[filter]);
    let mut seen = Vec::new();
    for resource in &settings.resources {
        for route in around::may_take(&all, resource.protected.path()) {
            if seen.contains(&&route.place) || !is_guarded(&route.place) {
                continue;
            }
            seen.push(&route.place);
            for way in route.ways.iter().filter(|way| way.is_off) {
                let reason = format!("turns {name} off: calls go on uncounted");
                fault(way.place.clone(), &Value::Null, &reason, "leave it on there");
            }
            if overrides(route, routes, name) {
                let reason =
                    format!("has settings of its own for {name}, by which calls may go on uncounted");
                let fix = "take them out of `typed_per_filter_config`";
                fault(route.place.clone(), &Value::Null, &reason, fix);
            }
        }
    }
    faults
}

/// Whether it makes one descriptor of just these entries in their order: a service has no limit for another.
fn is_ours(limit: &Value, descriptor: &Descriptor) -> bool {
    let is_entry = |(action, (key, property)): (&Value, &(&str, &str))| {
        let config = &action["extension"]["typed_config"];
        let kind = config["@type"].as_str().unwrap_or_default();
        kind.ends_with(".rate_limit_descriptors.expr.v3.Descriptor")
            && config["descriptor_key"] == *key
            && config["text"] == expression(property)
    };
    let only = limit.as_object().is_some_and(|limit| limit.keys().all(|key| key == "actions"));
    let actions = limit["actions"].as_array().map(Vec::as_slice).unwrap_or_default();
    only && actions.len() == descriptor.len() && actions.iter().zip(descriptor).all(is_entry)
}

/// Whether a route, or what it stands in, tells the filter more than on or off: `rate_limits` or a `domain`, which come
/// before the filter's own. What is said of a virtual host's limits matters to nobody, since the filter has its own.
fn overrides(route: &Route, routes: &Value, name: &str) -> bool {
    fn has_more(own: &Value) -> bool {
        let known = ["@type", "disabled", "is_optional", "vh_rate_limits", "override_option"];
        let more = |(key, value): (&String, &Value)| {
            if key == "config" { has_more(value) } else { !known.contains(&&**key) }
        };
        own.as_object().is_some_and(|own| own.iter().any(more))
    }
    let weighted = route.value["route"]["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
    let mut levels = weighted.chain([route.value, route.of_host, routes]);
    levels.any(|level| has_more(&level["typed_per_filter_config"][name]))
}
