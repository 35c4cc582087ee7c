//! Tokens on which others are asked: those that no configured issuer signed, by Kubernetes, and opaque ones, by their
//! issuer. Both are remembered for a short while, a yes and a no, by a digest of the token and of who was asked.
//!
//! That a judge can't be asked is never told to be the caller's fault.

use super::introspection::IntrospectionSettings;
use super::issuer::IssuerSettings;
use super::messages::{Message, Messages};
use super::request::Request;
use super::token_review::ReviewSettings;
use crate::cache::{Room, digest};
use crate::callout::{Answers, Found, Fresh, JudgeError, Unanswered, introspect, review};
use crate::identity::Caller;
use crate::jose::{Validity, VerifiedClaims};
use crate::json::{Map, Value};
use crate::kube::Review;
use crate::oauth::BearerToken;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How many answers of each kind a worker remembers at least, and how many bytes; at most twice as many.
const ROOM: Room = Room { entries: 10_000, bytes: 4 * 1024 * 1024 };
/// Beside what is told.
const ENTRY: usize = 256;
/// How long a failure counts: a judge that is down is not asked for each request.
const FAILED: Duration = Duration::from_secs(1);

/// The names of the counters, as [`Judges::take_counts`] has them.
const TOKEN_REVIEWS: &str = "token_reviews";
const INTROSPECTIONS: &str = "introspections";

/// What a judge said.
#[derive(Clone, Debug)]
enum Verdict<T> {
    Yes(T),
    No(Reason),
    Failed(JudgeError),
}

/// How long answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerTimes {
    pub(super) yes: Duration,
    pub(super) no: Duration,
    /// How long one is waited for.
    pub(super) timeout: Duration,
}

type Reviews = Answers<Verdict<Rc<Caller>>>;

/// What its issuer tells of an opaque token.
#[derive(Debug)]
pub(super) struct Told {
    /// Whose it is.
    pub(super) caller: Rc<Caller>,
    /// To be asked for each request.
    pub(super) validity: Validity,
}

/// Everything that was asked of others, of one root.
pub struct Judges {
    reviews: Rc<Reviews>,
    /// Of tokens that were issued for an upstream: strangers, who fill the others, don't get to these.
    issued_reviews: Rc<Reviews>,
    introspections: Rc<Answers<Verdict<Rc<Told>>>>,
    notes: Rc<Notes>,
}

/// What the operator should know. Holds no secret.
#[derive(Default)]
struct Notes {
    messages: Messages<JudgeError>,
    counts: RefCell<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Judges {
    pub(super) fn new(clock: &Rc<Cell<Timestamp>>) -> Self {
        Self {
            reviews: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            issued_reviews: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            introspections: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            notes: Rc::default(),
        }
    }

    /// What is to be logged since the last call.
    #[must_use]
    pub fn take_messages(&self) -> Vec<Message> {
        self.notes.messages.take()
    }

    /// How many questions ended how since the last call: `token_reviews` or `introspections`, and `ok`, the code of
    /// the reason for which the token does not count, or [`JudgeError::name`].
    pub fn take_counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.notes.counts.take()
    }
}

impl<T> Verdict<T> {
    fn name(&self) -> &'static str {
        match self {
            Self::Yes(_) => "ok",
            Self::No(reason) => reason.code(),
            Self::Failed(error) => error.name(),
        }
    }

    fn error(&self) -> Option<JudgeError> {
        match self {
            Self::Failed(error) => Some(*error),
            Self::Yes(_) | Self::No(_) => None,
        }
    }
}

impl AnswerTimes {
    fn fresh<T>(self, answer: Verdict<T>, bytes: usize) -> Fresh<Verdict<T>> {
        let counts_for = match answer {
            Verdict::Yes(_) => self.yes,
            Verdict::No(_) => self.no,
            Verdict::Failed(_) => FAILED,
        };
        Fresh { answer, counts_for, bytes: ENTRY.saturating_add(bytes) }
    }
}

impl Notes {
    /// `counter` had this `result`, from `who`, an `error` or none.
    fn note(&self, counter: &'static str, result: &'static str, who: &str, error: Option<JudgeError>) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry((counter, result)).or_default();
        *count = count.saturating_add(1);
        match error {
            Some(error) => self.messages.fails(who, error),
            None => self.messages.is_well(who, "answers again"),
        }
    }
}

/// Whose `token`, which a caller brought, is by Kubernetes, for one of these audiences.
///
/// # Errors
/// Nobody's, for another audience, or the API server can't be asked.
pub(super) async fn user_of(
    request: &Request,
    settings: &Rc<ReviewSettings>,
    audiences: &[String],
    token: &[u8],
) -> Result<Rc<Caller>, Reason> {
    ask(&request.shared().judges.reviews, request, settings, audiences, token).await
}

/// The same of a token that was issued for an upstream.
///
/// # Errors
/// As of [`user_of`].
pub(super) async fn user_of_issued(
    request: &Request,
    settings: &Rc<ReviewSettings>,
    token: &[u8],
) -> Result<Rc<Caller>, Reason> {
    ask(&request.shared().judges.issued_reviews, request, settings, settings.own_audiences(), token).await
}

async fn ask(
    reviews: &Rc<Reviews>,
    request: &Request,
    settings: &Rc<ReviewSettings>,
    audiences: &[String],
    token: &[u8],
) -> Result<Rc<Caller>, Reason> {
    let shared = request.shared();
    let named = audiences.iter().map(String::as_bytes);
    let asked = [b"review".as_slice(), settings.path.as_bytes(), token];
    let key = digest(asked.into_iter().chain(named));
    let (endpoint, times) = (Rc::clone(&settings.endpoint), settings.times);
    let (token, audiences) = (Secret::new(token.to_vec()), Rc::from(audiences));
    let (notes, who) = (Rc::clone(&shared.judges.notes), settings.name.clone());
    let task = |outbox| async move {
        let verdict = match review(outbox, endpoint, token, audiences, times.timeout).await {
            Ok(Review::User(user)) => Verdict::Yes(Rc::new(Caller::of_kubernetes(user))),
            Ok(Review::NotAuthenticated) => Verdict::No(Reason::TokenReviewDenied),
            Ok(Review::OtherAudience) => Verdict::No(Reason::WrongAudience),
            Err(error) => Verdict::Failed(error),
        };
        notes.note(TOKEN_REVIEWS, verdict.name(), &who, verdict.error());
        let bytes = if let Verdict::Yes(caller) = &verdict { caller.held_bytes() } else { 0 };
        times.fresh(verdict, bytes)
    };
    let began = shared.now();
    let found = reviews.find(&shared.callouts, key, request.stream(), task).await;
    request.note_wait("token_review", began);
    shared.remembered.count(TOKEN_REVIEWS, found.as_ref().is_ok_and(|found| found.is_cached));
    told(found, Reason::TokenReviewUnavailable)
}

/// What its issuer says of an opaque `token`.
///
/// # Errors
/// It is not active, or its issuer can't be asked.
pub(super) async fn told_of(
    request: &Request,
    issuer: &IssuerSettings,
    settings: &Rc<IntrospectionSettings>,
    token: BearerToken<'_>,
) -> Result<Rc<Told>, Reason> {
    let shared = request.shared();
    let key = digest([b"introspection".as_slice(), settings.path.as_bytes(), token.expose().as_bytes()]);
    let (endpoint, times) = (Rc::clone(&settings.endpoint), settings.times);
    let token = Secret::new(token.expose().as_bytes().to_vec());
    let authorization = settings.authorization.clone();
    let (identifier, groups_claim) = (Rc::clone(&issuer.identifier), issuer.groups_claim.clone());
    let paths = request.settings.claim_paths.clone();
    let (notes, who) = (Rc::clone(&shared.judges.notes), settings.name.clone());
    let task = |outbox| async move {
        let verdict = match introspect(outbox, endpoint, token, authorization, times.timeout).await {
            Ok(Some(claims)) => match read(claims, &identifier, &groups_claim, &paths) {
                Ok(told) => Verdict::Yes(Rc::new(told)),
                Err(reason) => Verdict::No(reason),
            },
            Ok(None) => Verdict::No(Reason::TokenInactive),
            Err(error) => Verdict::Failed(error),
        };
        notes.note(INTROSPECTIONS, verdict.name(), &who, verdict.error());
        let bytes = if let Verdict::Yes(told) = &verdict { told.held_bytes() } else { 0 };
        times.fresh(verdict, bytes)
    };
    let began = shared.now();
    let found = shared.judges.introspections.find(&shared.callouts, key, request.stream(), task).await;
    request.note_wait("introspection", began);
    shared.remembered.count(INTROSPECTIONS, found.as_ref().is_ok_and(|found| found.is_cached));
    told(found, Reason::IntrospectionUnavailable)
}

/// What was told is checked as a token's claims are.
fn read(
    claims: Map<String, Value>,
    issuer: &Rc<str>,
    groups_claim: &str,
    paths: &[Rc<str>],
) -> Result<Told, Reason> {
    let claims = VerifiedClaims::introspected(claims, issuer)?;
    let caller = Rc::new(Caller::from_claims(&claims, issuer, groups_claim, paths)?);
    Ok(Told { caller, validity: claims.into_validity() })
}

impl Told {
    /// About how many bytes it takes.
    fn held_bytes(&self) -> usize {
        self.caller.held_bytes().saturating_add(self.validity.held_bytes())
    }
}

fn told<T>(found: Result<Found<Verdict<T>>, Unanswered>, unavailable: Reason) -> Result<T, Reason> {
    match found {
        Ok(found) => match found.answer {
            Verdict::Yes(told) => Ok(told),
            Verdict::No(reason) => Err(reason),
            Verdict::Failed(_) => Err(unavailable),
        },
        Err(Unanswered::Full) => Err(Reason::Overloaded),
        Err(Unanswered::Lost) => Err(unavailable),
    }
}
