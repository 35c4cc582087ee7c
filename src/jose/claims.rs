//! Claims that are an issuer's: signature, issuer, kind of token (RFC 7519 section 4.1, RFC 9068 section 4).
//!
//! Whether they count here and now, and for whoever sends them, is asked of [`Validity`] for each request.

use super::algorithm::Algorithm;
use super::jwk::KeySet;
use super::jws::Jws;
use super::signature::{Signed, Verdict, Verifier};
use super::validity::{self, Validity};
use crate::json::{Map, Value};
use crate::reason::Reason;
use crate::time::UnixTime;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Claims that no access token has: of an ID token (OpenID Connect Core 1.0 sections 2 and 3.3.2.11), and
/// of a logout token or another security event (RFC 8417 section 2.2).
const OTHER_TOKENS_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash", "events"];

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

/// The claims of a token that its issuer has signed as an access token. Only [`Self::verify`] makes one.
pub struct VerifiedClaims {
    claims: Map<String, Value>,
    proof: Proof,
    validity: Validity,
}

/// By which key and algorithm a token's signature has held. It shares what it holds with the key.
#[derive(Clone, Debug)]
pub struct Proof {
    kid: Option<Rc<str>>,
    algorithm: Algorithm,
    fingerprint: Option<Rc<[u8; 32]>>,
}

impl VerifiedClaims {
    /// Verifies a token against its issuer's keys; `verifier` says whether the signature holds.
    ///
    /// # Errors
    /// The first check that fails: form of the registered claims, algorithm, key, signature, issuer, kind of
    /// token, what an access token must have.
    pub fn verify(
        jws: Jws<'_>,
        keys: &KeySet,
        expected: &Expected<'_>,
        verifier: &dyn Verifier,
    ) -> Result<Self, Reason> {
        validity::check_forms(jws.claims())?;
        let proof = check_signature(&jws, keys, expected.algorithms, verifier)?;
        let claims = jws.into_claims();
        if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
            return Err(Reason::UnknownIssuer);
        }
        let is_another = OTHER_TOKENS_CLAIMS.iter().any(|claim| claims.contains_key(*claim))
            || claims.get("typ").and_then(Value::as_str) == Some("ID");
        if is_another {
            return Err(Reason::NotAnAccessToken);
        }
        if !matches!(claims.get("sub"), Some(Value::String(subject)) if !subject.is_empty()) {
            return Err(Reason::InvalidClaim);
        }
        let validity = Validity::of(&claims)?;
        Ok(Self { claims, proof, validity })
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

    /// What is to be asked for each request.
    #[must_use]
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    /// What is kept of the token once its claims were read.
    #[must_use]
    pub fn into_parts(self) -> (Proof, Validity) {
        (self.proof, self.validity)
    }
}

impl Proof {
    /// The token's `kid`.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether these keys verify the token still: the one that did is among those that its `kid` and `alg`
    /// lead to.
    #[must_use]
    pub fn holds_by(&self, keys: &KeySet) -> bool {
        let own = self.fingerprint.as_ref();
        keys.find(self.key_id(), self.algorithm).any(|key| key.fingerprint() == own)
    }
}

/// Claims may be secrets to a log.
impl fmt::Debug for VerifiedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedClaims(***)")
    }
}

/// By one of the keys that the token's `kid` and `alg` lead to.
fn check_signature(
    jws: &Jws<'_>,
    keys: &KeySet,
    algorithms: &[Algorithm],
    verifier: &dyn Verifier,
) -> Result<Proof, Reason> {
    let algorithm = jws.algorithm(algorithms)?;
    let kid = jws.key_id()?;
    let mut why = match kid {
        Some(kid) if keys.has_id(kid) => Reason::AlgorithmNotAccepted,
        _ => Reason::UnknownKey,
    };
    for key in keys.find(kid, algorithm) {
        let signed = Signed::new(key, algorithm, jws.token(), jws.signature());
        match signed.map(|signed| verifier.verify(&signed)) {
            Ok(Verdict::Holds) => {
                // A key's own texts, since one key signs many tokens.
                let kid = kid.and(key.id()).cloned();
                return Ok(Proof { kid, algorithm, fingerprint: key.fingerprint().cloned() });
            }
            Ok(Verdict::Broken) | Err(_) => why = Reason::BadSignature,
            Ok(Verdict::Unsupported) => why = Reason::AlgorithmNotAccepted,
        }
    }
    Err(why)
}
