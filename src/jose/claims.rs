//! Claims that were checked: signature, issuer, audience, times (RFC 7519 section 4.1, RFC 9068
//! section 4), sender (RFC 8705 section 3).

use super::algorithm::Algorithm;
use super::confirmation::{self, Sender};
use super::jwk::KeySet;
use super::jws::Jws;
use super::signature::{Signed, Verdict, Verifier};
use crate::json::{Map, Value};
use crate::reason::Reason;
use crate::time::UnixTime;
use std::fmt;
use std::time::Duration;

/// Claims that no access token has: of an ID token (OpenID Connect Core 1.0 sections 2 and 3.3.2.11), and
/// of a logout token or another security event (RFC 8417 section 2.2).
const OTHER_TOKENS_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// Claims that are texts where they are there (RFC 7519 section 4.1, OpenID Connect Core 1.0 section 2).
const TEXTS: &[&str] = &["iss", "sub", "jti", "nonce"];

/// Claims that are dates where they are there (RFC 7519 section 4.1).
const DATES: &[&str] = &["exp", "nbf", "iat"];

/// What a token must be to count.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer whose keys were taken.
    pub issuer: &'a str,
    /// What its tokens may be signed with.
    pub algorithms: &'a [Algorithm],
    /// Any of these must be in `aud`.
    pub audiences: &'a [String],
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The time now.
    pub now: UnixTime,
}

/// The claims of a token whose signature and registered claims hold, sent by whom it is for. Only
/// [`Self::verify`] makes one.
pub struct VerifiedClaims {
    claims: Map<String, Value>,
    expires_at: UnixTime,
}

impl VerifiedClaims {
    /// Verifies a token against its issuer's keys; `verifier` says whether the signature holds, `sender` who
    /// sends it.
    ///
    /// # Errors
    /// The first check that fails: form of the registered claims, algorithm, key, signature, issuer, kind of
    /// token, times, audience, subject, sender.
    pub fn verify(
        jws: Jws<'_>,
        keys: &KeySet,
        expected: &Expected<'_>,
        verifier: &dyn Verifier,
        sender: &dyn Sender,
    ) -> Result<Self, Reason> {
        check_forms(jws.claims())?;
        check_signature(&jws, keys, expected.algorithms, verifier)?;
        let claims = jws.into_claims();
        if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
            return Err(Reason::UnknownIssuer);
        }
        let is_another = OTHER_TOKENS_CLAIMS.iter().any(|claim| claims.contains_key(*claim))
            || claims.get("typ").and_then(Value::as_str) == Some("ID");
        if is_another {
            return Err(Reason::NotAnAccessToken);
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
        if !matches!(claims.get("sub"), Some(Value::String(subject)) if !subject.is_empty()) {
            return Err(Reason::InvalidClaim);
        }
        confirmation::check(&claims, sender)?;
        Ok(Self { claims, expires_at })
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

/// What is asked of the registered claims before their token is verified, so that no verifier meets a form
/// that others may read differently.
fn check_forms(claims: &Map<String, Value>) -> Result<(), Reason> {
    if TEXTS.iter().any(|claim| claims.get(*claim).is_some_and(|value| !value.is_string())) {
        return Err(Reason::InvalidClaim);
    }
    DATES.iter().try_for_each(|claim| date(claims, claim).map(|_| ()))?;
    has_audience(claims, &[]).map(|_| ())
}

/// By one of the keys that the token's `kid` and `alg` lead to.
fn check_signature(
    jws: &Jws<'_>,
    keys: &KeySet,
    algorithms: &[Algorithm],
    verifier: &dyn Verifier,
) -> Result<(), Reason> {
    let algorithm = jws.algorithm(algorithms)?;
    let kid = jws.key_id()?;
    let mut why = match kid {
        Some(kid) if keys.has_id(kid) => Reason::AlgorithmNotAccepted,
        _ => Reason::UnknownKey,
    };
    for key in keys.find(kid, algorithm) {
        let signed = Signed::new(key, algorithm, jws.token(), jws.signature());
        match signed.map(|signed| verifier.verify(&signed)) {
            Ok(Verdict::Holds) => return Ok(()),
            Ok(Verdict::Broken) | Err(_) => why = Reason::BadSignature,
            Ok(Verdict::Unsupported) => why = Reason::AlgorithmNotAccepted,
        }
    }
    Err(why)
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
