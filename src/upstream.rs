//! What the upstream is given as credential: the only things that can be forwarded.
//!
//! The caller's own token is none of them, but where the configuration says by name that it passes.

use crate::oauth::{BearerToken, IssuedToken};
use crate::policy::{HeadPermit, Permit};
use crate::reason::Reason;
use crate::secret::Secret;

/// A credential for the upstream. Making one takes proof of a decision.
#[derive(Debug, PartialEq, Eq)]
pub struct UpstreamCredential(Kind);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Stripped,
    /// The value of `Authorization`.
    Bearer(Secret),
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

    /// The token that was issued for the upstream, where the request came with `inbound`.
    ///
    /// # Errors
    /// [`Reason::TokenNotExchanged`] where it is the same.
    pub fn issued(
        _permit: &Permit,
        token: &IssuedToken,
        inbound: Option<BearerToken<'_>>,
    ) -> Result<Self, Reason> {
        if inbound.is_some_and(|inbound| token.access_token.expose() == inbound.expose().as_bytes()) {
            return Err(Reason::TokenNotExchanged);
        }
        Ok(Self::bearer(token.access_token.expose()))
    }

    /// The caller's own token, as the configuration says by name.
    #[must_use]
    pub fn passthrough(_permit: &Permit, inbound: BearerToken<'_>) -> Self {
        Self::bearer(inbound.expose().as_bytes())
    }

    /// The value of `Authorization` that goes upstream; `None` removes the header.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        match &self.0 {
            Kind::Stripped => None,
            // It was read as text.
            Kind::Bearer(value) => std::str::from_utf8(value.expose()).ok(),
        }
    }

    fn bearer(token: &[u8]) -> Self {
        Self(Kind::Bearer(Secret::new([b"Bearer ", token].concat())))
    }
}
