//! An issuer's keys (RFC 7517), each bound to the algorithms that its type, curve and `alg` allow.
//!
//! A key that can't be used (of another type, use or algorithm, too small, broken, with its private
//! half) is left out and never disables the others. Symmetric keys of a key set are never used; a secret
//! comes from the configuration only.

use super::algorithm::Algorithm;
use super::material::Material;
use crate::json::{self, Value};
use crate::secret::Secret;
use sha2::{Digest as _, Sha256};
use std::rc::Rc;

/// How many keys of one issuer are held.
const MAX_KEYS: usize = 64;

/// How many keys with one id are tried.
const MAX_TRIED: usize = 4;

/// Members of a private key (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2): who publishes
/// them lets everybody sign.
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A key and what it may verify.
#[derive(Debug)]
pub struct Key {
    id: Option<Rc<str>>,
    algorithm: Option<Algorithm>,
    pub(super) material: Material,
    fingerprint: Option<Rc<[u8; 32]>>,
}

/// The usable keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Whether the token's `kid` selects the key; not so for a configured secret.
    by_id: bool,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5), leaving out what can't be used.
    ///
    /// # Errors
    /// `None` where it is no JWK Set or holds no usable key.
    #[must_use]
    pub fn parse(document: &[u8]) -> Option<Self> {
        Self::parse_or_empty(document).filter(|keys| !keys.is_empty())
    }

    /// As [`Self::parse`], but a JWK Set that holds no usable key is an empty set.
    #[must_use]
    pub fn parse_or_empty(document: &[u8]) -> Option<Self> {
        let document = json::parse(document).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let keys = keys.iter().filter_map(Key::from_jwk).take(MAX_KEYS).collect();
        Some(Self { keys, by_id: true })
    }

    /// One secret that was configured, for tokens with whatever `kid`.
    #[must_use]
    pub fn of_secret(secret: Secret) -> Self {
        let material = Material::Secret(secret);
        Self { keys: vec![Key { id: None, algorithm: None, material, fingerprint: None }], by_id: false }
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys with this id for this algorithm: one, or several that share an id. A token without `kid`
    /// gets the only key of its algorithm, if there is just one.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let fits =
            move |key: &&Key| key.fits(algorithm) && (!self.by_id || id.is_none() || key.id.as_deref() == id);
        let is_ambiguous = id.is_none() && self.keys.iter().filter(fits).count() > 1;
        self.keys.iter().filter(fits).take(if is_ambiguous { 0 } else { MAX_TRIED })
    }

    /// Whether some key, of whatever algorithm, has this id.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        !self.by_id || self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if PRIVATE.iter().any(|member| jwk.get(*member).is_some()) {
            return None;
        }
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
            Some(kid) => Some(Rc::from(kid.as_str()?)),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(Algorithm::from_name(alg.as_str()?)?),
        };
        let material = Material::from_jwk(jwk)?;
        if algorithm.is_some_and(|algorithm| !material.fits(algorithm)) {
            return None;
        }
        let fingerprint = material.public_bytes().map(|bytes| Rc::new(Sha256::digest(bytes).into()));
        Some(Self { id, algorithm, material, fingerprint })
    }

    /// Whether this key may verify a signature of `algorithm`.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// What tells a public key from every other one; `None` for a secret.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&Rc<[u8; 32]>> {
        self.fingerprint.as_ref()
    }

    /// Its `kid`, where it has one.
    #[must_use]
    pub fn id(&self) -> Option<&Rc<str>> {
        self.id.as_ref()
    }
}
