//! From the document's `token_exchange` to compiled settings: one way of authentication with all that it needs and
//! nothing else, the parameters of its grant and no others, and targets that can be told apart.

use super::super::key_times::compile_timeout;
use super::super::token_review::{ReviewSettings, review_of_target};
use super::super::url::Url;
use super::{Client, ExchangeSettings, Outgoing, Target, TokenPlace};
use crate::callout::IssuerPlace;
use crate::config::{
    self, AuthMethod, ConfigError, Environment, GrantType, Guarded, RequestedTokenUse, STAND_IN,
    SecretReference, TokenExchange,
};
use crate::jose::ClientKey;
use crate::oauth::{ACCESS_TOKEN, Asked, ClientProof, Grant, TokenRequest, basic};
use crate::policy::Pattern;
use crate::secret::Secret;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Compiles what a resource's upstream gets. Faults are added to `errors`, with their paths.
pub(in crate::gate) fn compile(
    guarded: &Guarded<'_>,
    issuers: &[config::Issuer],
    has_flag: bool,
    environment: Environment<'_>,
    errors: &mut Vec<ConfigError>,
) -> Outgoing {
    let (field, exchange) = match (guarded.token_exchange, guarded.token_passthrough) {
        (None, false) => return Outgoing::Stripped,
        (None, true) => ("token_passthrough", None),
        (Some(exchange), false) => ("token_exchange", Some(exchange)),
        (Some(_), true) => {
            let reason = "stands beside `token_exchange`: the upstream gets one credential";
            errors.push(ConfigError::new(guarded.path("token_passthrough"), reason, "remove one of the two"));
            return Outgoing::Stripped;
        }
    };
    if !has_flag {
        let reason = "needs `allow_on_headers_stop_iteration`: without it the head, and any credential in it, is \
                      with the upstream before the body is decided";
        errors.push(ConfigError::new(
            guarded.path(field),
            reason,
            "set it here and in Envoy's `PluginConfig`",
        ));
    }
    let Some(exchange) = exchange else { return Outgoing::Passthrough };
    let path = guarded.path(field);
    let by_rule = guarded.rules.iter().any(|rule| rule.exchange.is_some());
    match (Compiling { path, written: exchange, by_rule, environment }).compile(issuers) {
        Ok(settings) => Outgoing::Exchanged(Rc::new(settings)),
        Err(error) => {
            errors.push(error);
            Outgoing::Stripped
        }
    }
}

/// One `token_exchange` of the document.
struct Compiling<'a> {
    path: String,
    written: &'a TokenExchange,
    /// Whether rules name targets.
    by_rule: bool,
    environment: Environment<'a>,
}

impl Compiling<'_> {
    #[cold]
    #[inline(never)]
    fn fault(&self, field: &str, reason: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        ConfigError::new(format!("{}.{field}", self.path), reason, fix)
    }

    fn compile(self, issuers: &[config::Issuer]) -> Result<ExchangeSettings, ConfigError> {
        let place = self.place(issuers)?;
        let timeout = compile_timeout(&self.written.timeout).map_err(|(reason, fix)| {
            self.fault("timeout", reason, fix).value(self.written.timeout.as_str())
        })?;
        let client = self.client()?;
        let (argument, targets) = self.targets()?;
        let client_id = self.written.client_id.clone().unwrap_or_default();
        Ok(ExchangeSettings { path: self.path, place, timeout, client_id, client, argument, targets })
    }

    fn place(&self, issuers: &[config::Issuer]) -> Result<TokenPlace, ConfigError> {
        let TokenExchange { token_endpoint, cluster, insecure_http, .. } = self.written;
        let endpoint = |field: &str, text: &str, url: &Url<'_>, cluster: Option<&str>| {
            url.endpoint(cluster).map_err(|(reason, fix)| self.fault(field, reason, fix).value(text))
        };
        if let Some(text) = token_endpoint {
            let url = Url::of_field(text, *insecure_http)
                .map_err(|(reason, fix)| self.fault("token_endpoint", reason, fix).value(text.as_str()))?;
            let endpoint = endpoint("cluster", "", &url, cluster.as_deref())?;
            return Ok(TokenPlace::Configured(Rc::new(endpoint)));
        }
        let absent = |reason: &str| self.fault("token_endpoint", reason, "give `token_endpoint`");
        let issuer =
            issuers.first().ok_or_else(|| absent("is absent, and there is no issuer to ask for it"))?;
        let url = Url::of_field(&issuer.issuer, issuer.insecure_http || *insecure_http)
            .map_err(|_| absent("is absent, and the first issuer is none that can be asked for it"))?;
        // With `jwks_uri` the issuer's cluster is that of its keys.
        let of_issuer = issuer.cluster.as_deref().filter(|_| issuer.jwks_uri.is_none());
        let endpoint = endpoint("cluster", "", &url, cluster.as_deref().or(of_issuer))?;
        Ok(TokenPlace::Discovered(Rc::new(IssuerPlace {
            issuer: issuer.issuer.clone(),
            origin: format!("{}://{}", url.scheme, url.authority),
            path: url.path.to_owned(),
            endpoint,
        })))
    }

    fn secret(&self, field: &str, reference: &SecretReference) -> Result<Secret, ConfigError> {
        let secret =
            reference.resolve(self.environment).map_err(|(reason, fix)| self.fault(field, reason, fix))?;
        if secret.expose().is_empty() || std::str::from_utf8(secret.expose()).is_err() {
            return Err(self.fault(field, "names an environment variable that holds no text", "set it"));
        }
        Ok(secret)
    }

    /// How the client proves itself: in one way, with all that it needs and nothing else.
    fn client(&self) -> Result<Client, ConfigError> {
        let TokenExchange {
            client_id,
            client_secret,
            token_endpoint_auth_method,
            private_key,
            private_key_id,
            ..
        } = self.written;
        let default = match private_key {
            Some(_) => AuthMethod::PrivateKeyJwt,
            None => AuthMethod::ClientSecretBasic,
        };
        let method = token_endpoint_auth_method.unwrap_or(default);
        let useless =
            |field: &str| self.fault(field, "is of no use to this way of authentication", "remove it");
        let has_secret = matches!(method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost);
        let has_key = method == AuthMethod::PrivateKeyJwt;
        if client_secret.is_some() && !has_secret {
            return Err(useless("client_secret"));
        }
        for (field, is_there) in
            [("private_key", private_key.is_some()), ("private_key_id", private_key_id.is_some())]
        {
            if is_there && !has_key {
                return Err(useless(field));
            }
        }
        let is_injected = method == AuthMethod::ClientSecretBasic && client_secret.is_none();
        let needed = |field: &str| self.fault(field, "is absent", format!("give `{field}`"));
        let client_id = match client_id.as_deref() {
            Some(id) if !id.is_empty() => id,
            None if is_injected => "",
            _ => return Err(needed("client_id")),
        };
        let secret = || match client_secret {
            Some(reference) => self.secret("client_secret", reference),
            None => Err(needed("client_secret")),
        };
        Ok(Client::Fixed(match method {
            AuthMethod::ClientSecretBasic if is_injected => ClientProof::Injected,
            AuthMethod::ClientSecretBasic => ClientProof::Basic(basic(client_id, &secret()?)),
            AuthMethod::ClientSecretPost => ClientProof::Post(secret()?),
            AuthMethod::TlsClientAuth | AuthMethod::None => ClientProof::Id,
            AuthMethod::PrivateKeyJwt => {
                let pem =
                    self.secret("private_key", private_key.as_ref().ok_or_else(|| needed("private_key"))?)?;
                if pem.expose() == STAND_IN.as_bytes() {
                    return Ok(Client::NotSet);
                }
                let key = ClientKey::from_pem(&pem, private_key_id.as_deref());
                return key.map(|key| Client::Key(Box::new(key))).ok_or_else(|| {
                    let fix = "give it in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it, or with `-algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
                    let reason = "is no private key of P-256 or Ed25519: assertions are signed with ES256 or EdDSA";
                    self.fault("private_key", reason, fix)
                });
            }
        }))
    }

    fn targets(&self) -> Result<(Option<Rc<str>>, Vec<Rc<Target>>), ConfigError> {
        let TokenExchange { audience, resource, scope, requested_token_type, issued_audience, .. } =
            self.written;
        let for_all = config::Target {
            name: audience.as_ref().or(resource.as_ref()).cloned().unwrap_or_default(),
            audience: audience.clone(),
            resource: resource.clone(),
            scope: scope.clone(),
            requested_token_type: requested_token_type.clone(),
            issued_audience: issued_audience.clone(),
            tools: None,
            token_review: None,
        };
        let (by, targets) = match (&self.written.target, &self.written.targets) {
            (None, None) => {
                return Ok((None, vec![Rc::new(self.target(0, "", &for_all, &for_all)?)]));
            }
            (Some(by), Some(targets)) => (by, targets),
            (None, Some(_)) => {
                let fix = "say which argument names the target, like `target: { argument: cluster, default: NAME }`";
                return Err(self.fault("targets", "stands without `target`", fix));
            }
            (Some(_), None) => {
                return Err(self.fault("target", "stands without `targets`", "name the targets"));
            }
        };
        let mut names = BTreeSet::new();
        let mut compiled = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let place = format!("targets[{index}].");
            let name = target.name.as_str();
            if name.is_empty() || !names.insert(name) {
                let reason =
                    if name.is_empty() { "is empty" } else { "is the name of another target as well" };
                let fix = "give each a name of its own";
                return Err(self.fault(&format!("{place}name"), reason, fix).value(name));
            }
            compiled.push(Rc::new(self.target(index, &place, target, &for_all)?));
        }
        let is_named = self.by_rule || targets.iter().any(|target| target.tools.is_some());
        match by.argument.as_deref() {
            Some("") => return Err(self.fault("target.argument", "is empty", "name the argument")),
            None if !is_named => {
                let fix = "name the argument that says which target a call is for, or the `tools` of each target, or a \
                           rule's `exchange`";
                let reason = "is absent, no target names `tools` and no rule a target";
                return Err(self.fault("target.argument", reason, fix));
            }
            _ => {}
        }
        let default = compiled.iter().position(|target| *target.name == *by.default).ok_or_else(|| {
            let fix = "use the name of one of them";
            self.fault("target.default", "is none of `targets`", fix).value(by.default.as_str())
        })?;
        // The first is taken where no other is named.
        compiled.swap(0, default);
        Ok((by.argument.as_deref().map(Rc::from), compiled))
    }

    fn target(
        &self,
        index: usize,
        place: &str,
        target: &config::Target,
        for_all: &config::Target,
    ) -> Result<Target, ConfigError> {
        let config::Target {
            name,
            audience,
            resource,
            scope,
            requested_token_type,
            issued_audience,
            tools,
            token_review,
        } = target;
        let own = |own: &Option<String>, general: &Option<String>| own.as_ref().or(general.as_ref()).cloned();
        let asked = Asked {
            audience: own(audience, &for_all.audience),
            resource: own(resource, &for_all.resource),
            scope: own(scope, &for_all.scope),
            requested_token_type: own(requested_token_type, &for_all.requested_token_type),
        };
        let issued_audience = own(issued_audience, &for_all.issued_audience);
        let texts = [
            ("audience", &asked.audience),
            ("resource", &asked.resource),
            ("scope", &asked.scope),
            ("requested_token_type", &asked.requested_token_type),
            ("issued_audience", &issued_audience),
        ];
        if let Some((field, _)) = texts.into_iter().find(|(_, text)| text.as_deref() == Some("")) {
            return Err(self.fault(
                &format!("{place}{field}"),
                "is empty",
                "give it a value, or leave it out",
            ));
        }
        if asked.audience.is_none() && asked.resource.is_none() && asked.scope.is_none() {
            let fix = "give `audience`, `resource` or `scope`";
            return Err(self.fault(
                &format!("{place}audience"),
                "is absent, and nothing else says what the token is for",
                fix,
            ));
        }
        let tools = tools.as_deref().unwrap_or_default();
        if let Some(place_of) = tools.iter().position(|tool| tool.is_empty()) {
            return Err(self.fault(
                &format!("{place}tools[{place_of}]"),
                "is empty",
                "name a tool, or a pattern of tools",
            ));
        }
        let review = match token_review {
            Some(server) => Some(Rc::new(self.review(place, server, asked.audience.as_deref())?)),
            None => None,
        };
        let request = Rc::new(self.request(asked)?);
        let tools = tools.iter().map(|tool| Pattern::new(tool)).collect();
        Ok(Target { name: Rc::from(name.as_str()), index, tools, request, issued_audience, review })
    }

    /// Who must say whose a token for the target is.
    fn review(
        &self,
        place: &str,
        server: &str,
        audience: Option<&str>,
    ) -> Result<ReviewSettings, ConfigError> {
        let field = format!("{place}token_review");
        let Some(audience) = audience else {
            let fix = "give the target's `audience`";
            return Err(self.fault(&field, "has nothing to ask for", fix).value(server));
        };
        let path = format!("{}.{field}", self.path);
        review_of_target(server, audience, self.written.insecure_http, &path)
    }

    /// What is sent, of which each grant takes its own part and must be given no other.
    fn request(&self, asked: Asked) -> Result<TokenRequest, ConfigError> {
        let TokenExchange {
            grant_type,
            subject_token_type,
            requested_token_use,
            actor_token,
            actor_token_type,
            ..
        } = self.written;
        let grant = match grant_type {
            GrantType::TokenExchange => Grant::TokenExchange,
            GrantType::JwtBearer => Grant::JwtBearer,
            GrantType::ClientCredentials => Grant::ClientCredentials,
        };
        let of_exchange = [
            ("subject_token_type", subject_token_type.is_some()),
            ("actor_token", actor_token.is_some()),
            ("actor_token_type", actor_token_type.is_some()),
            ("requested_token_type", asked.requested_token_type.is_some()),
        ];
        let useless = |field: &str| self.fault(field, "is no parameter of this `grant_type`", "remove it");
        if let Some((field, _)) =
            of_exchange.into_iter().find(|(_, is_there)| *is_there && grant != Grant::TokenExchange)
        {
            return Err(useless(field));
        }
        if requested_token_use.is_some() && grant != Grant::JwtBearer {
            return Err(useless("requested_token_use"));
        }
        let actor = match (actor_token, actor_token_type) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(self.fault("actor_token_type", "stands without `actor_token`", "remove it"));
            }
            (Some(token), kind) => Some((
                self.secret("actor_token", token)?,
                kind.clone().unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
            )),
        };
        Ok(TokenRequest {
            grant,
            subject_token_type: subject_token_type.clone().unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
            requested_token_use: requested_token_use
                .map(|RequestedTokenUse::OnBehalfOf| "on_behalf_of".to_owned()),
            actor,
            asked,
        })
    }
}
