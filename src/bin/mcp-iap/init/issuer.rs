//! An issuer as the filter will ask it: discovery document, then key set, read by the filter's own code.

use super::http::{MAX_ANSWER, split};
use anyhow::{Context as _, Result, bail};
use mcp_iap::jose::KeySet;
use mcp_iap::oauth::{self, DiscoveryError};
use ureq::Agent;

/// What is written of an issuer.
pub struct Issuer {
    pub issuer: String,
    /// Where the key set stands on another host than the issuer, as discovery has it.
    pub jwks_uri: Option<String>,
    /// Reached by plain HTTP.
    pub is_plain: bool,
}

pub fn ask(agent: &Agent, issuer: &str) -> Result<Issuer> {
    let (origin, path) = split(issuer)?;
    let path = if path == "/" && !issuer.ends_with('/') { "" } else { path };
    let [first, second] = oauth::well_known_paths(path).map(|path| format!("{origin}{path}"));
    let document = match find(agent, &first)? {
        Some(document) => document,
        None => get(agent, &second)?,
    };
    let (jwks_uri, is_elsewhere) = match oauth::jwks_uri(&document, issuer, origin) {
        Ok(path) => (format!("{origin}{path}"), false),
        Err(DiscoveryError::OtherHost(_)) => {
            let document: serde_json::Value = serde_json::from_slice(&document)?;
            (document["jwks_uri"].as_str().unwrap_or_default().to_owned(), true)
        }
        Err(DiscoveryError::OtherIssuer) => {
            let document: serde_json::Value = serde_json::from_slice(&document)?;
            bail!("it calls itself {}: give that as `--issuer`", document["issuer"]);
        }
        Err(DiscoveryError::NotJson) => bail!("its discovery document is no strict JSON"),
        Err(DiscoveryError::Absent(_)) => bail!("its discovery document has no usable `jwks_uri`"),
    };
    split(&jwks_uri).context("its `jwks_uri`")?;
    KeySet::parse(&get(agent, &jwks_uri)?)
        .with_context(|| format!("its key set {jwks_uri} holds no usable key"))?;
    Ok(Issuer {
        issuer: issuer.to_owned(),
        is_plain: issuer.starts_with("http://") || jwks_uri.starts_with("http://"),
        jwks_uri: is_elsewhere.then_some(jwks_uri),
    })
}

fn get(agent: &Agent, url: &str) -> Result<Vec<u8>> {
    find(agent, url)?.with_context(|| {
        format!("{url} answered with 404: is this the issuer as its tokens' `iss` has it, path and all?")
    })
}

/// The document; `None` where there is none at this place.
fn find(agent: &Agent, url: &str) -> Result<Option<Vec<u8>>> {
    let mut answer = agent.get(url).call().with_context(|| format!("{url} did not answer"))?;
    let status = answer.status().as_u16();
    match status {
        200 => Ok(Some(answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?)),
        404 => Ok(None),
        _ => bail!("{url} answered with status {status}"),
    }
}
