//! Who calls: the identity that rules are about, of whatever kind the credential was. Each kind is made from
//! what was verified, and from nothing else.

mod actors;

pub use actors::{Actor, Actors, MAX_ACTORS};

use crate::jose::VerifiedClaims;
use crate::json::Value;
use crate::kube::User;
use crate::oauth::Scope;
use crate::reason::Reason;
use crate::spiffe::SpiffeId;
use std::rc::Rc;

/// How many groups one caller may have; more is refused rather than cut.
const MAX_GROUPS: usize = 1024;

/// What says who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerKind {
    /// Nothing: nobody is asked for a credential.
    Anonymous,
    /// A token of a configured issuer.
    Token,
    /// A token that Kubernetes says is somebody's.
    Kubernetes,
    /// An API key.
    ApiKey,
    /// The certificate of the connection: a workload by itself.
    Workload,
}

impl CallerKind {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::Anonymous, Self::Token, Self::Kubernetes, Self::ApiKey, Self::Workload];

    /// As it stands in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Token => "token",
            Self::Kubernetes => "kubernetes",
            Self::ApiKey => "api_key",
            Self::Workload => "workload",
        }
    }
}

/// The caller of a request. What its credential does not say is empty, and no rule matches that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `iss`
    pub issuer: Rc<str>,
    /// `sub`
    pub subject: String,
    /// `client_id` (RFC 9068) or `azp`
    pub client_id: Option<String>,
    /// The values of the configured groups claim, or the groups of the API key or the Kubernetes user.
    pub groups: Vec<String>,
    /// `scope` (RFC 9068, RFC 8693), or else `scp`, as some issuers name it.
    pub scope: Scope,
    /// What not every token says. Apart, since ten thousand callers that have none of it are remembered.
    pub beside: Option<Box<Beside>>,
}

/// What is known of a caller beside what every token says, or without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The name of the Kubernetes user.
    pub kubernetes_user: Option<String>,
    /// Of the token's other claims those that rules read, by their paths.
    pub claims: Vec<(Rc<str>, Value)>,
    /// The name of the API key.
    pub api_key: Option<String>,
    /// The workload that the connection comes from, whoever its user is.
    pub spiffe_id: Option<SpiffeId>,
    /// Who acts for the subject, where the token says that somebody does.
    pub actors: Option<Box<Actors>>,
}

impl Caller {
    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The user that Kubernetes says a token is of.
    #[must_use]
    pub fn of_kubernetes(user: User) -> Self {
        let User { name, groups } = user;
        let beside = Beside { kubernetes_user: Some(name), ..Beside::default() };
        Self { groups, beside: Some(Box::new(beside)), ..Self::default() }
    }

    /// Who has the API key of this name, and is in these groups.
    #[must_use]
    pub fn of_api_key(name: &str, groups: &[String]) -> Self {
        let beside = Beside { api_key: Some(name.to_owned()), ..Beside::default() };
        Self { groups: groups.to_vec(), beside: Some(Box::new(beside)), ..Self::default() }
    }

    /// A workload that nobody uses.
    #[must_use]
    pub fn of_workload(id: SpiffeId) -> Self {
        Self::default().through(id)
    }

    /// The same by way of this workload: two identities, and rules match both.
    #[must_use]
    pub fn through(mut self, workload: SpiffeId) -> Self {
        self.beside.get_or_insert_default().spiffe_id = Some(workload);
        self
    }

    /// What says who calls.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        match &self.beside {
            _ if !self.issuer.is_empty() => CallerKind::Token,
            None => CallerKind::Anonymous,
            Some(beside) if beside.kubernetes_user.is_some() => CallerKind::Kubernetes,
            Some(beside) if beside.api_key.is_some() => CallerKind::ApiKey,
            Some(_) => CallerKind::Workload,
        }
    }

    /// The name of the Kubernetes user.
    #[must_use]
    pub fn kubernetes_user(&self) -> Option<&str> {
        self.beside.as_ref()?.kubernetes_user.as_deref()
    }

    /// The name of the API key.
    #[must_use]
    pub fn api_key(&self) -> Option<&str> {
        self.beside.as_ref()?.api_key.as_deref()
    }

    /// The workload that the connection comes from, whoever its user is.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.beside.as_ref()?.spiffe_id.as_ref().map(SpiffeId::as_str)
    }

    /// The claim at this path, if it is one of those that are kept.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        let claims = &self.beside.as_ref()?.claims;
        claims.iter().find(|(known, _)| **known == *path).map(|(_, value)| value)
    }

    /// The caller that a verified token of this issuer names, with the claims at these `paths`.
    ///
    /// # Errors
    /// [`Reason::InvalidClaim`] where the groups or the scope claim is neither a text nor a list of texts, or
    /// the client's id no text: a deny rule for a group or a client must not be escaped by that.
    pub fn from_claims(
        claims: &VerifiedClaims,
        issuer: &Rc<str>,
        groups_claim: &str,
        paths: &[Rc<str>],
    ) -> Result<Self, Reason> {
        let text = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Reason::InvalidClaim),
        };
        let groups = match claims.get(groups_claim) {
            None => Vec::new(),
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => groups
                .iter()
                .map(|group| group.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or(Reason::InvalidClaim)?,
            Some(_) => return Err(Reason::InvalidClaim),
        };
        let kept = paths.iter().filter_map(|path| Some((Rc::clone(path), claims.get(path)?.clone())));
        let caller = Self {
            issuer: Rc::clone(issuer),
            subject: text("sub")?.unwrap_or_default(),
            client_id: text("client_id")?.or(text("azp")?),
            groups,
            scope: match claims.get("scope").or_else(|| claims.get("scp")) {
                None => Scope::default(),
                Some(claim) => Scope::granted(claim).ok_or(Reason::InvalidClaim)?,
            },
            ..Self::default()
        };
        Ok(caller.with_claims(kept.collect()).with_actors(claims.get("act").map(Actors::of)))
    }

    /// The same, with these claims by their paths.
    #[must_use]
    pub fn with_claims(mut self, claims: Vec<(Rc<str>, Value)>) -> Self {
        if !claims.is_empty() {
            self.beside.get_or_insert_default().claims = claims;
        }
        self
    }

    /// The same, for whom these act.
    #[must_use]
    pub fn with_actors(mut self, actors: Option<Actors>) -> Self {
        if let Some(actors) = actors {
            self.beside.get_or_insert_default().actors = Some(Box::new(actors));
        }
        self
    }

    /// Who acts for the subject.
    #[must_use]
    pub fn actors(&self) -> Option<&Actors> {
        self.beside.as_ref()?.actors.as_deref()
    }

    /// About how many bytes this takes, beside its issuer's name.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let texts = [self.subject.len(), self.client_id.as_deref().map_or(0, str::len)];
        let groups = self.groups.iter().map(|group| group.len().saturating_add(size_of::<String>()));
        let beside = self.beside.as_ref().map_or(0, |beside| {
            let texts = [self.kubernetes_user(), self.api_key(), self.spiffe_id()];
            let own = size_of_val(&**beside).saturating_add(self.actors().map_or(0, Actors::held_bytes));
            texts.into_iter().flatten().map(str::len).fold(own, usize::saturating_add)
        });
        let held = [size_of::<Self>(), self.scope.as_str().len(), beside];
        let claims = self.beside.iter().flat_map(|beside| &beside.claims);
        let claims = claims.map(|(_, value)| size_of::<Rc<str>>().saturating_add(size_of_value(value)));
        texts.into_iter().chain(groups).chain(claims).chain(held).fold(0, usize::saturating_add)
    }
}

/// About how many bytes a claim takes.
fn size_of_value(value: &Value) -> usize {
    /// Of a member of an object, beside its name and its value.
    const MEMBER: usize = 48;
    let held = match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(size_of_value).fold(0, usize::saturating_add),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len().saturating_add(size_of_value(value)).saturating_add(MEMBER))
            .fold(0, usize::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>().saturating_add(held)
}
