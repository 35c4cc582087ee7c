//! The HTTP filter with the document in it, and the tags of its counters.

use super::plan::Plan;
use super::yaml::{indent, literal, scalar};

/// The list entry below `http_filters`.
pub fn filter(plan: &Plan, wasm: &str) -> String {
    let code = format!("local: {{ filename: {} }}", scalar(wasm));
    format!("- name: mcp_iap\n{}", indent(&typed_config(plan, &code), 2))
}

/// The filter's configuration; `code` is where Envoy gets the module, in flow style.
pub fn typed_config(plan: &Plan, code: &str) -> String {
    let flag = if plan.settings.allow_on_headers_stop_iteration {
        "# Headers wait for the body: of a refused request the upstream sees nothing.
    allow_on_headers_stop_iteration: true"
    } else {
        "# As the document says: the upstream may see the head of a request whose body is then refused.
    allow_on_headers_stop_iteration: false"
    };
    let names: Vec<_> = plan.environment.iter().map(|name| scalar(name)).collect();
    let environment = if names.is_empty() {
        String::new()
    } else {
        format!(
            "      # The document refers to these; their values come from Envoy's own environment.
      environment_variables: {{ host_env_keys: [{}] }}\n",
            names.join(", ")
        )
    };
    format!(
        r#"typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
  config:
    name: mcp_iap
    root_id: mcp_iap
    {flag}
    # Never FAIL_OPEN: it passes requests unfiltered.
    failure_policy: FAIL_RELOAD
    vm_config:
      # Filters with one vm_id share a VM; this one keeps to itself.
      vm_id: mcp_iap
      runtime: envoy.wasm.runtime.v8
      code: {{ {code} }}
{environment}    configuration:
      "@type": type.googleapis.com/google.protobuf.StringValue
{}"#,
        indent(&literal("value", &plan.document), 6)
    )
}

/// What makes tags of the names of the filter's counters, below `stats_config`.
pub fn stats_tags() -> &'static str {
    r#"# mcp_iap_requests{outcome="refused",reason="missing_token"}
stats_tags:
- { tag_name: outcome, regex: "^wasmcustom\\.mcp_iap_requests(\\.outcome\\.(\\w+))" }
- { tag_name: by, regex: "^wasmcustom\\.mcp_iap_(?:signatures|failing)(\\.by\\.(\\w+))" }
- { tag_name: result, regex: "^wasmcustom\\.mcp_iap_(?:key_fetches|token_exchanges|token_reviews|introspections|list_entries)(\\.result\\.(\\w+))" }
- { tag_name: issuer, regex: "^wasmcustom\\.mcp_iap_key_(?:age_seconds|fetches\\.result\\.\\w+)(\\.issuer\\.(.+))$" }
- { tag_name: reason, regex: "^wasmcustom\\.mcp_iap_requests\\.outcome\\.\\w+(\\.reason\\.(\\w+))" }
- { tag_name: of, regex: "^wasmcustom\\.mcp_iap_remembered(\\.of\\.(\\w+))" }
- { tag_name: difference, regex: "^wasmcustom\\.mcp_iap_shadow(\\.difference\\.(\\w+))" }
"#
}
