//! What a token endpoint answers (RFC 6749 sections 5.1 and 5.2, RFC 8693 section 2.2), read strictly: a token is
//! forwarded only if everything about it is as it must be.

use super::token_request::{ACCESS_TOKEN, Grant, JWT, TokenRequest};
use crate::json::{self, Value};
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest token that is taken, in bytes: it has to fit into a header.
const MAX_TOKEN: usize = 16 * 1024;
/// The longest life that an answer may claim, in seconds: a year.
const MAX_LIFE: u64 = 31_536_000;

/// A token for the upstream. `Debug` does not show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// `access_token`: visible ASCII without space.
    pub access_token: Secret,
    /// `expires_in`, in seconds, where the answer has it.
    pub expires_in: Option<u64>,
}

/// Why a token is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// The answer is no JSON object, or reads differently to different parsers.
    NotJson,
    /// `access_token` is absent or empty.
    NoAccessToken,
    /// `access_token` does not fit into a header as one word.
    MalformedAccessToken,
    /// `token_type` is not `Bearer`.
    TokenType,
    /// `issued_token_type` is absent, or another one than was asked for.
    IssuedTokenType,
    /// `expires_in` is no whole number from 1 to a year.
    ExpiresIn,
    /// The token is no JWT for the audience that it must have.
    Audience,
}

impl BadToken {
    /// Its name in records and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NoAccessToken => "no_access_token",
            Self::MalformedAccessToken => "malformed_access_token",
            Self::TokenType => "token_type",
            Self::IssuedTokenType => "issued_token_type",
            Self::ExpiresIn => "expires_in",
            Self::Audience => "issued_audience",
        }
    }
}

impl IssuedToken {
    /// Reads the body of a 200 to `request`; `audience` is what `aud` of the token must hold, where that is
    /// configured.
    ///
    /// # Errors
    /// What is wrong with it; nothing of the answer is kept in it.
    pub fn parse(body: &[u8], request: &TokenRequest, audience: Option<&str>) -> Result<Self, BadToken> {
        let answer = json::parse(body).map_err(|_| BadToken::NotJson)?;
        let answer = answer.as_object().ok_or(BadToken::NotJson)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let token = text("access_token").filter(|token| !token.is_empty()).ok_or(BadToken::NoAccessToken)?;
        if token.len() > MAX_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadToken::MalformedAccessToken);
        }
        if !text("token_type").is_some_and(|token_type| token_type.eq_ignore_ascii_case("bearer")) {
            return Err(BadToken::TokenType);
        }
        if request.grant == Grant::TokenExchange {
            let issued = text("issued_token_type").ok_or(BadToken::IssuedTokenType)?;
            let is_wanted = match &request.asked.requested_token_type {
                Some(requested) => issued == requested,
                None => [ACCESS_TOKEN, JWT].contains(&issued),
            };
            if !is_wanted {
                return Err(BadToken::IssuedTokenType);
            }
        }
        let expires_in = match answer.get("expires_in") {
            None => None,
            Some(seconds) => {
                let seconds = seconds.as_u64().filter(|seconds| (1..=MAX_LIFE).contains(seconds));
                Some(seconds.ok_or(BadToken::ExpiresIn)?)
            }
        };
        if audience.is_some_and(|audience| !is_for(token, audience)) {
            return Err(BadToken::Audience);
        }
        Ok(Self { access_token: Secret::new(token.as_bytes().to_vec()), expires_in })
    }
}

/// Whether `token` is a JWT whose `aud` holds `audience`. Its signature is the upstream's business: it came from the
/// token endpoint itself.
fn is_for(token: &str, audience: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok().and_then(|claims| json::parse(&claims).ok());
    match claims.as_ref().and_then(|claims| claims.get("aud")) {
        Some(Value::String(aud)) => aud == audience,
        Some(Value::Array(auds)) => auds.iter().any(|aud| aud.as_str() == Some(audience)),
        _ => false,
    }
}

/// Why a token endpoint gives no token: `error` of RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2,
/// RFC 6749 section 4.1.2.1 and OpenID Connect Core section 3.1.2.6, as servers use them here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_grant`
    InvalidGrant,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target`
    InvalidTarget,
    /// `access_denied`
    AccessDenied,
    /// `interaction_required`, `login_required` or `consent_required`
    InteractionRequired,
    /// `temporarily_unavailable`, `server_error` or `slow_down`
    Unavailable,
    /// Any other.
    Other,
}

impl OAuthError {
    /// Reads `error` of an answer that is no success; `None` where there is none.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let answer = json::parse(body).ok()?;
        Some(match answer.get("error")?.as_str()? {
            "invalid_request" => Self::InvalidRequest,
            "invalid_client" => Self::InvalidClient,
            "invalid_grant" => Self::InvalidGrant,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "invalid_scope" => Self::InvalidScope,
            "invalid_target" => Self::InvalidTarget,
            "access_denied" => Self::AccessDenied,
            "interaction_required" | "login_required" | "consent_required" => Self::InteractionRequired,
            "temporarily_unavailable" | "server_error" | "slow_down" => Self::Unavailable,
            _ => Self::Other,
        })
    }

    /// Its name in records and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::InteractionRequired => "interaction_required",
            Self::Unavailable => "temporarily_unavailable",
            Self::Other => "other_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::token_request::Asked;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn request(grant: Grant, requested: Option<&str>) -> TokenRequest {
        TokenRequest {
            grant,
            subject_token_type: ACCESS_TOKEN.into(),
            requested_token_use: None,
            actor: None,
            asked: Asked { requested_token_type: requested.map(str::to_owned), ..Asked::default() },
        }
    }

    fn read(body: &Value) -> Result<IssuedToken, BadToken> {
        let request = request(Grant::TokenExchange, None);
        IssuedToken::parse(body.to_string().as_bytes(), &request, None)
    }

    fn good() -> Value {
        json!({"access_token": "a.b.c", "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
            "expires_in": 300, "scope": "x"})
    }

    #[test]
    fn takes_a_token_that_is_right_in_all() {
        let token = read(&good()).unwrap();
        assert_eq!((token.access_token.expose(), token.expires_in), (&b"a.b.c"[..], Some(300)));
        assert!(!format!("{token:?}").contains("a.b.c"));
        let mut other = good();
        other["token_type"] = json!("bEARER");
        other["issued_token_type"] = json!(JWT);
        other.as_object_mut().unwrap().remove("expires_in");
        assert_eq!(read(&other).unwrap().expires_in, None);
    }

    #[test]
    fn refuses_a_token_that_is_wrong_in_anything() {
        let rows: &[(&str, Value, BadToken)] = &[
            ("access_token", Value::Null, BadToken::NoAccessToken),
            ("access_token", json!(""), BadToken::NoAccessToken),
            ("access_token", json!(7), BadToken::NoAccessToken),
            ("access_token", json!(["a"]), BadToken::NoAccessToken),
            ("access_token", json!("a b"), BadToken::MalformedAccessToken),
            ("access_token", json!("a\r\nx-admin: 1"), BadToken::MalformedAccessToken),
            ("access_token", json!("a\u{0}"), BadToken::MalformedAccessToken),
            ("access_token", json!("é"), BadToken::MalformedAccessToken),
            ("access_token", json!("a".repeat(MAX_TOKEN + 1)), BadToken::MalformedAccessToken),
            ("token_type", Value::Null, BadToken::TokenType),
            ("token_type", json!("N_A"), BadToken::TokenType),
            ("token_type", json!("DPoP"), BadToken::TokenType),
            ("token_type", json!("Bearer "), BadToken::TokenType),
            ("issued_token_type", Value::Null, BadToken::IssuedTokenType),
            (
                "issued_token_type",
                json!("urn:ietf:params:oauth:token-type:refresh_token"),
                BadToken::IssuedTokenType,
            ),
            (
                "issued_token_type",
                json!("urn:ietf:params:oauth:token-type:id_token"),
                BadToken::IssuedTokenType,
            ),
            ("expires_in", Value::Null, BadToken::ExpiresIn),
            ("expires_in", json!(0), BadToken::ExpiresIn),
            ("expires_in", json!(-1), BadToken::ExpiresIn),
            ("expires_in", json!(1.5), BadToken::ExpiresIn),
            ("expires_in", json!("300"), BadToken::ExpiresIn),
            ("expires_in", json!(MAX_LIFE + 1), BadToken::ExpiresIn),
        ];
        for (name, value, error) in rows {
            let mut body = good();
            body[*name] = value.clone();
            assert_eq!(read(&body), Err(*error), "{name}: {value}");
        }
        for name in ["access_token", "token_type", "issued_token_type"] {
            let mut body = good();
            body.as_object_mut().unwrap().remove(name);
            assert!(read(&body).is_err(), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_strict_json() {
        let request = request(Grant::ClientCredentials, None);
        let twice = r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#;
        for body in ["", "<html>", "[]", "null", "\"a\"", "{}{}", twice, "access_token=a&token_type=bearer"] {
            assert_eq!(IssuedToken::parse(body.as_bytes(), &request, None), Err(BadToken::NotJson), "{body}");
        }
    }

    #[test]
    fn the_type_is_the_one_that_was_asked_for() {
        let body = good().to_string();
        let parse = |grant, requested| {
            IssuedToken::parse(body.as_bytes(), &request(grant, requested), None).map(|_| ())
        };
        assert_eq!(parse(Grant::TokenExchange, Some(ACCESS_TOKEN)), Ok(()));
        assert_eq!(parse(Grant::TokenExchange, Some(JWT)), Err(BadToken::IssuedTokenType));
        let plain = r#"{"access_token":"a","token_type":"bearer"}"#;
        for grant in [Grant::JwtBearer, Grant::ClientCredentials] {
            assert!(IssuedToken::parse(plain.as_bytes(), &request(grant, None), None).is_ok());
        }
    }

    #[test]
    fn the_audience_is_that_of_a_jwt() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (token, is_for_it) in [
            (token(r#"{"aud":"k8s"}"#), true),
            (token(r#"{"aud":["other","k8s"]}"#), true),
            (token(r#"{"aud":"k8s-prod"}"#), false),
            (token(r#"{"aud":[["k8s"]]}"#), false),
            (token(r#"{"aud":"k8s","aud":"other"}"#), false),
            (token("{}"), false),
            (token("x"), false),
            ("opaque".to_owned(), false),
            (format!("{}.x", token(r#"{"aud":"k8s"}"#)), false),
        ] {
            assert_eq!(is_for(&token, "k8s"), is_for_it, "{token}");
        }
        let request = request(Grant::TokenExchange, None);
        let body = good().to_string();
        assert_eq!(IssuedToken::parse(body.as_bytes(), &request, Some("k8s")), Err(BadToken::Audience));
    }

    #[test]
    fn an_error_is_one_of_a_closed_list() {
        let error = |body: &str| OAuthError::parse(body.as_bytes()).map(OAuthError::name);
        assert_eq!(error(r#"{"error":"invalid_target","error_description":"<b>"}"#), Some("invalid_target"));
        assert_eq!(error(r#"{"error":"drop table"}"#), Some("other_error"));
        for body in ["", "{}", r#"{"error":7}"#, "<html>", r#"{"error":"a","error":"b"}"#] {
            assert_eq!(error(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let request = request(Grant::TokenExchange, None);
            let _ = IssuedToken::parse(&bytes, &request, Some("k8s"));
            let _ = OAuthError::parse(&bytes);
        }
    }
}
