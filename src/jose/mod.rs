//! JSON Web Tokens: taking one apart (RFC 7515, 7519), the issuer's keys (RFC 7517), the signature
//! (RFC 7518) and the claims (RFC 7519 section 4.1, RFC 9068 section 4, RFC 8725).
//!
//! The algorithm is bound to the key and to the issuer, never chosen by the token. Which issuer and which
//! keys count is the caller's decision.

mod algorithm;
mod claims;
mod client_assertion;
mod confirmation;
mod der;
mod jwk;
mod jws;
mod library;
mod material;
mod signature;
mod validity;

pub use algorithm::{Algorithm, Hash};
pub use claims::{Expected, Proof, VerifiedClaims, claim_at, unsigned_validity};
pub use client_assertion::ClientKey;
pub use confirmation::{Sender, Unproven};
pub use jwk::{Key, KeySet};
pub use jws::Jws;
pub use signature::{HostCrypto, Library, NoHost, Signed, Verdict, Verifier};
pub use validity::Validity;
