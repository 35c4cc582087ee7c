//! JSON Web Tokens: taking one apart (RFC 7515, 7519), the issuer's keys (RFC 7517), the signature
//! (RFC 7518) and the claims (RFC 7519 section 4.1, RFC 9068 section 4, RFC 8725).
//!
//! The algorithm is bound to the key, never chosen by the token. Which issuer and which keys count is
//! the caller's decision.

mod claims;
mod jwk;
mod jws;

pub use claims::{Expected, VerifiedClaims};
pub use jwk::{Algorithm, Key, KeySet};
pub use jws::Jws;
