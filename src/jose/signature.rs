//! One signature to be verified, and who says whether it holds.
//!
//! The seam between this layer and whoever has the faster crypto: [`Verifier`] stacks (a cache on the
//! host, the host on the library). Lengths are checked here, before any of them, so that they can't
//! differ about them.

use super::algorithm::Algorithm;
use super::der;
use super::jwk::Key;
use super::library;
use crate::reason::Reason;
use std::fmt;

/// A signature over a token, by one key, for one algorithm that the key is for.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    key: &'a Key,
    algorithm: Algorithm,
    token: &'a str,
    signature: &'a [u8],
}

/// What a verifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is the key's.
    Holds,
    /// It is not.
    Broken,
    /// Nobody here can verify this algorithm.
    Unsupported,
}

/// Says whether signatures hold.
pub trait Verifier {
    /// The verdict on one signature.
    fn verify(&self, signed: &Signed<'_>) -> Verdict;
}

/// The crypto of a host, by BoringSSL's rules.
pub trait HostCrypto {
    /// Whether `signature` over `text` is that of the key in `spki` (DER, RFC 5280 section 4.1), by RSA PKCS #1
    /// v1.5 or ECDSA (in DER) over this hash (`sha256`, `sha384`, `sha512`). `None` where the host can't
    /// tell: it has no such function, or can't read the key.
    fn verify(&self, hash: &str, spki: &[u8], signature: &[u8], text: &[u8]) -> Option<bool>;
}

/// No host: everything is left to the library.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl HostCrypto for NoHost {
    fn verify(&self, _: &str, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

/// The library, and nothing else. It has no ES512.
#[derive(Clone, Copy, Debug, Default)]
pub struct Library;

impl Verifier for Library {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        library::verify(signed.key, signed.algorithm, signed.token)
    }
}

impl<'a> Signed<'a> {
    /// A token in compact form, its decoded signature, and the key and algorithm to verify it by.
    ///
    /// # Errors
    /// [`Reason::BadSignature`] where the signature has another length than the key's have (RFC 8017 section
    /// 8.2.2, RFC 7518 section 3.4).
    pub(super) fn new(
        key: &'a Key,
        algorithm: Algorithm,
        token: &'a str,
        signature: &'a [u8],
    ) -> Result<Self, Reason> {
        if signature.len() == key.material.signature_length(algorithm) {
            Ok(Self { key, algorithm, token, signature })
        } else {
            Err(Reason::BadSignature)
        }
    }

    /// Asks a host; `None` where it has no such algorithm or can't tell.
    #[must_use]
    pub fn verify_by(&self, host: &dyn HostCrypto) -> Option<bool> {
        let spki = self.key.material.spki()?;
        let (text, _) = self.token.rsplit_once('.')?;
        match self.algorithm {
            Algorithm::Rs(hash) => host.verify(hash.host_name(), spki, self.signature, text.as_bytes()),
            Algorithm::Es(hash) => {
                let signature = der::ecdsa_signature(self.signature);
                host.verify(hash.host_name(), spki, &signature, text.as_bytes())
            }
            Algorithm::Ps(_) | Algorithm::EdDsa | Algorithm::Hs(_) => None,
        }
    }
}

/// Neither token nor signature is shown.
impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({:?})", self.algorithm)
    }
}
