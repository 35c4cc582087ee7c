//! The credential that the upstream gets, after a rule has allowed the request and never before: each caller's token
//! is exchanged once for each target, remembered while the new one counts, and forgotten when the upstream refuses it.
//!
//! Whose fault a failure is decides the refusal: the caller's token (401), what the caller may have (403), or ours and
//! the endpoint's (503). On none of them is anything forwarded.

use super::credential::Identity;
use super::judges;
use super::messages::{Message, Messages};
use super::outgoing::{Client, ExchangeSettings, Outgoing, Target, TokenPlace};
use super::random::Random;
use super::request::Request;
use crate::cache::{Digest, Room, digest};
use crate::callout::{
    Answers, Callouts, Endpoint, Found, Fresh, IssuerPlace, Outbox, StreamId, TokenError, Unanswered,
    ask_for_token, find_token_endpoint,
};
use crate::identity::Caller;
use crate::oauth::{BearerToken, ClientProof, Form, Grant, IssuedToken, OAuthError};
use crate::policy::Permit;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::upstream::UpstreamCredential;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How many tokens each worker remembers at least, and how many bytes of them; at most twice as many.
const ROOM: Room = Room { entries: 10_000, bytes: 8 * 1024 * 1024 };
/// Beside the token itself.
const ENTRY: usize = 256;
/// How long a token is used at most.
const MAX_USE: u64 = 3_600;
/// How long before its end a token is used no more, at most; of a short one, a fifth of its life.
const MARGIN: u64 = 30;
/// How long the endpoint's word about a caller counts.
const REFUSED: Duration = Duration::from_secs(5);
/// How long a failure counts.
const FAILED: Duration = Duration::from_secs(1);
/// How long the upstream is spared a caller whose new token it refused, and how long a token is new.
const REFUSED_BY_UPSTREAM: Duration = Duration::from_secs(2);
/// How long what discovery found counts.
const DISCOVERED: Duration = Duration::from_secs(600);

type Answer<T> = Result<Rc<T>, TokenError>;

/// The tokens for upstreams of one root.
pub struct Exchange {
    clock: Rc<Cell<Timestamp>>,
    endpoints: Rc<Answers<Answer<Endpoint>>>,
    tokens: Rc<Answers<Answer<IssuedToken>>>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    /// Of each `token_exchange` of the document.
    messages: Messages<TokenError>,
}

/// The token that a request went on with: what [`Exchange::refused_by_upstream`] is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    key: Digest,
    asked_at: Timestamp,
    is_cached: bool,
    /// Whether all callers use it.
    is_shared: bool,
}

impl Exchange {
    pub(super) fn new(clock: Rc<Cell<Timestamp>>) -> Self {
        Self {
            endpoints: Rc::new(Answers::new(Rc::clone(&clock), Room { entries: 256, bytes: 256 * 1024 })),
            tokens: Rc::new(Answers::new(Rc::clone(&clock), ROOM)),
            clock,
            counts: RefCell::default(),
            messages: Messages::default(),
        }
    }

    /// How many exchanges ended how since the last call: `ok` or [`TokenError::name`], count.
    pub fn take_counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.take()
    }

    /// What is to be logged since the last call.
    #[must_use]
    pub fn take_messages(&self) -> Vec<Message> {
        self.messages.take()
    }

    /// The upstream answered 401 to a token: it is forgotten, so that the next request gets a new one. One that was
    /// new already is not replaced at once: an upstream that takes none would have one made for each call. Of one that
    /// all callers use nothing is remembered: a call that the upstream answers so must not take it from the others.
    pub(super) fn refused_by_upstream(&self, used: &Used) {
        let Used { key, asked_at, is_cached, is_shared } = used;
        if *is_shared {
            self.forget_unless_new(key, *asked_at);
            return;
        }
        let answer = Err(TokenError::RefusedByUpstream);
        let counts_for = if *is_cached { Duration::ZERO } else { REFUSED_BY_UPSTREAM };
        self.tokens.replace(key, *asked_at, Fresh { answer, counts_for, bytes: ENTRY });
    }

    fn forget_unless_new(&self, key: &Digest, asked_at: Timestamp) {
        if self.clock.get().since(asked_at) >= REFUSED_BY_UPSTREAM {
            self.tokens.forget(key, asked_at);
        }
    }

    async fn find(
        self: &Rc<Self>,
        callouts: &Callouts,
        stream: StreamId,
        settings: &Rc<ExchangeSettings>,
        target: &Rc<Target>,
        key: Digest,
        token: Option<BearerToken<'_>>,
    ) -> Result<Found<Answer<IssuedToken>>, Unanswered> {
        if let Some(known) = self.tokens.known(&key) {
            return Ok(known);
        }
        let endpoint = match &settings.place {
            TokenPlace::Configured(endpoint) => Rc::clone(endpoint),
            TokenPlace::Discovered(issuer) => {
                let Found { answer, is_cached, asked_at } =
                    self.discover(callouts, stream, settings, issuer, target.request.grant).await?;
                match answer {
                    Ok(endpoint) => endpoint,
                    Err(error) => return Ok(Found { answer: Err(error), is_cached, asked_at }),
                }
            }
        };
        let ask = Ask { settings: Rc::clone(settings), target: Rc::clone(target), endpoint };
        let (exchange, now) = (Rc::clone(self), self.clock.get());
        let task = |outbox: Outbox| {
            let form = ask.form(token, now);
            async move {
                let answer = match form {
                    Some(form) => ask.send(outbox, form).await,
                    None => Err(TokenError::Request),
                };
                exchange.note(&ask.settings.path, ask.target.request.grant, answer.as_ref().err());
                let bytes = answer.as_ref().map_or(0, |token| token.access_token.expose().len());
                Fresh { counts_for: counts_for(&answer), bytes: ENTRY.saturating_add(bytes), answer }
            }
        };
        self.tokens.find(callouts, key, stream, task).await
    }

    async fn discover(
        self: &Rc<Self>,
        callouts: &Callouts,
        stream: StreamId,
        settings: &Rc<ExchangeSettings>,
        issuer: &Rc<IssuerPlace>,
        grant: Grant,
    ) -> Result<Found<Answer<Endpoint>>, Unanswered> {
        let key = digest([b"endpoint".as_slice(), settings.path.as_bytes()]);
        let (issuer, settings, exchange) = (Rc::clone(issuer), Rc::clone(settings), Rc::clone(self));
        let task = |outbox: Outbox| async move {
            let answer = find_token_endpoint(outbox, issuer, settings.timeout).await;
            if let Err(error) = &answer {
                exchange.note(&settings.path, grant, Some(error));
            }
            let counts_for = if answer.is_ok() { DISCOVERED } else { FAILED };
            Fresh { answer, counts_for, bytes: ENTRY }
        };
        self.endpoints.find(callouts, key, stream, task).await
    }

    /// Counts how an exchange ended, and keeps what the operator should know: each failure that is ours or the
    /// endpoint's.
    fn note(&self, path: &str, grant: Grant, error: Option<&TokenError>) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(error.map_or("ok", |error| error.name())).or_default();
        *count = count.saturating_add(1);
        match error {
            Some(error) if is_about_caller(*error, grant) => {}
            Some(error) => self.messages.fails(path, *error),
            None => self.messages.is_well(path, "tokens can be had again"),
        }
    }
}

/// One question to a token endpoint.
struct Ask {
    settings: Rc<ExchangeSettings>,
    target: Rc<Target>,
    endpoint: Rc<Endpoint>,
}

impl Ask {
    /// The parameters and how the client proves itself; `None` where it can't.
    fn form(&self, token: Option<BearerToken<'_>>, now: Timestamp) -> Option<(Form, ClientProof)> {
        let settings = &self.settings;
        let proof = match &settings.client {
            Client::Fixed(proof) => proof.clone(),
            Client::NotSet => return None,
            Client::Key(key) => {
                let Endpoint { scheme, authority, path, .. } = &*self.endpoint;
                let audience = format!("{scheme}://{authority}{path}");
                let id = Random::default().id()?;
                ClientProof::Assertion(key.assertion(&settings.client_id, &audience, &id, now.unix())?)
            }
        };
        let form = self.target.request.form(token.map(BearerToken::expose).unwrap_or_default())?;
        Some((proof.add_to(form, &settings.client_id)?, proof))
    }

    async fn send(&self, outbox: Outbox, form: (Form, ClientProof)) -> Answer<IssuedToken> {
        let Target { request, issued_audience, .. } = &*self.target;
        let timeout = self.settings.timeout;
        ask_for_token(outbox, &self.endpoint, form, timeout, request, issued_audience.as_deref()).await
    }
}

/// What tells one token from every other: nobody gets what was issued for somebody else, or for another target. With
/// client credentials it is issued for nobody.
fn key(
    settings: &ExchangeSettings,
    target: &Target,
    caller: &Caller,
    token: Option<BearerToken<'_>>,
) -> Digest {
    let index = target.index.to_le_bytes();
    let what = [b"token".as_slice(), settings.path.as_bytes(), &index];
    let token = token.map(BearerToken::expose).unwrap_or_default();
    let who = [caller.issuer.as_bytes(), token.as_bytes()];
    let who = who.into_iter().filter(|_| target.request.grant != Grant::ClientCredentials);
    digest(what.into_iter().chain(who))
}

fn counts_for(answer: &Answer<IssuedToken>) -> Duration {
    match answer {
        Ok(token) => {
            let life = token.expires_in.unwrap_or_default();
            let margin = life.div_ceil(5).min(MARGIN);
            Duration::from_secs(life.saturating_sub(margin).min(MAX_USE))
        }
        Err(TokenError::Refused(_)) => REFUSED,
        Err(TokenError::Request) => Duration::ZERO,
        Err(_) => FAILED,
    }
}

/// Whether an error says something about one caller, and nothing about the endpoint or us.
fn is_about_caller(error: TokenError, grant: Grant) -> bool {
    // What RFC 8693 has for a bad subject token is what a bad request gets, too.
    let is_unclear = error == TokenError::Refused(OAuthError::InvalidRequest);
    !is_unclear && matches!(reason(error, grant), Reason::SubjectTokenRefused | Reason::TargetRefused)
}

/// Whose fault it is that there is no token.
fn reason(error: TokenError, grant: Grant) -> Reason {
    use OAuthError::{
        AccessDenied, InteractionRequired, InvalidGrant, InvalidRequest, InvalidScope, InvalidTarget,
        Unavailable,
    };
    match error {
        TokenError::Refused(Unavailable)
        | TokenError::Callout(_)
        | TokenError::DiscoveryCallout(_)
        | TokenError::Discovery(_) => Reason::TokenEndpointUnavailable,
        // Nothing of the caller was sent.
        TokenError::Refused(_) if grant == Grant::ClientCredentials => Reason::TokenRequestRefused,
        TokenError::Refused(InvalidGrant) => Reason::SubjectTokenRefused,
        // RFC 8693 section 2.2.2 has it for a subject token that is invalid or not acceptable.
        TokenError::Refused(InvalidRequest) if grant == Grant::TokenExchange => Reason::SubjectTokenRefused,
        TokenError::Refused(InvalidTarget | InvalidScope | AccessDenied | InteractionRequired) => {
            Reason::TargetRefused
        }
        TokenError::Refused(_) => Reason::TokenRequestRefused,
        TokenError::Token(_) => Reason::TokenResponseInvalid,
        TokenError::RefusedByUpstream => Reason::UpstreamRefusedCredential,
        TokenError::Request => Reason::Internal,
    }
}

impl Request {
    /// What the upstream gets, with proof that the request is allowed.
    ///
    /// # Errors
    /// There is no token for it: whose fault that is.
    pub(super) async fn credential(
        &self,
        permit: &Permit,
        identity: &Identity<'_>,
        target: Option<Rc<Target>>,
    ) -> Result<UpstreamCredential, Reason> {
        let resource = self.resource()?;
        let caller = &identity.caller;
        let token = || identity.token.ok_or(Reason::MissingToken);
        let (settings, target) = match (&resource.outgoing, target) {
            (Outgoing::Stripped, None) => return Ok(UpstreamCredential::stripped(permit)),
            (Outgoing::Passthrough, None) => return Ok(UpstreamCredential::passthrough(permit, token()?)),
            (Outgoing::Exchanged(settings), Some(own)) => (settings, settings.target_of(permit, own)?),
            _ => return Err(Reason::Internal),
        };
        let token = match target.request.grant {
            Grant::TokenExchange | Grant::JwtBearer => Some(token()?),
            Grant::ClientCredentials => token().ok(),
        };
        let began = self.shared().now();
        let exchange = &self.shared().exchange;
        let key = key(settings, &target, caller, token);
        let found =
            exchange.find(&self.shared().callouts, self.stream(), settings, &target, key, token).await;
        let took = self.shared().now().since(began);
        let (answer, is_cached) = match &found {
            Ok(found) => (found.answer.as_ref().err().map(|error| error.name()), found.is_cached),
            Err(_) => (Some("not_asked"), false),
        };
        self.note(|record| record.note_exchange(&target.name, is_cached, took, answer));
        self.shared().remembered.count("token_exchanges", is_cached);
        let found = found.map_err(|unanswered| match unanswered {
            Unanswered::Full => Reason::Overloaded,
            Unanswered::Lost => Reason::Internal,
        })?;
        let issued = found.answer.map_err(|error| reason(error, target.request.grant))?;
        let Found { asked_at, .. } = found;
        let is_shared = target.request.grant == Grant::ClientCredentials;
        self.note_used(Used { key, asked_at, is_cached, is_shared });
        if let Some(review) = &target.review {
            let issued = issued.access_token.expose();
            let user = judges::user_of_issued(self, review, issued).await;
            // The caller's own token is not at fault, and the issued one is of no use until its end.
            let user = user.map_err(|reason| match reason {
                Reason::TokenReviewDenied | Reason::WrongAudience => {
                    exchange.forget_unless_new(&key, asked_at);
                    Reason::IssuedTokenDenied
                }
                reason => reason,
            })?;
            self.note(|record| record.note_exchange_user(user.kubernetes_user()));
        }
        UpstreamCredential::issued(permit, &issued, token)
    }
}
