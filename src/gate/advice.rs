//! What is valid in a document and yet should be looked at again before it guards anything.

use super::outgoing::Outgoing;
use super::settings::Settings;
use crate::config::{Config, ConfigError, Guarded};
use crate::policy::Attribute;
use std::collections::BTreeSet;

impl Settings {
    /// What the author of `config`, from which these settings were compiled, should look at again.
    #[must_use]
    pub fn advise(&self, config: &Config) -> Vec<ConfigError> {
        let mut advice = Vec::new();
        if !self.require_auth {
            let reason = "LETS EVERYBODY IN: no caller is asked who it is, whatever else stands here";
            let fix = "remove it before anybody but you can reach this";
            advice.push(ConfigError::new("require_auth", reason, fix).value(false));
        }
        // Whoever says who callers are has names of its own for groups.
        let keys_have_groups =
            config.api_keys.as_ref().is_some_and(|keys| keys.keys.iter().any(|key| !key.groups.is_empty()));
        let others = [config.token_review.is_some(), keys_have_groups].map(usize::from);
        let several_issuers = others.into_iter().fold(config.issuers.len(), usize::saturating_add) > 1;
        for (resource, guarded) in self.resources.iter().zip(config.guarded().unwrap_or_default()) {
            if is_plain_and_elsewhere(guarded.resource) {
                let reason = "is reached without TLS: tokens can be read on the way";
                advice.push(
                    ConfigError::new(guarded.path("resource"), reason, "serve it by https")
                        .value(guarded.resource),
                );
            }
            advice.extend(resource.policies.advise(&guarded, several_issuers));
            if let (Some(shadow), Some(guarded)) = (&resource.shadow, guarded.shadow()) {
                advice.extend(shadow.advise(&guarded, several_issuers));
            }
            advice.extend(advise_outgoing(&resource.outgoing, &guarded));
            advice.extend((!self.require_auth).then(|| of_nobody(&guarded)).into_iter().flatten());
        }
        for (index, issuer) in config.issuers.iter().enumerate() {
            let asked = issuer.jwks_uri.as_deref().unwrap_or(&issuer.issuer);
            if is_plain_and_elsewhere(asked) {
                let path = format!("issuers[{index}].insecure_http");
                let reason = "lets whoever is on the way to the issuer sign tokens";
                advice.push(ConfigError::new(path, reason, "use https; this is for tests").value(asked));
            }
        }
        let is_shown = |name: &str| sounds_secret(name) && !self.audit.masks.has_name(name);
        let names = self.audit.clear_arguments.iter().enumerate().filter(|(_, name)| is_shown(name));
        advice.extend(names.map(|(index, name)| {
            let path = format!("audit.clear_arguments[{index}]");
            let reason = "sounds like a secret, which everybody who reads records would know";
            ConfigError::new(path, reason, "remove it, or list it in `audit.mask_arguments`").value(&**name)
        }));
        let read: BTreeSet<String> = self.read_and_shown().filter(|name| sounds_secret(name)).collect();
        advice.extend(read.into_iter().map(|name| {
            let reason =
                "is read by a rule and sounds like a secret, which everybody who reads records would know";
            let fix = "list it in `audit.mask_attributes`";
            ConfigError::new("audit.attributes", reason, fix).value(name)
        }));
        advice
    }
}

impl Settings {
    /// The names of headers and arguments that stand in records because rules read them, and are not masked.
    fn read_and_shown(&self) -> impl Iterator<Item = String> {
        let (masks, clear) = (&self.audit.masks, &self.audit.clear_arguments);
        let reads = self.resources.iter().flat_map(|resource| resource.reads());
        let shown = reads.filter(|read| self.audit.shown().is_some_and(|shown| shown.has(*read)));
        let beside = shown.filter(|read| match read {
            Attribute::Claim(_) => false,
            Attribute::Header(_) => true,
            Attribute::Argument(name) => {
                !masks.has_name(name) && !clear.iter().any(|clear| **clear == **name)
            }
        });
        beside.map(|read| read.to_string()).filter(|name| !masks.has_attribute(name))
    }
}

fn sounds_secret(name: &str) -> bool {
    const SECRETS: &[&str] = &[
        "token",
        "secret",
        "passw",
        "credential",
        "authorization",
        "api_key",
        "apikey",
        "private",
        "session",
        "cookie",
    ];
    // Headers have hyphens.
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRETS.iter().any(|secret| name.contains(secret))
}

fn advise_outgoing(outgoing: &Outgoing, guarded: &Guarded<'_>) -> Option<ConfigError> {
    match outgoing {
        Outgoing::Stripped => None,
        Outgoing::Passthrough => {
            let reason = "gives the caller's token to the upstream, which MCP forbids where that is not the \
                          resource itself";
            Some(ConfigError::new(guarded.path("token_passthrough"), reason, "exchange it: `token_exchange`"))
        }
        Outgoing::Exchanged(exchange) => {
            let endpoint = exchange.endpoint();
            let url = format!("{}://{}{}", endpoint.scheme, endpoint.authority, endpoint.path);
            let reason = "lets whoever is on the way to the token endpoint read callers' tokens";
            let path = format!("{}.insecure_http", exchange.path);
            is_plain_and_elsewhere(&url)
                .then(|| ConfigError::new(path, reason, "use https; this is for tests").value(url.as_str()))
        }
    }
}

/// Rules that name callers, where nobody says who he is.
fn of_nobody(guarded: &Guarded<'_>) -> Vec<ConfigError> {
    let named = guarded.rules.iter().enumerate().filter(|(_, rule)| rule.to.is_some());
    let advice = named.map(|(index, _)| {
        let path = guarded.rule_path(index, "to");
        ConfigError::new(path, "names nobody while `require_auth` is `false`", "set that to `true`")
    });
    advice.collect()
}

/// Whether a URL is plain HTTP to another machine.
fn is_plain_and_elsewhere(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    !(host == "localhost" || host == "[::1]" || host.starts_with("127.") || authority == "[::1]")
}

#[cfg(test)]
mod tests {
    use super::sounds_secret;

    #[test]
    fn headers_sound_as_arguments_do() {
        for name in ["api_key", "headers.x-api-key", "X-Session-Id", "cookie", "arguments.password"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["headers.x-device-trust", "region", "key"] {
            assert!(!sounds_secret(name), "{name}");
        }
    }
}
