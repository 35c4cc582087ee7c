//! Claims that were checked: signature, issuer, audience, times (RFC 7519 section 4.1, RFC 9068
//! section 4).

use super::jwk::{Algorithm, KeySet};
use super::jws::Jws;
use crate::json::{Map, Value};
use crate::reason::Reason;
use crate::time::UnixTime;
use std::fmt;
use std::time::Duration;

/// Claims of an ID token (OpenID Connect Core 1.0 sections 2 and 3.3.2.11) that no access token has.
const ID_TOKEN_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash"];

/// What a token must be to count.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer whose keys were taken.
    pub issuer: &'a str,
    /// Any of these must be in `aud`.
    pub audiences: &'a [String],
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The time now.
    pub now: UnixTime,
}

/// The claims of a token whose signature and registered claims hold. Only [`Self::verify`] makes one.
pub struct VerifiedClaims {
    claims: Map<String, Value>,
    expires_at: UnixTime,
}

impl VerifiedClaims {
    /// Verifies a token against its issuer's keys.
    ///
    /// # Errors
    /// The first check that fails: algorithm, key, signature, issuer, kind of token, times, audience.
    pub fn verify(jws: Jws<'_>, keys: &KeySet, expected: &Expected<'_>) -> Result<Self, Reason> {
        let algorithm = Algorithm::from_name(jws.algorithm()).ok_or(Reason::AlgorithmNotAccepted)?;
        let kid = jws.key_id()?;
        let key = keys.find(kid, algorithm).ok_or_else(|| match kid {
            Some(kid) if keys.has_id(kid) => Reason::AlgorithmNotAccepted,
            _ => Reason::UnknownKey,
        })?;
        key.verify(jws.token())?;
        let claims = jws.into_claims();
        if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
            return Err(Reason::UnknownIssuer);
        }
        let is_id_token = ID_TOKEN_CLAIMS.iter().any(|claim| claims.contains_key(*claim))
            || claims.get("typ").and_then(Value::as_str) == Some("ID");
        if is_id_token {
            return Err(Reason::NotAnAccessToken);
        }
        if claims.contains_key("cnf") {
            return Err(Reason::SenderConstraintUnsupported);
        }
        let expires_at = date(&claims, "exp")?.ok_or(Reason::InvalidClaim)?;
        check_expiry(expires_at, expected)?;
        for claim in ["nbf", "iat"] {
            let from = date(&claims, claim)?.unwrap_or_default();
            if from.minus(expected.clock_skew) > expected.now {
                return Err(Reason::TokenNotYetValid);
            }
        }
        if !has_audience(&claims, expected.audiences)? {
            return Err(Reason::WrongAudience);
        }
        match claims.get("sub") {
            Some(Value::String(subject)) if !subject.is_empty() => Ok(Self { claims, expires_at }),
            _ => Err(Reason::InvalidClaim),
        }
    }

    /// The claim at a dotted path (`realm_access.roles`); a claim whose own name has dots comes first.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(path) {
            return Some(value);
        }
        let mut names = path.split('.');
        let first = self.claims.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }

    /// The claim `name` as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// The token has not ended meanwhile: to be asked again after a wait.
    ///
    /// # Errors
    /// [`Reason::TokenExpired`]
    pub fn check_expiry(&self, expected: &Expected<'_>) -> Result<(), Reason> {
        check_expiry(self.expires_at, expected)
    }

    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }
}

/// Claims may be secrets to a log.
impl fmt::Debug for VerifiedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedClaims(***)")
    }
}

fn check_expiry(expires_at: UnixTime, expected: &Expected<'_>) -> Result<(), Reason> {
    if expires_at.plus(expected.clock_skew) <= expected.now { Err(Reason::TokenExpired) } else { Ok(()) }
}

/// A NumericDate (RFC 7519 section 2): a number that is not negative; fractions are cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = value.as_number().ok_or(Reason::InvalidClaim)?;
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(UnixTime(seconds)));
    }
    match number.as_f64() {
        Some(seconds) if (0.0..=1e15).contains(&seconds) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range, and fractions are cut off on purpose"
            )]
            Ok(Some(UnixTime(seconds as u64)))
        }
        _ => Err(Reason::InvalidClaim),
    }
}

/// `aud` is a text or an array of texts (RFC 7519 section 4.1.3).
fn has_audience(claims: &Map<String, Value>, wanted: &[String]) -> Result<bool, Reason> {
    let is_wanted = |audience: &str| wanted.iter().any(|candidate| candidate == audience);
    match claims.get("aud") {
        Some(Value::String(audience)) => Ok(is_wanted(audience)),
        Some(Value::Array(audiences)) => {
            let mut found = false;
            for audience in audiences {
                found |= is_wanted(audience.as_str().ok_or(Reason::InvalidClaim)?);
            }
            Ok(found)
        }
        None => Ok(false),
        Some(_) => Err(Reason::InvalidClaim),
    }
}
