//! What stands around the filter in an Envoy configuration: routes for a resource that turn it off or cut calls, a
//! log without records, a buffer that is too small. Only what stands there: of what comes from elsewhere `unseen` tells.

use super::Findings;
use super::envoy::Plugin;
use mcp_iap::config::ConfigError;
use mcp_iap::gate::Settings;
use serde_json::Value;
use std::collections::BTreeSet;

/// Envoy's own `per_connection_buffer_limit_bytes`.
const BUFFER: u64 = 1024 * 1024;
/// The record, in a format; and in what a gRPC logger takes along.
const RECORD: &str = "FILTER_STATE(wasm.mcp_iap";
const STATE: &str = "wasm.mcp_iap";

/// Looks at each HTTP connection manager that has the plugin.
pub fn check(envoy: &Value, plugin: &Plugin, settings: &Settings, findings: &mut Findings) {
    let mut managers = Vec::new();
    find(envoy, None, &|config| *config == plugin.config, &mut managers);
    managers.retain(|manager| !manager.filters.is_empty());
    if managers.is_empty() && !plugin.is_discovered(envoy) {
        let reason = "stands where `check` can't see what passes it by";
        let fix = "put it into `http_filters` by itself, with no matcher or other wrapping around it";
        findings.errors.push(ConfigError::new("the filter", reason, fix));
    }
    for Manager { listener, value, filters } in managers {
        if filters.iter().any(|filter| is_on(&filter["disabled"])) {
            let reason = "the filter is off where no route puts it on";
            findings.errors.push(ConfigError::new("http_filters.disabled", reason, "take the line out"));
        }
        check_log(&value["access_log"], findings);
        if let (Some(_), Some(listener)) = (&settings.mesh, listener) {
            check_certificates(listener, value, findings);
        }
        let field = "per_connection_buffer_limit_bytes";
        let buffer = listener.map(|listener| listener[field].as_u64().unwrap_or(BUFFER));
        if let Some(buffer) = buffer.filter(|buffer| *buffer < settings.limits.body_bytes as u64) {
            let reason = "is below `limits.body_bytes`: Envoy answers 413 before the filter does";
            findings.warnings.push(ConfigError::new(field, reason, "raise it to that").value(buffer));
        }
        let routes = routes(&value["route_config"], &filters);
        if !routes.is_empty() && routes.iter().flat_map(|route| &route.ways).all(|way| way.is_off) {
            let fix = "leave the filter on, on the route to the MCP server";
            findings.errors.push(ConfigError::new("virtual_hosts", "the filter is off on all routes", fix));
            continue;
        }
        for resource in &settings.resources {
            check_routes(&routes, resource.protected.path(), findings);
        }
    }
}

/// Warns of what Envoy gets from elsewhere, and may pass the filter by.
pub fn unseen(envoy: &Value, findings: &mut Findings) {
    let mut managers = Vec::new();
    find(envoy, None, &|_| false, &mut managers);
    let has = |field: &str| managers.iter().any(|manager| !manager.value[field].is_null());
    let is_dynamic = |field: &str| envoy["dynamic_resources"].get(field).is_some();
    let rows = [
        ("rds", has("rds"), "routes: whether one passes the filter by, or cuts calls"),
        ("scoped_routes", has("scoped_routes"), "routes: whether one passes the filter by, or cuts calls"),
        (
            "lds_config",
            is_dynamic("lds_config"),
            "listeners: whether another leads to the MCP server without the filter",
        ),
        (
            "cds_config",
            is_dynamic("cds_config"),
            "clusters: whether each issuer has one, and which lead to the MCP server",
        ),
    ];
    for (field, _, what) in rows.into_iter().filter(|(_, is_there, _)| *is_there) {
        let reason = format!("brings {what}, was not looked at");
        let fix =
            "check what comes from there too, `mcp-iap check` of the file, or of `GET /config_dump` by eye";
        findings.warnings.push(ConfigError::new(field, reason, fix));
    }
}

/// Workloads are known by certificates that Envoy must verify: the filter sees the name in one, whoever made it.
fn check_certificates(listener: &Value, manager: &Value, findings: &mut Findings) {
    fn holds(value: &Value, part: &Value) -> bool {
        value == part
            || match value {
                Value::Object(members) => members.values().any(|value| holds(value, part)),
                Value::Array(elements) => elements.iter().any(|value| holds(value, part)),
                _ => false,
            }
    }
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    for chain in chains.filter(|chain| holds(chain, manager)) {
        let tls = &chain["transport_socket"]["typed_config"];
        let common = &tls["common_tls_context"];
        let combined = &common["combined_validation_context"];
        let contexts = [&common["validation_context"], &combined["default_validation_context"]];
        let by_sds = [
            &common["validation_context_sds_secret_config"],
            &combined["validation_context_sds_secret_config"],
        ];
        let has_authority = by_sds.iter().any(|secret| secret.is_object())
            || contexts.iter().any(|context| context["trusted_ca"].is_object());
        let is_lax = contexts.iter().any(|context| context["trust_chain_verification"] == "ACCEPT_UNTRUSTED");
        if is_lax || !has_authority {
            let reason = "verifies no client certificates: who makes one is whichever workload it names";
            let fix = "give the listener a `validation_context` with the `trusted_ca` of your mesh (`render --client-ca`)";
            findings.errors.push(ConfigError::new("mesh_identity", reason, fix));
        } else if tls["require_client_certificate"] != true {
            let reason =
                "knows no workload of a client that shows no certificate, which the listener permits";
            let fix = "set `require_client_certificate: true`, if every client has one";
            findings.warnings.push(ConfigError::new("mesh_identity", reason, fix));
        }
    }
}

fn check_log(log: &Value, findings: &mut Findings) {
    let takes_along = |entry: &Value| {
        let config = &entry["typed_config"];
        let objects =
            [&config["common_config"], config].map(|one| one["filter_state_objects_to_log"].as_array());
        objects.into_iter().flatten().flatten().any(|name| name == STATE)
    };
    let has_record = |entry: &&Value| entry.to_string().contains(RECORD) || takes_along(entry);
    let entries: Vec<_> = log.as_array().into_iter().flatten().filter(has_record).collect();
    if entries.is_empty() {
        let fix = "add the entry that `mcp-iap render envoy --filter` prints";
        findings.warnings.push(ConfigError::new("access_log", "writes no records", fix));
    } else if entries.iter().all(|entry| !entry["filter"].is_null()) {
        let reason = "leaves out the records of some requests";
        findings.warnings.push(ConfigError::new("access_log.filter", reason, "take the filter out"));
    }
}

/// An HTTP connection manager, and its listener.
pub struct Manager<'a> {
    pub listener: Option<&'a Value>,
    pub value: &'a Value,
    /// The entries of the filters that were looked for.
    pub filters: Vec<&'a Value>,
}

/// All managers, each with those of its filters whose `PluginConfig` is looked for.
pub fn find<'a>(
    value: &'a Value,
    listener: Option<&'a Value>,
    is_looked_for: &dyn Fn(&Value) -> bool,
    into: &mut Vec<Manager<'a>>,
) {
    let listener = if value.get("filter_chains").is_some() { Some(value) } else { listener };
    let is_manager = ["http_filters", "route_config", "rds", "scoped_routes"]
        .iter()
        .any(|field| value.get(field).is_some());
    if is_manager {
        let filters = value["http_filters"].as_array().into_iter().flatten();
        let filters = filters.filter(|one| is_looked_for(&one["typed_config"]["config"]));
        into.push(Manager { listener, value, filters: filters.collect() });
    }
    match value {
        Value::Object(members) => {
            members.values().for_each(|value| find(value, listener, is_looked_for, into));
        }
        Value::Array(elements) => {
            elements.iter().for_each(|value| find(value, listener, is_looked_for, into));
        }
        _ => {}
    }
}

/// What the routes do with requests for a resource's path.
fn check_routes(routes: &[Route], path: &str, findings: &mut Findings) {
    let hosts: BTreeSet<usize> = routes.iter().map(|route| route.host).collect();
    let first = |host: &usize| routes.iter().find(|route| route.host == *host && route.takes(path));
    for route in hosts.iter().filter_map(first) {
        if let Some(place) = route.ways.iter().find(|way| way.is_off).map(|way| &way.place) {
            let reason = format!("takes {path}, with the filter off");
            let fix = "put the route for the resource before it, and leave the filter on there";
            findings.errors.push(ConfigError::new(place, reason, fix));
            continue;
        }
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
pub struct Route<'a> {
    pub place: String,
    host: usize,
    pub of_host: &'a Value,
    pub value: &'a Value,
    /// Where its requests may go; at least one.
    pub ways: Vec<Way<'a>>,
}

/// One destination of a route.
pub struct Way<'a> {
    pub place: String,
    /// Each filter that was looked for is off there.
    pub is_off: bool,
    /// The names of clusters that get the requests, or copies of them.
    pub clusters: Vec<&'a str>,
    /// The request itself, or something in Envoy, names the cluster.
    pub is_unknown: bool,
}

/// Envoy reads `"true"` and YAML's other words too: all but a plain "no" counts as yes.
pub fn is_on(flag: &Value) -> bool {
    !(flag.is_null() || *flag == false || *flag == "false")
}

pub fn routes<'a>(config: &'a Value, filters: &[&Value]) -> Vec<Route<'a>> {
    let each = |value: &'a Value| value.as_array().into_iter().flatten().enumerate();
    let mut found = Vec::new();
    for (host, of_host) in each(&config["virtual_hosts"]) {
        for (index, value) in each(&of_host["routes"]) {
            let place = format!("virtual_hosts[{host}].routes[{index}]");
            // The innermost word counts.
            let is_off = |target: &Value| {
                filters.iter().all(|filter| {
                    let name = filter["name"].as_str().unwrap_or_default();
                    let own =
                        [target, value, of_host, config].map(|one| &one["typed_per_filter_config"][name]);
                    let own = own.into_iter().find(|one| !one.is_null());
                    own.is_some_and(|own| is_on(&own["disabled"]))
                })
            };
            let action = &value["route"];
            let mirrors = each(&action["request_mirror_policies"]).map(|(_, one)| &one["cluster"]);
            let named = mirrors.chain([&action["cluster"]]).filter_map(Value::as_str).collect();
            let unknown = ["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
            let is_unknown = |one: &Value| unknown.iter().any(|field| !one[*field].is_null());
            let mut ways: Vec<Way> = each(&action["weighted_clusters"]["clusters"])
                .map(|(index, one)| Way {
                    place: format!("{place}.route.weighted_clusters.clusters[{index}]"),
                    is_off: is_off(one),
                    clusters: one["name"].as_str().into_iter().collect(),
                    is_unknown: is_unknown(one),
                })
                .collect();
            let (is_off, is_unknown) = (is_off(&Value::Null), is_unknown(action));
            if ways.is_empty() || is_off {
                ways.insert(0, Way { place: place.clone(), is_off, clusters: named, is_unknown });
            }
            found.push(Route { place, host, of_host, value, ways });
        }
    }
    found
}

/// The routes that requests for this path may take: in each virtual host, up to the first that takes them all.
pub fn may_take<'a>(routes: &'a [Route<'a>], path: &str) -> Vec<&'a Route<'a>> {
    let mut closed = BTreeSet::new();
    let is_open = |route: &&Route| {
        let is_open = !closed.contains(&route.host);
        if route.takes(path) {
            closed.insert(route.host);
        }
        is_open && (route.fits(path) || !route.is_plain())
    };
    routes.iter().filter(is_open).collect()
}

impl Route<'_> {
    /// Whether each request for this path takes it: `false` where that hangs on more than path or prefix.
    fn takes(&self, path: &str) -> bool {
        let matching = &self.value["match"];
        let more = ["headers", "query_parameters", "grpc", "dynamic_metadata", "runtime_fraction"];
        more.iter().all(|name| matching[*name].is_null()) && self.fits(path)
    }

    /// Whether it is known by path or prefix.
    fn is_plain(&self) -> bool {
        let matching = &self.value["match"];
        ["path", "prefix", "path_separated_prefix"].iter().any(|name| matching[*name].is_string())
    }

    /// Whether path or prefix fit, whatever else must.
    fn fits(&self, path: &str) -> bool {
        let matching = &self.value["match"];
        let ignores_case = !matching["case_sensitive"].is_null() && !is_on(&matching["case_sensitive"]);
        let fold = |text: &str| if ignores_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let of = |field: &str| matching[field].as_str().map(fold);
        let path = fold(path);
        let below = |prefix: String| path == prefix || path.starts_with(&format!("{prefix}/"));
        of("path").is_some_and(|exact| exact == path)
            || of("prefix").is_some_and(|prefix| path.starts_with(&prefix))
            || of("path_separated_prefix").is_some_and(below)
    }
}
