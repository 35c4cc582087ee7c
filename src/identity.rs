//! Who calls: the identity that rules are about, made from verified claims alone.

use crate::jose::VerifiedClaims;
use crate::json::Value;
use crate::oauth::Scope;
use crate::reason::Reason;
use std::rc::Rc;

/// How many groups one caller may have; more is refused rather than cut.
const MAX_GROUPS: usize = 1024;

/// The caller of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `iss`
    pub issuer: Rc<str>,
    /// `sub`
    pub subject: String,
    /// `client_id` (RFC 9068) or `azp`
    pub client_id: Option<String>,
    /// The values of the configured groups claim.
    pub groups: Vec<String>,
    /// `scope` (RFC 9068, RFC 8693), or else `scp`, as some issuers name it.
    pub scope: Scope,
    /// Of the other claims those that rules read, by their paths.
    pub claims: Vec<(Rc<str>, Value)>,
}

impl Caller {
    /// The claim at this path, if it is one of those that are kept.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        self.claims.iter().find(|(known, _)| **known == *path).map(|(_, value)| value)
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
        Ok(Self {
            issuer: Rc::clone(issuer),
            subject: text("sub")?.unwrap_or_default(),
            client_id: text("client_id")?.or(text("azp")?),
            groups,
            scope: match claims.get("scope").or_else(|| claims.get("scp")) {
                None => Scope::default(),
                Some(claim) => Scope::granted(claim).ok_or(Reason::InvalidClaim)?,
            },
            claims: paths
                .iter()
                .filter_map(|path| Some((Rc::clone(path), claims.get(path)?.clone())))
                .collect(),
        })
    }

    /// About how many bytes this takes, beside its issuer's name.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let texts = [self.subject.len(), self.client_id.as_deref().map_or(0, str::len)];
        let groups = self.groups.iter().map(|group| group.len().saturating_add(size_of::<String>()));
        let claims =
            self.claims.iter().map(|(_, value)| size_of::<Rc<str>>().saturating_add(size_of_value(value)));
        let held = [size_of::<Self>(), self.scope.as_str().len()];
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
