//! The configuration, compiled: immutable, shared by all requests of one root.

use super::api_keys::{ApiKeySettings, check_named_keys, compile_api_keys};
use super::audit_settings::AuditSettings;
use super::failures::FailureSettings;
use super::introspection::IntrospectionSettings;
use super::issuer::{IssuerSettings, compile_issuers};
use super::mesh::{MeshSettings, check_named_workloads, compile_mesh};
use super::outgoing::ExchangeSettings;
use super::resource::{self, ResourceSettings};
use super::token_review::{ReviewSettings, check_named_users, compile_token_review};
use crate::cache::MAX_TOKENS;
use crate::callout::Endpoint;
use crate::config::{self, Config, ConfigError, Environment, Errors, Guarded, Limits, process_environment};
use crate::oauth::is_one_path;
use std::collections::BTreeSet;
use std::rc::Rc;

const MAX_BODY: usize = 64 * 1024 * 1024;

/// Everything that one configuration says.
#[derive(Debug)]
pub struct Settings {
    /// What is guarded, at least one.
    pub resources: Vec<Rc<ResourceSettings>>,
    /// Whether callers must identify themselves.
    pub require_auth: bool,
    /// Whose tokens count.
    pub issuers: Vec<IssuerSettings>,
    /// Who says whose a token is that no issuer speaks for.
    pub token_review: Option<Rc<ReviewSettings>>,
    /// The claims that rules read, by their paths.
    pub claim_paths: Vec<Rc<str>>,
    /// API keys.
    pub api_keys: Option<ApiKeySettings>,
    /// Workloads.
    pub mesh: Option<MeshSettings>,
    /// Origins of pages that may call, beside the resource's own.
    pub allowed_origins: Vec<String>,
    /// Headers that Envoy sets and rules may read, in lower case.
    pub trusted_headers: Vec<String>,
    /// Paths that pass without a token.
    pub health_paths: Vec<String>,
    /// What records hold.
    pub audit: AuditSettings,
    /// What comes of failed authentications.
    pub failures: FailureSettings,
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
            resource: _,
            resources: _,
            issuers,
            require_auth,
            token_review,
            api_keys,
            mesh_identity,
            rules: _,
            shadow_rules: _,
            catalogue: _,
            allowed_origins,
            allowed_hosts: _,
            trusted_headers,
            health_paths,
            failed_authentication,
            audit,
            limits,
            token_exchange: _,
            token_passthrough: _,
            allow_on_headers_stop_iteration,
        } = config;
        let guarded = config.guarded()?;
        let is_workload_enough = mesh_identity.as_ref().is_some_and(|mesh| mesh.authenticates);
        let has_other_callers = token_review.is_some() || api_keys.is_some() || is_workload_enough;
        if issuers.is_empty() && *require_auth && !has_other_callers {
            let fix = match mesh_identity {
                Some(_) => {
                    "name the authorization server of your callers, or have workloads be callers: \
                     `mesh_identity.authenticates: true`"
                }
                None => "name the authorization server of your callers",
            };
            errors.push(ConfigError::new("issuers", "names no issuer", fix));
        }
        let compiled = compile_issuers(issuers, environment, &mut errors);
        let review = token_review.as_ref().map(|review| compile_token_review(review, "token_review"));
        let review = match review.transpose() {
            Ok(review) => review.map(Rc::new),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        let compiled_keys =
            api_keys.as_ref().and_then(|keys| compile_api_keys(keys, environment, &mut errors));
        let mesh = mesh_identity.as_ref().map(|mesh| compile_mesh(mesh, &mut errors));
        let shadows = guarded.iter().filter_map(Guarded::shadow);
        for one in &guarded.iter().copied().chain(shadows).collect::<Vec<_>>() {
            check_named_keys(one, api_keys.as_ref(), &mut errors);
            check_named_workloads(one, mesh_identity.as_ref(), &mut errors);
            check_named_users(one, token_review.is_some(), &mut errors);
        }
        let resources = resource::compile(&guarded, config, environment, &mut errors);
        if limits.body_bytes == 0 || limits.body_bytes > MAX_BODY {
            errors.push(
                ConfigError::new("limits.body_bytes", "is out of bounds", "use 1 to 67108864")
                    .value(limits.body_bytes),
            );
        }
        if limits.list_bytes == 0 || limits.list_bytes > MAX_BODY {
            errors.push(
                ConfigError::new("limits.list_bytes", "is out of bounds", "use 1 to 67108864")
                    .value(limits.list_bytes),
            );
        }
        if limits.cached_tokens > MAX_TOKENS {
            errors.push(
                ConfigError::new("limits.cached_tokens", "is out of bounds", "use 0 to 100000")
                    .value(limits.cached_tokens),
            );
        }
        check_origins(allowed_origins, &mut errors);
        check_trusted_headers(trusted_headers, &mut errors);
        check_health_paths(health_paths, &resources, &mut errors);
        let failures = FailureSettings::compile(failed_authentication, &mut errors);
        let audit = AuditSettings::compile(audit, environment, &mut errors);
        if !errors.is_empty() {
            return Err(Errors(errors));
        }
        let paths: BTreeSet<Rc<str>> =
            resources.iter().flat_map(|resource| resource.claim_paths().cloned()).collect();
        let audit = audit.of_rules(resources.iter().flat_map(|resource| resource.reads()));
        Ok(Self {
            resources,
            require_auth: *require_auth,
            issuers: compiled,
            token_review: review,
            claim_paths: paths.into_iter().collect(),
            api_keys: compiled_keys,
            mesh,
            allowed_origins: allowed_origins.clone(),
            trusted_headers: trusted_headers.clone(),
            health_paths: health_paths.clone(),
            audit,
            failures,
            limits: *limits,
            allow_on_headers_stop_iteration: *allow_on_headers_stop_iteration,
        })
    }

    /// What is guarded, for people.
    #[must_use]
    pub fn identifiers(&self) -> String {
        let identifiers: Vec<_> =
            self.resources.iter().map(|resource| resource.protected.identifier()).collect();
        identifiers.join(", ")
    }

    /// Who is asked about tokens: where it stands in the document, by which field, the endpoint, and what for.
    pub fn judges(&self) -> impl Iterator<Item = (&str, &'static str, &Endpoint, &'static str)> {
        let of_targets = self.resources.iter().filter_map(|resource| resource.outgoing.exchange());
        let of_targets = of_targets.flat_map(ExchangeSettings::reviews);
        let reviews = self.token_review.iter().map(|review| &**review).chain(of_targets);
        let reviews = reviews.map(|one| (one.path.as_str(), "server", &*one.endpoint, "TokenReviews of"));
        let introspections = self.issuers.iter().filter_map(|issuer| issuer.introspection.as_ref());
        let introspections =
            introspections.map(|one| (one.path.as_str(), "endpoint", &*one.endpoint, "Introspection at"));
        reviews.chain(introspections)
    }

    /// Whether callers may come with a bearer token.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        !self.issuers.is_empty() || self.token_review.is_some()
    }

    /// Who is asked about opaque tokens, if anybody is.
    #[must_use]
    pub fn introspecting_issuer(&self) -> Option<(&IssuerSettings, &Rc<IntrospectionSettings>)> {
        self.issuers.iter().find_map(|issuer| Some((issuer, issuer.introspection.as_ref()?)))
    }

    /// The issuer with this identifier, to the letter.
    #[must_use]
    pub fn issuer(&self, identifier: &str) -> Option<&IssuerSettings> {
        self.issuers.iter().find(|issuer| *issuer.identifier == *identifier)
    }
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

/// What a rule decides on must be what Envoy says, never what a client or this filter does.
fn check_trusted_headers(names: &[String], errors: &mut Vec<ConfigError>) {
    const CLIENTS: &[&str] = &[
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "origin",
        "referer",
        "user-agent",
        "forwarded",
    ];
    for (index, name) in names.iter().enumerate() {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (reason, fix) = if name.is_empty() || name.len() > 128 || !name.bytes().all(is_plain) {
            ("is no name of a header", "write it in lower case, like `x-device-trust`")
        } else if CLIENTS.contains(&name.as_str()) || name.starts_with("mcp-") {
            ("is a header of clients", "name one that Envoy sets, like `x-device-trust`")
        } else {
            continue;
        };
        errors.push(ConfigError::new(format!("trusted_headers[{index}]"), reason, fix).value(name.as_str()));
    }
}

fn check_health_paths(paths: &[String], resources: &[Rc<ResourceSettings>], errors: &mut Vec<ConfigError>) {
    let is_of_a_resource = |path: &str| {
        resources
            .iter()
            .any(|resource| path == resource.protected.path() || resource.protected.is_metadata_path(path))
    };
    for (index, path) in paths.iter().enumerate() {
        let reason = if !is_one_path(path) {
            "is no path that can be written in one way only"
        } else if is_of_a_resource(path) {
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
