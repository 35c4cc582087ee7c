//! The assertion by which a client with a private key proves itself to a token endpoint (RFC 7523 sections 2.2 and 3,
//! OpenID Connect Core section 9, `private_key_jwt`).

use super::algorithm::{Algorithm, Hash};
use crate::secret::Secret;
use crate::time::UnixTime;
use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike as _, ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike as _, PS256KeyPair,
    RS256KeyPair, RSAKeyPairLike as _,
};
use jwt_simple::claims::{Audiences, JWTClaims, NoCustomClaims};
use jwt_simple::prelude::Duration;
use std::fmt;

/// How long an assertion counts, in seconds.
const LIFE: u64 = 60;

/// A client's private key.
pub struct ClientKey(Pair);

enum Pair {
    Rs256(RS256KeyPair),
    Ps256(PS256KeyPair),
    Es256(ES256KeyPair),
    EdDsa(Ed25519KeyPair),
}

impl ClientKey {
    /// The names of the algorithms that it signs with.
    pub const ALGORITHMS: &[&str] = &["RS256", "PS256", "ES256", "EdDSA"];

    /// Reads a key in PEM (PKCS #8), with its `kid`. `None` where it is none for the algorithm.
    #[must_use]
    pub fn from_pem(algorithm: Algorithm, pem: &Secret, key_id: Option<&str>) -> Option<Self> {
        let pem = std::str::from_utf8(pem.expose()).ok()?;
        macro_rules! pair {
            ($name:ident, $key:ty) => {{
                let key = <$key>::from_pem(pem).ok()?;
                Pair::$name(match key_id {
                    Some(id) => key.with_key_id(id),
                    None => key,
                })
            }};
        }
        Some(Self(match algorithm {
            Algorithm::Rs(Hash::Sha256) => pair!(Rs256, RS256KeyPair),
            Algorithm::Ps(Hash::Sha256) => pair!(Ps256, PS256KeyPair),
            Algorithm::Es(Hash::Sha256) => pair!(Es256, ES256KeyPair),
            Algorithm::EdDsa => pair!(EdDsa, Ed25519KeyPair),
            _ => return None,
        }))
    }

    /// An assertion of `client_id` for the endpoint `audience`, with this `jti`, that counts for a minute.
    #[must_use]
    pub fn assertion(&self, client_id: &str, audience: &str, jti: &str, now: UnixTime) -> Option<Secret> {
        let claims = JWTClaims {
            issued_at: Some(Duration::from_secs(now.0)),
            expires_at: Some(Duration::from_secs(now.0.saturating_add(LIFE))),
            invalid_before: None,
            issuer: Some(client_id.to_owned()),
            subject: Some(client_id.to_owned()),
            audiences: Some(Audiences::AsString(audience.to_owned())),
            jwt_id: Some(jti.to_owned()),
            nonce: None,
            custom: NoCustomClaims {},
        };
        let signed = match &self.0 {
            Pair::Rs256(key) => key.sign(claims),
            Pair::Ps256(key) => key.sign(claims),
            Pair::Es256(key) => key.sign(claims),
            Pair::EdDsa(key) => key.sign(claims),
        };
        Some(Secret::new(signed.ok()?.into_bytes()))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jwt_simple::algorithms::{
        ECDSAP256PublicKeyLike as _, EdDSAPublicKeyLike as _, RSAPublicKeyLike as _,
    };
    use jwt_simple::common::VerificationOptions;
    use serde_json::{Value, json};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn sign(algorithm: &str, pem: String) -> String {
        let algorithm = Algorithm::from_name(algorithm).unwrap();
        let key = ClientKey::from_pem(algorithm, &Secret::new(pem.into_bytes()), Some("k1")).unwrap();
        assert_eq!(format!("{key:?}"), "ClientKey(***)");
        let assertion = key.assertion("gate", "https://login.example.com/token", "j", NOW).unwrap();
        String::from_utf8(assertion.expose().to_vec()).unwrap()
    }

    #[test]
    fn an_assertion_says_who_to_whom_and_until_when() {
        let options = || {
            let artificial_time = Some(Duration::from_secs(NOW.0));
            Some(VerificationOptions { artificial_time, ..VerificationOptions::default() })
        };
        let rsa = RS256KeyPair::generate(2048).unwrap();
        let pss = PS256KeyPair::generate(2048).unwrap();
        let (ec, ed) = (ES256KeyPair::generate(), Ed25519KeyPair::generate());
        let tokens = [
            sign("RS256", rsa.to_pem().unwrap()),
            sign("PS256", pss.to_pem().unwrap()),
            sign("ES256", ec.to_pem().unwrap()),
            sign("EdDSA", ed.to_pem()),
        ];
        assert!(rsa.public_key().verify_token::<NoCustomClaims>(&tokens[0], options()).is_ok());
        assert!(pss.public_key().verify_token::<NoCustomClaims>(&tokens[1], options()).is_ok());
        assert!(ec.public_key().verify_token::<NoCustomClaims>(&tokens[2], options()).is_ok());
        assert!(ed.public_key().verify_token::<NoCustomClaims>(&tokens[3], options()).is_ok());
        for (token, algorithm) in tokens.iter().zip(ClientKey::ALGORITHMS) {
            let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
            let header: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
            assert_eq!((&header["alg"], &header["kid"]), (&json!(algorithm), &json!("k1")));
            assert_eq!(
                claims,
                json!({"iss": "gate", "sub": "gate", "aud": "https://login.example.com/token", "jti": "j",
                    "iat": NOW.0, "exp": NOW.0 + 60})
            );
        }
    }

    #[test]
    fn a_key_is_one_for_its_algorithm() {
        let pem = Secret::new(ES256KeyPair::generate().to_pem().unwrap().into_bytes());
        for algorithm in ["RS256", "EdDSA", "HS256", "ES384", "RS512"] {
            let algorithm = Algorithm::from_name(algorithm).unwrap();
            assert!(ClientKey::from_pem(algorithm, &pem, None).is_none());
        }
        let es256 = Algorithm::from_name("ES256").unwrap();
        for text in [&b""[..], b"-----BEGIN PRIVATE KEY-----", b"\xff"] {
            assert!(ClientKey::from_pem(es256, &Secret::new(text.to_vec()), None).is_none());
        }
    }
}
