//! Routes. One resource: all paths go to its upstream, since the filter decides paths. Several: each path
//! goes where its resource is, and what is nobody's path goes nowhere.

use super::address::Host;
use super::plan::{Plan, Resource};
use super::yaml::{indent, scalar};
use crate::fault::Fault;
use mcp_iap::oauth::WELL_KNOWN;
use std::collections::{BTreeMap, BTreeSet};

const NO_LIMIT: &str =
    "# The default of 15s cuts long calls; and no retry policy, since a retry repeats a call.\ntimeout: 0s\n";

/// The list below `virtual_hosts`.
///
/// # Errors
/// Two resources with one host and path.
pub fn virtual_hosts(plan: &Plan) -> Result<String, Fault> {
    match plan.resources.as_slice() {
        [only] => {
            let mut routes = String::new();
            if let Some(path) = only.upstream.path.as_ref().filter(|path| **path != only.path) {
                routes.push_str(&route("path", &only.path, only, Some(path)));
            }
            routes.push_str(&route("prefix", "/", only, None));
            Ok(virtual_host("mcp", &["*"], &routes))
        }
        several => by_host(several, &plan.health_paths),
    }
}

/// The routes to paste into a virtual host that has others, for each resource and for what the filter answers
/// itself.
pub fn pasted(plan: &Plan) -> String {
    let mut routes = String::new();
    for one in &plan.resources {
        if let Some(hosts) = &one.hosts {
            routes.push_str(&format!("# For {}.\n", hosts.join(", ")));
        }
        let rewrite = one.upstream.path.as_ref().filter(|path| **path != one.path);
        routes.push_str(&route("path", &one.path, one, rewrite));
    }
    if let Some(first) = plan.resources.first() {
        routes.push_str("# The filter answers these itself.\n");
        routes.push_str(&route("prefix", WELL_KNOWN, first, None));
    }
    format!(
        "# Into `routes` of the virtual host, before those that match more. No other route may lead to the MCP\n# server.\nroutes:\n{routes}\n"
    )
}

fn by_host(resources: &[Resource], health_paths: &[String]) -> Result<String, Fault> {
    let hosts: BTreeSet<&str> =
        resources.iter().flat_map(|one| one.hosts.iter().flatten()).map(String::as_str).collect();
    let mut text = String::new();
    let everywhere = resources.iter().any(|one| one.hosts.is_none()).then_some("*");
    for (index, host) in hosts.into_iter().chain(everywhere).enumerate() {
        let is_here =
            |one: &&Resource| one.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|own| own == host));
        let mut paths = BTreeMap::new();
        let mut routes = String::new();
        for one in resources.iter().filter(is_here) {
            if let Some(other) = paths.insert(one.path.as_str(), one) {
                let message = format!(
                    "{} and {} have one path and one host: requests could not be told apart",
                    other.identifier, one.identifier
                );
                return Err(Fault::Failed(message));
            }
            let path = one.upstream.path.as_ref().filter(|path| **path != one.path);
            routes.push_str(&route("path", &one.path, one, path));
        }
        for path in health_paths {
            let first = resources.iter().find(is_here);
            routes.push_str(&first.map(|one| route("path", path, one, None)).unwrap_or_default());
        }
        text.push_str(&virtual_host(&format!("mcp_{}", index + 1), &[host], &routes));
    }
    Ok(text)
}

fn virtual_host(name: &str, domains: &[&str], routes: &str) -> String {
    let domains: Vec<_> = domains.iter().map(|domain| format!("\"{domain}\"")).collect();
    format!("- name: {name}\n  domains: [{}]\n  routes:\n{}", domains.join(", "), indent(routes, 2))
}

fn route(kind: &str, path: &str, resource: &Resource, rewrite: Option<&String>) -> String {
    let path = match kind {
        "prefix" => format!("\"{path}\""),
        _ => scalar(path),
    };
    let mut action = format!("cluster: {}\n", scalar(&resource.cluster));
    if let Some(rewrite) = rewrite {
        action.push_str(&format!(
            "# The whole path: the match is of all of it.\nprefix_rewrite: {}\n",
            scalar(rewrite)
        ));
    }
    if let Host::Name(_) = resource.upstream.endpoint.host {
        let authority = scalar(&resource.upstream.endpoint.authority());
        action.push_str(&format!("# A server that has a name is asked by it, not by the resource's.\nhost_rewrite_literal: {authority}\n"));
    }
    action.push_str(NO_LIMIT);
    format!("- match: {{ {kind}: {path} }}\n  route:\n{}", indent(&action, 4))
}

#[cfg(test)]
mod tests {
    use super::super::address::Upstream;
    use super::*;
    use serde_json::{Value, json};

    fn resource(identifier: &str, path: &str, hosts: Option<&[&str]>, url: &str) -> Resource {
        Resource {
            identifier: identifier.to_owned(),
            path: path.to_owned(),
            hosts: hosts.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()),
            upstream: Upstream::parse(url).unwrap(),
            cluster: identifier.to_owned(),
        }
    }

    #[test]
    fn several_resources_are_told_apart_by_host_and_path() {
        let resources = [
            resource("a", "/a", None, "http://127.0.0.1:1"),
            resource("b", "/mcp", Some(&["b.example.com"]), "http://127.0.0.1:2/"),
            resource("c", "/mcp", Some(&["c.example.com", "c.example.com:443"]), "http://127.0.0.1:3"),
        ];
        let text = by_host(&resources, &["/healthz".to_owned()]).unwrap();
        let hosts: Value = mcp_iap::config::yaml::read(&text).unwrap();
        let shown: Vec<_> = hosts
            .as_array()
            .unwrap()
            .iter()
            .map(|host| {
                let routes: Vec<_> = host["routes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|route| {
                        let to = &route["route"];
                        assert_eq!(to["timeout"], "0s");
                        json!([route["match"]["path"], to["cluster"], to["prefix_rewrite"]])
                    })
                    .collect();
                json!([host["domains"], routes])
            })
            .collect();
        let (a, health) = (json!(["/a", "a", null]), json!(["/healthz", "a", null]));
        assert_eq!(
            shown,
            [
                json!([["b.example.com"], [a, ["/mcp", "b", "/"], health]]),
                json!([["c.example.com"], [a, ["/mcp", "c", null], health]]),
                json!([["c.example.com:443"], [a, ["/mcp", "c", null], health]]),
                json!([["*"], [a, health]]),
            ]
        );
    }

    #[test]
    fn one_host_and_path_is_of_one_resource() {
        let resources = [
            resource("a", "/mcp", None, "http://127.0.0.1:1"),
            resource("b", "/mcp", Some(&["b.example.com"]), "http://127.0.0.1:2"),
        ];
        assert!(
            matches!(by_host(&resources, &[]), Err(Fault::Failed(message)) if message.contains("told apart"))
        );
    }
}
