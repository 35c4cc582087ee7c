//! A case put to a policy: the decision, and what each rule says.

use super::case::{Case, Decision, Expected, From};
use mcp_iap::config::nearest;
use mcp_iap::gate::{ExchangeSettings, ResourceSettings, Settings};
use mcp_iap::identity::Caller;
use mcp_iap::mcp::{Arguments, Operation};
use mcp_iap::policy::{Call, PolicySet, Says, Traced};
use mcp_iap::reason::Reason;
use serde_json::{Value, json};
use std::rc::Rc;

/// What was decided.
#[derive(Debug)]
pub struct Judgement {
    /// What was called, for people.
    pub call: String,
    pub decision: Decision,
    /// A reason code; none where that depends on what is not known.
    pub reason: Option<&'static str>,
    pub rule: Option<String>,
    pub argument: Option<String>,
    /// What the caller is told.
    pub message: Option<String>,
    pub rules: Vec<Traced>,
    /// What is not known and would tell more, as a record names it.
    pub missing: Vec<String>,
    /// The target that the call is for, or that the rule which allows it names.
    pub target: Option<String>,
    /// Where a rule names it, what each rule says for that one.
    pub rules_for_target: Vec<Traced>,
}

/// The rules that a case is put to.
pub struct Asked<'a> {
    settings: &'a Settings,
    pub resource: &'a ResourceSettings,
    pub rules: &'a PolicySet,
}

impl<'a> Asked<'a> {
    /// Those of the resource that the case is for.
    pub fn by(case: &Case, policies: &'a [Settings], asks_shadow: bool) -> Result<Self, String> {
        let resources: Vec<_> = policies
            .iter()
            .flat_map(|settings| settings.resources.iter().map(move |resource| (settings, resource)))
            .filter(|(_, resource)| {
                case.resource.as_deref().is_none_or(|wanted| wanted == resource.protected.identifier())
            })
            .collect();
        let (settings, resource) = match resources.as_slice() {
            [one] => *one,
            [] => return Err("there is no such `resource`".to_owned()),
            several => {
                let names: Vec<_> = several.iter().map(|(_, one)| one.protected.identifier()).collect();
                return Err(format!(
                    "there are several resources: name one in `resource`: {}",
                    names.join(", ")
                ));
            }
        };
        let rules = match (&resource.shadow, asks_shadow) {
            (Some(shadow), true) => shadow,
            (None, true) => return Err("there are no `shadow_rules`".to_owned()),
            (_, false) => &resource.policies,
        };
        Ok(Self { settings, resource, rules })
    }

    /// Who calls.
    pub fn caller(&self, case: &Case) -> Result<Caller, String> {
        let issuer = self.settings.issuers.first().map(|issuer| &*issuer.identifier);
        case.caller(issuer.unwrap_or_default(), &self.settings.claim_paths)
    }
}

/// Puts a case to these rules.
pub fn judge(case: &Case, asked: &Asked<'_>) -> Result<Judgement, String> {
    let Asked { settings, resource, rules } = asked;
    known(case, settings, resource)?;
    let caller = asked.caller(case)?;
    let (method, operation) = case.operation()?;
    let written: Vec<(String, String)> =
        case.call.arguments.iter().flatten().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let pairs = written.iter().map(|(name, raw)| (name.as_str(), raw.as_str())).collect();
    let arguments = Arguments::from_pairs(pairs);
    let (head, from) = (case.head(), From(case.source));
    let operations = [operation];
    let is_target_known = !case.is_recorded || !resource.outgoing.depends_on_others(&operations, &arguments);
    let target =
        if is_target_known { resource.outgoing.target_name(&operations, &arguments) } else { Ok(None) };
    let spent: Vec<_> = rules.rates().filter(|_| case.is_spent).map(|(rule, _)| Rc::clone(rule)).collect();
    let call = Call {
        caller: &caller,
        known: case.known(),
        method,
        operations: &operations,
        arguments: Some(&arguments),
        target: target.as_ref().ok().and_then(Option::as_deref),
        is_exchanged: false,
        head: Some(&head),
        sender: case.source.is_some().then_some(&from),
        now: case.now()?,
        spent: &spent,
    };
    let (traced, missing) = (rules.trace(&call, operation), rules.missing(&call, operation));
    let named = rules.exchange(&call).filter(|_| target.is_ok());
    let for_target = named.as_deref().map(|named| Call { target: Some(named), is_exchanged: true, ..call });
    let judgement = Judgement {
        call: told(method, operation),
        decision: Decision::Undecided,
        reason: None,
        rule: None,
        argument: None,
        message: None,
        rules: traced,
        missing,
        target: for_target.as_ref().unwrap_or(&call).target.map(str::to_owned),
        rules_for_target: for_target.map(|call| rules.trace(&call, operation)).unwrap_or_default(),
    };
    // A target that is none is refused before any rule is asked.
    let decision = match target {
        Ok(_) => rules.foretell(&call),
        Err(denial) => Some(Err(denial)),
    };
    // Which rule is the nearest, and where it fails first, may depend on what is not known.
    let is_vague = |Traced { allows, says, .. }: &Traced| *allows && matches!(says, Says::Fails(.., Some(_)));
    let is_of_nearest = decision.as_ref().is_some_and(|decision| {
        let denial = decision.as_ref().err().and_then(|denial| denial.rule.as_ref());
        denial.is_some_and(|rule| judgement.rules.iter().any(|traced| traced.allows && traced.rule == *rule))
    });
    let all = judgement.rules.iter().chain(&judgement.rules_for_target);
    let is_vague = is_of_nearest && all.clone().any(is_vague);
    Ok(match decision {
        None => judgement,
        Some(Err(_)) if is_vague => Judgement { decision: Decision::Deny, ..judgement },
        Some(Ok(permit)) => Judgement {
            decision: Decision::Allow,
            reason: Some(permit.reason().code()),
            rule: permit.rule().map(|rule| rule.to_string()),
            ..judgement
        },
        Some(Err(denial)) => Judgement {
            decision: Decision::Deny,
            reason: Some(denial.reason.code()),
            rule: denial.rule.map(|rule| rule.to_string()),
            argument: denial.argument.map(|argument| argument.to_string()),
            message: Some(
                denial
                    .message
                    .map_or_else(|| mcp_iap::gate::told(denial.reason).to_owned(), |said| said.to_string()),
            ),
            ..judgement
        },
    })
}

/// What a case names that expects something must be there, or it shows something else than it says: the issuer, trusted
/// headers, rule and reason.
fn known(case: &Case, settings: &Settings, resource: &ResourceSettings) -> Result<(), String> {
    let Some(Expected { rule, reason, target, .. }) = &case.expect else { return Ok(()) };
    let unknown = |what: &str, name: &str, known: &mut dyn Iterator<Item = &str>| {
        let known: Vec<&str> = known.collect();
        if known.contains(&name) {
            return Ok(());
        }
        let near = nearest(name, known).map(|near| format!("; did you mean `{near}`?"));
        Err(format!("there is no {what} `{name}`{}", near.unwrap_or_default()))
    };
    if let Some(issuer) = &case.caller.issuer {
        unknown("issuer", issuer, &mut settings.issuers.iter().map(|issuer| &*issuer.identifier))?;
    }
    for name in case.headers.keys() {
        unknown("trusted header", name, &mut settings.trusted_headers.iter().map(String::as_str))?;
    }
    if let Some(rule) = rule {
        let sets = resource.shadow.iter().chain([&resource.policies]);
        unknown("rule", rule, &mut sets.flat_map(|rules| rules.ids()).map(|id| &**id))?;
    }
    if let Some(target) = target {
        let exchange = resource.outgoing.exchange().into_iter();
        unknown("target", target, &mut exchange.flat_map(ExchangeSettings::target_names))?;
    }
    if let Some(reason) = reason {
        unknown("reason", reason, &mut Reason::ALL.iter().map(|reason| reason.code()))?;
    }
    Ok(())
}

fn told(method: &str, operation: Operation<'_>) -> String {
    match operation {
        Operation::Open | Operation::Unknown if method.is_empty() => "no method".to_owned(),
        Operation::Open | Operation::Unknown => method.to_owned(),
        Operation::Tool(name)
        | Operation::Prompt(name)
        | Operation::Resource(name)
        | Operation::Task(name) => format!("{method} {name}"),
    }
}

impl Judgement {
    /// What differs from what is expected: field, expected, seen.
    pub fn differences(&self, expected: &Expected) -> Vec<(&'static str, String, String)> {
        let Expected { decision, rule, reason, argument, target } = expected;
        let mut differences = Vec::new();
        if *decision != self.decision {
            differences.push(("decision", decision.name().to_owned(), self.decision.name().to_owned()));
        }
        let texts = [
            ("rule", rule.as_deref(), self.rule.as_deref()),
            ("reason", reason.as_deref(), self.reason),
            ("argument", argument.as_deref(), self.argument.as_deref()),
            ("target", target.as_deref(), self.target.as_deref()),
        ];
        for (field, expected, seen) in texts {
            if expected.is_some() && expected != seen {
                let shown = |text: Option<&str>| text.unwrap_or("none").to_owned();
                differences.push((field, shown(expected), shown(seen)));
            }
        }
        differences
    }

    /// For which reason, and by which rule, where these are known.
    pub fn why(&self) -> String {
        let rule = self.rule.as_deref().map(|rule| format!("the rule {rule}"));
        let all: Vec<_> = self.reason.map(str::to_owned).into_iter().chain(rule).collect();
        if all.is_empty() { String::new() } else { format!(" ({})", all.join(", by ")) }
    }

    pub fn to_json(&self) -> Value {
        let rule_to_json = |Traced { rule, allows, says, rate }: &Traced| {
            let (says, clause, reason) = match says {
                Says::Nothing => ("nothing", None, None),
                Says::Matches(clause) => ("matches", clause.as_deref(), None),
                Says::LacksScope => ("lacks_scope", Some("scope"), Some("insufficient_scope")),
                Says::Fails(clause, reason, _) => ("fails", Some(clause.as_str()), Some(reason.code())),
                Says::Unknown(clause) => ("unknown", Some(clause.as_str()), None),
            };
            json!({"rule": **rule, "effect": if *allows { "allow" } else { "deny" }, "says": says,
                "clause": clause, "reason": reason,
                "rate": rate.as_ref().map(|rate| json!({"calls": rate.calls, "per": *rate.per}))})
        };
        let [rules, rules_for_target] = [&self.rules, &self.rules_for_target]
            .map(|rules| rules.iter().map(rule_to_json).collect::<Vec<_>>());
        json!({"call": self.call, "decision": self.decision.name(), "reason": self.reason, "rule": self.rule,
            "argument": self.argument, "message": self.message, "rules": rules, "target": self.target,
            "rules_for_target": rules_for_target})
    }
}
