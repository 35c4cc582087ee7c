//! What runs, in a few lines.

use super::terminal::escape;
use crate::render::{Options, Plan};
use mcp_iap::config::Rule;
use std::path::Path;

/// What is guarded, and where everything is.
pub fn summary(plan: &Plan, rules: &[&Rule], options: &Options, envoy: &Path) -> String {
    let tls = options.tls_certificate.is_some() || options.tls_sds.is_some();
    let scheme = if tls { "https" } else { "http" };
    let mut text = String::new();
    for one in &plan.resources {
        let here = format!("{scheme}://{}{}", options.listen, one.path);
        text.push_str(&line("guards", &one.identifier));
        text.push_str(&line("upstream", &one.upstream.to_string()));
        let is_elsewhere = here != one.identifier;
        let note =
            if is_elsewhere { format!("{here}, for clients that call {}", one.identifier) } else { here };
        text.push_str(&line("listens", &note));
    }
    if options.client_ca.is_some() {
        text.push_str(&line("clients", "must show a certificate"));
    }
    for issuer in &plan.settings.issuers {
        let how =
            issuer.cluster().map_or("with a secret".to_owned(), |cluster| format!("by cluster {cluster}"));
        text.push_str(&line("issuer", &format!("{} {how}", issuer.identifier)));
    }
    let allow = rules.iter().filter(|rule| rule.allow.is_some()).count();
    let deny = rules.iter().filter(|rule| rule.deny.is_some()).count();
    let rules = format!("{allow} allow and {deny} deny; what no rule allows is refused");
    text.push_str(&line("rules", &rules));
    text.push_str(&line("admin", &format!("http://{}", options.admin)));
    text.push_str(&line("Envoy", &envoy.display().to_string()));
    text
}

fn line(name: &str, value: &str) -> String {
    format!("{name:9} {}\n", escape(value))
}
