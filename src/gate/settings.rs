//! The configuration, compiled: immutable, shared by all requests of one root.

use super::issuer::{IssuerSettings, compile_issuers};
use crate::cache::MAX_TOKENS;
use crate::config::{self, Config, ConfigError, Environment, Errors, Limits, process_environment};
use crate::oauth::{ProtectedResource, ResourceError, is_one_path};
use crate::policy::PolicySet;

const MAX_BODY: usize = 64 * 1024 * 1024;

/// Everything that one configuration says.
#[derive(Debug)]
pub struct Settings {
    /// What is guarded.
    pub resource: ProtectedResource,
    /// Whose tokens count.
    pub issuers: Vec<IssuerSettings>,
    /// What callers may do.
    pub policies: PolicySet,
    /// Origins of pages that may call, the resource's own among them.
    pub allowed_origins: Vec<String>,
    /// Hosts that requests may be for; `None` for every one.
    pub allowed_hosts: Option<Vec<String>>,
    /// Paths that pass without a token.
    pub health_paths: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// As in [`Config`].
    pub allow_on_headers_stop_iteration: bool,
}

impl Settings {
    /// Reads and compiles a configuration, with the secrets of this process's environment.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn load(text: &[u8]) -> Result<Self, Errors> {
        Self::load_in(text, &process_environment)
    }

    /// Reads and compiles a configuration, with the secrets of this environment.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn load_in(text: &[u8], environment: Environment<'_>) -> Result<Self, Errors> {
        Self::compile(&config::load(text)?, environment)
    }

    /// Compiles a configuration.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn compile(config: &Config, environment: Environment<'_>) -> Result<Self, Errors> {
        let mut errors = Vec::new();
        // Every field is named, so that a new one can't be forgotten here.
        let Config {
            resource,
            issuers,
            rules: _,
            allowed_origins,
            allowed_hosts,
            health_paths,
            limits,
            allow_on_headers_stop_iteration,
        } = config;
        let servers: Vec<&str> = issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
        let protected = ProtectedResource::new(resource, &servers)
            .map_err(|error| errors.push(resource_fault(error).value(resource.as_str())));
        let compiled = compile_issuers(issuers, resource, environment, &mut errors);
        let policies = PolicySet::compile(config, &mut errors);
        if limits.body_bytes == 0 || limits.body_bytes > MAX_BODY {
            errors.push(
                ConfigError::new("limits.body_bytes", "is out of bounds", "use 1 to 67108864")
                    .value(limits.body_bytes),
            );
        }
        if limits.cached_tokens > MAX_TOKENS {
            errors.push(
                ConfigError::new("limits.cached_tokens", "is out of bounds", "use 0 to 100000")
                    .value(limits.cached_tokens),
            );
        }
        check_origins(allowed_origins, &mut errors);
        check_hosts(allowed_hosts.as_deref(), &mut errors);
        if let Ok(resource) = &protected {
            check_health_paths(health_paths, resource, &mut errors);
        }
        match protected {
            Ok(resource) if errors.is_empty() => Ok(Self {
                allowed_origins: [allowed_origins.as_slice(), &[resource.origin().to_owned()]].concat(),
                allowed_hosts: allowed_hosts.clone(),
                health_paths: health_paths.clone(),
                resource,
                issuers: compiled,
                policies,
                limits: *limits,
                allow_on_headers_stop_iteration: *allow_on_headers_stop_iteration,
            }),
            _ => Err(Errors(errors)),
        }
    }

    /// The issuer with this identifier, to the letter.
    #[must_use]
    pub fn issuer(&self, identifier: &str) -> Option<&IssuerSettings> {
        self.issuers.iter().find(|issuer| issuer.identifier == identifier)
    }
}

fn resource_fault(error: ResourceError) -> ConfigError {
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
    ConfigError::new("resource", reason, fix)
}

fn check_origins(origins: &[String], errors: &mut Vec<ConfigError>) {
    for (index, origin) in origins.iter().enumerate() {
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        if !authority.is_some_and(|authority| !authority.is_empty() && authority.bytes().all(plain)) {
            let fix = "write scheme, host and port as a browser does, like `https://app.example.com`";
            errors.push(
                ConfigError::new(format!("allowed_origins[{index}]"), "is no origin", fix)
                    .value(origin.as_str()),
            );
        }
    }
}

fn check_hosts(hosts: Option<&[String]>, errors: &mut Vec<ConfigError>) {
    if hosts.is_some_and(<[String]>::is_empty) {
        errors.push(ConfigError::new(
            "allowed_hosts",
            "allows no host",
            "name at least one, or leave it out for every one",
        ));
    }
    for (index, host) in hosts.unwrap_or_default().iter().enumerate() {
        let plain = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        if host.is_empty() || !host.bytes().all(plain) {
            let fix =
                "write the host in lower case, with its port if clients name one, like `mcp.example.com`";
            errors.push(
                ConfigError::new(format!("allowed_hosts[{index}]"), "is no host", fix).value(host.as_str()),
            );
        }
    }
}

fn check_health_paths(paths: &[String], resource: &ProtectedResource, errors: &mut Vec<ConfigError>) {
    for (index, path) in paths.iter().enumerate() {
        let reason = if !is_one_path(path) {
            "is no path that can be written in one way only"
        } else if path == resource.path() || resource.is_metadata_path(path) {
            "is a path of the resource itself"
        } else {
            continue;
        };
        let error = ConfigError::new(
            format!("health_paths[{index}]"),
            reason,
            "write a path of its own, like `/healthz`",
        );
        errors.push(error.value(path.as_str()));
    }
}
