//! From a request's bearer token to its caller. A token that is known costs one tag; what is asked of it
//! is the same: is its key still the issuer's, and does it count here, now, for whoever sends it.

use super::introspection::IntrospectionSettings;
use super::issuer::IssuerSettings;
use super::request::Request;
use super::signatures::VerifiedBy;
use super::token_review::ReviewSettings;
use crate::cache::{Tag, TokenCache};
use crate::identity::Caller;
use crate::jose::{Expected, Jws, Proof, Validity, VerifiedClaims, unsigned_validity};
use crate::oauth::{BearerToken, ProtectedResource};
use crate::reason::Reason;
use crate::time::UnixTime;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::cell::RefCell;
use std::hash::Hasher as _;
use std::rc::Rc;

/// The verified tokens of one root.
pub(super) struct Tokens {
    key: [u8; 16],
    known: RefCell<TokenCache<Rc<VerifiedToken>>>,
}

/// A token that its issuer has signed, and the caller whom it names. It says nothing yet of whether it
/// counts: [`authenticate`] asks that.
pub(super) struct VerifiedToken {
    issuer: usize,
    proof: Proof,
    validity: Validity,
    caller: Rc<Caller>,
}

/// Who speaks for a token.
pub(super) enum Spoken<'a> {
    /// Its issuer, by its signature.
    For(Rc<VerifiedToken>),
    /// Its issuer, when it is asked: nothing can be seen of it here.
    Opaque(&'a IssuerSettings, &'a Rc<IntrospectionSettings>),
    /// No issuer that is known here; Kubernetes, when it is asked.
    Unsigned(Validity, &'a Rc<ReviewSettings>),
}

impl Tokens {
    /// Room for this many; none without randomness.
    pub(super) fn new(capacity: usize) -> Self {
        let mut key = [0; 16];
        let capacity = getrandom::fill(&mut key).map_or(0, |()| capacity);
        Self { key, known: RefCell::new(TokenCache::new(capacity)) }
    }

    /// SipHash-2-4 with 128 bits, which is a pseudorandom function: who does not know the key can't find a token
    /// that has the tag of another one. It never leaves the sandbox.
    fn tag(&self, token: &str) -> Tag {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(token.as_bytes());
        hasher.finish128().as_bytes()
    }

    fn get(&self, tag: &Tag) -> Option<Rc<VerifiedToken>> {
        self.known.borrow_mut().get(tag)
    }

    fn insert(&self, tag: Tag, token: &Rc<VerifiedToken>) {
        let bytes = token.held_bytes();
        self.known.borrow_mut().insert(tag, Rc::clone(token), bytes);
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
        Ok(self.validity.ends(&self.expected(request, protected)?))
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

/// Who speaks for `token`. What its issuer has signed counts for this resource.
///
/// # Errors
/// The first check that fails.
pub(super) async fn authenticate<'a>(
    request: &'a Request,
    protected: &ProtectedResource,
    token: BearerToken<'_>,
) -> Result<Spoken<'a>, Reason> {
    let tag = request.tokens().tag(token.expose());
    let verified = match request.tokens().get(&tag) {
        Some(known) if is_still_signed(request, &known).await? => {
            request.signatures().count(VerifiedBy::Cache);
            known
        }
        _ => {
            let settings = &request.settings;
            if let Some((issuer, asked)) = settings.introspecting_issuer()
                && is_opaque(token)
            {
                return Ok(Spoken::Opaque(issuer, asked));
            }
            let jws = Jws::parse(token.expose())?;
            request.suspect_claimed(&jws);
            let is_known = settings.issuer(jws.claimed_issuer().unwrap_or_default()).is_some();
            if let Some(review) = settings.token_review.as_ref().filter(|_| !is_known) {
                jws.algorithm(&review.algorithms)?;
                return Ok(Spoken::Unsigned(unsigned_validity(&jws)?, review));
            }
            let verified = Rc::new(verify(request, jws, protected).await?);
            request.tokens().insert(tag, &verified);
            verified
        }
    };
    let checked = verified.validity.check(&verified.expected(request, protected)?, request.sender());
    checked.inspect_err(|reason| request.suspect_known(&verified.caller, *reason))?;
    Ok(Spoken::For(verified))
}

/// Has no form of a JWS (RFC 7515 section 3.1).
fn is_opaque(token: BearerToken<'_>) -> bool {
    token.expose().split('.').count() != 3
}

/// Whether the key that a known token is signed with is still its issuer's.
async fn is_still_signed(request: &Request, known: &VerifiedToken) -> Result<bool, Reason> {
    let issuer = request.settings.issuers.get(known.issuer).ok_or(Reason::Internal)?;
    let keys = request.keys(issuer, known.proof.key_id()).await?;
    Ok(known.proof.holds_by(&keys))
}

async fn verify(
    request: &Request,
    jws: Jws<'_>,
    protected: &ProtectedResource,
) -> Result<VerifiedToken, Reason> {
    let claimed = jws.claimed_issuer().unwrap_or_default();
    let issuer = request.settings.issuer(claimed).ok_or(Reason::UnknownIssuer)?;
    // Before keys are asked for: nobody fetches for a token that can't count.
    let expected = issuer.expected(protected, request.now());
    jws.algorithm(expected.algorithms)?;
    let keys = request.keys(issuer, jws.key_id()?).await?;
    let (claims, proof) = VerifiedClaims::verify(jws, &keys, &expected, request.signatures())?;
    let paths = &request.settings.claim_paths;
    let caller = Rc::new(Caller::from_claims(&claims, &issuer.identifier, &issuer.groups_claim, paths)?);
    Ok(VerifiedToken { issuer: issuer.index, proof, validity: claims.into_validity(), caller })
}
