//! One record against another policy: what it would decide, and if that can't be told, for want of what.

use super::super::case::{Case, Decision, Who};
use super::super::judgement::{Asked, Judgement, judge};
use super::super::record::{self, Then};
use crate::audit::entry::Entry;
use mcp_iap::gate::Settings;
use mcp_iap::mcp::is_removed;
use mcp_iap::policy::Says;
use mcp_iap::reason::Reason;

/// What lacks where the document has no resource of the record's identifier.
pub const NO_RESOURCE: &str = "protected_resource";

/// A record, replayed.
#[derive(Debug)]
pub struct Replayed {
    /// Whether the rules allowed it then; it may have been refused later on.
    pub was_allowed: bool,
    /// Then.
    pub reason: String,
    pub would: Would,
}

#[derive(Debug)]
pub enum Would {
    /// It was decided before any rule was asked, and none is asked now.
    NotAsked,
    /// `is_rated`: as long as its rate lasts.
    Allow { rule: Option<String>, is_rated: bool },
    /// No reason where that depends on what is not recorded.
    Deny { reason: Option<String>, rule: Option<String> },
    /// It depends on these attributes, which are not recorded.
    Undecidable(Vec<String>),
}

/// Reasons for which a request is refused that rules had allowed.
const AFTER_RULES: &[Reason] = &[
    Reason::IssuedTokenDenied,
    Reason::TokenEndpointUnavailable,
    Reason::TokenRequestRefused,
    Reason::TokenResponseInvalid,
    Reason::SubjectTokenRefused,
    Reason::TargetRefused,
    Reason::TokenNotExchanged,
    Reason::UpstreamRefusedCredential,
    Reason::RateLimitUnavailable,
    Reason::ListUnreadable,
    Reason::ListTooLarge,
];

/// Whether these rules were asked, and what they said, by the code of the reason; `None` where they were not.
fn was_allowed(reason: &str) -> Option<bool> {
    let reason = *Reason::ALL.iter().find(|known| known.code() == reason)?;
    if reason == Reason::Allowed || AFTER_RULES.contains(&reason) {
        return Some(true);
    }
    let is_of_rules = (Reason::NoRuleAllows..=Reason::RateLimited).contains(&reason);
    (is_of_rules || reason == Reason::UnknownMethod).then_some(false)
}

pub fn replay(entry: Entry, policies: &[Settings]) -> Replayed {
    let reason = entry.record.reason.clone();
    let not_asked = |reason| Replayed { was_allowed: false, reason, would: Would::NotAsked };
    let Some(was_allowed) = was_allowed(&reason) else { return not_asked(reason) };
    let mut unrecorded = record::cut(&entry);
    // Refused by its headers: what it was about came with the body.
    if !was_allowed && entry.record.method.is_none() {
        unrecorded.push("method".to_owned());
    }
    let is_listening = entry.record.method.as_deref() == Some("subscriptions/listen");
    let is_modern = entry.record.era.as_deref() == Some("modern");
    // Whatever the rules say: that revision has no such method any more.
    if is_modern && entry.record.method.as_deref().is_some_and(is_removed) {
        return not_asked(reason);
    }
    let Ok((case, then)) = record::case(entry) else { return not_asked(reason) };
    let would = if unrecorded.is_empty() {
        would(&case, &then, policies, is_listening)
    } else {
        Would::Undecidable(unrecorded)
    };
    Replayed { was_allowed, reason, would }
}

fn would(case: &Case, then: &Then, policies: &[Settings], is_listening: bool) -> Would {
    // Without one it was decided before the resource was known, by a document that has several.
    let has_it = |settings: &&Settings| {
        let mut own = settings.resources.iter().map(|one| one.protected.identifier());
        case.resource.as_deref().is_some_and(|wanted| own.any(|own| own == wanted))
    };
    let Some(settings) = policies.iter().find(has_it) else {
        return Would::Undecidable(vec![NO_RESOURCE.to_owned()]);
    };
    if let Some(reason) = stranger(&case.caller, settings) {
        return Would::Deny { reason: Some(reason.code().to_owned()), rule: None };
    }
    let put = |case: &Case| judge(case, &Asked::by(case, policies, false)?);
    let Ok(judged) = put(case) else {
        return Would::Undecidable(vec!["the record".to_owned()]);
    };
    // Whether a rate is used up depends on its size as well as on what was called.
    if then.reason == Reason::RateLimited.code() && judged.reason == Some(Reason::RateLimited.code()) {
        let unspent = put(&Case { is_spent: false, ..case.clone() });
        if unspent.is_ok_and(|judged| judged.decision != Decision::Deny) {
            return Would::Undecidable(vec!["rate".to_owned()]);
        }
    }
    let is_rated = judged.rules.iter().any(|traced| {
        traced.rate.is_some() && judged.rule.as_deref().is_some_and(|rule| *traced.rule == *rule)
    });
    // What allows it for the target that the rule names has a rate of its own.
    let for_target =
        judged.rules_for_target.iter().find(|one| one.allows && matches!(one.says, Says::Matches(_)));
    let is_rated = is_rated || for_target.is_some_and(|one| one.rate.is_some());
    let Judgement { decision, reason, rule, missing, .. } = judged;
    match decision {
        Decision::Deny => Would::Deny { reason: reason.map(str::to_owned), rule },
        // Of several things that one request asks for, one is recorded.
        Decision::Allow if is_listening => {
            Would::Undecidable(vec!["the other resources and tasks".to_owned()])
        }
        Decision::Allow => Would::Allow { rule, is_rated },
        Decision::Undecided => Would::Undecidable(missing),
    }
}

/// Why somebody does not even come to the rules, where the document of the resource says so.
fn stranger(who: &Who, settings: &Settings) -> Option<Reason> {
    let Who { issuer, api_key, kubernetes_user, spiffe_id, subject, .. } = who;
    if let Some(name) = api_key {
        let is_known = settings.api_keys.as_ref().is_some_and(|keys| keys.has(name));
        return (!is_known).then_some(Reason::UnknownApiKey);
    }
    if kubernetes_user.is_some() {
        return settings.token_review.is_none().then_some(Reason::UnknownIssuer);
    }
    if let Some(issuer) = issuer {
        let is_known = settings.issuers.iter().any(|one| *one.identifier == **issuer);
        return (!is_known).then_some(Reason::UnknownIssuer);
    }
    if spiffe_id.is_some() {
        let is_known = settings.mesh.as_ref().is_some_and(|mesh| mesh.authenticates);
        return (!is_known).then_some(Reason::MissingToken);
    }
    let is_anonymous = subject.is_empty();
    (is_anonymous && settings.require_auth).then_some(Reason::MissingToken)
}
