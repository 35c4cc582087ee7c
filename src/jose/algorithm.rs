//! The signature algorithms that count (RFC 7518 section 3.1, RFC 8037, RFC 9864), and what each asks of
//! its key. `none` is not among them, and no name is read in another case.

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 7518 section 3.3).
    Rs(Hash),
    /// RSASSA-PSS with MGF1 and a salt as long as the hash (RFC 7518 section 3.5).
    Ps(Hash),
    /// ECDSA on the curve that goes with the hash: P-256, P-384, P-521 (RFC 7518 section 3.4).
    Es(Hash),
    /// Ed25519 (RFC 8037 section 3.1); `Ed25519` is the same by its newer name (RFC 9864 section 2.2).
    EdDsa,
    /// HMAC (RFC 7518 section 3.2).
    Hs(Hash),
}

/// A SHA-2 hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

use Algorithm::{EdDsa, Es, Hs, Ps, Rs};
use Hash::{Sha256, Sha384, Sha512};

const NAMES: &[(&str, Algorithm)] = &[
    ("RS256", Rs(Sha256)),
    ("RS384", Rs(Sha384)),
    ("RS512", Rs(Sha512)),
    ("PS256", Ps(Sha256)),
    ("PS384", Ps(Sha384)),
    ("PS512", Ps(Sha512)),
    ("ES256", Es(Sha256)),
    ("ES384", Es(Sha384)),
    ("ES512", Es(Sha512)),
    ("EdDSA", EdDsa),
    ("Ed25519", EdDsa),
    ("HS256", Hs(Sha256)),
    ("HS384", Hs(Sha384)),
    ("HS512", Hs(Sha512)),
];

impl Algorithm {
    /// The algorithm of this `alg` name, to the letter; `None` for every one that is not known.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Every name that is known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// Every algorithm whose key is public.
    #[must_use]
    pub fn asymmetric() -> Vec<Self> {
        let all = NAMES.iter().filter(|(name, algorithm)| *name != "Ed25519" && !algorithm.is_symmetric());
        all.map(|(_, algorithm)| *algorithm).collect()
    }

    /// Whether who verifies could also sign.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Hs(_))
    }

    /// How long a secret must be for this algorithm, in bytes (RFC 7518 section 3.2).
    #[must_use]
    pub fn min_secret(self) -> usize {
        if let Hs(hash) = self { hash.output_len() } else { 0 }
    }
}

impl Hash {
    /// The length of its output, in bytes.
    #[must_use]
    pub fn output_len(self) -> usize {
        match self {
            Sha256 => 32,
            Sha384 => 48,
            Sha512 => 64,
        }
    }

    /// Its name as the host's crypto library has it.
    #[must_use]
    pub fn host_name(self) -> &'static str {
        match self {
            Sha256 => "sha256",
            Sha384 => "sha384",
            Sha512 => "sha512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_to_the_letter() {
        assert_eq!(Algorithm::from_name("PS384"), Some(Ps(Sha384)));
        assert_eq!(Algorithm::from_name("EdDSA"), Algorithm::from_name("Ed25519"));
        for name in
            ["", "none", "None", "NONE", "rs256", "RS256 ", "ES256K", "RS1", "Ed448", "HS1", "dir", "A128KW"]
        {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
        assert_eq!(Algorithm::asymmetric().len(), 10);
    }
}
