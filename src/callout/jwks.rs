//! An issuer's keys: discovery document, then key set.

use super::discovery::discover;
use super::{CalloutError, Endpoint, Outbox, Refused, Reply};
use crate::cache::{Digest, digest};
use crate::jose::KeySet;
use crate::oauth::{self, DiscoveryError};
use crate::time::Timestamp;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// What is left for a callout at least: none is sent without a timeout.
const LEAST_TIMEOUT: Duration = Duration::from_millis(10);

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The issuer's identifier.
    pub issuer: String,
    /// Its scheme and authority: `https://login.example.com`.
    pub origin: String,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Its authority: `login.example.com`.
    pub authority: String,
    /// Its path, empty for none.
    pub path: String,
    /// The Envoy cluster.
    pub cluster: String,
    /// The path of the key set where the configuration names it; else discovery finds it.
    pub jwks_path: Option<String>,
    /// How long a fetch may take, both callouts together.
    pub timeout: Duration,
}

/// Why an issuer's keys can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// The discovery document did not come.
    DiscoveryCallout(CalloutError),
    /// The discovery document is not used.
    Discovery(DiscoveryError),
    /// The key set did not come.
    JwksCallout(CalloutError),
    /// The key set is none.
    Jwks,
    /// The key set holds no usable key: the issuer withdrew all that it had.
    NoUsableKey,
    /// The task went wrong, or a bound is reached.
    NotFetched,
    /// Another worker asked, and failed.
    Elsewhere,
}

/// That they could not be had, and how long the issuer asks to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKeys {
    /// Why.
    pub error: KeysError,
    /// Its `Retry-After`.
    pub wait: Option<Duration>,
}

impl From<KeysError> for NoKeys {
    fn from(error: KeysError) -> Self {
        Self { error, wait: None }
    }
}

impl NoKeys {
    fn of(Refused { error, wait }: Refused, why: fn(CalloutError) -> KeysError) -> Self {
        Self { error: why(error), wait }
    }
}

/// Fetches the key set of an issuer, as it came; `now` is the clock, by which both callouts together keep
/// within the timeout.
///
/// # Errors
/// What failed; nothing of the replies is kept in it.
pub async fn fetch_keys(
    outbox: Outbox,
    source: Rc<KeySource>,
    now: impl Fn() -> Timestamp,
) -> Result<(Rc<KeySet>, Vec<u8>), NoKeys> {
    let began = now();
    let callout = |path: String| {
        let (cluster, authority) = (source.cluster.clone(), source.authority.clone());
        let timeout = source.timeout.saturating_sub(now().since(began)).max(LEAST_TIMEOUT);
        Endpoint { cluster, scheme: source.scheme, authority, path }.get(timeout)
    };
    let path = match &source.jwks_path {
        Some(path) if path.is_empty() => "/".to_owned(),
        Some(path) => path.clone(),
        None => {
            let document = discover(&outbox, &source.path, callout).await;
            let document = document.map_err(|refused| NoKeys::of(refused, KeysError::DiscoveryCallout))?;
            oauth::jwks_uri(&document, &source.issuer, &source.origin).map_err(KeysError::Discovery)?
        }
    };
    let reply = outbox.call(callout(path)).await;
    let document = reply.map_err(Refused::from).and_then(Reply::document);
    let document = document.map_err(|refused| NoKeys::of(refused, KeysError::JwksCallout))?;
    let keys = KeySet::parse_or_empty(&document).ok_or(KeysError::Jwks)?;
    if keys.is_empty() { Err(KeysError::NoUsableKey.into()) } else { Ok((Rc::new(keys), document)) }
}

impl KeySource {
    /// What tells it from every other source: SHA-256 over all that decides where keys come from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Self { issuer, origin, scheme, authority, path, cluster, jwks_path, timeout: _ } = self;
        let is_configured = if jwks_path.is_some() { "configured" } else { "discovered" };
        let jwks_path = jwks_path.as_deref().unwrap_or_default();
        let fields = [issuer, origin, *scheme, authority, path, cluster, is_configured, jwks_path];
        digest(fields.map(str::as_bytes))
    }
}

impl KeysError {
    /// Its name in the counter `mcp_iap_key_fetches`: one of a closed list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiscoveryCallout(error) | Self::JwksCallout(error) => error.name(),
            Self::Discovery(_) => "discovery",
            Self::Jwks | Self::NoUsableKey => "jwks",
            Self::NotFetched => "not_fetched",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            Self::DiscoveryCallout(error) => ("the discovery document", error),
            Self::JwksCallout(error) => ("the key set", error),
            Self::Discovery(error) => return error.fmt(f),
            Self::Jwks | Self::NoUsableKey => {
                return f.write_str("the key set is none or holds no usable key");
            }
            Self::Elsewhere => return f.write_str("the keys could not be had by another worker"),
            Self::NotFetched => return f.write_str("the keys were not fetched: a bound is reached"),
        };
        error.describe(what, f)
    }
}
