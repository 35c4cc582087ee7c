//! When and where a token counts, and for whom: its times, its audience, its sender (RFC 7519 section 4.1,
//! RFC 8705 section 3). All of it is asked for each request anew, also of a token that is known.

use super::claims::Expected;
use super::confirmation::{self, Sender};
use crate::json::{Map, Value};
use crate::reason::Reason;
use crate::time::UnixTime;

/// Claims that are texts where they are there (RFC 7519 section 4.1, OpenID Connect Core 1.0 section 2).
const TEXTS: &[&str] = &["iss", "sub", "jti", "nonce"];

/// Claims that are dates where they are there (RFC 7519 section 4.1).
const DATES: &[&str] = &["exp", "nbf", "iat"];

/// What a token says of its own validity.
#[derive(Clone, Debug)]
pub struct Validity {
    expires_at: UnixTime,
    /// The later of `nbf` and `iat`.
    begins_at: UnixTime,
    audiences: Box<[Box<str>]>,
    /// The certificate that its sender must have.
    bound_to: Option<Box<[u8; 32]>>,
}

impl Validity {
    /// Reads the claims that say so.
    ///
    /// # Errors
    /// [`Reason::InvalidClaim`] for a claim of another form and a token without `exp`;
    /// [`Reason::SenderConstraintUnsupported`].
    pub(super) fn of(claims: &Map<String, Value>) -> Result<Self, Reason> {
        let begins = (date(claims, "nbf")?, date(claims, "iat")?);
        Ok(Self {
            expires_at: date(claims, "exp")?.ok_or(Reason::InvalidClaim)?,
            begins_at: begins.0.max(begins.1).unwrap_or_default(),
            audiences: audiences(claims)?,
            bound_to: confirmation::bound_to(claims)?.map(Box::new),
        })
    }

    /// Whether the token counts for this resource, now, sent by whoever sends it.
    ///
    /// # Errors
    /// The first check that fails: times, audience, sender.
    pub fn check(&self, expected: &Expected<'_>, sender: &dyn Sender) -> Result<(), Reason> {
        self.check_expiry(expected)?;
        if self.begins_at.minus(expected.clock_skew) > expected.now {
            return Err(Reason::TokenNotYetValid);
        }
        if !self.audiences.iter().any(|own| expected.audiences.iter().any(|wanted| **own == **wanted)) {
            return Err(Reason::WrongAudience);
        }
        self.bound_to.as_deref().map_or(Ok(()), |bound_to| confirmation::check(bound_to, sender))
    }

    /// The token has not ended meanwhile: to be asked again after a wait.
    ///
    /// # Errors
    /// [`Reason::TokenExpired`]
    pub fn check_expiry(&self, expected: &Expected<'_>) -> Result<(), Reason> {
        if self.ends(expected) <= expected.now { Err(Reason::TokenExpired) } else { Ok(()) }
    }

    /// From when on the token counts no more.
    #[must_use]
    pub fn ends(&self, expected: &Expected<'_>) -> UnixTime {
        self.expires_at.plus(expected.clock_skew)
    }

    /// About how many bytes this holds beside itself.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let audiences = self.audiences.iter().map(|audience| audience.len().saturating_add(24));
        audiences.sum::<usize>().saturating_add(if self.bound_to.is_some() { 40 } else { 0 })
    }
}

/// What is asked of the registered claims before their token is verified, so that no verifier meets a form
/// that others may read differently.
pub(super) fn check_forms(claims: &Map<String, Value>) -> Result<(), Reason> {
    if TEXTS.iter().any(|claim| claims.get(*claim).is_some_and(|value| !value.is_string())) {
        return Err(Reason::InvalidClaim);
    }
    DATES.iter().try_for_each(|claim| date(claims, claim).map(|_| ()))?;
    audiences(claims).map(|_| ())
}

/// A NumericDate (RFC 7519 section 2): a number that is not negative; fractions are cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = value.as_number().ok_or(Reason::InvalidClaim)?;
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(UnixTime(seconds)));
    }
    match number.as_f64() {
        Some(seconds) if (0.0..=1e15).contains(&seconds) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range, and fractions are cut off on purpose"
            )]
            Ok(Some(UnixTime(seconds as u64)))
        }
        _ => Err(Reason::InvalidClaim),
    }
}

/// `aud` is a text or an array of texts (RFC 7519 section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> Result<Box<[Box<str>]>, Reason> {
    match claims.get("aud") {
        None => Ok(Box::default()),
        Some(Value::String(audience)) => Ok(Box::new([Box::from(audience.as_str())])),
        Some(Value::Array(audiences)) => {
            let texts = audiences.iter().map(|audience| audience.as_str().map(Box::from));
            texts.collect::<Option<_>>().ok_or(Reason::InvalidClaim)
        }
        Some(_) => Err(Reason::InvalidClaim),
    }
}
