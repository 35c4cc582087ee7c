//! A caller as a record names it, with those who act for him.

use super::line::Line;
use super::{MAX_GROUPS, cut};
use crate::identity::{Actor, Actors, Caller, CallerKind};

/// A caller as a record names it.
pub(super) fn write(caller: &Caller, line: &mut Line) {
    let Caller { issuer, subject, client_id, groups, scope, .. } = caller;
    let known = |text| Some(text).filter(|text: &&str| !text.is_empty());
    // Absent for a token's caller.
    let kind = caller.kind();
    line.known_text("kind", (kind != CallerKind::Token).then(|| kind.name()));
    let texts = [
        ("issuer", known(issuer)),
        ("subject", known(subject)),
        ("client_id", client_id.as_deref()),
        ("kubernetes_user", caller.kubernetes_user()),
        ("api_key", caller.api_key()),
        ("spiffe_id", caller.spiffe_id()),
    ];
    for (name, text) in texts {
        line.known_text(name, text.map(cut));
    }
    line.texts("groups", groups.iter().take(MAX_GROUPS).map(|group| cut(group)));
    line.known_text("scope", known(scope.as_str()).map(cut));
    if let Some(Actors { chain, is_incomplete }) = caller.actors() {
        line.objects("actors", chain.iter(), |actor, line| {
            let Actor { issuer, subject, client_id } = actor;
            line.known_text("issuer", issuer.as_deref());
            line.known_text("subject", subject.as_deref());
            line.known_text("client_id", client_id.as_deref());
        });
        if *is_incomplete {
            line.plain("actors_incomplete", true);
        }
    }
}
