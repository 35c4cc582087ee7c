//! What of a document goes by the address of the client. Envoy says which that is; where it takes the word of the
//! client for it (`x-forwarded-for`), all of this can be evaded, or turned against others.

use super::settings::Settings;
use crate::config::{Config, OnFailures};

impl Settings {
    /// The paths of what asks for the client's address, or acts on it, in `config`, from which these settings were
    /// compiled. What only counts by it is not among them.
    #[must_use]
    pub fn by_source(&self, config: &Config) -> Vec<String> {
        let mut paths = Vec::new();
        let failures = &config.failed_authentication;
        if failures.threshold > 0 && failures.source != OnFailures::Alert {
            paths.push("failed_authentication.source".to_owned());
        }
        for (resource, guarded) in self.resources.iter().zip(config.guarded().unwrap_or_default()) {
            paths.extend(resource.policies.by_source(&guarded));
            if let (Some(shadow), Some(guarded)) = (&resource.shadow, guarded.shadow()) {
                paths.extend(shadow.by_source(&guarded));
            }
        }
        paths
    }
}
