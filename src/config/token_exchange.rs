//! The document's types for the credential that the upstream gets.

use super::environment::SecretReference;
use serde::Deserialize;

/// How the caller's token is exchanged for one for the upstream (RFC 8693). Nothing is exchanged before a rule has
/// allowed the request. Without it the upstream gets no credential.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenExchange {
    /// The token endpoint. Default: the one that the first issuer's discovery document names, on the issuer's own
    /// host.
    pub token_endpoint: Option<String>,
    /// The Envoy cluster through which the token endpoint, or the first issuer, is reached. Default: that of the
    /// issuer if it is asked by discovery, else the endpoint's host.
    pub cluster: Option<String>,
    /// How long each request may take. Default: `5s`; `100ms` to `30s`.
    #[serde(default = "timeout")]
    pub timeout: String,
    /// Accept a token endpoint by plain `http://`. For tests and demonstrations.
    #[serde(default)]
    pub insecure_http: bool,
    /// How a token is asked for. Default: token exchange.
    #[serde(default)]
    pub grant_type: GrantType,
    /// The gate's own client id at the token endpoint.
    pub client_id: Option<String>,
    /// The client's secret, as `${NAME}` of an environment variable that Envoy gives to the filter. Leave it out
    /// where Envoy's credential injector adds it.
    pub client_secret: Option<SecretReference>,
    /// How the client proves itself (RFC 7591 section 2). Default: `private_key_jwt` with `private_key`, else
    /// `client_secret_basic`, which Envoy adds where there is no `client_secret`.
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// The client's private key for `private_key_jwt`, one of P-256 (ES256) or Ed25519 (EdDSA) in PEM (PKCS #8), as
    /// `${NAME}` of an environment variable.
    pub private_key: Option<SecretReference>,
    /// The `kid` of that key.
    pub private_key_id: Option<String>,
    /// `subject_token_type` of the caller's token. Default: `urn:ietf:params:oauth:token-type:access_token`.
    pub subject_token_type: Option<String>,
    /// `requested_token_use`, for the JWT bearer grant: `on_behalf_of` (Microsoft Entra).
    pub requested_token_use: Option<RequestedTokenUse>,
    /// A token of the party that acts for the caller (RFC 8693 section 2.1), as `${NAME}` of an environment variable.
    pub actor_token: Option<SecretReference>,
    /// Its type. Default: `urn:ietf:params:oauth:token-type:access_token`.
    pub actor_token_type: Option<String>,
    /// The `audience` that the token is asked for.
    pub audience: Option<String>,
    /// The `resource` that the token is asked for (RFC 8707).
    pub resource: Option<String>,
    /// The `scope` that the token is asked for.
    pub scope: Option<String>,
    /// The `requested_token_type`. Default: the endpoint's choice, of which an access token or a JWT is taken.
    pub requested_token_type: Option<String>,
    /// What `aud` of the token must hold, which then must be a JWT. Default: it is not looked at.
    pub issued_audience: Option<String>,
    /// Which of the targets a request is for.
    pub target: Option<TargetArgument>,
    /// The targets by name. What one leaves out is as for all.
    pub targets: Option<Vec<Target>>,
}

/// Which target a request's token is for.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TargetArgument {
    /// The argument of a call that names it. One that names none of `targets` is refused.
    pub argument: Option<String>,
    /// The target of a request that neither its tool nor its argument says one for.
    pub default: String,
}

/// One target: what a token for it is asked for with.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name, as the argument has it.
    pub name: String,
    /// As in `token_exchange`.
    pub audience: Option<String>,
    /// As in `token_exchange`.
    pub resource: Option<String>,
    /// As in `token_exchange`.
    pub scope: Option<String>,
    /// As in `token_exchange`.
    pub requested_token_type: Option<String>,
    /// As in `token_exchange`.
    pub issued_audience: Option<String>,
    /// The tools, as patterns, whose calls are for this target whatever their arguments say; of several targets that name
    /// a tool, the first.
    pub tools: Option<Vec<String>>,
    /// The Kubernetes API server that must say whose the token is before it is used, like
    /// `https://api.staging.example.com`. It is asked for the target's `audience`, through the cluster of its host.
    pub token_review: Option<String>,
}

/// A grant, by the name of RFC 7591 section 2 (`grant_types`).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum GrantType {
    /// RFC 8693.
    #[default]
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
    /// RFC 7523 section 2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// RFC 6749 section 4.4: the upstream gets a token of the gate's own, the same for all callers.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
}

/// How a client proves itself, by the name of RFC 7591 section 2 (`token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// `Authorization: Basic`, by the filter or, without `client_secret`, by Envoy.
    ClientSecretBasic,
    /// The secret among the parameters.
    ClientSecretPost,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
    /// The certificate of the cluster (RFC 8705); the filter sends the id.
    TlsClientAuth,
    /// The id alone.
    None,
}

/// What the JWT bearer grant is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RequestedTokenUse {
    /// Microsoft Entra's on-behalf-of flow.
    OnBehalfOf,
}

fn timeout() -> String {
    "5s".to_owned()
}
