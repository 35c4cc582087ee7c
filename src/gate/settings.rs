//! The configuration, compiled: immutable, shared by all requests of one root.

use super::issuer::{IssuerSettings, compile_issuers};
use crate::config::{self, Config, ConfigError, Errors, Limits};
use crate::oauth::{ProtectedResource, ResourceError};
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
    /// Bounds.
    pub limits: Limits,
    /// As in [`Config`].
    pub allow_on_headers_stop_iteration: bool,
}

impl Settings {
    /// Reads and compiles a configuration.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn load(text: &[u8]) -> Result<Self, Errors> {
        Self::compile(&config::load(text)?)
    }

    /// Compiles a configuration.
    ///
    /// # Errors
    /// All faults that were found.
    pub fn compile(config: &Config) -> Result<Self, Errors> {
        let mut errors = Vec::new();
        // Every field is named, so that a new one can't be forgotten here.
        let Config { resource, issuers, rules: _, limits, allow_on_headers_stop_iteration } = config;
        let servers: Vec<&str> = issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
        let protected = ProtectedResource::new(resource, &servers)
            .map_err(|error| errors.push(resource_fault(error).value(resource.as_str())));
        let compiled = compile_issuers(issuers, resource, &mut errors);
        let policies = PolicySet::compile(config, &mut errors);
        if limits.body_bytes == 0 || limits.body_bytes > MAX_BODY {
            errors.push(
                ConfigError::new("limits.body_bytes", "is out of bounds", "use 1 to 67108864")
                    .value(limits.body_bytes),
            );
        }
        match protected {
            Ok(resource) if errors.is_empty() => Ok(Self {
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
        self.issuers.iter().find(|issuer| issuer.keys.issuer == identifier)
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
