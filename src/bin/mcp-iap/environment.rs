//! The secrets of a document where it is only looked at: a build machine has none, and needs none. What is set
//! is checked; for what is not stands a text that no filter ever sees.

use mcp_iap::config::{ConfigError, STAND_IN, process_environment};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What `${NAME}` means here.
#[derive(Debug, Default)]
pub struct Environment {
    /// What Envoy is told to give to the filter; `None` where that is not known.
    given: Option<Given>,
    unset: RefCell<BTreeSet<String>>,
}

/// `vm_config.environment_variables`
#[derive(Debug)]
struct Given {
    from_host: BTreeSet<String>,
    written: Value,
}

impl Environment {
    /// That of a plugin in an Envoy configuration.
    pub fn of_plugin(plugin: &Value) -> Self {
        let variables = &plugin["vm_config"]["environment_variables"];
        let names = variables["host_env_keys"].as_array().into_iter().flatten();
        let from_host = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let given = Given { from_host, written: variables["key_values"].clone() };
        Self { given: Some(given), unset: RefCell::default() }
    }

    /// The value; `None` for what Envoy would not give to the filter.
    pub fn get(&self, name: &str) -> Option<String> {
        if let Some(given) = &self.given {
            if let Some(value) = given.written[name].as_str() {
                return Some(value.to_owned());
            }
            if !given.from_host.contains(name) {
                return None;
            }
        }
        process_environment(name).or_else(|| {
            self.unset.borrow_mut().insert(name.to_owned());
            Some(STAND_IN.to_owned())
        })
    }

    /// Whether it is known what Envoy gives to the filter: of a name that is not set here it was said then that Envoy takes
    /// it from where it runs.
    pub fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Something for each name that is not set here.
    pub fn unset(&self) -> Vec<ConfigError> {
        let told = |name: &String| {
            let reason = "is not set here, so its value was not checked";
            let fix = "set it where Envoy runs; the filter refuses the document without it";
            ConfigError::new(format!("${{{name}}}"), reason, fix)
        };
        self.unset.borrow().iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_envoy_would_not_give_is_not_there() {
        let plugin = json!({"vm_config": {"environment_variables": {
            "host_env_keys": ["MCP_IAP_TEST_NOT_SET"], "key_values": {"WRITTEN": "w"}}}});
        let environment = Environment::of_plugin(&plugin);
        assert_eq!(environment.get("WRITTEN").as_deref(), Some("w"));
        assert_eq!(environment.get("MCP_IAP_TEST_NOT_SET").as_deref(), Some(STAND_IN));
        assert_eq!(environment.get("PATH"), None, "set here, and not passed on");
        assert_eq!((environment.unset().len(), environment.is_given()), (1, true));
        assert_eq!(Environment::of_plugin(&json!({})).get("PATH"), None);
        assert!(Environment::default().get("PATH").is_some() && STAND_IN.len() == 64);
    }
}
