//! An issuer's keys and the tokens that they sign: any header over any claims, for tests only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pss::BlindedSigningKey;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey, rand_core::OsRng};
use serde_json::{Value, json};

/// Base64url without padding.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair for each type, with ids that start with `name`.
pub struct Issuer {
    name: String,
    rsa: RsaPrivateKey,
    ec: p256::ecdsa::SigningKey,
    p384: p384::ecdsa::SigningKey,
    p521: p521::ecdsa::SigningKey,
    ed: ed25519_compact::KeyPair,
}

impl Issuer {
    /// New keys.
    pub fn new(name: &str) -> Self {
        let mut secret = [0_u8; 66];
        getrandom::fill(&mut secret).unwrap();
        (secret[0], secret[1]) = (0, 0x7f);
        let seed = |length: usize| secret[1..=length].to_vec();
        Self {
            name: name.to_owned(),
            rsa: RsaPrivateKey::new(&mut OsRng, 2048).unwrap(),
            ec: p256::ecdsa::SigningKey::from_slice(&seed(32)).unwrap(),
            p384: p384::ecdsa::SigningKey::from_slice(&seed(48)).unwrap(),
            p521: p521::ecdsa::SigningKey::from_slice(&secret).unwrap(),
            ed: ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::from_slice(&seed(32)).unwrap()),
        }
    }

    /// `kid` of the RSA key.
    pub fn rsa_id(&self) -> String {
        format!("{}-rsa", self.name)
    }

    /// `kid` of the P-256 key.
    pub fn ec_id(&self) -> String {
        format!("{}-ec", self.name)
    }

    /// `kid` of the key for this algorithm.
    pub fn id(&self, algorithm: &str) -> String {
        match algorithm {
            "ES256" => self.ec_id(),
            "ES384" | "ES512" => format!("{}-{algorithm}", self.name),
            "EdDSA" | "Ed25519" => format!("{}-ed", self.name),
            _ => self.rsa_id(),
        }
    }

    /// The RSA key, for RS256 alone, as a JWK.
    pub fn rsa_jwk(&self) -> Value {
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.rsa_id(),
            "n": b64(self.rsa.n().to_bytes_be()), "e": b64(self.rsa.e().to_bytes_be())})
    }

    /// The P-256 key as a JWK.
    pub fn ec_jwk(&self) -> Value {
        ec_jwk("P-256", "ES256", &self.ec_id(), self.ec.verifying_key().to_sec1_point(false).as_bytes())
    }

    /// Two keys as a JWK Set.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.rsa_jwk(), self.ec_jwk()]})
    }

    /// A key of each type; the RSA one names no algorithm.
    pub fn all_jwks(&self) -> Vec<Value> {
        let mut rsa = self.rsa_jwk();
        rsa.as_object_mut().unwrap().remove("alg");
        let p384 = self.p384.verifying_key().to_sec1_point(false);
        let p521 = p521::ecdsa::VerifyingKey::from(&self.p521).to_sec1_point(false);
        vec![
            rsa,
            self.ec_jwk(),
            ec_jwk("P-384", "ES384", &self.id("ES384"), p384.as_bytes()),
            ec_jwk("P-521", "ES512", &self.id("ES512"), p521.as_bytes()),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id("EdDSA"), "x": b64(*self.ed.pk)}),
        ]
    }

    /// The private RSA key.
    pub fn rsa(&self) -> &RsaPrivateKey {
        &self.rsa
    }

    /// The public RSA key.
    pub fn rsa_public(&self) -> RsaPublicKey {
        self.rsa.to_public_key()
    }

    /// An RS256 token with these claims.
    pub fn rs256(&self, claims: &Value) -> String {
        self.by("RS256", claims)
    }

    /// An ES256 token with these claims.
    pub fn es256(&self, claims: &Value) -> String {
        self.by("ES256", claims)
    }

    /// An access token of this algorithm with these claims.
    pub fn by(&self, algorithm: &str, claims: &Value) -> String {
        self.token(&json!({"alg": algorithm, "typ": "at+jwt", "kid": self.id(algorithm)}), claims)
    }

    /// A token with this header and these claims, signed by the key that fits `alg` (RS256 if none does).
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }

    /// As [`Self::token`], with header and claims as any text.
    pub fn token_of_texts(&self, header: &str, claims: &str) -> String {
        let algorithm = ALGORITHMS.iter().find(|name| header.contains(&format!("\"{name}\"")));
        let input = format!("{}.{}", b64(header), b64(claims));
        format!("{input}.{}", b64(self.sign(algorithm.unwrap_or(&"RS256"), input.as_bytes())))
    }

    /// A signature.
    pub fn sign(&self, algorithm: &str, input: &[u8]) -> Vec<u8> {
        let rsa = || self.rsa.clone();
        match algorithm {
            "RS384" => rsa::signature::Signer::sign(&SigningKey::<Sha384>::new(rsa()), input).to_vec(),
            "RS512" => rsa::signature::Signer::sign(&SigningKey::<Sha512>::new(rsa()), input).to_vec(),
            "PS256" => BlindedSigningKey::<Sha256>::new(rsa()).sign_with_rng(&mut OsRng, input).to_vec(),
            "PS384" => BlindedSigningKey::<Sha384>::new(rsa()).sign_with_rng(&mut OsRng, input).to_vec(),
            "PS512" => BlindedSigningKey::<Sha512>::new(rsa()).sign_with_rng(&mut OsRng, input).to_vec(),
            "ES256" => {
                let signature: p256::ecdsa::Signature = self.ec.sign(input);
                signature.to_bytes().to_vec()
            }
            "ES384" => {
                let signature: p384::ecdsa::Signature = self.p384.sign(input);
                signature.to_bytes().to_vec()
            }
            "ES512" => {
                let signature: p521::ecdsa::Signature = self.p521.sign(input);
                signature.to_bytes().to_vec()
            }
            "EdDSA" | "Ed25519" => self.ed.sk.sign(input, None).to_vec(),
            _ => rsa::signature::Signer::sign(&SigningKey::<Sha256>::new(rsa()), input).to_vec(),
        }
    }
}

/// What [`Issuer::sign`] knows.
pub const ALGORITHMS: &[&str] =
    &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];

fn ec_jwk(curve: &str, algorithm: &str, id: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "use": "sig", "alg": algorithm, "kid": id, "x": b64(x), "y": b64(y)})
}
