//! What runs, in a few lines.

use super::terminal::escape;
use crate::render::{Options, Plan};
use mcp_iap::config::Rule;
use mcp_iap::gate::Outgoing;
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
        let asked = issuer.introspection.as_ref().map_or(String::new(), |asked| {
            format!(", asked about opaque tokens by cluster {}", asked.endpoint.cluster)
        });
        text.push_str(&line("issuer", &format!("{} {how}{asked}", issuer.identifier)));
        let mut audiences: Vec<&str> = Vec::new();
        for one in plan.settings.resources.iter().flat_map(|one| issuer.audiences(&one.protected)) {
            if !audiences.contains(&one.as_str()) {
                audiences.push(one);
            }
        }
        text.push_str(&line("aud", &format!("{} in its tokens", audiences.join(" or "))));
    }
    if let Some(review) = &plan.settings.token_review {
        text.push_str(&line(
            "reviews",
            &format!("of tokens of no issuer, by cluster {}", review.endpoint.cluster),
        ));
    }
    if let Some(keys) = &plan.settings.api_keys {
        text.push_str(&line("API keys", &format!("in {}", keys.header())));
    }
    for resource in &plan.settings.resources {
        let given = match &resource.outgoing {
            Outgoing::Stripped => continue,
            Outgoing::Exchanged(exchange) => {
                format!("gets tokens of its own, by cluster {}", exchange.endpoint().cluster)
            }
            Outgoing::Passthrough => "gets the caller's own token".to_owned(),
        };
        text.push_str(&line("upstream", &given));
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        options: Options,
    }

    fn told(document: &str) -> String {
        let typed = ["run", "mcp-iap.yaml", "--upstream", "http://127.0.0.1:8000"];
        let Typed { options } = Typed::parse_from(typed);
        let plan = Plan::new(document.as_bytes(), &options.upstream, &options.credential, &|_| {
            Some("0123456789abcdef0123456789abcdef".to_owned())
        });
        summary(&plan.unwrap(), &[], &options, Path::new("envoy"))
    }

    #[test]
    fn says_who_is_asked_and_what_the_upstream_gets() {
        let head = "resource: http://127.0.0.1:10000/mcp\nrules: []\n";
        let issuer = "issuers: [{ issuer: 'https://login.example.com'";
        let hash = "ab".repeat(32);
        for (more, line) in [
            (format!("{issuer} }}]"), "issuer    https://login.example.com by cluster login.example.com\n"),
            (format!("{issuer} }}]"), "aud       http://127.0.0.1:10000/mcp in its tokens\n"),
            (format!("{issuer}, audiences: [a, b] }}]"), "aud       a or b in its tokens\n"),
            (
                format!(
                    "{issuer}, introspection: {{ endpoint: 'https://login.example.com/i', cluster: asks }} }}]"
                ),
                "issuer    https://login.example.com by cluster login.example.com, asked about opaque tokens by cluster asks\n",
            ),
            (
                "token_review: { server: https://kubernetes.default.svc, audiences: [a] }".to_owned(),
                "reviews   of tokens of no issuer, by cluster kubernetes.default.svc\n",
            ),
            (
                format!("api_keys: {{ pepper: '${{PEPPER}}', keys: [{{ name: ci, hash: {hash} }}] }}"),
                "API keys  in x-api-key\n",
            ),
            (
                format!(
                    "{issuer} }}]\ntoken_exchange: {{ audience: a, token_endpoint: 'https://sts.example.com/t' }}"
                ),
                "upstream  gets tokens of its own, by cluster sts.example.com\n",
            ),
            (format!("{issuer} }}]\ntoken_passthrough: true"), "upstream  gets the caller's own token\n"),
        ] {
            let told = told(&format!("{head}{more}\n"));
            assert!(told.contains(line), "{line}{told}");
        }
    }
}
