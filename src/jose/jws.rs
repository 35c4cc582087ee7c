//! A token taken apart: JWS in compact form (RFC 7515 section 7.1) with a JSON object inside.
//!
//! Nothing in here is verified yet; the parts are private and handed to [`super::VerifiedClaims`].

use super::algorithm::Algorithm;
use crate::json::{self, Map, Value};
use crate::reason::Reason;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;

/// The media types of `typ` that may stand for an access token (RFC 9068 section 2.1); many issuers
/// write `JWT` or nothing.
const ACCESS_TOKEN_TYPES: &[&str] = &["at+jwt", "application/at+jwt", "jwt"];

/// Header members by which a token brings its own key (RFC 7515 section 4.1): never followed.
const OWN_KEY: &[&str] = &["jwk", "jku", "x5u", "x5c"];

/// Header members that are texts where they are there (RFC 7515 section 4.1).
const TEXTS: &[&str] = &["cty", "x5t", "x5t#S256"];

/// A token that has the form of one.
pub struct Jws<'a> {
    token: &'a str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Reason::MalformedToken`] for what is no strict JWS or brings its own key, [`Reason::AlgorithmNotAccepted`] for one
    /// that demands a header that is not understood (RFC 7515 section 4.1.11), and
    /// [`Reason::NotAnAccessToken`].
    pub fn parse(token: &'a str) -> Result<Self, Reason> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::MalformedToken);
        };
        let signature = decode(signature)?;
        let jws = Self { token, signature, header: object(header)?, claims: object(claims)? };
        let is_no_text = |value: &Value| !value.is_string();
        // `salt` is the verifying library's own: no standard has it.
        if OWN_KEY.iter().any(|member| jws.header.contains_key(*member))
            || jws.header.contains_key("salt")
            || TEXTS.iter().any(|member| jws.header.get(*member).is_some_and(is_no_text))
        {
            return Err(Reason::MalformedToken);
        }
        if jws.header.contains_key("crit") {
            return Err(Reason::AlgorithmNotAccepted);
        }
        jws.check_type()?;
        Ok(jws)
    }

    /// The whole token as it was sent.
    pub(super) fn token(&self) -> &'a str {
        self.token
    }

    /// The signature, decoded.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The header's `alg`, where it is one of these.
    ///
    /// # Errors
    /// [`Reason::AlgorithmNotAccepted`]
    pub fn algorithm(&self, accepted: &[Algorithm]) -> Result<Algorithm, Reason> {
        let name = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let algorithm = Algorithm::from_name(name).filter(|algorithm| accepted.contains(algorithm));
        algorithm.ok_or(Reason::AlgorithmNotAccepted)
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(super) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// The header's `kid`.
    ///
    /// # Errors
    /// [`Reason::MalformedToken`] where it is no text.
    pub fn key_id(&self) -> Result<Option<&str>, Reason> {
        match self.header.get("kid") {
            None => Ok(None),
            Some(Value::String(kid)) => Ok(Some(kid)),
            Some(_) => Err(Reason::MalformedToken),
        }
    }

    /// The `iss` that the token claims, unverified: good for looking up a configured issuer only.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The `sub` that the token claims, unverified: good for telling of it only.
    #[must_use]
    pub fn claimed_subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    fn check_type(&self) -> Result<(), Reason> {
        let accepted = match self.header.get("typ") {
            None => true,
            Some(Value::String(typ)) => {
                ACCESS_TOKEN_TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ))
            }
            Some(_) => false,
        };
        if accepted { Ok(()) } else { Err(Reason::NotAnAccessToken) }
    }
}

/// Neither token nor claims are shown.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jws(***)")
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::MalformedToken)
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    match json::parse(&decode(part)?) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Reason::MalformedToken),
    }
}
