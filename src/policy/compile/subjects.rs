//! Which callers a rule is about: what names nobody, or what can't be had, is refused.

use super::super::network::Network;
use super::super::subjects::Subjects;
use super::{Context, check_list, fault, patterns};
use crate::config::{self, ConfigError, nearest};
use std::rc::Rc;

pub(super) fn compile(
    to: Option<&config::Subjects>,
    path: &str,
    context: Context<'_>,
    errors: &mut Vec<ConfigError>,
) -> Subjects {
    let Some(to) = to else { return Subjects::default() };
    let config::Subjects {
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
    } = to;
    let lists = [
        ("subjects", subjects),
        ("client_ids", client_ids),
        ("groups", groups),
        ("kubernetes_users", kubernetes_users),
        ("api_keys", api_keys),
        ("spiffe_ids", spiffe_ids),
        ("scopes", scopes),
        ("source", source),
    ];
    let names_nobody = issuer.is_none() && claims.is_empty() && headers.is_empty();
    if names_nobody && lists.iter().all(|(_, list)| list.is_none()) {
        errors.push(fault(path, "to", "names nobody", "name groups, subjects, client_ids, kubernetes_users, api_keys, spiffe_ids, scopes, claims, a source, headers or an issuer, or leave `to` out for every authenticated caller"));
    }
    if let Some(issuer) = issuer.as_deref().filter(|issuer| !context.issuers.contains(issuer)) {
        errors.push(
            fault(path, "to.issuer", "is none of `issuers`", "use one of them, to the letter").value(issuer),
        );
    }
    for (field, list) in lists {
        if let Some(list) = list {
            check_list(list, &format!("{path}.to.{field}"), errors);
        }
    }
    for (claim, values) in claims {
        let path = format!("{path}.to.claims.{claim}");
        if claim.is_empty() || claim.split('.').any(str::is_empty) {
            errors.push(ConfigError::new(
                &path,
                "is no path of a claim",
                "write names with dots between, like `realm_access.roles`",
            ));
        }
        if values.is_empty() {
            errors.push(ConfigError::new(path, "can't hold: the list is empty", "name at least one value"));
        }
    }
    for (header, values) in headers {
        let path = format!("{path}.to.headers.{header}");
        check_list(values, &path, errors);
        if !context.trusted_headers.contains(header) {
            let known = context.trusted_headers.iter().map(String::as_str);
            let fix = match nearest(header, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "name it in `trusted_headers` if Envoy sets it and removes what clients send by that name"
                        .to_owned()
                }
            };
            errors.push(ConfigError::new(path, "is none of `trusted_headers`", fix));
        }
    }
    let source = source.as_ref().map(|networks| {
        let mut compiled = Vec::new();
        for (index, text) in networks.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            match Network::parse(text) {
                Some(network) => compiled.push(network),
                None => errors.push(
                    fault(path, &format!("to.source[{index}]"), "is no network", "write an address or a network without further bits, like `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`")
                        .value(text.as_str()),
                ),
            }
        }
        compiled
    });
    Subjects {
        issuer: issuer.clone(),
        subjects: subjects.clone(),
        client_ids: client_ids.clone(),
        groups: groups.clone(),
        kubernetes_users: kubernetes_users.as_deref().map(patterns),
        api_keys: api_keys.as_deref().map(patterns),
        spiffe_ids: spiffe_ids.as_deref().map(patterns),
        scopes: scopes.clone(),
        claims: claims.iter().map(|(path, values)| (Rc::from(path.as_str()), values.clone())).collect(),
        source,
        headers: headers.iter().map(|(name, values)| (name.clone(), values.clone())).collect(),
    }
}
