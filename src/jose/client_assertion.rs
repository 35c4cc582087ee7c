//! The assertion by which a client with a private key proves itself to a token endpoint (RFC 7523 sections 2.2 and 3,
//! OpenID Connect Core section 9, `private_key_jwt`). Signed with ES256 or EdDSA, as the key is: RS256 and PS256 would add
//! 106 kB to the module, and the library's private operation of RSA can be timed (RUSTSEC-2023-0071).

use crate::secret::Secret;
use crate::time::UnixTime;
use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike as _, ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike as _,
};
use jwt_simple::claims::{Audiences, JWTClaims, NoCustomClaims};
use jwt_simple::prelude::Duration;
use std::fmt;

/// How long an assertion counts, in seconds.
const LIFE: u64 = 60;

/// A client's private key.
pub struct ClientKey(Pair);

enum Pair {
    Es256(ES256KeyPair),
    EdDsa(Ed25519KeyPair),
}

impl ClientKey {
    /// Reads a key of P-256 or Ed25519 in PEM (PKCS #8), with its `kid`. `None` where it is none.
    #[must_use]
    pub fn from_pem(pem: &Secret, key_id: Option<&str>) -> Option<Self> {
        let pem = std::str::from_utf8(pem.expose()).ok()?;
        let pair = match ES256KeyPair::from_pem(pem) {
            Ok(key) => Pair::Es256(match key_id {
                Some(id) => key.with_key_id(id),
                None => key,
            }),
            Err(_) => {
                let key = Ed25519KeyPair::from_pem(pem).ok()?;
                Pair::EdDsa(match key_id {
                    Some(id) => key.with_key_id(id),
                    None => key,
                })
            }
        };
        Some(Self(pair))
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
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use jwt_simple::algorithms::{
        ECDSAP256PublicKeyLike as _, ES384KeyPair, EdDSAPublicKeyLike as _, RS256KeyPair,
    };
    use jwt_simple::common::VerificationOptions;
    use serde_json::{Value, json};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key(pem: String) -> Option<ClientKey> {
        ClientKey::from_pem(&Secret::new(pem.into_bytes()), Some("k1"))
    }

    #[test]
    fn an_assertion_says_who_to_whom_and_until_when() {
        let (p256, ed25519) = (ES256KeyPair::generate(), Ed25519KeyPair::generate());
        for (pem, alg) in [(p256.to_pem().unwrap(), "ES256"), (ed25519.to_pem(), "EdDSA")] {
            let key = key(pem).unwrap();
            assert_eq!(format!("{key:?}"), "ClientKey(***)");
            let assertion = key.assertion("gate", "https://login.example.com/token", "j", NOW).unwrap();
            let token = String::from_utf8(assertion.expose().to_vec()).unwrap();
            let artificial_time = Some(Duration::from_secs(NOW.0));
            let options = Some(VerificationOptions { artificial_time, ..VerificationOptions::default() });
            let verified = match alg {
                "ES256" => p256.public_key().verify_token::<NoCustomClaims>(&token, options),
                _ => ed25519.public_key().verify_token::<NoCustomClaims>(&token, options),
            };
            assert!(verified.is_ok(), "{alg}");
            let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
            let header: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
            assert_eq!((&header["alg"], &header["kid"]), (&json!(alg), &json!("k1")));
            assert_eq!(
                claims,
                json!({"iss": "gate", "sub": "gate", "aud": "https://login.example.com/token", "jti": "j",
                    "iat": NOW.0, "exp": NOW.0 + 60})
            );
        }
    }

    /// As `openssl genpkey -algorithm ed25519` writes it (RFC 8410 section 7): without the public key.
    #[test]
    fn a_key_as_openssl_writes_it_is_one() {
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let text = STANDARD.encode([&head[..], &[7; 32]].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        assert!(key(pem.clone()).is_some() && key(pem.trim().to_owned()).is_some());
    }

    #[test]
    fn another_key_is_none() {
        assert!(key(RS256KeyPair::generate(2048).unwrap().to_pem().unwrap()).is_none());
        assert!(key(ES384KeyPair::generate().to_pem().unwrap()).is_none());
        for text in ["", "-----BEGIN PRIVATE KEY-----", "this is no key"] {
            assert!(key(text.to_owned()).is_none(), "{text}");
        }
        assert!(ClientKey::from_pem(&Secret::new(vec![0xff]), None).is_none());
    }
}
