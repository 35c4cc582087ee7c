//! Tokens on which others are asked: those that no configured issuer signed, by Kubernetes, and opaque ones, by their
//! issuer. Both are remembered for a short while, a yes and a no, by a digest of the token and of who was asked.
//!
//! That a judge can't be asked is never told to be the caller's fault.

use super::introspection::IntrospectionSettings;
use super::issuer::IssuerSettings;
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
/// How many messages are kept until somebody logs them.
const MAX_MESSAGES: usize = 16;

/// What a judge said.
#[derive(Clone, Debug)]
enum Verdict<T> {
    Yes(T),
    No(Reason),
    Failed,
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
    complaints: Rc<Complaints>,
}

/// What the operator should read in the log: each failure once, until it is another. Holds no secret.
#[derive(Default)]
struct Complaints {
    messages: RefCell<Vec<String>>,
    failing: RefCell<BTreeMap<String, JudgeError>>,
}

impl Judges {
    pub(super) fn new(clock: &Rc<Cell<Timestamp>>) -> Self {
        Self {
            reviews: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            issued_reviews: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            introspections: Rc::new(Answers::new(Rc::clone(clock), ROOM)),
            complaints: Rc::default(),
        }
    }

    /// What is to be logged since the last call.
    #[must_use]
    pub fn take_complaints(&self) -> Vec<String> {
        self.complaints.messages.take()
    }
}

impl Complaints {
    fn note(&self, who: &str, error: Option<JudgeError>) {
        let mut failing = self.failing.borrow_mut();
        let message = match error {
            Some(error) if failing.get(who) == Some(&error) => return,
            Some(error) => {
                failing.insert(who.to_owned(), error);
                format!("{who}: {error}")
            }
            None if failing.remove(who).is_some() => format!("{who}: answers again"),
            None => return,
        };
        let mut messages = self.messages.borrow_mut();
        if messages.len() < MAX_MESSAGES {
            messages.push(message);
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
    let (complaints, who) = (Rc::clone(&shared.judges.complaints), settings.name.clone());
    let task = |outbox| async move {
        let answer = review(outbox, endpoint, token, audiences, times.timeout).await;
        complaints.note(&who, answer.as_ref().err().copied());
        match answer {
            Ok(Review::User(user)) => {
                let caller = Caller::of_kubernetes(user);
                let bytes = caller.held_bytes();
                fresh(Verdict::Yes(Rc::new(caller)), times.yes, bytes)
            }
            Ok(Review::NotAuthenticated) => fresh(Verdict::No(Reason::TokenReviewDenied), times.no, 0),
            Ok(Review::OtherAudience) => fresh(Verdict::No(Reason::WrongAudience), times.no, 0),
            Err(_) => fresh(Verdict::Failed, FAILED, 0),
        }
    };
    let found = reviews.find(&shared.callouts, key, request.stream(), task).await;
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
    let (complaints, who) = (Rc::clone(&shared.judges.complaints), settings.name.clone());
    let task = |outbox| async move {
        let answer = introspect(outbox, endpoint, token, authorization, times.timeout).await;
        complaints.note(&who, answer.as_ref().err().copied());
        match answer.map(|claims| claims.map(|claims| read(claims, &identifier, &groups_claim, &paths))) {
            Ok(Some(Ok(told))) => {
                let bytes = told.caller.held_bytes().saturating_add(told.validity.held_bytes());
                fresh(Verdict::Yes(Rc::new(told)), times.yes, bytes)
            }
            Ok(Some(Err(reason))) => fresh(Verdict::No(reason), times.no, 0),
            Ok(None) => fresh(Verdict::No(Reason::TokenInactive), times.no, 0),
            Err(_) => fresh(Verdict::Failed, FAILED, 0),
        }
    };
    let found = shared.judges.introspections.find(&shared.callouts, key, request.stream(), task).await;
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

fn fresh<T>(answer: Verdict<T>, counts_for: Duration, bytes: usize) -> Fresh<Verdict<T>> {
    Fresh { answer, counts_for, bytes: ENTRY.saturating_add(bytes) }
}

fn told<T>(found: Result<Found<Verdict<T>>, Unanswered>, unavailable: Reason) -> Result<T, Reason> {
    match found {
        Ok(found) => match found.answer {
            Verdict::Yes(told) => Ok(told),
            Verdict::No(reason) => Err(reason),
            Verdict::Failed => Err(unavailable),
        },
        Err(Unanswered::Full) => Err(Reason::Overloaded),
        Err(Unanswered::Lost) => Err(unavailable),
    }
}
