//! The WasmPlugin, and the TrafficExtension that comes after it. They have no field for `allow_on_headers_stop_iteration`, and istiod hands the document over as JSON
//! whose numbers were binary64: what that would change is refused.

use super::super::plan::Plan;
use super::super::yaml::{block, indent, scalar};
use super::options::{Options, Place};
use crate::fault::Fault;
use mcp_iap::config::{ConfigError, yaml};
use serde_json::Value;

/// Up to here every integer is itself in binary64 (RFC 8259 section 6).
const MAX_EXACT: u64 = 1 << 53;

/// The document as `pluginConfig`.
///
/// # Errors
/// What a WasmPlugin can't do, or would do otherwise.
pub fn config(plan: &Plan) -> Result<Value, Fault> {
    if plan.settings.allow_on_headers_stop_iteration {
        let reason = "is true, and Istio's WasmPlugin has no field for it: each request would wait for a body that \
                      never comes";
        let fix = "write `allow_on_headers_stop_iteration: false` and know what that means (docs/istio.md), or \
                   render `istio-envoyfilter`";
        return Err(ConfigError::new("allow_on_headers_stop_iteration", reason, fix).into());
    }
    let config = yaml::read(&plan.document)
        .map_err(|fault| Fault::Failed(format!("the document is no pluginConfig: {fault}")))?;
    check_numbers("", &config)?;
    Ok(config)
}

/// Which of Istio's two APIs for modules: they differ in where the module's fields stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    WasmPlugin,
    /// From Istio 1.30 on.
    TrafficExtension,
}

impl Api {
    /// Where the document stands in a manifest.
    pub fn document(self) -> &'static str {
        match self {
            Self::WasmPlugin => "/spec/pluginConfig",
            Self::TrafficExtension => "/spec/wasm/pluginConfig",
        }
    }
}

/// The manifest with this `pluginConfig`.
pub fn manifest(
    options: &Options,
    plan: &Plan,
    api: Api,
    pull_secret: Option<&str>,
    config: &Value,
) -> String {
    let (kind, module) = match (api, module(options, plan, pull_secret, config)) {
        (Api::WasmPlugin, module) => ("WasmPlugin", indent(&module, 2)),
        (Api::TrafficExtension, module) => ("TrafficExtension", format!("  wasm:\n{}", indent(&module, 4))),
    };
    let ports = match (options.at, options.port) {
        (Place::Sidecar, Some(port)) => {
            format!("  # No other port is guarded; the policies below close them.\n  match:\n  - {{ mode: SERVER, ports: [{{ number: {port} }}] }}\n")
        }
        (Place::Sidecar, None) => {
            "  # Every port of the server; not what the server itself asks for.\n  match:\n  - { mode: SERVER }\n".to_owned()
        }
        (Place::Gateway, _) => String::new(),
    };
    format!(
        r"# The filter. Without `allow_on_headers_stop_iteration`, for which there is no field: the upstream may see the head
# (never the token) of a call whose body is then refused. Rates count for each worker by itself: there is no `vm_id`.
apiVersion: extensions.istio.io/v1alpha1
kind: {kind}
{}
spec:
  selector: {{ matchLabels: {} }}
{ports}  # Before Istio's own filters for tokens and policies.
  phase: AUTHN
{module}",
        options.metadata(&options.name, &options.namespace),
        options.labels(),
    )
}

/// Where the module comes from and what it is given.
fn module(options: &Options, plan: &Plan, pull_secret: Option<&str>, config: &Value) -> String {
    let pull_secret =
        pull_secret.map(|name| format!("imagePullSecret: {}\n", scalar(name))).unwrap_or_default();
    let names: Vec<_> = plan.environment.iter().map(|name| scalar(name)).collect();
    let environment = if names.is_empty() {
        String::new()
    } else {
        let variables: String =
            names.iter().map(|name| format!("  - {{ name: {name}, valueFrom: HOST }}\n")).collect();
        format!(
            "# The document refers to these; their values come from the environment of the proxy's container.
vmConfig:\n  env:\n{variables}"
        )
    };
    format!(
        r#"url: {}
# In quotes: a checksum of digits alone would be a number.
sha256: "{}"
{pull_secret}pluginName: mcp_iap
# Never FAIL_OPEN: it passes requests unfiltered.
failStrategy: FAIL_RELOAD
{environment}# The document; istiod hands it over as JSON.
pluginConfig:
{}"#,
        scalar(&options.image),
        options.sha256,
        indent(&block(config), 2),
    )
}

fn check_numbers(path: &str, value: &Value) -> Result<(), Fault> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            check_numbers(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value)
        }),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check_numbers(&format!("{path}[{index}]"), value)),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match size {
                Some(size) if size > MAX_EXACT => {
                    let reason = "is another number when istiod hands it over: it has 53 bits for one";
                    let fix = "write a number of at most 2^53, or render `istio-envoyfilter`";
                    Err(ConfigError::new(path, reason, fix).value(value.clone()).into())
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_binary64_does_not_have_are_refused() {
        for (config, path) in [
            (json!({"a": [1, {"b": 9_007_199_254_740_993_u64}]}), "a[1].b"),
            (json!({"a": -9_007_199_254_740_993_i64}), "a"),
            (json!(u64::MAX), ""),
        ] {
            let Err(Fault::Refused(errors)) = check_numbers("", &config) else { panic!("{config}") };
            assert_eq!(errors.0[0].path, path);
        }
        assert!(
            check_numbers("", &json!([1, -1, 0.5, 9_007_199_254_740_992_u64, "9007199254740993"])).is_ok()
        );
    }
}
