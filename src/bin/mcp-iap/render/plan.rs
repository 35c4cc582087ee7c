//! What an Envoy needs for one document: its issuers' clusters, its upstreams, its bounds. What does not
//! fit together is refused here.

use super::address::{Endpoint, Upstream};
use super::log::{self, Logger, Sink};
use super::options::{Credential, ForResource};
use super::yaml;
use crate::fault::Fault;
use mcp_iap::callout;
use mcp_iap::config::{ConfigError, Environment};
use mcp_iap::gate::{Keys, Settings};
use serde_json::Value;
use std::collections::BTreeSet;

/// The smallest buffer: Envoy's own default.
pub const MIN_BUFFER: usize = 1024 * 1024;
const BUFFER_STEP: usize = 64 * 1024;

/// Everything that is rendered.
#[derive(Debug)]
pub struct Plan {
    /// The document, its lines ended as a block scalar gives them back.
    pub document: String,
    /// What the document means.
    pub settings: Settings,
    /// One for each resource, or none where the listener is not ours.
    pub resources: Vec<Resource>,
    /// How issuers are reached.
    pub issuers: Vec<Cluster>,
    /// How upstreams are reached.
    pub upstreams: Vec<Cluster>,
    /// Who counts global rates, where there are some.
    pub rate_limit_service: Option<Cluster>,
    /// Where the records go.
    pub loggers: Vec<Logger>,
    /// Names of the environment that the document refers to.
    pub environment: BTreeSet<String>,
    /// `per_connection_buffer_limit_bytes`
    pub buffer: usize,
    /// Paths that pass to the first upstream as they are.
    pub health_paths: Vec<String>,
}

/// A resource and what stands behind it.
#[derive(Clone, Debug)]
pub struct Resource {
    pub identifier: String,
    pub path: String,
    /// The hosts that requests for it may name; `None` for every one.
    pub hosts: Option<Vec<String>>,
    pub upstream: Upstream,
    /// Its cluster.
    pub cluster: String,
}

/// A cluster of one endpoint.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: String,
    pub endpoint: Endpoint,
    /// A file with the credential that Envoy adds.
    pub credential: Option<String>,
    /// Whether it is asked for tokens: then the credential is a whole value, `Basic` for the most part.
    pub gives_tokens: bool,
    /// Whether it is asked by gRPC.
    pub is_grpc: bool,
    /// What it is for.
    pub purpose: String,
}

impl Plan {
    /// Reads the document, with the secrets of this environment, and fits upstreams and credentials to it.
    ///
    /// # Errors
    /// The document's faults, or what does not fit it.
    pub fn new(
        text: &[u8],
        upstreams: &[ForResource],
        credentials: &[Credential],
        environment: Environment<'_>,
    ) -> Result<Self, Fault> {
        let settings = Settings::load_in(text, environment)?;
        // `load` has read it as text.
        let document = yaml::lines(&String::from_utf8_lossy(text));
        let mut issuers = issuer_clusters(&settings)?;
        for credential in credentials {
            let cluster = issuers.iter_mut().find(|cluster| cluster.name == credential.cluster);
            let Some(cluster) = cluster else {
                let names: Vec<_> = issuers.iter().map(|cluster| cluster.name.as_str()).collect();
                let message = format!(
                    "--credential {:?} names no cluster that is asked for keys or tokens; there is {names:?}",
                    credential.cluster
                );
                return Err(Fault::Usage(message));
            };
            cluster.credential = Some(credential.file.clone());
        }
        let resources = resources(&settings, upstreams)?;
        let (resources, upstreams) = upstream_clusters(resources, &issuers);
        Ok(Self {
            environment: names(&document),
            buffer: settings.limits.body_bytes.next_multiple_of(BUFFER_STEP).max(MIN_BUFFER),
            health_paths: settings.health_paths.clone(),
            document,
            settings,
            resources,
            issuers,
            upstreams,
            rate_limit_service: None,
            loggers: Vec::new(),
        })
    }

    /// With the service that counts global rates.
    ///
    /// # Errors
    /// There is none and rules have such rates, or the other way round.
    pub fn counted_by(self, service: Option<&Endpoint>) -> Result<Self, Fault> {
        let mut rates = self.settings.resources.iter().flat_map(|resource| resource.policies.rates());
        let rule = rates.find_map(|(rule, rate)| rate.is_global.then(|| rule.to_string()));
        drop(rates);
        match (rule, service) {
            (Some(rule), None) => Err(Fault::Usage(format!(
                "the rule {rule:?} has a rate with `global: true`, for which a service must count: give \
                 --rate-limit-service URL"
            ))),
            (None, Some(_)) => Err(Fault::Usage(
                "--rate-limit-service has nothing to count: no rule has a rate with `global: true`"
                    .to_owned(),
            )),
            (None, None) => Ok(self),
            (Some(_), Some(endpoint)) => {
                let mut name = "rate_limit_service".to_owned();
                while self.clusters().any(|cluster| cluster.name == name) {
                    name.push('_');
                }
                let purpose = "The rate limit service".to_owned();
                let endpoint = endpoint.clone();
                let cluster =
                    Cluster { name, endpoint, credential: None, gives_tokens: false, is_grpc: true, purpose };
                Ok(Self { rate_limit_service: Some(cluster), ..self })
            }
        }
    }

    /// The same with records that go there.
    ///
    /// # Errors
    /// One sink twice.
    pub fn logging(mut self, sinks: &[Sink]) -> Result<Self, Fault> {
        let others: Vec<_> = self.clusters().map(|cluster| cluster.name.as_str()).collect();
        self.loggers = log::loggers(sinks, &others)?;
        Ok(self)
    }

    /// The clusters but those of loggers, in the order in which they are written.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.upstreams.iter().chain(&self.issuers).chain(&self.rate_limit_service)
    }

    /// The clusters of loggers, which Envoy takes from its bootstrap alone.
    pub fn collectors(&self) -> impl Iterator<Item = &Cluster> {
        self.loggers.iter().filter_map(|logger| logger.cluster.as_ref())
    }
}

/// One cluster for each name; who is asked at the same address may share one.
fn issuer_clusters(settings: &Settings) -> Result<Vec<Cluster>, Fault> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for issuer in &settings.issuers {
        // One with a secret of its own is asked for nothing.
        let Keys::Fetched(keys, _) = &issuer.keys else { continue };
        let path = format!("issuers[{}]", issuer.index);
        let field = if keys.jwks_path.is_some() { "jwks_uri" } else { "issuer" };
        let (purpose, cluster) = (format!("Keys of {}", keys.issuer), keys.cluster.as_str());
        add(&mut clusters, (&path, field), (keys.scheme, &keys.authority), cluster, purpose)?;
    }
    for exchange in settings.resources.iter().filter_map(|resource| resource.outgoing.exchange()) {
        let callout::Endpoint { cluster, scheme, authority, .. } = exchange.endpoint();
        let purpose = format!("Tokens of {authority}");
        add(&mut clusters, (&exchange.path, "token_endpoint"), (scheme, authority), cluster, purpose)?;
    }
    for (path, field, endpoint, purpose) in settings.judges() {
        let callout::Endpoint { cluster, scheme, authority, .. } = endpoint;
        let purpose = format!("{purpose} {authority}");
        add(&mut clusters, (path, field), (scheme, authority), cluster, purpose)?;
    }
    Ok(clusters)
}

/// Adds the cluster `name`, or what it is for as well; `path` and `field` are who asks for it.
fn add(
    clusters: &mut Vec<Cluster>,
    (path, field): (&str, &str),
    (scheme, authority): (&str, &str),
    name: &str,
    purpose: String,
) -> Result<(), Fault> {
    let gives_tokens = field == "token_endpoint";
    let endpoint = Endpoint::parse(scheme, authority).ok_or_else(|| {
        let fix = "write a name, or an IP address, and a port";
        ConfigError::new(format!("{path}.{field}"), "has a host that Envoy can't connect to", fix)
            .value(authority)
    })?;
    match clusters.iter_mut().find(|cluster| cluster.name == name) {
        None => {
            let (name, credential) = (name.to_owned(), None);
            clusters.push(Cluster { name, endpoint, credential, gives_tokens, is_grpc: false, purpose });
        }
        Some(cluster) if cluster.endpoint == endpoint => {
            cluster.gives_tokens |= gives_tokens;
            if !cluster.purpose.split("; ").any(|known| known == purpose) {
                cluster.purpose = format!("{}; {purpose}", cluster.purpose);
            }
        }
        Some(cluster) => {
            let reason =
                format!("stands at {endpoint} and has the cluster of another, at {}", cluster.endpoint);
            let fix = "give each a `cluster` of its own";
            return Err(ConfigError::new(format!("{path}.cluster"), reason, fix).value(name).into());
        }
    }
    Ok(())
}

/// The upstream of each resource; one without a name is that of the only resource.
fn resources(settings: &Settings, upstreams: &[ForResource]) -> Result<Vec<Resource>, Fault> {
    let guarded: Vec<_> =
        settings.resources.iter().map(|one| (&one.protected, one.hosts().map(<[String]>::to_vec))).collect();
    let names = || guarded.iter().map(|(resource, _)| resource.identifier()).collect::<Vec<_>>().join(", ");
    if upstreams.is_empty() {
        return Ok(Vec::new());
    }
    let is_known = |name: &str| guarded.iter().any(|(resource, _)| resource.identifier() == name);
    if let Some(name) =
        upstreams.iter().filter_map(|one| one.resource.as_deref()).find(|name| !is_known(name))
    {
        return Err(Fault::Usage(format!(
            "--upstream {name:?} is for no resource of this document; it guards {}",
            names()
        )));
    }
    let mut found = Vec::new();
    for (resource, hosts) in &guarded {
        let is_for = |one: &&ForResource| match &one.resource {
            Some(name) => name == resource.identifier(),
            None => guarded.len() == 1,
        };
        let mut matching = upstreams.iter().filter(is_for);
        let (Some(one), None) = (matching.next(), matching.next()) else {
            let message = format!(
                "give --upstream once for each resource, as RESOURCE=URL where there are several: {}",
                names()
            );
            return Err(Fault::Usage(message));
        };
        found.push(Resource {
            identifier: resource.identifier().to_owned(),
            path: resource.path().to_owned(),
            hosts: hosts.clone(),
            upstream: one.upstream.clone(),
            cluster: String::new(),
        });
    }
    Ok(found)
}

/// A cluster for each resource, with a name that no issuer's cluster has. Of several it says which one's: a
/// name that went from one resource to another would, while Envoy takes a change, lead to the wrong server.
fn upstream_clusters(mut resources: Vec<Resource>, issuers: &[Cluster]) -> (Vec<Resource>, Vec<Cluster>) {
    let is_only = resources.len() == 1;
    let mut clusters = Vec::new();
    for resource in &mut resources {
        let mut name =
            if is_only { "mcp_server".to_owned() } else { format!("mcp_server {}", resource.identifier) };
        while issuers.iter().any(|issuer| issuer.name == name) {
            name.push('_');
        }
        resource.cluster.clone_from(&name);
        let purpose = format!("The MCP server behind {}", resource.identifier);
        let endpoint = resource.upstream.endpoint.clone();
        let (gives_tokens, is_grpc) = (false, false);
        clusters.push(Cluster { name, endpoint, credential: None, gives_tokens, is_grpc, purpose });
    }
    (resources, clusters)
}

/// The names in `${NAME}`, in the texts of the document.
fn names(document: &str) -> BTreeSet<String> {
    fn walk(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => into.extend(text.split("${").skip(1).filter_map(name).map(str::to_owned)),
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, into)),
            Value::Object(members) => members.values().for_each(|value| walk(value, into)),
            _ => {}
        }
    }
    fn name(rest: &str) -> Option<&str> {
        let (name, _) = rest.split_once('}')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        (name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
            .then_some(name)
    }
    let mut names = BTreeSet::new();
    // It was read before; what can't be read has no names.
    walk(&mcp_iap::config::yaml::read(document).unwrap_or_default(), &mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names_stand_in_texts() {
        let document = "a: ${ONE}\n# ${COMMENT}\nb: [ 'x ${_2}${T3}', '${3}', '${A-B}', '${', '$${}' ]\n";
        assert_eq!(names(document).into_iter().collect::<Vec<_>>(), ["ONE", "T3", "_2"]);
    }

    fn resource(identifier: &str, url: &str) -> Resource {
        let path = "/mcp".to_owned();
        let upstream = Upstream::parse(url).unwrap();
        Resource { identifier: identifier.to_owned(), path, hosts: None, upstream, cluster: String::new() }
    }

    #[test]
    fn each_resource_keeps_its_cluster_and_no_name_is_taken_twice() {
        let issuer = Cluster {
            name: "mcp_server".to_owned(),
            endpoint: Endpoint::parse("https", "login.example.com").unwrap(),
            credential: None,
            gives_tokens: false,
            is_grpc: false,
            purpose: String::new(),
        };
        let names = |resources: &[(&str, &str)]| {
            let resources = resources.iter().map(|(identifier, url)| resource(identifier, url)).collect();
            let (resources, clusters) = upstream_clusters(resources, std::slice::from_ref(&issuer));
            assert_eq!(clusters.len(), resources.len());
            resources.into_iter().map(|resource| resource.cluster).collect::<Vec<_>>()
        };
        assert_eq!(names(&[("a", "http://127.0.0.1:1")]), ["mcp_server_"]);
        let of_three =
            names(&[("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2"), ("c", "http://127.0.0.1:1")]);
        assert_eq!(of_three, ["mcp_server a", "mcp_server b", "mcp_server c"]);
        assert_eq!(
            names(&[("a", "http://127.0.0.1:1"), ("c", "http://127.0.0.1:3")]),
            [&*of_three[0], &*of_three[2]]
        );
    }
}
