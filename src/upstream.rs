//! What the upstream is given as credential: the only things that can be forwarded.
//!
//! The caller's own token is none of them.

use crate::policy::{HeadPermit, Permit};

/// A credential for the upstream. Making one takes proof of a decision.
#[derive(Debug, PartialEq, Eq)]
pub struct UpstreamCredential(Kind);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Stripped,
}

impl UpstreamCredential {
    /// The request goes on without any credential.
    #[must_use]
    pub fn stripped(_permit: &Permit) -> Self {
        Self(Kind::Stripped)
    }

    /// As [`Self::stripped`], for a head that goes on before its body is decided.
    #[must_use]
    pub fn stripped_head(_permit: &HeadPermit) -> Self {
        Self(Kind::Stripped)
    }

    /// The value of `Authorization` that goes upstream; `None` removes the header.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        match self.0 {
            Kind::Stripped => None,
        }
    }
}
