//! The assertion by which a client with a private key proves itself to a token endpoint (RFC 7523 sections 2.2 and 3,
//! OpenID Connect Core section 9, `private_key_jwt`). Signed with ES256 alone: EdDSA would add 24 kB to the module, RS256
//! and PS256 106 kB, and the library's private operation of RSA can be timed (RUSTSEC-2023-0071).

use crate::secret::Secret;
use crate::time::UnixTime;
use jwt_simple::algorithms::{ECDSAP256KeyPairLike as _, ES256KeyPair};
use jwt_simple::claims::{Audiences, JWTClaims, NoCustomClaims};
use jwt_simple::prelude::Duration;
use std::fmt;

/// How long an assertion counts, in seconds.
const LIFE: u64 = 60;

/// A client's private key.
pub struct ClientKey(ES256KeyPair);

impl ClientKey {
    /// Reads a key of P-256 in PEM (PKCS #8), with its `kid`. `None` where it is none.
    #[must_use]
    pub fn from_pem(pem: &Secret, key_id: Option<&str>) -> Option<Self> {
        let key = ES256KeyPair::from_pem(std::str::from_utf8(pem.expose()).ok()?).ok()?;
        Some(Self(match key_id {
            Some(id) => key.with_key_id(id),
            None => key,
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
        Some(Secret::new(self.0.sign(claims).ok()?.into_bytes()))
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
    use jwt_simple::algorithms::{ECDSAP256PublicKeyLike as _, ES384KeyPair, Ed25519KeyPair, RS256KeyPair};
    use jwt_simple::common::VerificationOptions;
    use serde_json::{Value, json};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key(pem: String) -> Option<ClientKey> {
        ClientKey::from_pem(&Secret::new(pem.into_bytes()), Some("k1"))
    }

    #[test]
    fn an_assertion_says_who_to_whom_and_until_when() {
        let pair = ES256KeyPair::generate();
        let key = key(pair.to_pem().unwrap()).unwrap();
        assert_eq!(format!("{key:?}"), "ClientKey(***)");
        let assertion = key.assertion("gate", "https://login.example.com/token", "j", NOW).unwrap();
        let token = String::from_utf8(assertion.expose().to_vec()).unwrap();
        let artificial_time = Some(Duration::from_secs(NOW.0));
        let options = VerificationOptions { artificial_time, ..VerificationOptions::default() };
        assert!(pair.public_key().verify_token::<NoCustomClaims>(&token, Some(options)).is_ok());
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let header: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &json!("k1")));
        assert_eq!(
            claims,
            json!({"iss": "gate", "sub": "gate", "aud": "https://login.example.com/token", "jti": "j",
                "iat": NOW.0, "exp": NOW.0 + 60})
        );
    }

    #[test]
    fn another_key_is_none() {
        assert!(key(Ed25519KeyPair::generate().to_pem()).is_none());
        assert!(key(RS256KeyPair::generate(2048).unwrap().to_pem().unwrap()).is_none());
        assert!(key(ES384KeyPair::generate().to_pem().unwrap()).is_none());
        for text in ["", "-----BEGIN PRIVATE KEY-----", "this is no key"] {
            assert!(key(text.to_owned()).is_none(), "{text}");
        }
        assert!(ClientKey::from_pem(&Secret::new(vec![0xff]), None).is_none());
    }
}
