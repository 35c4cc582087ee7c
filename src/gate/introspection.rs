//! The field `introspection` of an issuer, compiled: where it is asked about its opaque tokens, and as whom.

use super::judges::AnswerTimes;
use super::token_review::compile_answers;
use super::url::Url;
use crate::callout::Endpoint;
use crate::config::{self, ConfigError, Environment};
use crate::oauth::basic;
use crate::secret::Secret;
use std::rc::Rc;

/// One introspection endpoint.
#[derive(Debug)]
pub struct IntrospectionSettings {
    /// Where it stands in the document.
    pub path: String,
    /// Where questions go.
    pub endpoint: Rc<Endpoint>,
    /// How it is named in the log.
    pub(super) name: String,
    /// The gate's own; `None` where Envoy adds it.
    pub(super) authorization: Option<Secret>,
    pub(super) times: AnswerTimes,
}

pub(super) fn compile_introspection(
    written: &config::Introspection,
    path: &str,
    insecure_http: bool,
    environment: Environment<'_>,
) -> Result<IntrospectionSettings, ConfigError> {
    let config::Introspection { endpoint, cluster, client_id, client_secret, answers } = written;
    let fault = |field: &str, value: &str, reason: &str, fix: &str| {
        ConfigError::new(format!("{path}.{field}"), reason, fix).value(value)
    };
    let url = Url::of_field(endpoint, insecure_http)
        .map_err(|(reason, fix)| fault("endpoint", endpoint, reason, fix))?;
    let place = url
        .endpoint(cluster.as_deref())
        .map_err(|(reason, fix)| fault("cluster", cluster.as_deref().unwrap_or_default(), reason, fix))?;
    let authorization = match (client_id, client_secret) {
        (None, None) => None,
        (Some(id), Some(_)) if id.is_empty() => {
            return Err(fault(
                "client_id",
                id,
                "is empty",
                "name the client that the issuer knows the gate by",
            ));
        }
        (Some(id), Some(reference)) => {
            let secret = reference
                .resolve(environment)
                .map_err(|(reason, fix)| ConfigError::new(format!("{path}.client_secret"), reason, fix))?;
            Some(basic(id, &secret))
        }
        (Some(id), None) => {
            let fix = "give `client_secret` as well, or neither and have Envoy add the credential";
            return Err(fault("client_id", id, "proves nothing without a secret", fix));
        }
        (None, Some(_)) => {
            let fix = "give `client_id` as well";
            return Err(ConfigError::new(format!("{path}.client_secret"), "is of nobody", fix));
        }
    };
    Ok(IntrospectionSettings {
        path: path.to_owned(),
        name: format!("introspection at {endpoint} through cluster {}", place.cluster),
        endpoint: Rc::new(place),
        authorization,
        times: compile_answers(answers.as_ref(), path)?,
    })
}
