//! From a request's bearer token to its caller. A token that is known costs one digest; what is asked of it
//! is the same: is its key still the issuer's, and does it count here, now, for whoever sends it.

use super::request::Request;
use super::signatures::VerifiedBy;
use crate::cache::{Digest, TokenCache};
use crate::identity::Caller;
use crate::jose::{Expected, Jws, Proof, Validity, VerifiedClaims};
use crate::oauth::{BearerToken, ProtectedResource};
use crate::reason::Reason;
use crate::time::UnixTime;
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::rc::Rc;

/// The verified tokens of one root.
pub(super) struct Tokens(RefCell<TokenCache<Rc<VerifiedToken>>>);

/// A token that its issuer has signed, and the caller whom it names. It says nothing yet of whether it
/// counts: [`authenticate`] asks that.
pub(super) struct VerifiedToken {
    issuer: usize,
    proof: Proof,
    validity: Validity,
    caller: Rc<Caller>,
}

impl Tokens {
    /// Room for this many.
    #[must_use]
    pub(super) fn new(capacity: usize) -> Self {
        Self(RefCell::new(TokenCache::new(capacity)))
    }

    fn get(&self, digest: &Digest) -> Option<Rc<VerifiedToken>> {
        self.0.borrow_mut().get(digest)
    }

    fn insert(&self, digest: Digest, token: &Rc<VerifiedToken>) {
        let bytes = token.held_bytes();
        self.0.borrow_mut().insert(digest, Rc::clone(token), bytes);
    }
}

impl VerifiedToken {
    /// The caller.
    #[must_use]
    pub(super) fn caller(&self) -> &Rc<Caller> {
        &self.caller
    }

    /// From when on the token counts no more.
    pub(super) fn ends(&self, request: &Request, protected: &ProtectedResource) -> Result<UnixTime, Reason> {
        Ok(self.validity.expires_at().plus(self.expected(request, protected)?.clock_skew))
    }

    fn expected<'a>(
        &self,
        request: &'a Request,
        protected: &'a ProtectedResource,
    ) -> Result<Expected<'a>, Reason> {
        let issuer = request.settings.issuers.get(self.issuer).ok_or(Reason::Internal)?;
        Ok(issuer.expected(protected, request.now()))
    }

    /// About how many bytes it takes.
    fn held_bytes(&self) -> usize {
        let parts = [size_of::<Self>(), self.validity.held_bytes(), self.caller.held_bytes()];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

/// What `token` says, where it counts for this resource.
///
/// # Errors
/// The first check that fails.
pub(super) async fn authenticate(
    request: &Request,
    protected: &ProtectedResource,
    token: BearerToken<'_>,
) -> Result<Rc<VerifiedToken>, Reason> {
    let digest: Digest = Sha256::digest(token.expose()).into();
    let verified = match request.tokens().get(&digest) {
        Some(known) if is_still_signed(request, &known).await? => {
            request.signatures().count(VerifiedBy::Cache);
            known
        }
        _ => {
            let verified = Rc::new(verify(request, token.expose(), protected).await?);
            request.tokens().insert(digest, &verified);
            verified
        }
    };
    verified.validity.check(&verified.expected(request, protected)?, request.sender())?;
    Ok(verified)
}

/// Whether the key that a known token is signed with is still its issuer's.
async fn is_still_signed(request: &Request, known: &VerifiedToken) -> Result<bool, Reason> {
    let issuer = request.settings.issuers.get(known.issuer).ok_or(Reason::Internal)?;
    let keys = request.keys(issuer, known.proof.key_id()).await?;
    Ok(known.proof.holds_by(&keys))
}

async fn verify(
    request: &Request,
    token: &str,
    protected: &ProtectedResource,
) -> Result<VerifiedToken, Reason> {
    let jws = Jws::parse(token)?;
    let claimed = jws.claimed_issuer().unwrap_or_default();
    let issuer = request.settings.issuer(claimed).ok_or(Reason::UnknownIssuer)?;
    // Before keys are asked for: nobody fetches for a token that can't count.
    let expected = issuer.expected(protected, request.now());
    jws.algorithm(expected.algorithms)?;
    let keys = request.keys(issuer, jws.key_id()?).await?;
    let claims = VerifiedClaims::verify(jws, &keys, &expected, request.signatures())?;
    let paths = &request.settings.claim_paths;
    let caller = Rc::new(Caller::from_claims(&claims, &issuer.identifier, &issuer.groups_claim, paths)?);
    let (proof, validity) = claims.into_parts();
    Ok(VerifiedToken { issuer: issuer.index, proof, validity, caller })
}
