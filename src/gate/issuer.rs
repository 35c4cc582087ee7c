//! The authorization servers of a configuration, compiled: what their tokens must be, and where their keys
//! are.

use super::introspection::{IntrospectionSettings, compile_introspection};
use super::key_times::compile_key_times;
use super::url::Url;
use crate::cache::KeyTimes;
use crate::callout::KeySource;
use crate::config::{self, ConfigError, Environment};
use crate::jose::{Algorithm, Expected, Hash, KeySet};
use crate::oauth::ProtectedResource;
use crate::time::{UnixTime, parse_duration};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// One authorization server.
#[derive(Debug)]
pub struct IssuerSettings {
    /// Its place in the configuration.
    pub index: usize,
    /// Equal to `iss`, to the letter.
    pub identifier: Rc<str>,
    /// Where its keys come from.
    pub keys: Keys,
    /// The dotted path of its groups claim.
    pub groups_claim: String,
    /// Where it is asked about opaque tokens.
    pub introspection: Option<Rc<IntrospectionSettings>>,
    algorithms: Vec<Algorithm>,
    audiences: Option<Vec<String>>,
    clock_skew: Duration,
}

/// Where an issuer's keys come from: never from both.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A key set of public keys, fetched.
    Fetched(Rc<KeySource>, KeyTimes),
    /// The configured secret.
    Configured(Rc<KeySet>),
}

impl IssuerSettings {
    /// The Envoy cluster through which its keys are fetched, where they are.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        match &self.keys {
            Keys::Fetched(source, _) => Some(&source.cluster),
            Keys::Configured(_) => None,
        }
    }

    /// The audiences of which a token of this issuer must have one, for `resource`.
    #[must_use]
    pub fn audiences<'a>(&'a self, resource: &'a ProtectedResource) -> &'a [String] {
        self.audiences.as_deref().unwrap_or_else(|| resource.audiences())
    }

    /// What a token of this issuer must be for `resource`.
    #[must_use]
    pub fn expected<'a>(&'a self, resource: &'a ProtectedResource, now: UnixTime) -> Expected<'a> {
        Expected {
            issuer: &self.identifier,
            algorithms: &self.algorithms,
            audiences: self.audiences(resource),
            clock_skew: self.clock_skew,
            now,
        }
    }
}

pub(super) fn compile_issuers(
    issuers: &[config::Issuer],
    environment: Environment<'_>,
    errors: &mut Vec<ConfigError>,
) -> Vec<IssuerSettings> {
    let mut seen = BTreeSet::new();
    let mut compiled = Vec::new();
    for (index, issuer) in issuers.iter().enumerate() {
        if !seen.insert(issuer.issuer.as_str()) {
            let path = format!("issuers[{index}].issuer");
            errors.push(
                ConfigError::new(path, "is named twice", "merge the two entries")
                    .value(issuer.issuer.as_str()),
            );
        }
        match compile_issuer(index, issuer, environment) {
            Ok(issuer) => compiled.push(issuer),
            Err(error) => errors.push(error),
        }
    }
    // Whose an opaque token is, is not to be seen; and nobody else's is shown to an issuer.
    let asked = compiled.iter().filter(|issuer| issuer.introspection.is_some());
    for issuer in asked.skip(1) {
        let path = format!("issuers[{}].introspection", issuer.index);
        let reason = "is the second one: whose an opaque token is, is not to be seen";
        errors.push(ConfigError::new(path, reason, "leave it to one issuer"));
    }
    compiled
}

fn compile_issuer(
    index: usize,
    written: &config::Issuer,
    environment: Environment<'_>,
) -> Result<IssuerSettings, ConfigError> {
    let config::Issuer {
        issuer,
        audiences,
        groups_claim,
        jwks_uri,
        algorithms,
        hmac_secret,
        cluster,
        keys,
        introspection,
        clock_skew,
        insecure_http,
    } = written;
    let fault = |field: &str, value: &str, reason: &str, fix: &str| {
        ConfigError::new(format!("issuers[{index}].{field}"), reason, fix).value(value)
    };
    let insecure = *insecure_http;
    let issuer_url =
        Url::of_field(issuer, insecure).map_err(|(reason, fix)| fault("issuer", issuer, reason, fix))?;
    let jwks_url = match jwks_uri {
        Some(uri) => {
            Some(Url::of_field(uri, insecure).map_err(|(reason, fix)| fault("jwks_uri", uri, reason, fix))?)
        }
        None => None,
    };
    if audiences
        .as_ref()
        .is_some_and(|audiences| audiences.is_empty() || audiences.iter().any(String::is_empty))
    {
        return Err(fault(
            "audiences",
            "",
            "can't hold: it is empty or has an empty entry",
            "name at least one, or leave it out for `resource`",
        ));
    }
    if groups_claim.is_empty() {
        return Err(fault(
            "groups_claim",
            groups_claim,
            "is empty",
            "name the claim, or leave it out for `groups`",
        ));
    }
    let clock_skew = match parse_duration(clock_skew) {
        Ok(skew) if skew > MAX_CLOCK_SKEW => {
            return Err(fault("clock_skew", clock_skew, "is too long", "use at most `5m`"));
        }
        Ok(skew) if skew.subsec_millis() > 0 => {
            return Err(fault(
                "clock_skew",
                clock_skew,
                "is no whole second, as tokens count",
                "use seconds, like `30s`",
            ));
        }
        Ok(skew) => skew,
        Err(wanted) => {
            return Err(fault("clock_skew", clock_skew, "is no duration", &format!("write {wanted}")));
        }
    };
    // What is asked: the key set where it is configured, else the issuer for its discovery document.
    let asked = jwks_url.as_ref().unwrap_or(&issuer_url);
    let asked = asked
        .endpoint(cluster.as_deref())
        .map_err(|(reason, fix)| fault("cluster", cluster.as_deref().unwrap_or_default(), reason, fix))?;
    let has_secret = hmac_secret.is_some();
    let algorithms = compile_algorithms(index, algorithms.as_deref(), has_secret)?;
    let source = match hmac_secret {
        Some(_) if jwks_uri.is_some() || written.cluster.is_some() || keys.is_some() => {
            let (field, value) = match (jwks_uri, &written.cluster) {
                (Some(uri), _) => ("jwks_uri", uri.as_str()),
                (None, Some(cluster)) => ("cluster", cluster.as_str()),
                (None, None) => ("keys", ""),
            };
            let reason = "is of no use beside `hmac_secret`: no keys are fetched";
            return Err(fault(field, value, reason, "remove one of the two"));
        }
        Some(reference) => {
            let secret_fault = |reason: String, fix: String| {
                ConfigError::new(format!("issuers[{index}].hmac_secret"), reason, fix)
            };
            let secret = reference.resolve(environment).map_err(|(reason, fix)| secret_fault(reason, fix))?;
            let least = algorithms.iter().map(|algorithm| algorithm.min_secret()).max().unwrap_or_default();
            if secret.expose().len() < least {
                let fix = "use more random bytes: as many as the algorithm's hash has (RFC 7518 section 3.2)";
                return Err(secret_fault(format!("is shorter than {least} bytes"), fix.to_owned()));
            }
            Keys::Configured(Rc::new(KeySet::of_secret(secret)))
        }
        None => {
            let times = compile_key_times(index, &keys.clone().unwrap_or_default())?;
            let source = KeySource {
                issuer: issuer.clone(),
                origin: format!("{}://{}", issuer_url.scheme, issuer_url.authority),
                scheme: asked.scheme,
                authority: asked.authority,
                path: issuer_url.path.to_owned(),
                cluster: asked.cluster,
                jwks_path: jwks_url.as_ref().map(|url| url.path.to_owned()),
                timeout: times.timeout,
            };
            Keys::Fetched(Rc::new(source), times)
        }
    };
    let introspection = match introspection {
        Some(written) => {
            let path = format!("issuers[{index}].introspection");
            Some(Rc::new(compile_introspection(written, &path, insecure, environment)?))
        }
        None => None,
    };
    Ok(IssuerSettings {
        index,
        identifier: Rc::from(issuer.as_str()),
        keys: source,
        algorithms,
        groups_claim: groups_claim.clone(),
        introspection,
        audiences: audiences.clone(),
        clock_skew,
    })
}

/// What an issuer's tokens may be signed with: by public keys or by its secret, never by both.
fn compile_algorithms(
    index: usize,
    names: Option<&[String]>,
    has_secret: bool,
) -> Result<Vec<Algorithm>, ConfigError> {
    let default = if has_secret { vec![Algorithm::Hs(Hash::Sha256)] } else { Algorithm::asymmetric() };
    let Some(names) = names else { return Ok(default) };
    if names.is_empty() {
        let fix = "name at least one, or leave it out";
        return Err(ConfigError::new(format!("issuers[{index}].algorithms"), "accepts no token", fix));
    }
    let compile = |(at, name): (usize, &String)| {
        let fault = |reason: &str, fix: String| {
            let path = format!("issuers[{index}].algorithms[{at}]");
            Err(ConfigError::new(path, reason, fix).value(name.as_str()))
        };
        match Algorithm::from_name(name) {
            None => {
                let known: Vec<_> = Algorithm::names().collect();
                fault("is no algorithm that is known here", format!("use one of `{}`", known.join("`, `")))
            }
            Some(algorithm) if algorithm.is_symmetric() && !has_secret => {
                fault("needs a secret", "give `hmac_secret`, or name one with public keys".to_owned())
            }
            Some(algorithm) if !algorithm.is_symmetric() && has_secret => fault(
                "is not for a secret",
                "name `HS256`, `HS384` or `HS512`, or remove `hmac_secret`".to_owned(),
            ),
            Some(algorithm) => Ok(algorithm),
        }
    };
    names.iter().enumerate().map(compile).collect()
}
