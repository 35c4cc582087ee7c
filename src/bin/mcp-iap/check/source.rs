//! Whose address the client's is: where the connection manager takes that of the connection, nobody forges it; where it
//! takes what `x-forwarded-for` says, whoever reaches the listener does.

use super::Findings;
use super::around;
use super::envoy::Plugin;
use mcp_iap::config::ConfigError;
use serde_json::Value;

/// Looks at each HTTP connection manager that has the plugin; `paths` names what of the document goes by the address.
pub fn check(envoy: &Value, plugin: &Plugin, paths: &[String], findings: &mut Findings) {
    if paths.is_empty() {
        return;
    }
    let mut managers = Vec::new();
    around::find(envoy, None, &|config| *config == plugin.config, &mut managers);
    for manager in managers.iter().filter(|manager| !manager.filters.is_empty()) {
        let field = "use_remote_address";
        let is_the_connections = manager.value[field] == true || manager.value[field] == "true";
        let detects = manager.value["original_ip_detection_extensions"].as_array();
        if is_the_connections || detects.is_some_and(|extensions| !extensions.is_empty()) {
            continue;
        }
        let reason = format!(
            "is not set: the client's address is what `x-forwarded-for` says, which clients write, and by it goes {}",
            paths.join(", ")
        );
        let fix = "set it to `true`, and `xff_num_trusted_hops` behind proxies of yours";
        findings.warnings.push(ConfigError::new(field, reason, fix));
    }
}
