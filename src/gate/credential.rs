//! Which credential of a request says who calls: an API key, a bearer token, or the connection's own certificate.
//! Never two of the first, and never a guess between them.

use super::api_keys::ApiKeySettings;
use super::judges;
use super::refusal::DECISION;
use super::request::Request;
use super::token::{self, Spoken};
use crate::head::One;
use crate::identity::Caller;
use crate::oauth::{BearerToken, ProtectedResource};
use crate::policy::Denial;
use crate::reason::Reason;
use crate::spiffe::{SpiffeId, XFCC};
use crate::time::UnixTime;
use std::rc::Rc;

/// Who calls, and for how long what says so counts.
pub(super) struct Identity<'a> {
    pub(super) caller: Rc<Caller>,
    /// The bearer token that says so, where one does; what was not verified is none.
    pub(super) token: Option<BearerToken<'a>>,
    /// When the credential ends, and the reason then.
    ends: Option<(UnixTime, Reason)>,
}

impl Identity<'_> {
    /// The credential has not ended meanwhile: to be asked again after a wait.
    pub(super) fn check(&self, now: UnixTime) -> Result<(), Reason> {
        match self.ends {
            Some((end, reason)) if end <= now => Err(reason),
            _ => Ok(()),
        }
    }

    fn through(self, workload: Option<SpiffeId>) -> Self {
        match workload {
            None => self,
            Some(id) => Self { caller: Rc::new(Caller::clone(&self.caller).through(id)), ..self },
        }
    }
}

/// Finds out who calls, and notes it. The body is not looked at.
///
/// # Errors
/// There is no credential, it does not count, or too many before it did not.
pub(super) async fn identify<'a>(
    request: &'a Request,
    protected: &ProtectedResource,
) -> Result<Identity<'a>, Denial> {
    request.check_source()?;
    let identity = find(request, protected).await?;
    // Others may have failed while this one waited.
    request.check_source()?;
    request.note(|record| record.note_caller(Rc::clone(&identity.caller)));
    request.check_subject(&identity.caller)?;
    Ok(identity)
}

async fn find<'a>(request: &'a Request, protected: &ProtectedResource) -> Result<Identity<'a>, Reason> {
    let (settings, head) = (&request.settings, &request.head);
    let token = BearerToken::from_head(head);
    let key = settings.api_keys.as_ref().map(|keys| keys.presented(head)).transpose()?.flatten();
    if !settings.require_auth {
        return match token {
            // What can't be taken out of the head does not go on in it.
            Err(reason @ (Reason::TokenInQuery | Reason::TokenRepeated)) => Err(reason),
            _ => Ok(Identity { caller: Rc::new(Caller::anonymous()), token: None, ends: None }),
        };
    }
    let mesh = settings.mesh.as_ref();
    let workload = mesh.map_or(Ok(None), |mesh| mesh.workload(head, request.sender()));
    // Beside another credential a workload that does not count is none.
    let beside = match &workload {
        Err(Reason::MeshIdentityNotAccepted) => None,
        known => known.clone()?,
    };
    match (key, token) {
        (_, Err(Reason::TokenInQuery)) => Err(Reason::TokenInQuery),
        (Some(_), _) if head.one("authorization") != One::Absent => Err(Reason::SeveralCredentials),
        (Some(key), _) => by_key(request, key).map(|identity| identity.through(beside)),
        (None, Ok(token)) => Ok(by_token(request, protected, token).await?.through(beside)),
        (None, Err(Reason::MissingToken)) => match mesh.filter(|mesh| mesh.authenticates) {
            Some(_) => match workload? {
                Some(id) => {
                    Ok(Identity { caller: Rc::new(Caller::of_workload(id)), token: None, ends: None })
                }
                None => Err(missing(request)),
            },
            None => Err(missing(request)),
        },
        (None, Err(reason)) => Err(reason),
    }
}

/// What a caller without any credential lacks: the first that it could get by itself.
fn missing(request: &Request) -> Reason {
    let settings = &request.settings;
    match &settings.api_keys {
        _ if settings.takes_tokens() => Reason::MissingToken,
        Some(_) => Reason::MissingApiKey,
        None => Reason::MeshIdentityMissing,
    }
}

impl Request {
    /// The headers of the request that don't go on, whatever comes in their place: credentials, what only a trusted proxy
    /// may say, and what only the gate says. To be asked while the request's flow is polled.
    pub fn withheld_headers(&self) -> impl Iterator<Item = &str> {
        let key = self.settings.api_keys.as_ref().map(ApiKeySettings::header);
        let mesh = self.settings.mesh.as_ref();
        let told = mesh.filter(|mesh| mesh.reads_forwarded() && !mesh.is_trusted(self.sender()));
        let names = ["proxy-authorization", DECISION].into_iter().chain(key).chain(told.map(|_| XFCC));
        // What is filtered must come as it is.
        let names = names.chain(self.may_have_lists().then_some("accept-encoding"));
        names.filter(|name| self.head.one(name) != One::Absent)
    }
}

fn by_key(request: &Request, key: &str) -> Result<Identity<'static>, Reason> {
    let keys = request.settings.api_keys.as_ref().ok_or(Reason::Internal)?;
    let entry = keys.find(key)?;
    request.note_credential(key);
    let caller = Rc::new(entry.caller());
    // Whose key has ended is known, and recorded.
    request.note(|record| record.note_caller(Rc::clone(&caller)));
    entry.check(request.now()).inspect_err(|reason| request.suspect_known(&caller, *reason))?;
    Ok(Identity { caller, token: None, ends: entry.until.map(|until| (until, Reason::ApiKeyExpired)) })
}

async fn by_token<'a>(
    request: &Request,
    protected: &ProtectedResource,
    token: BearerToken<'a>,
) -> Result<Identity<'a>, Reason> {
    let (caller, ends) = match token::authenticate(request, protected, token).await? {
        Spoken::For(verified) => (Rc::clone(verified.caller()), verified.ends(request, protected)?),
        Spoken::Opaque(issuer, introspection) => {
            let told = judges::told_of(request, issuer, introspection, token).await?;
            let expected = issuer.expected(protected, request.now());
            let checked = told.validity.check(&expected, request.sender());
            checked.inspect_err(|reason| request.suspect_known(&told.caller, *reason))?;
            (Rc::clone(&told.caller), told.validity.ends(&expected))
        }
        // Nobody here speaks for it: what can be seen without its key is checked, and the review is the verification.
        Spoken::Unsigned(validity, review) => {
            let expected = review.expected(protected, request.now());
            validity.check(&expected, request.sender())?;
            let caller =
                judges::user_of(request, review, expected.audiences, token.expose().as_bytes()).await?;
            (caller, validity.ends(&expected))
        }
    };
    request.note_credential(token.expose());
    let identity = Identity { caller, token: Some(token), ends: Some((ends, Reason::TokenExpired)) };
    // An answer may have taken its time.
    identity.check(request.now())?;
    Ok(identity)
}
