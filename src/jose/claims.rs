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

/// What `typ` among the claims says of tokens that are no access tokens (Keycloak).
const OTHER_TOKENS_TYPES: &[&str] = &["ID", "Refresh", "Offline"];
/// What `token_use` says of an access token: where it is told of an opaque one, nothing else counts.
const ACCESS_USES: &[&str] = &["access", "access_token"];

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

/// The claim at a path, whose dots lead into objects (`realm_access.roles`). Names may have dots themselves
/// (`https://example.com/app.roles`): of those that are there the longest counts, and no other is looked for.
#[must_use]
pub fn claim_at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (mut members, mut path) = (claims, path);
    loop {
        if let Some(value) = members.get(path) {
            return Some(value);
        }
        let before =
            |(at, _): (usize, &str)| Some((members.get(path.get(..at)?)?, path.get(at..)?.get(1..)?));
        let (value, rest) = path.rmatch_indices('.').find_map(before)?;
        (members, path) = (value.as_object()?, rest);
    }
}

/// The claims of an access token that its issuer has signed, or answered for when it was asked. Only
/// [`Self::verify`] and [`Self::introspected`] make one.
pub struct VerifiedClaims {
    claims: Map<String, Value>,
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
    ) -> Result<(Self, Proof), Reason> {
        validity::check_forms(jws.claims())?;
        let proof = check_signature(&jws, keys, expected.algorithms, verifier)?;
        let claims = jws.into_claims();
        if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
            return Err(Reason::UnknownIssuer);
        }
        check_kind(&claims)?;
        if !is_text(&claims, "sub") {
            return Err(Reason::InvalidClaim);
        }
        let validity = Validity::of(&claims)?;
        Ok((Self { claims, validity }, proof))
    }

    /// Takes what `issuer` itself told of a token that is active (RFC 7662 section 2.2). It was asked, so there is no
    /// signature, and `iss` may be absent; the token is a subject's or a client's.
    ///
    /// # Errors
    /// The first check that fails: form of the registered claims, issuer, kind of token, what it must have.
    pub fn introspected(claims: Map<String, Value>, issuer: &str) -> Result<Self, Reason> {
        validity::check_forms(&claims)?;
        if claims.get("iss").is_some_and(|told| told.as_str() != Some(issuer)) {
            return Err(Reason::UnknownIssuer);
        }
        let is_bearer = |kind: &Value| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        if claims.get("token_type").is_some_and(|kind| !is_bearer(kind)) {
            return Err(Reason::SenderConstraintUnsupported);
        }
        check_kind(&claims)?;
        // An issuer answers for its refresh tokens, too.
        let is_access = |told: &Value| told.as_str().is_some_and(|told| ACCESS_USES.contains(&told));
        if claims.get("token_use").is_some_and(|told| !is_access(told)) {
            return Err(Reason::NotAnAccessToken);
        }
        if !is_text(&claims, "sub") && !is_text(&claims, "client_id") {
            return Err(Reason::InvalidClaim);
        }
        let validity = Validity::of(&claims)?;
        Ok(Self { claims, validity })
    }

    /// The claim at a path, as [`claim_at`] has it.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        claim_at(&self.claims, path)
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
    pub fn into_validity(self) -> Validity {
        self.validity
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

/// What a token whose signature somebody else verifies says of its own validity. Nothing of it is to be believed
/// before the other has, and whose the token is, he says.
///
/// # Errors
/// The claims have another form, or are those of no access token.
pub fn unsigned_validity(jws: &Jws<'_>) -> Result<Validity, Reason> {
    let claims = jws.claims();
    validity::check_forms(claims)?;
    check_kind(claims)?;
    Validity::of(claims)
}

/// That these are not the claims of an ID token, or of another that is no access token.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Reason> {
    let text = |name| claims.get(name).and_then(Value::as_str);
    let is_another = OTHER_TOKENS_CLAIMS.iter().any(|claim| claims.contains_key(*claim))
        || text("typ").is_some_and(|told| OTHER_TOKENS_TYPES.contains(&told))
        || text("token_use") == Some("id");
    if is_another { Err(Reason::NotAnAccessToken) } else { Ok(()) }
}

fn is_text(claims: &Map<String, Value>, name: &str) -> bool {
    matches!(claims.get(name), Some(Value::String(text)) if !text.is_empty())
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
