//! Why a request ended as it did: the closed list of reason codes.
//!
//! A code is part of the product's interface: it stands in refusals, audit records and counters, and
//! `docs/reason-codes.md` gives cause and fix of each. What goes on the wire for it is
//! [`crate::gate::refusal`]'s business.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// Why a request was answered as it was.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code, in `snake_case`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// A rule, or the default for lifecycle and listing methods, allowed the request.
    Allowed = "allowed",
    /// A health path, open to everybody.
    Health = "health",
    /// The RFC 9728 document was asked for and given.
    Metadata = "metadata",
    /// A browser asked beforehand (CORS) and was answered.
    Preflight = "preflight",

    /// The path is neither the resource's nor one that is answered here.
    UnknownPath = "unknown_path",
    /// The HTTP method is not one of Streamable HTTP's.
    MethodNotAllowed = "method_not_allowed",
    /// A browser's page from an origin that is not allowed.
    OriginNotAllowed = "origin_not_allowed",
    /// The request is for a host that is not allowed.
    HostNotAllowed = "host_not_allowed",
    /// A header asks the upstream to take another HTTP method or path than the request's.
    Override = "override",
    /// The head has no path or method, or is larger than can be read.
    MalformedHead = "malformed_head",

    /// No bearer token was sent.
    MissingToken = "missing_token",
    /// `Authorization` is repeated, or what follows `Bearer` is no token.
    MalformedAuthorization = "malformed_authorization",
    /// An access token stands in the query string.
    TokenInQuery = "token_in_query",
    /// The token stands in the head a second time, outside `Authorization`.
    TokenRepeated = "token_repeated",
    /// The token is no JWS in compact form with strict JSON inside.
    MalformedToken = "malformed_token",
    /// The token's `alg` is not accepted, or not the key's.
    AlgorithmNotAccepted = "algorithm_not_accepted",
    /// The token's `typ` says that it is no access token, or it carries an ID token's claims.
    NotAnAccessToken = "not_an_access_token",
    /// The token's `iss` is none of the configured issuers.
    UnknownIssuer = "unknown_issuer",
    /// The issuer has no usable key that fits the token.
    UnknownKey = "unknown_key",
    /// The signature is not the key's.
    BadSignature = "bad_signature",
    /// `exp` is past.
    TokenExpired = "token_expired",
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid = "token_not_yet_valid",
    /// `aud` does not name this resource.
    WrongAudience = "wrong_audience",
    /// A required claim is absent or of a wrong type.
    InvalidClaim = "invalid_claim",
    /// The token is bound to something else than a client certificate (`cnf`), which is not verified here.
    SenderConstraintUnsupported = "sender_constraint_unsupported",
    /// The token is bound to a client certificate, and this connection has none.
    ClientCertificateMissing = "client_certificate_missing",
    /// The token is bound to another client certificate than this connection's.
    ClientCertificateMismatch = "client_certificate_mismatch",
    /// The issuer says that an opaque token is not active.
    TokenInactive = "token_inactive",
    /// The issuer can't be asked about an opaque token.
    IntrospectionUnavailable = "introspection_unavailable",
    /// Kubernetes says that the token is nobody's.
    TokenReviewDenied = "token_review_denied",
    /// The target's API server says that the token that was issued for it is nobody's.
    IssuedTokenDenied = "issued_token_denied",
    /// Kubernetes can't be asked about a token.
    TokenReviewUnavailable = "token_review_unavailable",
    /// No API key was sent, where nothing else would do.
    MissingApiKey = "missing_api_key",
    /// The header of API keys is repeated, or holds nothing that is a key.
    MalformedApiKey = "malformed_api_key",
    /// The API key is none of the configured ones.
    UnknownApiKey = "unknown_api_key",
    /// The API key is one of the configured ones, and counts no more.
    ApiKeyExpired = "api_key_expired",
    /// The API key is one of the configured ones, and does not count yet.
    ApiKeyNotYetValid = "api_key_not_yet_valid",
    /// An API key came beside `Authorization`: which of the two counts is not guessed.
    SeveralCredentials = "several_credentials",
    /// The connection has no workload's identity, where nothing else would do.
    MeshIdentityMissing = "mesh_identity_missing",
    /// The connection's certificate names no workload of a configured trust domain.
    MeshIdentityNotAccepted = "mesh_identity_not_accepted",
    /// What a trusted proxy says of its client's certificate can't be relied on.
    MalformedForwardedClientCert = "malformed_forwarded_client_cert",
    /// The address or the caller has failed to authenticate too often, and is blocked for a while.
    TooManyFailures = "too_many_failures",

    /// The issuer's discovery document or keys can't be had.
    IdentityProviderUnavailable = "identity_provider_unavailable",

    /// The body is larger than the limit.
    BodyTooLarge = "body_too_large",
    /// The body came with a `Content-Encoding`.
    ContentEncoding = "content_encoding",
    /// The body is not announced as `application/json` in UTF-8.
    ContentType = "content_type",
    /// The body is no JSON text in UTF-8.
    InvalidJson = "invalid_json",
    /// The body nests deeper than the limit.
    TooDeep = "too_deep",
    /// An object that is read has more members than the limit.
    TooManyMembers = "too_many_members",
    /// An object that is read has two members with one name.
    DuplicateKey = "duplicate_key",
    /// A member's name differs from one that is read only by case or by a character that parsers fold.
    KeyVariant = "key_variant",
    /// The body is a JSON-RPC batch.
    Batch = "batch",
    /// The body is no JSON-RPC 2.0 message of MCP.
    InvalidMessage = "invalid_message",
    /// The URI of a resource can be read in several ways.
    AmbiguousUri = "ambiguous_uri",
    /// The request ends with trailers, which MCP does not have.
    Trailers = "trailers",
    /// A GET or DELETE carries a body.
    UnexpectedBody = "unexpected_body",
    /// An `Mcp-*` header is absent, repeated, or differs from the body.
    HeaderMismatch = "header_mismatch",
    /// A modern request lacks a required member of `_meta`.
    MissingMeta = "missing_meta",
    /// The protocol version is not one that is known here.
    UnsupportedProtocolVersion = "unsupported_protocol_version",
    /// The method is none of MCP's.
    UnknownMethod = "unknown_method",

    /// No rule allows this operation to this caller.
    NoRuleAllows = "no_rule_allows",
    /// A rule would allow this operation to this caller, with a scope that the token lacks.
    InsufficientScope = "insufficient_scope",
    /// A deny rule matched.
    DeniedByRule = "denied_by_rule",
    /// An argument that the rule needs is absent.
    ArgumentMissing = "argument_missing",
    /// An argument has another type than the rule's.
    ArgumentType = "argument_type",
    /// An argument is not one of the rule's values.
    ArgumentNotInList = "argument_not_in_list",
    /// A number is above the rule's maximum or below its minimum.
    ArgumentOutOfRange = "argument_out_of_range",
    /// An argument is there that must not be, or is not like the rule wants it.
    ArgumentNotAccepted = "argument_not_accepted",
    /// A claim of the token is absent or has none of the rule's values.
    ClaimMismatch = "claim_mismatch",
    /// The client's address is in none of the rule's networks.
    SourceNotAllowed = "source_not_allowed",
    /// A header that Envoy sets is absent or has none of the rule's values.
    AttributeMismatch = "attribute_mismatch",
    /// The rule holds at other times.
    OutsideTimeWindow = "outside_time_window",
    /// The rule's `when` does not hold.
    ConditionNotMet = "condition_not_met",
    /// The rule's `when` can't be evaluated for this call.
    ConditionError = "condition_error",
    /// The caller has used up the rule's rate.
    RateLimited = "rate_limited",

    /// The argument that names a call's target names none.
    UnknownTarget = "unknown_target",
    /// The token endpoint, or the discovery document that names it, can't be had.
    TokenEndpointUnavailable = "token_endpoint_unavailable",
    /// The token endpoint refuses the gate's request, whoever the caller is.
    TokenRequestRefused = "token_request_refused",
    /// The token endpoint's answer is no token that can be forwarded.
    TokenResponseInvalid = "token_response_invalid",
    /// The token endpoint does not accept the caller's token.
    SubjectTokenRefused = "subject_token_refused",
    /// The token endpoint gives this caller no token for this target.
    TargetRefused = "target_refused",
    /// The token for the upstream is the caller's own.
    TokenNotExchanged = "token_not_exchanged",
    /// The upstream answered 401 to the token that was issued for it.
    UpstreamRefusedCredential = "upstream_refused_credential",

    /// Envoy's rate limit filter can't ask the service that counts the rule's global rate.
    RateLimitUnavailable = "rate_limit_unavailable",
    /// The answer to a request for a list can't be read for certain, so that nothing can be taken from it.
    ListUnreadable = "list_unreadable",
    /// The answer to a request for a list, or an event of a stream that may hold one, is larger than the limit.
    ListTooLarge = "list_too_large",

    /// The client went away before a decision.
    ClientGone = "client_gone",
    /// Envoy ended the request before a decision: a time or a size of its own was passed.
    EndedByEnvoy = "ended_by_envoy",
    /// Envoy ended the request before the filter saw its head.
    NotSeen = "not_seen",
    /// The upstream answered a head whose body was not decided yet.
    UpstreamAnsweredEarly = "upstream_answered_early",
    /// A bound of this worker is reached.
    Overloaded = "overloaded",
    /// The configuration says that Envoy's `allow_on_headers_stop_iteration` is set, and it is not.
    FlagMissing = "flag_missing",
    /// The filter can't go on; a defect.
    Internal = "internal",
}

impl Reason {
    /// Whether a credential was shown that does not hold, which is what a threshold of failed authentications counts.
    /// That none was shown, or one whose time is over, happens to every client.
    #[must_use]
    pub const fn is_failed_authentication(self) -> bool {
        matches!(
            self,
            Self::MalformedAuthorization
                | Self::MalformedToken
                | Self::AlgorithmNotAccepted
                | Self::NotAnAccessToken
                | Self::UnknownIssuer
                | Self::UnknownKey
                | Self::BadSignature
                | Self::TokenNotYetValid
                | Self::WrongAudience
                | Self::InvalidClaim
                | Self::SenderConstraintUnsupported
                | Self::ClientCertificateMissing
                | Self::ClientCertificateMismatch
                | Self::TokenInactive
                | Self::TokenReviewDenied
                | Self::MalformedApiKey
                | Self::UnknownApiKey
                | Self::ApiKeyExpired
                | Self::ApiKeyNotYetValid
                | Self::MeshIdentityNotAccepted
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_snake_case() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
    }
}
