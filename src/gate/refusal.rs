//! From a reason to what goes on the wire: status, headers, JSON-RPC error. The one mapping.
//!
//! Sources: RFC 6750 section 3.1 (401, 400), RFC 9728 section 5.1, MCP 2026-07-28 "Error Codes" and
//! "Streamable HTTP"; own codes are the HTTP status, outside JSON-RPC's reserved range.

use super::cors::Cors;
use super::request::Request;
use super::route;
use crate::mcp::headers::PROTOCOL_VERSION;
use crate::mcp::{Era, MODERN};
use crate::oauth::{Challenge, ProtectedResource};
use crate::policy::{Denial, Sentence};
use crate::reason::Reason;
use serde::Serialize;

/// An answer that is given here.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case and their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; JSON.
    pub body: String,
    /// Why.
    pub reason: Reason,
}

/// The header that names the decision.
pub const DECISION: &str = "mcp-iap-decision";
/// What a client does next, in seconds.
const RETRY_AFTER: &str = "2";

/// How long a version may be to be told back, in bytes.
const MAX_VERSION: usize = 64;

/// How a reason looks on the wire.
struct Wire {
    status: u16,
    /// JSON-RPC's code where a standard names one.
    code: Option<i32>,
    /// RFC 6750's code; the header comes with every 401.
    error: Option<&'static str>,
    message: &'static str,
}

/// JSON-RPC's error (JSON-RPC 2.0 section 5.1).
#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
    data: ErrorData<'a>,
}

#[derive(Serialize)]
struct ErrorData<'a> {
    reason: &'static str,
    decision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<&'a str>,
}

impl Answer {
    /// The RFC 9728 document.
    pub(super) fn metadata(resource: &ProtectedResource, cors: Option<&Cors>) -> Self {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "max-age=300".to_owned()),
            (Cors::VARY.0, Cors::VARY.1.to_owned()),
        ];
        headers.extend(cors.into_iter().flat_map(Cors::headers));
        Self { status: 200, headers, body: resource.document().to_owned(), reason: Reason::Metadata }
    }

    /// The refusal of a request for what happened after the gate let it through, noted in its record.
    #[must_use]
    pub fn refuse_late(request: &Request, denial: impl Into<Denial>) -> Self {
        let denial = denial.into();
        request.note(|record| record.note_denial(&denial));
        Self::refuse(request, &denial)
    }

    /// The refusal of a request.
    pub(super) fn refuse(request: &Request, denial: &Denial) -> Self {
        let id = request.message_id();
        let wire = wire(denial.reason, request.era(), id.is_some());
        let decision = request.note(|record| record.decision.clone());
        let is_version = denial.reason == Reason::UnsupportedProtocolVersion;
        let said = denial.message.as_ref().and_then(|message| may_say(request, denial, message));
        let error = ErrorObject {
            code: wire.code.unwrap_or_else(|| i32::from(wire.status)),
            message: said.as_deref().unwrap_or(wire.message),
            data: ErrorData {
                reason: denial.reason.code(),
                decision: &decision,
                argument: denial.argument.as_deref(),
                supported: is_version.then_some(MODERN),
                requested: request
                    .head
                    .one(PROTOCOL_VERSION)
                    .text()
                    .filter(|version| is_version && version.len() <= MAX_VERSION),
            },
        };
        let body = body(id.as_deref(), &error);
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
            (DECISION, decision.clone()),
        ];
        let resource = request.resource().ok();
        if let Some(resource) = resource.filter(|_| wire.status == 401 || wire.error.is_some()) {
            let realm = resource.protected.identifier();
            let has_issuers = !request.settings.issuers.is_empty();
            let challenge = Challenge {
                realm,
                resource_metadata: has_issuers.then(|| resource.protected.metadata_url()),
                error: wire.error,
                error_description: wire.error.map(|_| wire.message),
                scope: if wire.status == 401 { &resource.basic_scope } else { &denial.scope },
            };
            let challenge = match request.settings.takes_tokens() {
                true => challenge.to_string(),
                // A 401 has a challenge (RFC 9110 section 15.5.2); no scheme is registered for API keys.
                false => format!("ApiKey realm=\"{realm}\""),
            };
            headers.push(("www-authenticate", challenge));
        }
        if let Some(cors) = &request.cors {
            headers.extend(cors.headers());
            headers.push((Cors::VARY.0, Cors::VARY.1.to_owned()));
        }
        if wire.status == 503 {
            headers.push(("retry-after", RETRY_AFTER.to_owned()));
        }
        if let Some(wait) = denial.retry_after {
            // In whole seconds, rounded up (RFC 9110 section 10.2.3).
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
            headers.push(("retry-after", seconds.to_string()));
        }
        if wire.status == 405 {
            headers.push((
                "allow",
                route::allowed_methods(resource.map(|one| &one.protected), &request.head).to_owned(),
            ));
        }
        Self { status: wire.status, headers, body, reason: denial.reason }
    }
}

/// What a rule says of a call. Of an argument's value that it quotes what is masked is left out: who called knows it, and yet
/// his client may write down what it is told.
fn may_say(request: &Request, denial: &Denial, message: &Sentence) -> Option<String> {
    let masks = &request.settings.audit.masks;
    if denial.argument.as_deref().is_some_and(|name| masks.has_name(name)) {
        return None;
    }
    Some(message.hiding(|value| request.secrets().hide(value)))
}

fn body(id: Option<&str>, error: &ErrorObject<'_>) -> String {
    let error = serde_json::to_string(error).unwrap_or_else(|_| "null".to_owned());
    let id = id.unwrap_or("null");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

/// The error for what is found when the head of the answer has gone on: in the place of a message in it.
pub(super) fn late_error(id: Option<&str>, era: Option<Era>, reason: Reason, decision: &str) -> String {
    let wire = wire(reason, era, id.is_some());
    let data =
        ErrorData { reason: reason.code(), decision, argument: None, supported: None, requested: None };
    let code = wire.code.unwrap_or_else(|| i32::from(wire.status));
    body(id, &ErrorObject { code, message: wire.message, data })
}

/// What a caller is told for this reason, where no rule says it in words of its own.
#[must_use]
pub fn told(reason: Reason) -> &'static str {
    wire(reason, None, false).message
}

fn wire(reason: Reason, era: Option<Era>, has_id: bool) -> Wire {
    const INVALID_REQUEST: Option<i32> = Some(-32600);
    let answer = |status, message| Wire { status, code: None, error: None, message };
    let rpc = |code, message| Wire { status: 400, code, error: None, message };
    let token = |message| Wire { status: 401, code: None, error: Some("invalid_token"), message };
    let malformed = |message| Wire { status: 400, code: None, error: Some("invalid_request"), message };
    match reason {
        Reason::UnknownPath => answer(404, "there is nothing at this path"),
        Reason::MethodNotAllowed => answer(405, "this HTTP method is not used here"),
        Reason::OriginNotAllowed => answer(403, "this origin is not allowed"),
        Reason::HostNotAllowed => answer(403, "this host is not allowed"),
        Reason::Override => answer(400, "a header overrides the method or the path"),
        Reason::MalformedHead => answer(400, "the request's head can't be read"),

        Reason::MissingToken => answer(401, "a bearer token is needed"),
        Reason::MalformedAuthorization => malformed("the Authorization header is malformed"),
        Reason::TokenInQuery => malformed("a token in the query string is not accepted"),
        Reason::TokenRepeated => malformed("the token stands outside the Authorization header"),
        Reason::MalformedToken => token("the token is malformed"),
        Reason::AlgorithmNotAccepted => token("the algorithm of the token is not accepted"),
        Reason::NotAnAccessToken => token("the token is no access token"),
        Reason::UnknownIssuer => token("the issuer of the token is not accepted"),
        Reason::UnknownKey => token("the key of the token is unknown"),
        Reason::BadSignature => token("the signature of the token is wrong"),
        Reason::TokenExpired => token("the token is expired"),
        Reason::TokenNotYetValid => token("the token is not valid yet"),
        Reason::WrongAudience => token("the token is for another audience"),
        Reason::InvalidClaim => token("a claim of the token is missing or malformed"),
        Reason::SenderConstraintUnsupported => token("the token is bound to what is not verified here"),
        Reason::ClientCertificateMissing => token("the token is bound to a client certificate"),
        Reason::ClientCertificateMismatch => token("the token is bound to another client certificate"),
        Reason::TokenInactive => token("the token is not active"),
        Reason::IntrospectionUnavailable => answer(503, "the issuer can't be asked about the token"),
        Reason::TokenReviewDenied => token("the token is nobody's"),
        Reason::IssuedTokenDenied => {
            answer(403, "the target does not accept the token that was issued for it")
        }
        Reason::TokenReviewUnavailable => answer(503, "the token can't be reviewed"),
        Reason::MissingApiKey => answer(401, "an API key is needed"),
        Reason::MalformedApiKey => answer(400, "the header of the API key is malformed"),
        Reason::UnknownApiKey => answer(401, "the API key is unknown"),
        Reason::ApiKeyExpired => answer(401, "the API key is expired"),
        Reason::ApiKeyNotYetValid => answer(401, "the API key is not valid yet"),
        Reason::SeveralCredentials => {
            answer(400, "an API key and an Authorization header exclude each other")
        }
        Reason::MeshIdentityMissing => answer(403, "the connection has no workload's identity"),
        Reason::MeshIdentityNotAccepted => answer(403, "the workload of the connection is not accepted"),
        Reason::MalformedForwardedClientCert => answer(400, "the forwarded client certificate is malformed"),
        Reason::IdentityProviderUnavailable => answer(503, "the identity provider can't be asked"),

        Reason::BodyTooLarge => answer(413, "the body is too large"),
        Reason::ContentEncoding => answer(415, "an encoded body is not accepted"),
        Reason::ContentType => answer(415, "the body must be application/json in UTF-8"),
        Reason::InvalidJson => rpc(Some(-32700), "the body is no JSON text"),
        Reason::TooDeep => rpc(INVALID_REQUEST, "the body nests too deep"),
        Reason::TooManyMembers => rpc(INVALID_REQUEST, "an object has too many members"),
        Reason::DuplicateKey => rpc(INVALID_REQUEST, "an object has two members with one name"),
        Reason::KeyVariant => rpc(INVALID_REQUEST, "a member's name is a variant of a known one"),
        Reason::Batch => rpc(INVALID_REQUEST, "batches are not accepted"),
        Reason::InvalidMessage => rpc(INVALID_REQUEST, "the body is no MCP message"),
        Reason::AmbiguousUri => rpc(Some(-32602), "the URI can be read in several ways"),
        Reason::Trailers => rpc(None, "trailers are not accepted"),
        Reason::UnexpectedBody => rpc(None, "this HTTP method has no body"),
        Reason::HeaderMismatch => rpc(Some(-32020), "a header is missing or differs from the body"),
        Reason::MissingMeta => rpc(Some(-32602), "_meta lacks protocolVersion or clientCapabilities"),
        Reason::UnsupportedProtocolVersion => rpc(Some(-32022), "this protocol version is not supported"),
        // In the legacy revisions a 404 says that the session has ended, and an error is answered 200;
        // a notification has no id to answer.
        Reason::UnknownMethod => Wire {
            status: match era {
                Some(Era::Modern) => 404,
                _ if has_id => 200,
                _ => 400,
            },
            code: Some(-32601),
            error: None,
            message: "this method is unknown",
        },

        Reason::NoRuleAllows => answer(403, "no rule allows this"),
        Reason::InsufficientScope => Wire {
            status: 403,
            code: None,
            error: Some("insufficient_scope"),
            message: "the token lacks a scope that this needs",
        },
        Reason::DeniedByRule => answer(403, "a rule denies this"),
        Reason::ArgumentMissing => answer(403, "an argument is needed"),
        Reason::ArgumentType => answer(403, "an argument has the wrong type"),
        Reason::ArgumentNotInList => answer(403, "an argument has a value that is not accepted"),
        Reason::ArgumentOutOfRange => answer(403, "an argument is out of range"),
        Reason::ArgumentNotAccepted => answer(403, "an argument is not accepted"),
        Reason::ClaimMismatch => answer(403, "the token lacks a claim that this needs"),
        Reason::SourceNotAllowed => answer(403, "not from this address"),
        Reason::AttributeMismatch => answer(403, "not from this device or place"),
        Reason::OutsideTimeWindow => answer(403, "not at this time"),
        Reason::ConditionNotMet => answer(403, "a condition is not met"),
        Reason::ConditionError => answer(403, "a condition can't be evaluated for this call"),
        Reason::RateLimited => answer(429, "too many calls"),
        Reason::TooManyFailures => answer(429, "too many failed authentications"),

        Reason::UnknownTarget => answer(403, "an argument names no target"),
        Reason::SubjectTokenRefused => token("the token is not accepted for the upstream"),
        Reason::TargetRefused => answer(403, "no token is given for this target"),
        Reason::TokenEndpointUnavailable => answer(503, "the token endpoint can't be asked"),
        Reason::TokenRequestRefused => answer(503, "the token endpoint refuses the gate"),
        Reason::TokenResponseInvalid => answer(503, "the token endpoint's answer is not used"),
        Reason::TokenNotExchanged => answer(503, "the token endpoint gave the token back"),
        Reason::UpstreamRefusedCredential => answer(503, "the upstream refused the gate's credential"),

        Reason::RateLimitUnavailable => answer(503, "the rate limit service can't be asked"),
        Reason::ListUnreadable => answer(502, "the server's list can't be read"),
        Reason::ListTooLarge => answer(502, "the server's list is too large"),
        Reason::UpstreamAnsweredEarly => answer(502, "the upstream answered before the call was decided"),
        Reason::FlagMissing => answer(503, "the gate is not set up for bodies"),
        Reason::Overloaded => answer(503, "too many requests are waiting"),
        Reason::Allowed
        | Reason::Health
        | Reason::Metadata
        | Reason::Preflight
        | Reason::ClientGone
        | Reason::EndedByEnvoy
        | Reason::NotSeen
        | Reason::Internal => answer(500, "the gate can't decide"),
    }
}
