//! The document's types.

use super::environment::SecretReference;
use super::token_exchange::TokenExchange;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The configuration of mcp-iap: the protected MCP endpoint, who may speak for its callers, and what they
/// may do. Everything that no rule allows is refused. Several endpoints stand below `resources`, each
/// with the fields that one has at the top.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[cfg_attr(
    not(target_arch = "wasm32"),
    schemars(extend("oneOf" = [{"required": ["resource", "rules"]}, {"required": ["resources"]}]))
)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL that clients call, and the `aud` that their tokens must carry (RFC 8707, RFC 9728). Its
    /// path is the MCP endpoint's.
    pub resource: Option<String>,
    /// Several resources behind one Envoy, instead of `resource`.
    pub resources: Option<Vec<Resource>>,
    /// The authorization servers whose tokens are accepted. Keys of one never verify tokens of another. At least
    /// one, unless callers identify themselves in another way.
    #[serde(default)]
    pub issuers: Vec<Issuer>,
    /// Whether callers must identify themselves. Without, everybody passes as the caller `anonymous` as far as the
    /// rules allow it, whatever else is configured here. Default: `true`.
    #[serde(default = "yes")]
    pub require_auth: bool,
    /// The Kubernetes API server that says whose a token is that none of `issuers` signed.
    pub token_review: Option<TokenReview>,
    /// API keys, each a caller.
    pub api_keys: Option<ApiKeys>,
    /// Workloads by the certificates of their connections (SPIFFE).
    pub mesh_identity: Option<MeshIdentity>,
    /// What is allowed and denied. Default deny; a deny rule beats every allow rule.
    pub rules: Option<Vec<Rule>>,
    /// Rules that decide nothing: what they would have decided is compared with what `rules` did, counted and recorded.
    /// Rates are not counted here. At most 1000.
    pub shadow_rules: Option<Vec<Rule>>,
    /// What the MCP server offers, as its operator reviewed it: `mcp-iap init` writes it.
    pub catalogue: Option<Catalogue>,
    /// How the caller's token is exchanged for one for the upstream (RFC 8693). Default: the upstream gets no
    /// credential.
    pub token_exchange: Option<TokenExchange>,
    /// Forward the caller's own token to the upstream. MCP forbids it ("Token Passthrough") but where the upstream
    /// is the resource itself: whoever runs the upstream can use the token everywhere that it is good for.
    #[serde(default)]
    pub token_passthrough: bool,
    /// Origins of browser pages that may call, like `https://app.example.com`. The resource's own is
    /// always allowed; a client that is no browser sends none.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// The hosts that requests to the resource may be for, as `Host` or `:authority` names them. Default:
    /// every one.
    pub allowed_hosts: Option<Vec<String>>,
    /// Headers on which rules may decide (`to.headers`): names of headers that Envoy itself sets, in lower case.
    /// Envoy must remove what a client sends by these names.
    #[serde(default)]
    pub trusted_headers: Vec<String>,
    /// Paths that pass to the upstream without a token, by GET and HEAD: health checks.
    #[serde(default)]
    pub health_paths: Vec<String>,
    /// What comes of credentials that do not hold.
    #[serde(default)]
    pub failed_authentication: FailedAuthentication,
    /// What records hold beside what stands in each.
    #[serde(default)]
    pub audit: Audit,
    /// Bounds on what is read.
    #[serde(default)]
    pub limits: Limits,
    /// Whether Envoy's `PluginConfig.allow_on_headers_stop_iteration` is set, by the same name. With it,
    /// of a refused request the upstream sees nothing. Without it (Istio's WasmPlugin can't set it) the
    /// upstream may see the head of a request, without credential, whose body is then refused.
    #[serde(default = "yes")]
    pub allow_on_headers_stop_iteration: bool,
}

/// One of several resources.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The URL that clients call, and the `aud` that their tokens must carry (RFC 8707, RFC 9728). Its
    /// path is the MCP endpoint's.
    pub resource: String,
    /// What is allowed and denied. Default deny; a deny rule beats every allow rule.
    pub rules: Vec<Rule>,
    /// Rules that decide nothing: what they would have decided is compared with what `rules` did, counted and recorded.
    /// Rates are not counted here. At most 1000.
    pub shadow_rules: Option<Vec<Rule>>,
    /// What the MCP server offers, as its operator reviewed it: `mcp-iap init` writes it.
    pub catalogue: Option<Catalogue>,
    /// How the caller's token is exchanged for one for the upstream (RFC 8693). Default: the upstream gets no
    /// credential.
    pub token_exchange: Option<TokenExchange>,
    /// Forward the caller's own token to the upstream. MCP forbids it ("Token Passthrough") but where the upstream
    /// is the resource itself: whoever runs the upstream can use the token everywhere that it is good for.
    #[serde(default)]
    pub token_passthrough: bool,
    /// The hosts that requests to the resource may be for, as `Host` or `:authority` names them; they tell
    /// resources with the same path apart. Default: every one.
    pub allowed_hosts: Option<Vec<String>>,
}

/// What an MCP server offers. Rules refer to it, and rules that don't fit it are refused; what the server
/// itself says of its tools is never believed.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Its tools, by name.
    pub tools: BTreeMap<String, Tool>,
}

/// One tool of the catalogue (MCP, "Tools": `Tool`, `ToolAnnotations`).
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// It changes nothing (`readOnlyHint`).
    #[serde(default)]
    pub read_only: bool,
    /// It may destroy what is there (`destructiveHint`). Default: `true`, unless it is read-only.
    pub destructive: Option<bool>,
    /// The JSON Schema of its arguments (`inputSchema`). Without it the arguments in rules are not checked.
    pub input_schema: Option<serde_json::Map<String, serde_json::Value>>,
    /// `sha256:` and the hexadecimal SHA-256 of its definition as the server listed it, in JSON with sorted
    /// keys and without white space. Requests are not held to it; `mcp-iap check --upstream` is.
    pub digest: Option<String>,
}

impl Tool {
    /// Whether it may destroy what is there.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        self.destructive.unwrap_or(!self.read_only)
    }
}

/// An authorization server.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The issuer's identifier: equal to the token's `iss`, to the letter. Its keys are found by OpenID
    /// Connect discovery below it.
    pub issuer: String,
    /// The audiences of which `aud` must hold one. Default: `resource`.
    pub audiences: Option<Vec<String>>,
    /// Where the token's groups stand; dots lead into objects (`realm_access.roles`). Default: `groups`.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// The issuer's key set, instead of discovery; it may stand on another host.
    pub jwks_uri: Option<String>,
    /// What its tokens may be signed with, by the names of RFC 7518 and RFC 8037. Default: every one with
    /// public keys (`RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512`, `EdDSA`);
    /// with `hmac_secret`: `HS256`.
    pub algorithms: Option<Vec<String>>,
    /// The secret that the issuer signs with (HS256, HS384, HS512), as `${NAME}` of an environment
    /// variable that Envoy gives to the filter. No keys are fetched for such an issuer.
    pub hmac_secret: Option<SecretReference>,
    /// The Envoy cluster through which the issuer, or `jwks_uri`, is reached. Default: its host.
    pub cluster: Option<String>,
    /// How its keys are fetched and how long they count.
    pub keys: Option<KeyFetching>,
    /// Where the issuer is asked about tokens that are opaque. One issuer alone may have this.
    pub introspection: Option<Introspection>,
    /// How far the issuer's clock may differ from ours. Default: `30s`; at most `5m`.
    #[serde(default = "clock_skew")]
    pub clock_skew: String,
    /// Accept an issuer by plain `http://`. For tests and demonstrations.
    #[serde(default)]
    pub insecure_http: bool,
}

/// Token introspection (RFC 7662). What proves the gate to the endpoint is `client_id` and `client_secret`, or a
/// credential that Envoy adds.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// The issuer's introspection endpoint.
    pub endpoint: String,
    /// The Envoy cluster through which it is reached. Default: its host.
    pub cluster: Option<String>,
    /// The client that the issuer knows the gate by.
    pub client_id: Option<String>,
    /// Its secret, as `${NAME}` of an environment variable that Envoy gives to the filter.
    pub client_secret: Option<SecretReference>,
    /// How long answers count.
    pub answers: Option<Answers>,
}

/// TokenReview (Kubernetes, `authentication.k8s.io/v1`). Of a token only its times and audience are checked here: whose
/// it is says the API server. The credential with which it is asked is added by Envoy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenReview {
    /// The API server, like `https://kubernetes.default.svc`.
    pub server: String,
    /// The audiences of which a token must have one. Default: `resource`.
    pub audiences: Option<Vec<String>>,
    /// The Envoy cluster through which it is reached. Default: its host.
    pub cluster: Option<String>,
    /// How long answers count.
    pub answers: Option<Answers>,
    /// How far the clock of who issued a token may differ from ours. Default: `30s`; at most `5m`.
    #[serde(default = "clock_skew")]
    pub clock_skew: String,
    /// Accept a server by plain `http://`. For tests.
    #[serde(default)]
    pub insecure_http: bool,
}

/// How long the answers of a service count. Durations are like `500ms`, `30s`, `5m`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// How long a token that counts is not asked about again; one that was taken back works no longer than that.
    /// Default: `10s`; `0s` to `5m`.
    pub cache_duration: String,
    /// The same of one that does not count. Default: `10s`; `0s` to `5m`.
    pub negative_cache_duration: String,
    /// How long an answer is waited for. Default: `5s`; `100ms` to `30s`.
    pub timeout: String,
}

impl Default for Answers {
    fn default() -> Self {
        let [cache_duration, negative_cache_duration, timeout] = ["10s", "10s", "5s"].map(str::to_owned);
        Self { cache_duration, negative_cache_duration, timeout }
    }
}

/// API keys. Kept of each is a hash alone; `mcp-iap hash-key` makes it.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The header in which keys come; it never reaches the upstream. Default: `X-API-Key`.
    #[serde(default = "api_key_header")]
    pub header: String,
    /// What keys are hashed with, as `${NAME}` of an environment variable that Envoy gives to the filter: at least
    /// 32 bytes.
    pub pepper: SecretReference,
    /// The keys, at least one. Several may count at one time.
    pub keys: Vec<ApiKey>,
}

/// One API key. Times are like `2026-11-21T08:00:00Z`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name in rules and audit records; unique.
    pub name: String,
    /// HMAC-SHA-256 of the key with the pepper, in hexadecimal or base64url.
    pub hash: String,
    /// The groups that its caller is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// From when on it counts. Default: always.
    pub not_before: Option<String>,
    /// From when on it counts no more. Default: never.
    pub expires_at: Option<String>,
    /// How long after `created_at` it counts, like `720h`.
    pub max_age: Option<String>,
}

/// Workloads by the URI among the names of their certificates, a SPIFFE ID. Envoy must verify the certificates of
/// its clients: the filter relies on that.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MeshIdentity {
    /// The trust domains whose workloads count, like `cluster.local`.
    pub trust_domains: Vec<String>,
    /// Whether a workload is a caller by itself, without token and API key. Default: `false`; then rules can
    /// name it beside the token's caller.
    #[serde(default)]
    pub authenticates: bool,
    /// Believe `x-forwarded-client-cert`. Default: never.
    pub forwarded_client_cert: Option<ForwardedClientCert>,
}

/// Whose word on its client's certificate is believed.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ForwardedClientCert {
    /// The proxies, by the SPIFFE IDs of their own certificates on this connection. What others send is not
    /// looked at.
    pub trusted_proxies: Vec<String>,
}

/// How an issuer's keys are fetched and how long they count. Durations are like `500ms`, `30s`, `5m`, `1h`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KeyFetching {
    /// How long a key set counts; a key that is withdrawn works no longer than that. It is fetched anew
    /// before. Default: `10m`; `1s` to `24h`.
    pub cache_duration: String,
    /// How long beyond that a key set counts while it can't be fetched anew (RFC 5861 section 4). Default:
    /// `1h`; `0s` to `24h`.
    pub stale_if_error: String,
    /// How long after a fetch a token with an unknown `kid` may have the next one made. Default: `1s`; `100ms`
    /// to `5m`.
    pub cooldown: String,
    /// How long a fetch may take, discovery and key set together. Default: `5s`; `100ms` to `30s`.
    pub timeout: String,
}

impl Default for KeyFetching {
    fn default() -> Self {
        let [cache_duration, stale_if_error, cooldown, timeout] =
            ["10m", "1h", "1s", "5s"].map(str::to_owned);
        Self { cache_duration, stale_if_error, cooldown, timeout }
    }
}

/// One rule: an operation, a caller, arguments, a time. All that a rule says must hold for it to match.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's name in audit records; unique.
    pub id: String,
    /// The operations that this rule allows. A rule has either `allow` or `deny`.
    pub allow: Option<Operations>,
    /// The operations that this rule denies.
    pub deny: Option<Operations>,
    /// Which callers the rule is about. Default: every authenticated caller.
    pub to: Option<Subjects>,
    /// The scope that the token must have for what this rule allows (RFC 6749 section 3.3): one name or
    /// several, with a space between. A caller who lacks nothing else is answered 403 `insufficient_scope` and
    /// told what to ask for. In allow rules only.
    pub scope: Option<String>,
    /// Conditions on the call's arguments, by name. An absent argument, or one of another type, meets no
    /// condition of an allow rule and every condition of a deny rule.
    #[serde(default)]
    pub arguments: BTreeMap<String, ArgumentCondition>,
    /// When the rule holds. Default: always.
    pub time: Option<TimeWindow>,
    /// A further condition in CEL, the Common Expression Language, on `caller`, `args` and what else a call is:
    /// `args.replicas <= 10 || "lead" in caller.groups`. What can't be evaluated meets no allow rule and every
    /// deny rule.
    pub when: Option<String>,
    /// How often each caller may do what this rule allows. A call beyond it is answered 429 with `Retry-After`, unless
    /// another rule allows it. In allow rules only.
    pub rate: Option<RateLimit>,
    /// The target of `token_exchange` whose token the upstream gets for what this rule allows, in the place of the one
    /// that the call is for. Rules must allow the call for both. In allow rules only.
    pub exchange: Option<String>,
    /// What a caller is told whom this rule refuses or does not let through, instead of the text made from the
    /// rule.
    pub message: Option<String>,
}

/// A rate: a bucket of calls for each caller, which fills evenly.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many calls at once, and on average in `per`: 1 to 1000000.
    pub calls: u64,
    /// The time in which an empty bucket is full again, like `1m`: `1s` to `24h`.
    pub per: String,
    /// Whether a rate limit service counts, for all Envoys together: Envoy's own rate limit filter, behind this one,
    /// asks it. Then `per` is `1s`, `1m`, `1h` or `24h`, and a call beyond the rate is refused whatever other rules
    /// allow. Needs `allow_on_headers_stop_iteration`.
    #[serde(default)]
    pub global: bool,
}

/// Operations by name; `*` stands for any text. One of them must match.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// Tools by name (`tools/call`).
    #[serde(default)]
    pub tools: Vec<String>,
    /// Prompts by name (`prompts/get`, `completion/complete`).
    #[serde(default)]
    pub prompts: Vec<String>,
    /// Resources by URI (`resources/read` and subscriptions).
    #[serde(default)]
    pub resources: Vec<String>,
    /// Tasks by id (`tasks/get`, `tasks/result`, `tasks/cancel`, `tasks/update` and subscriptions); `*` alone
    /// also means `tasks/list`.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Requests by JSON-RPC method, whatever they are about. A method that MCP does not have is allowed by its
    /// whole name only.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Of all these, what is for one of these targets of `token_exchange`, by the call's argument or by default.
    pub target: Option<Vec<String>>,
    /// Of `tools` (default: all) those that are read-only, or are not, by the catalogue. A tool that is not
    /// in it is never allowed and always denied by such a rule.
    pub read_only: Option<bool>,
    /// Of `tools` (default: all) those that are destructive, or are not, by the catalogue; as `read_only`.
    pub destructive: Option<bool>,
}

/// Callers. Everything that is given must hold; of a list, one entry.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Subjects {
    /// The token's issuer: one of `issuers`.
    pub issuer: Option<String>,
    /// The token's `sub` is one of these.
    pub subjects: Option<Vec<String>>,
    /// The token's `client_id` (or `azp`) is one of these.
    pub client_ids: Option<Vec<String>>,
    /// One of the caller's groups is one of these.
    pub groups: Option<Vec<String>>,
    /// The user that Kubernetes says a token is of is one of these; `*` stands for any text.
    pub kubernetes_users: Option<Vec<String>>,
    /// One of the token's scopes is one of these. Lacking it is no `insufficient_scope`: what a client may ask
    /// for is the rule's `scope`.
    pub scopes: Option<Vec<String>>,
    /// The token's claims, each by its name or, with dots, by its path: a text, an integer or a truth value that
    /// is one of these, or a list that has one of them. A claim that is absent or of another kind meets no
    /// allow rule and every deny rule.
    #[serde(default)]
    pub claims: BTreeMap<String, Vec<Scalar>>,
    /// The client's address, as Envoy determines it, is in one of these networks (`10.0.0.0/8`, `2001:db8::/32`,
    /// `192.0.2.7`).
    pub source: Option<Vec<String>>,
    /// Headers by name, each with the values of which it must have one: device or location, as Envoy set them.
    /// Names of `trusted_headers` only. A header that is absent or repeated meets no allow rule and every deny
    /// rule.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// The name of the caller's API key is one of these; `*` stands for any text.
    pub api_keys: Option<Vec<String>>,
    /// The SPIFFE ID of the workload that the connection comes from is one of these; `*` stands for any text, also
    /// with `/` in it.
    pub spiffe_ids: Option<Vec<String>>,
}

/// A condition on one argument: exactly one of its fields.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ArgumentCondition {
    /// The argument is one of these values, of the same type.
    #[serde(rename = "in")]
    pub one_of: Option<Vec<Scalar>>,
    /// The argument is a text that matches one of these; `*` stands for any text.
    pub glob: Option<Vec<String>>,
    /// The argument is a text that begins with one of these. Of a path this says nothing: `/srv/../etc` begins
    /// with `/srv/`.
    pub prefix: Option<Vec<String>>,
    /// The argument is an integer, written without fraction and exponent, within these bounds.
    pub integer: Option<IntegerRange>,
    /// The argument is a number, however it is written, within these bounds.
    pub number: Option<NumberRange>,
    /// The argument is this truth value.
    pub boolean: Option<bool>,
    /// The argument is there, or is not. `null` is neither.
    pub present: Option<bool>,
}

/// Bounds of a number; both are inclusive and may be absent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NumberRange {
    /// The smallest value.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
}

/// When a rule holds. All that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeWindow {
    /// Weekdays, like `[mon-fri]` or `[mon, wed, fri-sun]`. Default: every day.
    pub days: Option<Vec<String>>,
    /// Hours of the day, like `08:00-18:00`; the end is not within. Over midnight (`22:00-06:00`) they belong to
    /// the day on which they begin. Default: the whole day.
    pub hours: Option<String>,
    /// The time zone of days and hours, like `Europe/Zurich` or `UTC` (IANA Time Zone Database).
    pub zone: Option<String>,
    /// The instant from which the rule holds, with its offset, like `2026-12-20T00:00:00Z` (RFC 3339).
    pub from: Option<String>,
    /// The instant from which it holds no longer.
    pub until: Option<String>,
}

/// Bounds of an integer; both are inclusive and may be absent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IntegerRange {
    /// The smallest value.
    pub min: Option<i64>,
    /// The largest value.
    pub max: Option<i64>,
}

/// A text, an integer or a truth value.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(try_from = "serde_json::Value")]
#[cfg_attr(not(target_arch = "wasm32"), schemars(untagged))]
pub enum Scalar {
    /// A text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
}

impl TryFrom<serde_json::Value> for Scalar {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        match value {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            serde_json::Value::Bool(bool) => Ok(Self::Bool(bool)),
            serde_json::Value::Number(number) => number.as_i64().map(Self::Integer).ok_or(WANTED_SCALAR),
            _ => Err(WANTED_SCALAR),
        }
    }
}

const WANTED_SCALAR: &str = "must be a text, an integer, `true` or `false`";

/// What audit records hold beside what stands in each.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The arguments of tools and prompts, by their names, whose values stand in the record: texts, cut to 256 bytes,
    /// numbers, truth values and `null`. At most 32. Default: none.
    pub clear_arguments: Vec<String>,
    /// `${NAME}`: the key, of at least 32 bytes, by which the arguments of each call stand in the record as an
    /// HMAC-SHA-256 of their text, of its first 16 KiB, and callers of global rates are told to the rate limit service: the
    /// same for all Envoys that count together. Default: none, and no digest of arguments, and one of callers without a key.
    pub digest_key: Option<SecretReference>,
    /// Listed arguments of these names are masked, whatever they hold, and refusals do not quote them; `*` stands for any
    /// text, and case does not count. At most 32. Default: none.
    pub mask_arguments: Vec<String>,
    /// Texts of these forms are masked, wherever they stand in arguments, in what a request names (tool, prompt,
    /// resource, task, method) and in refusals; `*` stands for any text, at an end for all up to there. At most 32. What
    /// has the form of a JWT is masked in any case. Default: none.
    pub mask_values: Vec<String>,
    /// What stands in the place of what is masked: 1 to 64 printable characters of ASCII. Default: `***REDACTED***`.
    pub mask: String,
    /// What stands in the record of what rules read, live and shadow ones: claims and trusted headers, or all, with
    /// arguments, or none of it. Default: `no_arguments`.
    pub attributes: AuditAttributes,
    /// What rules read under these names (`claims.NAME`, `headers.NAME`, `arguments.NAME`) is masked in the record; `*`
    /// stands for any text, and case does not count. At most 32. Default: none.
    pub mask_attributes: Vec<String>,
    /// Whether answers to requests are read as they pass, up to 16 KiB of each, for errors of JSON-RPC and of tools
    /// (`isError`), which then stand in the record. Default: false.
    pub read_answers: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            clear_arguments: Vec::new(),
            digest_key: None,
            mask_arguments: Vec::new(),
            mask_values: Vec::new(),
            mask: "***REDACTED***".to_owned(),
            attributes: AuditAttributes::NoArguments,
            mask_attributes: Vec::new(),
            read_answers: false,
        }
    }
}

/// What stands in the record of what rules read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditAttributes {
    /// All of it, the values of arguments as well.
    All,
    /// All but the values of arguments; those of `clear_arguments` stand there anyway.
    NoArguments,
    /// Nothing.
    None,
}

/// How many failed authentications are too many, and what comes of it. Counted for all workers of an Envoy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FailedAuthentication {
    /// How many failures at once, and within `window`: 1 to 10000, or 0 to count none. Default: 5.
    pub threshold: u32,
    /// Within this time, `1s` to `24h`, all of them are forgotten, one by one. Default: `300s`.
    pub window: String,
    /// What comes of it for the address that they come from, as Envoy determines it; of IPv6 its first 64 bits.
    /// Default: `alert`.
    pub source: OnFailures,
    /// What comes of it for the subject, where its credential is verified and yet does not hold: without the certificate
    /// that it is bound to, before its time, an API key that has ended. Default: `alert`.
    pub subject: OnFailures,
}

impl Default for FailedAuthentication {
    fn default() -> Self {
        let window = "300s".to_owned();
        Self { threshold: 5, window, source: OnFailures::Alert, subject: OnFailures::Alert }
    }
}

/// What comes of too many failures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailures {
    /// They are counted, and recorded.
    Alert,
    /// The same, and each further refusal is held for two seconds.
    Slow,
    /// The same, and every request is refused, with 429, until one is forgotten.
    Block,
}

/// Bounds on what is read from a request.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body, in bytes; a larger one is answered 413. Envoy's
    /// `per_connection_buffer_limit_bytes` must be at least this. Default: 1000000.
    pub body_bytes: usize,
    /// How many verified tokens each worker remembers, so that their signatures are verified once: at most
    /// 100000, none for 0. Default: 10000, within 5 MiB.
    pub cached_tokens: usize,
    /// The largest answer to a request for a list (`tools/list` and the like), in bytes, and the largest event of such
    /// an answer or of a GET stream; in the place of a larger one comes an error. Default: 4000000.
    pub list_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1_000_000, cached_tokens: 10_000, list_bytes: 4_000_000 }
    }
}

fn yes() -> bool {
    true
}

fn api_key_header() -> String {
    "X-API-Key".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

fn clock_skew() -> String {
    "30s".to_owned()
}
