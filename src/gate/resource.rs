//! The protected resources of a configuration, compiled, and which of them a request is for: the one whose
//! path it names and whose hosts hold its host. Never more than one.

use super::outgoing::{self, Outgoing};
use crate::config::{Config, ConfigError, Environment, Guarded};
use crate::head::{Head, One};
use crate::oauth::{ProtectedResource, ResourceError, Scope, WELL_KNOWN};
use crate::policy::{Attribute, PolicySet};
use crate::reason::Reason;
use std::rc::Rc;

/// One protected resource.
#[derive(Debug)]
pub struct ResourceSettings {
    /// Its identifier and metadata.
    pub protected: ProtectedResource,
    /// What callers may do there.
    pub policies: PolicySet,
    /// What is compared with that.
    pub shadow: Option<PolicySet>,
    /// What a client asks its first token for.
    pub basic_scope: Scope,
    /// What its upstream gets as credential.
    pub outgoing: Outgoing,
    /// Hosts that requests may be for; `None` for every one.
    hosts: Option<Vec<String>>,
}

impl ResourceSettings {
    /// The hosts that it is limited to, in lower case; `None` for every one.
    #[must_use]
    pub fn hosts(&self) -> Option<&[String]> {
        self.hosts.as_deref()
    }

    /// The claims that rules read, by their paths.
    pub(super) fn claim_paths(&self) -> impl Iterator<Item = &Rc<str>> {
        self.shadow.iter().chain([&self.policies]).flat_map(PolicySet::claim_paths)
    }

    /// What rules read, live and shadow ones.
    pub(super) fn reads(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.shadow.iter().chain([&self.policies]).flat_map(PolicySet::reads)
    }

    fn takes(&self, host: Option<&str>) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| {
            host.is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
        })
    }
}

/// The resource that a request is for.
///
/// # Errors
/// [`Reason::MalformedHead`], [`Reason::UnknownPath`] or [`Reason::HostNotAllowed`].
pub(super) fn find(resources: &[Rc<ResourceSettings>], head: &Head) -> Result<Rc<ResourceSettings>, Reason> {
    let One::Text(path) = head.one(":path") else { return Err(Reason::MalformedHead) };
    let path = without_query(path);
    let host = head.one(":authority").text();
    let at_path = || resources.iter().filter(|resource| resource.protected.is_at(path));
    if let Some(resource) = at_path().find(|resource| resource.takes(host)) {
        return Ok(Rc::clone(resource));
    }
    // The well-known path alone, which MCP clients try next, tells nothing of several resources.
    let mut by_host = resources.iter().filter(|resource| resource.takes(host));
    match (at_path().next(), by_host.next(), by_host.next()) {
        (None, Some(resource), None) if path == WELL_KNOWN => Ok(Rc::clone(resource)),
        (None, None, None) if path == WELL_KNOWN => Err(Reason::HostNotAllowed),
        (None, ..) => Err(Reason::UnknownPath),
        (Some(_), ..) => Err(Reason::HostNotAllowed),
    }
}

pub(super) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

pub(super) fn compile(
    guarded: &[Guarded<'_>],
    config: &Config,
    environment: Environment<'_>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Rc<ResourceSettings>> {
    let Config { issuers: written, allow_on_headers_stop_iteration: has_flag, .. } = config;
    let issuers: Vec<&str> = written.iter().map(|issuer| issuer.issuer.as_str()).collect();
    let mut compiled: Vec<Rc<ResourceSettings>> = Vec::new();
    for one in guarded {
        let policies = PolicySet::compile(one, &issuers, errors);
        let shadow = one.shadow().map(|shadow| PolicySet::compile(&shadow, &issuers, errors));
        check_hosts(one, errors);
        if !has_flag {
            check_rates(one, errors);
        }
        let outgoing = outgoing::compile(one, written, *has_flag, environment, errors);
        let basic_scope = policies.basic_scope();
        match ProtectedResource::new(one.resource, &issuers, &basic_scope) {
            Ok(protected) => {
                let hosts = one.allowed_hosts.map(<[String]>::to_vec);
                let resource = ResourceSettings { protected, policies, shadow, basic_scope, outgoing, hosts };
                if compiled.iter().any(|other| other.may_be_taken_for(&resource)) {
                    let reason = "is taken for another resource: same path, and hosts that both allow";
                    let fix = "give each its own `allowed_hosts`, or another path";
                    errors.push(ConfigError::new(one.path("resource"), reason, fix).value(one.resource));
                }
                compiled.push(Rc::new(resource));
            }
            Err(error) => errors.push(fault(error, one).value(one.resource)),
        }
    }
    compiled
}

impl ResourceSettings {
    /// Whether one request could be for both.
    fn may_be_taken_for(&self, other: &Self) -> bool {
        let share_a_host = match (&self.hosts, &other.hosts) {
            (Some(ours), Some(theirs)) => ours.iter().any(|host| theirs.contains(host)),
            _ => true,
        };
        let share_a_path =
            other.protected.is_at(self.protected.path()) || self.protected.is_at(other.protected.path());
        share_a_host && share_a_path
    }
}

fn fault(error: ResourceError, one: &Guarded<'_>) -> ConfigError {
    let (reason, fix) = match error {
        ResourceError::NotAUrl => (
            "is no URL of an MCP endpoint",
            "write it as clients call it, like `https://mcp.example.com/mcp`",
        ),
        ResourceError::FragmentOrQuery => ("has a query or a fragment", "leave both out (RFC 8707)"),
        ResourceError::Characters => {
            ("has a character that no URL has", "write it in ASCII without spaces, quotes and backslashes")
        }
        ResourceError::Path => {
            ("has a path that can be written in several ways", "leave out `//`, `.`, `..`, `%` and `;`")
        }
    };
    ConfigError::new(one.path("resource"), reason, fix)
}

/// Without the flag Envoy's rate limit filter decides on a head before the rule is known.
fn check_rates(one: &Guarded<'_>, errors: &mut Vec<ConfigError>) {
    for (index, rule) in one.rules.iter().enumerate() {
        if rule.rate.as_ref().is_some_and(|rate| rate.global) {
            let reason = "needs `allow_on_headers_stop_iteration`: without it the rate limit filter decides before the \
                          body, and the rule, are known";
            let path = one.rule_path(index, "rate.global");
            errors.push(ConfigError::new(path, reason, "set it here and in Envoy's `PluginConfig`"));
        }
    }
}

fn check_hosts(one: &Guarded<'_>, errors: &mut Vec<ConfigError>) {
    let hosts = one.allowed_hosts.unwrap_or(&[]);
    if one.allowed_hosts.is_some() && hosts.is_empty() {
        let fix = "name at least one, or leave it out for every one";
        errors.push(ConfigError::new(one.path("allowed_hosts"), "allows no host", fix));
    }
    for (index, host) in hosts.iter().enumerate() {
        let plain = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        if host.is_empty() || !host.bytes().all(plain) {
            let fix =
                "write the host in lower case, with its port if clients name one, like `mcp.example.com`";
            let path = one.path(&format!("allowed_hosts[{index}]"));
            errors.push(ConfigError::new(path, "is no host", fix).value(host.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Settings;

    const THREE: &str = "
issuers: [{issuer: 'https://i'}]
resources:
  - {resource: 'https://a.example/mcp', allowed_hosts: [a.example], rules: []}
  - {resource: 'https://b.example/mcp', allowed_hosts: [b.example, 'b.example:8443'], rules: []}
  - {resource: 'https://c.example/team/mcp', rules: []}
";

    fn found(configuration: &str, host: &str, path: &str) -> Result<String, Reason> {
        let settings = Settings::load(configuration.as_bytes()).unwrap();
        find(&settings.resources, &Head::from_pairs([(":path", path), (":authority", host)]))
            .map(|resource| resource.protected.identifier().to_owned())
    }

    #[test]
    fn a_request_is_for_one_resource() {
        for (host, path, expected) in [
            ("a.example", "/mcp", Ok("https://a.example/mcp")),
            ("A.Example", "/mcp?x", Ok("https://a.example/mcp")),
            ("b.example:8443", "/mcp", Ok("https://b.example/mcp")),
            ("a.example", "/.well-known/oauth-protected-resource/mcp", Ok("https://a.example/mcp")),
            ("anything", "/team/mcp", Ok("https://c.example/team/mcp")),
            ("c.example", "/.well-known/oauth-protected-resource", Ok("https://c.example/team/mcp")),
            ("a.example", "/.well-known/oauth-protected-resource", Err(Reason::UnknownPath)),
            ("c.example", "/mcp", Err(Reason::HostNotAllowed)),
            ("a.example:8443", "/mcp", Err(Reason::HostNotAllowed)),
            ("", "/mcp", Err(Reason::HostNotAllowed)),
            ("a.example", "/team", Err(Reason::UnknownPath)),
        ] {
            assert_eq!(found(THREE, host, path), expected.map(str::to_owned), "{host}{path}");
        }
    }

    #[test]
    fn the_well_known_path_alone_is_the_only_ones() {
        let one = "{resource: 'https://a.example/mcp', allowed_hosts: [a.example], rules: [], issuers: [{issuer: 'https://i'}]}";
        let root = "/.well-known/oauth-protected-resource";
        assert_eq!(found(one, "a.example", root), Ok("https://a.example/mcp".to_owned()));
        assert_eq!(found(one, "b.example", root), Err(Reason::HostNotAllowed));
    }
}
