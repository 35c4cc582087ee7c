//! The field `token_review`, compiled: which Kubernetes API server says whose a token is that no issuer here speaks for.

use super::judges::AnswerTimes;
use super::key_times::compile_duration;
use super::url::Url;
use crate::callout::Endpoint;
use crate::config::{self, ConfigError, Guarded};
use crate::jose::{Algorithm, Expected};
use crate::kube::PATH;
use crate::oauth::ProtectedResource;
use crate::time::{UnixTime, parse_duration};
use std::rc::Rc;
use std::time::Duration;

/// One API server.
#[derive(Debug)]
pub struct ReviewSettings {
    /// Where it stands in the document.
    pub path: String,
    /// Where reviews are created.
    pub endpoint: Rc<Endpoint>,
    /// How it is named in the log.
    pub(super) name: String,
    /// With public keys, all that are known.
    pub(super) algorithms: Vec<Algorithm>,
    /// `None` for the resource's own.
    audiences: Option<Vec<String>>,
    clock_skew: Duration,
    pub(super) times: AnswerTimes,
}

impl ReviewSettings {
    /// The audiences that are asked for, where they are its own.
    pub(super) fn own_audiences(&self) -> &[String] {
        self.audiences.as_deref().unwrap_or_default()
    }

    /// What can be asked of a token for `resource` without its issuer's key.
    pub(super) fn expected<'a>(&'a self, resource: &'a ProtectedResource, now: UnixTime) -> Expected<'a> {
        Expected {
            issuer: "",
            algorithms: &self.algorithms,
            audiences: self.audiences.as_deref().unwrap_or_else(|| resource.audiences()),
            clock_skew: self.clock_skew,
            now,
        }
    }
}

pub(super) fn compile_token_review(
    written: &config::TokenReview,
    path: &str,
) -> Result<ReviewSettings, ConfigError> {
    let config::TokenReview { server, audiences, cluster, answers, clock_skew, insecure_http } = written;
    let fault = |field: &str, value: &str, reason: &str, fix: &str| {
        ConfigError::new(format!("{path}.{field}"), reason, fix).value(value)
    };
    let url = Url::of_field(server, *insecure_http)
        .map_err(|(reason, fix)| fault("server", server, reason, fix))?;
    if audiences.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
        let fix = "name at least one, or leave it out for `resource`";
        return Err(fault("audiences", "", "can't hold: it is empty or has an empty entry", fix));
    }
    let mut endpoint = url
        .endpoint(cluster.as_deref())
        .map_err(|(reason, fix)| fault("cluster", cluster.as_deref().unwrap_or_default(), reason, fix))?;
    endpoint.path = format!("{}{PATH}", url.path.trim_end_matches('/'));
    let clock_skew = match parse_duration(clock_skew) {
        Ok(skew) if skew <= Duration::from_secs(300) && skew.subsec_millis() == 0 => skew,
        _ => {
            return Err(fault(
                "clock_skew",
                clock_skew,
                "is no skew of a clock",
                "use `0s` to `300s`, in whole seconds",
            ));
        }
    };
    Ok(ReviewSettings {
        path: path.to_owned(),
        name: format!("token reviews of {server} through cluster {}", endpoint.cluster),
        endpoint: Rc::new(endpoint),
        algorithms: Algorithm::asymmetric(),
        audiences: audiences.clone(),
        clock_skew,
        times: compile_answers(answers.as_ref(), path)?,
    })
}

/// The API server that is asked about tokens for a target of this audience.
pub(super) fn review_of_target(
    server: &str,
    audience: &str,
    insecure_http: bool,
    path: &str,
) -> Result<ReviewSettings, ConfigError> {
    let written = config::TokenReview {
        server: server.to_owned(),
        audiences: Some(vec![audience.to_owned()]),
        cluster: None,
        answers: None,
        clock_skew: "0s".to_owned(),
        insecure_http,
    };
    // It is one field there.
    compile_token_review(&written, path).map_err(|error| ConfigError { path: path.to_owned(), ..error })
}

/// How long answers count, and are waited for.
pub(super) fn compile_answers(
    written: Option<&config::Answers>,
    path: &str,
) -> Result<AnswerTimes, ConfigError> {
    let config::Answers { cache_duration, negative_cache_duration, timeout } =
        &written.cloned().unwrap_or_default();
    let compile = |field: &str, text: &str, bounds| {
        compile_duration(text, bounds).map_err(|(reason, fix)| {
            ConfigError::new(format!("{path}.answers.{field}"), reason, fix).value(text)
        })
    };
    Ok(AnswerTimes {
        yes: compile("cache_duration", cache_duration, ["0s", "5m"])?,
        no: compile("negative_cache_duration", negative_cache_duration, ["0s", "5m"])?,
        timeout: compile("timeout", timeout, ["100ms", "30s"])?,
    })
}

/// Users in rules must be ones that somebody can name.
pub(super) fn check_named_users(guarded: &Guarded<'_>, is_reviewed: bool, errors: &mut Vec<ConfigError>) {
    let named = guarded
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.to.as_ref().is_some_and(|to| to.kubernetes_users.is_some()));
    for (index, _) in named.filter(|_| !is_reviewed) {
        let path = guarded.rule_path(index, "to.kubernetes_users");
        errors.push(ConfigError::new(path, "can't hold: no token is reviewed", "give `token_review`"));
    }
}
