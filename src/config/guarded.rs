//! One resource or several: the same fields at the top of the document or below `resources`.

use super::document::{Catalogue, Config, Resource, Rule};
use super::error::ConfigError;
use super::token_exchange::TokenExchange;

/// A resource of the document, wherever it stands there.
#[derive(Clone, Copy, Debug)]
pub struct Guarded<'a> {
    /// Where in `resources` it stands; `None` for the only one.
    pub place: Option<usize>,
    /// Its identifier.
    pub resource: &'a str,
    /// Its rules.
    pub rules: &'a [Rule],
    /// The field in which they stand.
    pub rules_field: &'static str,
    /// Those that decide nothing.
    pub shadow_rules: Option<&'a [Rule]>,
    /// What its server offers.
    pub catalogue: Option<&'a Catalogue>,
    /// Its hosts.
    pub allowed_hosts: Option<&'a [String]>,
    /// The headers on which rules may decide.
    pub trusted_headers: &'a [String],
    /// How its upstream gets a token.
    pub token_exchange: Option<&'a TokenExchange>,
    /// Whether its upstream gets the caller's.
    pub token_passthrough: bool,
}

impl<'a> Guarded<'a> {
    /// The same with its shadow rules in the place of its rules, where it has some.
    #[must_use]
    pub fn shadow(&self) -> Option<Guarded<'a>> {
        let rules = self.shadow_rules?;
        Some(Guarded { rules, rules_field: "shadow_rules", shadow_rules: None, ..*self })
    }

    /// Whether these are rules that decide nothing.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.rules_field == "shadow_rules"
    }

    /// The path of a field of one of its rules; of the rule itself for an empty field.
    #[must_use]
    pub fn rule_path(&self, index: usize, field: &str) -> String {
        let dot = if field.is_empty() { "" } else { "." };
        self.path(&format!("{}[{index}]{dot}{field}", self.rules_field))
    }

    /// The path of one of its fields in the document.
    #[must_use]
    pub fn path(&self, field: &str) -> String {
        match self.place {
            None => field.to_owned(),
            Some(place) => format!("resources[{place}].{field}"),
        }
    }
}

impl Config {
    /// The resources that the document guards, at least one.
    ///
    /// # Errors
    /// There is none, or the fields of one stand beside `resources`.
    pub fn guarded(&self) -> Result<Vec<Guarded<'_>>, ConfigError> {
        let absent = |field: &str| ConfigError::new(field, "is absent", format!("give `{field}`"));
        let Some(resources) = &self.resources else {
            return Ok(vec![Guarded {
                place: None,
                resource: self.resource.as_deref().ok_or_else(|| absent("resource"))?,
                rules: self.rules.as_deref().ok_or_else(|| absent("rules"))?,
                rules_field: "rules",
                shadow_rules: self.shadow_rules.as_deref(),
                catalogue: self.catalogue.as_ref(),
                allowed_hosts: self.allowed_hosts.as_deref(),
                trusted_headers: &self.trusted_headers,
                token_exchange: self.token_exchange.as_ref(),
                token_passthrough: self.token_passthrough,
            }]);
        };
        let beside = [
            ("resource", self.resource.is_some()),
            ("rules", self.rules.is_some()),
            ("shadow_rules", self.shadow_rules.is_some()),
            ("catalogue", self.catalogue.is_some()),
            ("allowed_hosts", self.allowed_hosts.is_some()),
            ("token_exchange", self.token_exchange.is_some()),
            ("token_passthrough", self.token_passthrough),
        ];
        if let Some((field, _)) = beside.into_iter().find(|(_, is_there)| *is_there) {
            let reason = "stands beside `resources`, whose entries have their own";
            return Err(ConfigError::new(field, reason, "move it into an entry of `resources`"));
        }
        if resources.is_empty() {
            return Err(ConfigError::new("resources", "names no resource", "name at least one"));
        }
        Ok(resources
            .iter()
            .enumerate()
            .map(|(place, resource)| resource.guarded(place, &self.trusted_headers))
            .collect())
    }
}

impl Resource {
    fn guarded<'a>(&'a self, place: usize, trusted_headers: &'a [String]) -> Guarded<'a> {
        let Self {
            resource,
            rules,
            shadow_rules,
            catalogue,
            allowed_hosts,
            token_exchange,
            token_passthrough,
        } = self;
        Guarded {
            place: Some(place),
            resource,
            rules,
            rules_field: "rules",
            shadow_rules: shadow_rules.as_deref(),
            catalogue: catalogue.as_ref(),
            allowed_hosts: allowed_hosts.as_deref(),
            trusted_headers,
            token_exchange: token_exchange.as_ref(),
            token_passthrough: *token_passthrough,
        }
    }
}
