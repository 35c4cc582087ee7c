//! Signatures by `jwt-simple`: every algorithm but ES512, wherever there is no faster crypto.
//!
//! The library takes a whole token and reads header and claims as well. Of its answer only the signature
//! counts here: time is frozen at zero and every other check is off. Whatever it refuses is taken for a bad
//! signature, so [`super::jws`] and [`super::claims`] refuse beforehand what it can't read: the verdict must
//! not depend on who verifies.

use super::algorithm::{Algorithm, Hash};
use super::jwk::Key;
use super::material::Material;
use super::signature::Verdict;
use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike as _, ECDSAP384PublicKeyLike as _, ES256PublicKey, ES384PublicKey,
    Ed25519PublicKey, EdDSAPublicKeyLike as _, HS256Key, HS384Key, HS512Key, MACLike as _, PS256PublicKey,
    PS384PublicKey, PS512PublicKey, RS256PublicKey, RS384PublicKey, RS512PublicKey, RSAPublicKeyLike as _,
};
use jwt_simple::claims::NoCustomClaims as None_;
use jwt_simple::common::VerificationOptions;
use jwt_simple::prelude::Duration;

const EXPONENT: &[u8] = &[1, 0, 1];

/// Verifies the signature of a token in compact form.
pub(super) fn verify(key: &Key, algorithm: Algorithm, token: &str) -> Verdict {
    let options = Some(VerificationOptions {
        accept_future: true,
        time_tolerance: None,
        artificial_time: Some(Duration::from_secs(0)),
        max_token_length: None,
        max_header_length: Some(token.len()),
        ..VerificationOptions::default()
    });
    use Algorithm::{EdDsa, Es, Hs, Ps, Rs};
    use Hash::{Sha256, Sha384, Sha512};
    macro_rules! verdict {
        ($key:expr) => {
            $key.and_then(|key| key.verify_token::<None_>(token, options)).is_ok()
        };
        (secret $key:expr) => {
            $key.verify_token::<None_>(token, options).is_ok()
        };
    }
    let holds = match (&key.material, algorithm) {
        (Material::Rsa { modulus, .. }, Rs(Sha256)) => {
            verdict!(RS256PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Rsa { modulus, .. }, Rs(Sha384)) => {
            verdict!(RS384PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Rsa { modulus, .. }, Rs(Sha512)) => {
            verdict!(RS512PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Rsa { modulus, .. }, Ps(Sha256)) => {
            verdict!(PS256PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Rsa { modulus, .. }, Ps(Sha384)) => {
            verdict!(PS384PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Rsa { modulus, .. }, Ps(Sha512)) => {
            verdict!(PS512PublicKey::from_components(modulus, EXPONENT))
        }
        (Material::Ec { point, .. }, Es(Sha256)) => verdict!(ES256PublicKey::from_bytes(point)),
        (Material::Ec { point, .. }, Es(Sha384)) => verdict!(ES384PublicKey::from_bytes(point)),
        (Material::Ec { .. }, Es(Sha512)) => return Verdict::Unsupported,
        (Material::Ed25519(key), EdDsa) => verdict!(Ed25519PublicKey::from_bytes(key)),
        (Material::Secret(secret), Hs(Sha256)) => verdict!(secret HS256Key::from_bytes(secret.expose())),
        (Material::Secret(secret), Hs(Sha384)) => verdict!(secret HS384Key::from_bytes(secret.expose())),
        (Material::Secret(secret), Hs(Sha512)) => verdict!(secret HS512Key::from_bytes(secret.expose())),
        // A key is only ever asked for what it fits.
        _ => false,
    };
    if holds { Verdict::Holds } else { Verdict::Broken }
}
