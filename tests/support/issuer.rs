//! An issuer's keys and the tokens that they sign: any header over any claims, for tests only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer as _;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::signature::SignatureEncoding as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// Base64url without padding.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair for RS256 and one for ES256, with ids that start with `name`.
pub struct Issuer {
    name: String,
    rsa: RsaPrivateKey,
    ec: p256::ecdsa::SigningKey,
}

impl Issuer {
    /// New keys.
    pub fn new(name: &str) -> Self {
        let rsa = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).unwrap();
        secret[0] = 0x7f;
        let ec = p256::ecdsa::SigningKey::from_bytes(&secret.into()).unwrap();
        Self { name: name.to_owned(), rsa, ec }
    }

    /// `kid` of the RS256 key.
    pub fn rsa_id(&self) -> String {
        format!("{}-rsa", self.name)
    }

    /// `kid` of the ES256 key.
    pub fn ec_id(&self) -> String {
        format!("{}-ec", self.name)
    }

    /// The RS256 key as a JWK.
    pub fn rsa_jwk(&self) -> Value {
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.rsa_id(),
            "n": b64(self.rsa.n().to_bytes_be()), "e": b64(self.rsa.e().to_bytes_be())})
    }

    /// The ES256 key as a JWK.
    pub fn ec_jwk(&self) -> Value {
        let point = self.ec.verifying_key().to_sec1_point(false);
        let bytes = point.as_bytes();
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.ec_id(),
            "x": b64(&bytes[1..33]), "y": b64(&bytes[33..])})
    }

    /// Both keys as a JWK Set.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.rsa_jwk(), self.ec_jwk()]})
    }

    /// An RS256 token with these claims.
    pub fn rs256(&self, claims: &Value) -> String {
        self.token(&json!({"alg": "RS256", "typ": "at+jwt", "kid": self.rsa_id()}), claims)
    }

    /// An ES256 token with these claims.
    pub fn es256(&self, claims: &Value) -> String {
        self.token(&json!({"alg": "ES256", "typ": "at+jwt", "kid": self.ec_id()}), claims)
    }

    /// A token with this header and these claims, signed by the key that fits `alg` (RS256 if none does).
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }

    /// As [`Self::token`], with header and claims as any text.
    pub fn token_of_texts(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(claims));
        let signature = if header.contains("\"ES256\"") {
            let signature: p256::ecdsa::Signature = self.ec.sign(input.as_bytes());
            signature.to_bytes().to_vec()
        } else {
            let key = SigningKey::<rsa::sha2::Sha256>::new(self.rsa.clone());
            rsa::signature::Signer::sign(&key, input.as_bytes()).to_vec()
        };
        format!("{input}.{}", b64(signature))
    }
}
