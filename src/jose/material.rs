//! What a key is made of (RFC 7518 section 6, RFC 8037 section 2), checked when it is read: an RSA modulus of 2048
//! to 4096 bits with the exponent 65537, points on their curve, no weak Ed25519 key.

use super::algorithm::{Algorithm, Hash};
use super::der;
use crate::json::Value;
use crate::secret::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jwt_simple::algorithms::{ES256PublicKey, ES384PublicKey, Ed25519PublicKey, RS256PublicKey};

/// Bounds of an RSA modulus, in bits. RFC 7518 section 3.3 has the lower one; the upper one bounds what one
/// signature costs, and is the library's.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The one exponent that issuers use; small ones have a history of forgeries.
const RSA_EXPONENT: &[u8] = &[1, 0, 1];

#[derive(Debug)]
pub(super) enum Material {
    /// Big-endian without leading zeros; the exponent is [`RSA_EXPONENT`].
    Rsa { modulus: Vec<u8>, spki: Vec<u8> },
    /// An uncompressed point on the curve that goes with the hash.
    Ec { hash: Hash, point: Vec<u8>, spki: Vec<u8> },
    /// A public key.
    Ed25519(Vec<u8>),
    /// A secret that was configured.
    Secret(Secret),
}

impl Material {
    /// The material of a public JWK; `None` for what can't be used.
    pub(super) fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (text("kty")?, text("crv")) {
            ("RSA", _) => Self::rsa(&bytes("n")?, &bytes("e")?),
            ("EC", Some(curve)) => Self::ec(curve, &bytes("x")?, &bytes("y")?),
            ("OKP", Some("Ed25519")) => {
                let key = bytes("x")?;
                Ed25519PublicKey::from_bytes(&key).ok()?;
                Some(Self::Ed25519(key))
            }
            _ => None,
        }
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (significant(modulus), significant(exponent));
        let unused = modulus.first()?.leading_zeros() as usize;
        let bits = modulus.len().saturating_mul(8).saturating_sub(unused);
        if !RSA_BITS.contains(&bits) || exponent != RSA_EXPONENT {
            return None;
        }
        RS256PublicKey::from_components(modulus, exponent).ok()?;
        Some(Self::Rsa { modulus: modulus.to_vec(), spki: der::rsa_key(modulus, exponent) })
    }

    fn ec(curve: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let (hash, length, name) = match curve {
            "P-256" => (Hash::Sha256, 32, der::P256),
            "P-384" => (Hash::Sha384, 48, der::P384),
            "P-521" => (Hash::Sha512, 66, der::P521),
            _ => return None,
        };
        if x.len() != length || y.len() != length {
            return None;
        }
        let point = [&[4], x, y].concat();
        match hash {
            Hash::Sha256 => drop(ES256PublicKey::from_bytes(&point).ok()?),
            Hash::Sha384 => drop(ES384PublicKey::from_bytes(&point).ok()?),
            // The host reads the key, and refuses a point that is not on the curve.
            Hash::Sha512 => {}
        }
        let spki = der::ec_key(name, &point);
        Some(Self::Ec { hash, point, spki })
    }

    /// Whether keys of this type, curve and size are for `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Rsa { .. }, Algorithm::Rs(_) | Algorithm::Ps(_))
            | (Self::Ed25519(_), Algorithm::EdDsa) => true,
            (Self::Ec { hash: own, .. }, Algorithm::Es(hash)) => *own == hash,
            (Self::Secret(secret), Algorithm::Hs(_)) => secret.expose().len() >= algorithm.min_secret(),
            _ => false,
        }
    }

    /// How long a signature of `algorithm` by this key is, in bytes.
    pub(super) fn signature_length(&self, algorithm: Algorithm) -> usize {
        match (self, algorithm) {
            (Self::Rsa { modulus, .. }, _) => modulus.len(),
            (Self::Ec { point, .. }, _) => point.len().saturating_sub(1),
            (Self::Ed25519(_), _) => 64,
            (Self::Secret(_), algorithm) => algorithm.min_secret(),
        }
    }

    /// The key as SubjectPublicKeyInfo, for what the host verifies.
    pub(super) fn spki(&self) -> Option<&[u8]> {
        match self {
            Self::Rsa { spki, .. } | Self::Ec { spki, .. } => Some(spki),
            Self::Ed25519(_) | Self::Secret(_) => None,
        }
    }

    /// Bytes that no other public key has.
    pub(super) fn public_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Rsa { spki, .. } | Self::Ec { spki, .. } => Some(spki),
            Self::Ed25519(key) => Some(key),
            Self::Secret(_) => None,
        }
    }
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
