//! An issuer's public keys (RFC 7517), each bound to one algorithm.
//!
//! A key that can't be used (of another type, use or algorithm, too small, broken) is left out and
//! never disables the others. Symmetric keys are never used.

use crate::json::{self, Value};
use crate::reason::Reason;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike as _, ES256PublicKey, RS256PublicKey, RSAPublicKeyLike as _,
};
use jwt_simple::claims::NoCustomClaims;
use jwt_simple::common::VerificationOptions;
use jwt_simple::prelude::Duration;

/// How many keys of one issuer are held.
const MAX_KEYS: usize = 64;

/// The smallest RSA modulus, in bits (RFC 7518 section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// A signature algorithm (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The algorithm of this `alg` name; `None` for every one that is not accepted, `none` among them.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A public key and the one algorithm that it is for.
#[derive(Debug)]
pub struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rs256(Box<RS256PublicKey>),
    Es256(Box<ES256PublicKey>),
}

/// The usable keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5), leaving out what can't be used.
    ///
    /// # Errors
    /// `None` where it is no JWK Set or holds no usable key.
    #[must_use]
    pub fn parse(document: &[u8]) -> Option<Self> {
        let document = json::parse(document).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let keys: Vec<_> = keys.iter().filter_map(Key::from_jwk).take(MAX_KEYS).collect();
        if keys.is_empty() { None } else { Some(Self { keys }) }
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none; never so for a set that was parsed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this id for this algorithm; a token without `kid` gets the only key of its
    /// algorithm, if there is just one.
    #[must_use]
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm() == algorithm && (id.is_none() || key.id.as_deref() == id));
        let first = fitting.next()?;
        if fitting.next().is_some() { None } else { Some(first) }
    }

    /// Whether some key, of whatever algorithm, has this id.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.get("use").is_some() && text("use") != Some("sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verify = |operation: &Value| operation.as_str() == Some("verify");
            if !operations.as_array()?.iter().any(verify) {
                return None;
            }
        }
        let id = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let material = match text("kty")? {
            "RSA" => {
                let modulus = bytes("n")?;
                let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
                if significant.saturating_mul(8) < MIN_RSA_BITS {
                    return None;
                }
                Material::Rs256(Box::new(RS256PublicKey::from_components(&modulus, &bytes("e")?).ok()?))
            }
            "EC" if text("crv") == Some("P-256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                Material::Es256(Box::new(ES256PublicKey::from_bytes(&point).ok()?))
            }
            _ => return None,
        };
        let key = Self { id, material };
        match jwk.get("alg") {
            None => Some(key),
            Some(alg) => (Algorithm::from_name(alg.as_str()?)? == key.algorithm()).then_some(key),
        }
    }

    /// What this key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rs256(_) => Algorithm::Rs256,
            Material::Es256(_) => Algorithm::Es256,
        }
    }

    /// Checks the signature over a whole token in compact form.
    ///
    /// The library reads the claims as well; of its answer only the signature counts here: time is
    /// frozen at zero and every other check is off, they are made by [`super::VerifiedClaims`].
    ///
    /// # Errors
    /// [`Reason::BadSignature`], or [`Reason::InvalidClaim`] where a registered claim is not of its type.
    pub(super) fn verify(&self, token: &str) -> Result<(), Reason> {
        let options = Some(VerificationOptions {
            accept_future: true,
            time_tolerance: None,
            artificial_time: Some(Duration::from_secs(0)),
            max_token_length: None,
            max_header_length: Some(token.len()),
            ..VerificationOptions::default()
        });
        let verdict = match &self.material {
            Material::Rs256(key) => key.verify_token::<NoCustomClaims>(token, options),
            Material::Es256(key) => key.verify_token::<NoCustomClaims>(token, options),
        };
        match verdict {
            Ok(_) => Ok(()),
            Err(error) if error.is::<serde_json::Error>() => Err(Reason::InvalidClaim),
            Err(_) => Err(Reason::BadSignature),
        }
    }
}
