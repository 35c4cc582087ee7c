//! Which callers a rule is about: by token, address and what Envoy says of them.

use super::attribute::Attribute;
use super::call::Call;
use super::clause::{Clause, Verdict};
use super::network::Network;
use super::pattern::Pattern;
use crate::config::Scalar;
use crate::head::One;
use crate::json::Value;
use crate::reason::Reason;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Everything that is given must hold; of a list, one entry.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pub(super) issuer: Option<String>,
    pub(super) subjects: Option<Vec<String>>,
    pub(super) client_ids: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) kubernetes_users: Option<Vec<Pattern>>,
    pub(super) api_keys: Option<Vec<Pattern>>,
    pub(super) spiffe_ids: Option<Vec<Pattern>>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) claims: Vec<(Rc<str>, Vec<Scalar>)>,
    pub(super) source: Option<Vec<Network>>,
    pub(super) headers: Vec<(String, Vec<String>)>,
}

impl Subjects {
    /// Shows each clause with its verdict, until it is enough. What a token always tells (who, for which client,
    /// in which groups, with which key, scopes and workload) is never missing: a caller without groups is in none.
    pub(super) fn visit<'r, B>(
        &'r self,
        call: &Call<'_>,
        visit: &mut impl FnMut(Clause<'r>, Verdict) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Self {
            issuer,
            subjects,
            client_ids,
            groups,
            kubernetes_users,
            api_keys,
            spiffe_ids,
            scopes,
            claims,
            source,
            headers,
        } = self;
        let caller = call.caller;
        let who = |holds| Verdict::of(holds, Reason::NoRuleAllows);
        let is_of = |list: &[String], value: &str| list.iter().any(|entry| entry == value);
        if let Some(issuer) = issuer {
            visit(Clause::Issuer, who(**issuer == *caller.issuer))?;
        }
        if let Some(subjects) = subjects {
            visit(Clause::Subjects, who(is_of(subjects, &caller.subject)))?;
        }
        if let Some(ids) = client_ids {
            visit(Clause::ClientIds, who(caller.client_id.as_deref().is_some_and(|id| is_of(ids, id))))?;
        }
        if let Some(groups) = groups {
            let holds = groups.iter().any(|group| caller.groups.contains(group));
            let is_known = holds || call.known.groups;
            visit(Clause::Groups, if is_known { who(holds) } else { Verdict::Unknown })?;
        }
        let is_named = |list: &[Pattern], name: Option<&str>| {
            name.is_some_and(|name| list.iter().any(|pattern| pattern.matches(name)))
        };
        if let Some(names) = kubernetes_users {
            visit(Clause::KubernetesUsers, who(is_named(names, caller.kubernetes_user())))?;
        }
        if let Some(names) = api_keys {
            visit(Clause::ApiKeys, who(is_named(names, caller.api_key())))?;
        }
        if let Some(ids) = spiffe_ids {
            visit(Clause::SpiffeIds, who(is_named(ids, caller.spiffe_id())))?;
        }
        if let Some(scopes) = scopes {
            visit(Clause::Scopes, who(scopes.iter().any(|scope| caller.scope.contains(scope))))?;
        }
        for (path, values) in claims {
            let is_known = call.knows(Attribute::Claim(path));
            let verdict = if is_known { claim(caller.claim(path), values) } else { Verdict::Unknown };
            visit(Clause::Claim(path), verdict)?;
        }
        if let Some(networks) = source {
            let verdict = match call.sender.map(|sender| sender.address()) {
                Some(Some(address)) => Verdict::of(
                    networks.iter().any(|network| network.contains(address)),
                    Reason::SourceNotAllowed,
                ),
                Some(None) => Verdict::Unevaluated(Reason::SourceNotAllowed),
                None => Verdict::Unknown,
            };
            visit(Clause::Source, verdict)?;
        }
        for (name, values) in headers {
            let verdict = match call.head.map(|head| head.one(name)) {
                Some(One::Text(value)) => Verdict::of(is_of(values, value), Reason::AttributeMismatch),
                _ if !call.knows(Attribute::Header(name)) => Verdict::Unknown,
                Some(One::Absent | One::Unusable) | None => Verdict::Unevaluated(Reason::AttributeMismatch),
            };
            visit(Clause::Header(name), verdict)?;
        }
        ControlFlow::Continue(())
    }
}

/// Whether a claim is one of these values, or a list that has one. Where it is of another kind than all of them,
/// as `"true"` is where `true` is asked for, that can't be said.
fn claim(claim: Option<&Value>, values: &[Scalar]) -> Verdict {
    let is_one = |claim: &Value| values.iter().any(|value| is(claim, value));
    let is_like_one = |claim: &Value| values.iter().any(|value| is_like(claim, value));
    let (holds, is_evaluable) = match claim {
        Some(Value::Array(list)) => (list.iter().any(is_one), list.iter().all(is_like_one)),
        Some(claim) => (is_one(claim), is_like_one(claim)),
        None => (false, false),
    };
    match (holds, is_evaluable) {
        (true, _) => Verdict::Holds,
        (false, true) => Verdict::Fails(Reason::ClaimMismatch),
        (false, false) => Verdict::Unevaluated(Reason::ClaimMismatch),
    }
}

fn is(claim: &Value, value: &Scalar) -> bool {
    match value {
        Scalar::Text(text) => claim.as_str() == Some(text),
        Scalar::Integer(number) => claim.as_i64() == Some(*number),
        Scalar::Bool(bool) => claim.as_bool() == Some(*bool),
    }
}

fn is_like(claim: &Value, value: &Scalar) -> bool {
    match value {
        Scalar::Text(_) => claim.is_string(),
        Scalar::Integer(_) => claim.is_i64(),
        Scalar::Bool(_) => claim.is_boolean(),
    }
}
