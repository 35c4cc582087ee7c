//! The configuration's errors, its schema and its examples, against golden files.
//!
//! `UPDATE_GOLDEN=1` writes them anew: read the difference before you commit it.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn mcp_iap(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.env("MCP_IAP_TEST_PEPPER", "a-pepper-of-at-least-32-bytes-for-tests");
    command.env("MCP_IAP_TEST_SHORT", "too-short-a-secret").env_remove("MCP_IAP_TEST_NOT_SET");
    command.args(arguments).current_dir(root()).output().unwrap()
}

fn same_as_golden(path: &Path, seen: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, seen).unwrap();
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(seen, wanted, "{} is not current; `make golden` writes it", path.display());
}

#[test]
fn each_fault_is_told_with_path_value_reason_and_fix() {
    let folder = "tests/golden/configuration";
    let mut names: Vec<_> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 30, "only {} cases", names.len());
    for name in names {
        let file = format!("{folder}/{name}");
        let seen = mcp_iap(&["check", &file]);
        assert_eq!(seen.status.code(), Some(1), "{file}");
        let text = String::from_utf8(seen.stdout).unwrap();
        for part in ["reason ", "fix "] {
            assert!(text.contains(part), "{file}: no {part}");
        }
        assert!(!text.contains("hunter2"), "{file}: a secret: {text}");
        same_as_golden(&root().join(&file).with_extension("txt"), &text);
    }
}

#[test]
fn what_is_probably_not_meant_is_told_and_accepted() {
    let file = "tests/golden/advice/rules.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
    assert_eq!(mcp_iap(&["check", "--strict", file]).status.code(), Some(1));
    let json = mcp_iap(&["check", "-o", "json", file]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["ok"] == true && json["warnings"].as_array().unwrap().len() > 5, "{json}");
}

/// The call is judged for the other target as well: where that is never allowed, the rule allows nothing.
#[test]
fn an_exchange_that_can_never_be_allowed_is_told() {
    let file = "tests/golden/advice/exchange.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
}

#[test]
fn a_token_that_passes_through_is_warned_of() {
    let file = "tests/golden/advice/passthrough.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
}

/// The same for a private key, in whose place no other text can stand.
#[test]
fn a_private_key_that_is_not_set_here_is_a_warning_here_alone() {
    let file = "tests/golden/advice/private-key-not-set.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
    let text = std::fs::read(root().join(file)).unwrap();
    assert!(mcp_iap::gate::Settings::load_in(&text, &|_| None).is_err());
}

/// Groups of keys stand beside those of tokens.
#[test]
fn groups_of_keys_and_of_tokens_are_told_apart() {
    for (issuers, groups, is_warned) in [
        ("[{ issuer: https://login.example.com }]", "[dev]", true),
        ("[{ issuer: https://login.example.com }]", "[]", false),
        ("[]", "[dev]", false),
    ] {
        let document = format!(
            "
resource: https://mcp.example.com/mcp
issuers: {issuers}
api_keys:
  pepper: ${{PEPPER}}
  keys: [{{ name: ci, hash: {}, groups: {groups} }}]
rules: [{{ id: r, allow: {{ tools: [a] }}, to: {{ groups: [dev] }} }}]
",
            "ab".repeat(32)
        );
        let config = mcp_iap::config::load(document.as_bytes()).unwrap();
        let settings = mcp_iap::gate::Settings::compile(&config, &|_| Some("p".repeat(32))).unwrap();
        let advice: Vec<_> = settings.advise(&config).iter().map(ToString::to_string).collect();
        let names_any = advice.iter().any(|one| one.contains("names callers of any issuer"));
        assert_eq!(names_any, is_warned, "{issuers} {groups}: {advice:?}");
    }
}

/// One that is masked is no secret that is shown.
#[test]
fn arguments_that_sound_like_secrets_are_told_where_they_are_shown() {
    let document = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: https://login.example.com }]
rules: []
audit: { clear_arguments: [namespace, api_token, Password], mask_arguments: [PASS*] }
";
    let config = mcp_iap::config::load(document.as_bytes()).unwrap();
    let settings = mcp_iap::gate::Settings::compile(&config, &|_| None).unwrap();
    let paths: Vec<_> = settings.advise(&config).into_iter().map(|advice| advice.path).collect();
    assert_eq!(paths, ["audit.clear_arguments[1]"]);
}

/// So is what stands in records because a rule reads it.
#[test]
fn what_rules_read_and_sounds_like_a_secret_is_told_where_it_is_shown() {
    for (audit, wanted) in [
        ("{}", vec!["headers.x-secret-kind"]),
        ("{ attributes: none }", vec![]),
        ("{ mask_attributes: ['headers.*'] }", vec![]),
        ("{ attributes: all }", vec!["arguments.api_token", "headers.x-secret-kind"]),
        (
            "{ attributes: all, clear_arguments: [api_token], mask_arguments: [api_*], mask_attributes: [HEADERS.x*] }",
            vec![],
        ),
    ] {
        let document = format!(
            "
resource: https://mcp.example.com/mcp
issuers: [{{ issuer: https://login.example.com }}]
trusted_headers: [x-secret-kind]
rules:
  - {{ id: a, allow: {{ tools: [x] }}, to: {{ claims: {{ token_use: [access] }}, headers: {{ x-secret-kind: [a] }} }}, arguments: {{ api_token: {{ present: false }} }} }}
audit: {audit}
"
        );
        let config = mcp_iap::config::load(document.as_bytes()).unwrap();
        let settings = mcp_iap::gate::Settings::compile(&config, &|_| None).unwrap();
        let advice = settings.advise(&config).into_iter().filter(|advice| advice.path == "audit.attributes");
        let seen: Vec<_> = advice.map(|advice| advice.value.unwrap().trim_matches('"').to_owned()).collect();
        assert_eq!(seen, wanted, "{audit}");
    }
}

#[test]
fn a_document_that_lets_everybody_in_is_told_loudly() {
    let file = "tests/golden/advice/no-auth.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
    assert_eq!(mcp_iap(&["check", "--strict", file]).status.code(), Some(1));
}

/// Where a document is only checked or rendered, its secrets need not be; the filter refuses it without.
#[test]
fn a_secret_that_is_not_set_here_is_a_warning_here_alone() {
    let file = "tests/golden/advice/hmac-secret-not-set.yaml";
    let seen = mcp_iap(&["check", file]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join(file).with_extension("txt"), &String::from_utf8(seen.stdout).unwrap());
    assert_eq!(mcp_iap(&["check", "--strict", file]).status.code(), Some(1));
    let text = std::fs::read(root().join(file)).unwrap();
    let refused = mcp_iap::gate::Settings::load_in(&text, &|_| None).unwrap_err().to_string();
    assert!(refused.contains("`MCP_IAP_TEST_NOT_SET`, which is not set"), "{refused}");

    let rendered = mcp_iap(&["render", "envoy", file, "--upstream", "http://127.0.0.1:8000"]);
    assert_eq!(rendered.status.code(), Some(0), "{}", String::from_utf8_lossy(&rendered.stderr));
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let given = "environment_variables: { host_env_keys: [MCP_IAP_TEST_NOT_SET] }";
    assert!(rendered.contains(given) && !rendered.contains("stands in"), "{rendered}");
    let envoy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("with-secret.yaml");
    std::fs::write(&envoy, &rendered).unwrap();
    // Envoy gives it to the filter from where it runs: nothing is wrong here, and it is said all the same.
    let seen = mcp_iap(&["check", "--strict", envoy.to_str().unwrap()]);
    let told = String::from_utf8(seen.stdout).unwrap();
    assert_eq!(seen.status.code(), Some(0), "{told}");
    assert!(told.contains("    note    is not set here, so its value was not checked\n"), "{told}");
    // An Envoy that does not give it to the filter gives a filter that refuses.
    std::fs::write(&envoy, rendered.replace(given, "")).unwrap();
    let seen = mcp_iap(&["check", envoy.to_str().unwrap()]);
    assert_eq!(seen.status.code(), Some(1));
    assert!(String::from_utf8(seen.stdout).unwrap().contains("which is not set"));

    let upstream = ["--upstream", "http://127.0.0.1:8000"];
    let run = mcp_iap(&[&["run", file][..], &upstream].concat());
    assert_eq!(run.status.code(), Some(1), "Envoy would have this process's environment");
    assert!(String::from_utf8(run.stderr).unwrap().contains("which is not set"));
}

/// Envoy's configuration and the document in it must agree.
#[test]
fn an_envoy_that_does_not_fit_the_document_is_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    for (index, (from, to, field)) in [
        ("allow_on_headers_stop_iteration: true", "# unset", "allow_on_headers_stop_iteration"),
        ("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "failure_policy"),
        ("cluster: identity_provider\n", "cluster: elsewhere\n", "issuers[0].cluster"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(shipped.contains(from));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("misfit-{index}.yaml"));
        std::fs::write(&file, shipped.replacen(from, to, 1)).unwrap();
        let seen = mcp_iap(&["check", file.to_str().unwrap()]);
        assert_eq!(seen.status.code(), Some(1), "{to}");
        let text = String::from_utf8(seen.stdout).unwrap();
        assert!(text.contains(&format!(": {field}\n")) && text.ends_with("1 error\n"), "{text}");
    }
}

/// The name in a certificate that nobody verified is anybody's.
#[test]
fn workloads_need_a_listener_that_verifies_certificates() {
    let shipped = std::fs::read_to_string(root().join("envoy/mtls.yaml")).unwrap();
    let document = "                    rules:\n";
    let mesh = format!("                    mesh_identity: {{ trust_domains: [cluster.local] }}\n{document}");
    let verified = shipped.replacen(document, &mesh, 1);
    assert_ne!(shipped, verified);
    let authority = "trusted_ca: { filename: /etc/envoy/tls/client-ca.crt }";
    assert!(verified.contains(authority) && verified.contains("require_client_certificate: true"));
    for (index, (text, code, told)) in [
        (verified.clone(), 0, "ok, guards"),
        (verified.replace(authority, "{}"), 1, "verifies no client certificates"),
        (
            verified.replace(
                authority,
                &format!("{authority}\n              trust_chain_verification: ACCEPT_UNTRUSTED"),
            ),
            1,
            "verifies no client certificates",
        ),
        (verified.replace("require_client_certificate: true", ""), 0, "knows no workload of a client"),
        (
            std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap().replacen(document, &mesh, 1),
            1,
            "verifies no client certificates",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mesh-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.code(), Some(code), "{index}: {text}");
        assert!(text.contains(told), "{index}: {text}");
    }
}

/// A global rate that nobody counts is none.
#[test]
fn global_rates_without_who_counts_them_are_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/global-rate.yaml")).unwrap();
    let (head, rest) = shipped.split_once("          - name: mcp_iap\n").unwrap();
    let (ours, rest) = rest.split_once("          # Counts for all Envoys").unwrap();
    let (counting, tail) = rest.split_once("          - name: envoy.filters.http.router\n").unwrap();
    let ours = format!("          - name: mcp_iap\n{ours}");
    let counting = format!("          # Counts for all Envoys{counting}");
    let tail = format!("          - name: envoy.filters.http.router\n{tail}");
    let (nobody, lax) = ("have no rate limit filter behind this one", "nothing is limited");
    for (index, (filters, told)) in [
        (format!("{ours}{counting}"), "ok, guards"),
        (ours.clone(), nobody),
        (format!("{counting}{ours}"), nobody),
        (
            format!("{ours}{}", counting.replace("mcp_iap_rate_caller", "other")),
            "has no list of just the three actions",
        ),
        (
            format!(
                "{ours}{}",
                counting.replace(
                    "typed_config:\n              \"@type\"",
                    "disabled: true\n            typed_config:\n              \"@type\""
                )
            ),
            nobody,
        ),
        (
            format!(
                "{ours}{}",
                counting.replace("http.ratelimit.v3.RateLimit", "http.local_ratelimit.v3.LocalRateLimit")
            ),
            nobody,
        ),
        (format!("{ours}{}", counting.replace("failure_mode_deny: true", "")), lax),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("global-rate-{index}.yaml"));
        std::fs::write(&file, format!("{head}{filters}{tail}")).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.success(), told == "ok, guards", "{index}: {text}");
        assert!(text.contains(told), "{index}: {text}");
    }
}

/// Where several rules may allow one request, Envoy must make a descriptor for each.
#[test]
fn global_rates_that_meet_are_counted_each_or_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/global-rate.yaml")).unwrap();
    let start = shipped.find("              - actions:\n").unwrap();
    let end = shipped.find("          - name: envoy.filters.http.router\n").unwrap();
    let second = shipped[start..end].replace("rate_rule\"]", "rate_rule_2\"]");
    let with = |rules: [&str; 2], lists: &str| {
        let text = format!("{}{lists}{}", &shipped[..end], &shipped[end..]);
        let changed = text.replacen("allow: { tools: [get_*, list_*] }", rules[0], 1);
        changed.replacen("allow: { tools: [scale_deployment] }", rules[1], 1)
    };
    let rate = "rate: { calls: 1, per: 1m, global: true }";
    let first = format!("allow: {{ resources: ['docs://*'] }}\n                        {rate}");
    let of_tools = format!("allow: {{ tools: [get_*] }}\n                        {rate}");
    let (tools, both) = ("allow: { tools: [scale_deployment] }", "allow: { resources: ['wiki://*'] }");
    for (index, (text, is_right)) in [
        (with([&of_tools, tools], ""), true),
        (with([&first, tools], ""), true),
        (with([&first, both], ""), false),
        (with([&first, both], &second), true),
        (with([&first, both], &shipped[start..end]), false),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("global-rates-meet-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.success(), is_right, "{index}: {text}");
        assert!(
            is_right || text.contains("with `filter_state[\"wasm.mcp_iap_rate_rule_2\"]`"),
            "{index}: {text}"
        );
    }
}

/// The same where the rate limit filter is there: told less, or told by a route to leave calls out.
#[test]
fn global_rates_that_are_not_counted_at_each_route_are_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/global-rate.yaml")).unwrap();
    let name = "envoy.filters.http.ratelimit";
    let own = |config: &str| {
        format!("typed_per_filter_config: {{ {name}: {{ \"@type\": type.googleapis.com/{config} }} }}")
    };
    let off = own("envoy.config.route.v3.FilterConfig, disabled: true");
    let of_route = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute";
    let lists = "rate_limits: [{ actions: [{ generic_key: { descriptor_value: all } }] }]";
    let wrapped = format!(
        "envoy.config.route.v3.FilterConfig, config: {{ \"@type\": type.googleapis.com/{of_route}, rateLimits: [] }}"
    );
    let (domain, routes, first) =
        ("domain: mcp-iap", "              routes:\n", "- match: { prefix: \"/\" }");
    let with = |more: &str| format!("domain: mcp-iap\n              {more}");
    let route = |matching: &str, own: &str| {
        format!(
            "{routes}              - match: {{ {matching} }}\n                route: {{ cluster: mcp_server, timeout: 0s }}\n                {own}\n"
        )
    };
    let at_first = |own: &str| format!("{first}\n                {own}");
    let at_host = |own: &str| format!("              {own}\n{routes}");
    // The lists, from the filter to a route.
    let start = shipped.find("              rate_limits:\n").unwrap();
    let end = shipped.find("          - name: envoy.filters.http.router\n").unwrap();
    let moved = |to: &str| {
        let lists: String = shipped[start..end].lines().map(|line| format!("    {line}\n")).collect();
        format!("{to}{lists}")
    };
    let action = "                - extension:\n                    name: caller\n";
    let split = format!("              - actions:\n{action}");
    let place = "virtual_hosts[0].routes[0]";
    for (index, (from, to, field)) in [
        // What is right, written otherwise.
        (domain, with("request_type: both\n              stage: 0"), ""),
        (routes, route("path: /other", &off), ""),
        (first, at_first(&own(&format!("{of_route}, vh_rate_limits: IGNORE"))), ""),
        (first, at_first(&own("envoy.config.route.v3.FilterConfig, disabled: false")), ""),
        (routes, route("path: /mcp", ""), ""),
        (
            routes,
            format!("{}{}", route("path: /mcp", ""), route("prefix: /", &off).replace(routes, "")),
            "",
        ),
        // The filter's own fields.
        (domain, "domain: other".to_owned(), "envoy.filters.http.ratelimit.domain"),
        (domain, with("requestType: internal"), "envoy.filters.http.ratelimit.request_type"),
        (domain, with("stage: 1"), "envoy.filters.http.ratelimit.stage"),
        (
            domain,
            with("filter_enabled: { default_value: { numerator: 50 } }"),
            "envoy.filters.http.ratelimit.filter_enabled",
        ),
        (
            domain,
            with("filter_enforced: { default_value: { numerator: 0 } }"),
            "envoy.filters.http.ratelimit.filter_enforced",
        ),
        ("descriptor_key: rule", "descriptor_key: other".to_owned(), "envoy.filters.http.ratelimit.rate_limits"),
        (action, split, "envoy.filters.http.ratelimit.rate_limits"),
        (
            "              - actions:\n",
            "              - apply_on_stream_done: true\n                actions:\n".to_owned(),
            "envoy.filters.http.ratelimit.rate_limits",
        ),
        (
            "              - actions:\n",
            "              - actions:\n                - request_headers: { header_name: x, descriptor_key: x }\n".to_owned(),
            "envoy.filters.http.ratelimit.rate_limits",
        ),
        (
            "static_resources:\n",
            "layered_runtime: { layers: [{ name: a, static_layer: { ratelimit.http_filter_enabled: 0 } }] }\nstatic_resources:\n".to_owned(),
            "layered_runtime",
        ),
        // Routes.
        (first, at_first(&off), place),
        (routes, route("path: /mcp, headers: [{ name: x }]", &off), place),
        (routes, route("safe_regex: { regex: '/m.*' }", &off), place),
        (routes, at_host(&off), place),
        (first, at_first(&own(&format!("{of_route}, {lists}"))), place),
        (first, at_first(&own(&format!("{of_route}, domain: other"))), place),
        (first, at_first(&own(&wrapped)), place),
        (routes, at_host(&own(&format!("{of_route}, {lists}"))), place),
        (
            "                  cluster: mcp_server\n",
            format!("                  weighted_clusters: {{ clusters: [{{ name: mcp_server, weight: 1, {off} }}] }}\n"),
            "virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0]",
        ),
        (
            &shipped[start..end],
            String::new(),
            "envoy.filters.http.ratelimit.rate_limits",
        ),
        // On a route of its own, which is not the resource's.
        (
            &shipped[start..],
            shipped[end..].replace(
                routes,
                &moved(&format!("{routes}              - match: {{ path: /other }}\n                route:\n                  cluster: mcp_server\n")),
            ),
            "envoy.filters.http.ratelimit.rate_limits",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(shipped.contains(from), "{index}: {from}");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("global-rate-routes-{index}.yaml"));
        std::fs::write(&file, shipped.replacen(from, &to, 1)).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        let told = if field.is_empty() { "ok, guards".to_owned() } else { format!(": {field}\n") };
        assert_eq!(seen.status.success(), field.is_empty(), "{index}: {text}");
        assert!(text.contains(&told), "{index}: {told}{text}");
        assert!(field.is_empty() || text.contains("1 error\n"), "{index}: {text}");
    }
}

/// Pasted into an Envoy with routes of its own, the filter can be passed by.
#[test]
fn what_passes_the_filter_by_is_refused_and_what_cuts_calls_is_told() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let routes = "              routes:\n";
    let off = "typed_per_filter_config: { mcp_iap: { \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true } }";
    let to = |cluster: &str, path: &str| {
        format!(
            "{routes}              - match: {{ {path} }}\n                route: {{ cluster: {cluster} }}\n                {off}\n"
        )
    };
    for (index, (from, to, field, reason)) in [
        (
            routes,
            to("mcp_server", "path: /other"),
            "virtual_hosts[0].routes[0]",
            "reason  leads to the MCP server",
        ),
        (
            routes,
            to("other", "prefix: /m"),
            "virtual_hosts[0].routes[0]",
            "reason  takes /mcp, with the filter off",
        ),
        (routes, to("other", "path: /other"), "", "ok, guards"),
        (routes, to("other", "prefix: /, headers: [{ name: x }]"), "", "ok, guards"),
        (routes, to("other", "path_separated_prefix: /mc"), "", "ok, guards"),
        (
            "              routes:\n",
            format!("              {off}\n              routes:\n"),
            "virtual_hosts",
            "reason  the filter is off on all routes",
        ),
        ("timeout: 0s", String::new(), "virtual_hosts[0].routes[0].route.timeout", "warning cuts long calls"),
        (
            "timeout: 0s",
            "timeout: 0s\n                  retry_policy: { retry_on: 5xx }".to_owned(),
            "virtual_hosts[0].routes[0].route.retry_policy",
            "warning repeats calls",
        ),
        (
            "FILTER_STATE(wasm.mcp_iap:PLAIN)",
            "PROTOCOL".to_owned(),
            "access_log",
            "warning writes no records",
        ),
        (
            "per_connection_buffer_limit_bytes: 1048576",
            "per_connection_buffer_limit_bytes: 32768".to_owned(),
            "per_connection_buffer_limit_bytes",
            "warning is below `limits.body_bytes`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(shipped.matches(from).count(), 1, "{from}");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("around-{index}.yaml"));
        std::fs::write(&file, shipped.replacen(from, &to, 1)).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.success(), field.is_empty(), "{text}");
        assert!(
            text.contains(reason) && (field.is_empty() || text.contains(&format!(": {field}\n"))),
            "{text}"
        );
        assert!(text.lines().count() <= 6, "one finding: {text}");
    }
}

/// Without `use_remote_address` the client's address is what the client says, and whoever goes by it is told.
#[test]
fn an_address_that_clients_write_is_told() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let (set, rules) = ("          use_remote_address: true\n", "rules:\n");
    let indent = shipped.lines().find(|line| line.trim() == "rules:").unwrap().replace("rules:", "");
    let block = format!("failed_authentication: {{ source: block }}\n{indent}{rules}");
    let slow = block.replace("block", "slow");
    let in_rule = format!(
        "{rules}{indent}  - {{ id: near, allow: {{ tools: [x] }}, to: {{ source: [10.0.0.0/8] }} }}\n"
    );
    let when = in_rule.replace("to: { source: [10.0.0.0/8] }", "when: \"source.address == '10.0.0.1'\"");
    let alert = block.replace("block", "alert");
    let extensions = "          original_ip_detection_extensions: [{ name: x, typed_config: {} }]\n";
    for (index, (rules_are, manager, told)) in [
        (&block, "", Some("failed_authentication.source")),
        (&slow, "", Some("failed_authentication.source")),
        (&in_rule, "", Some("rules[0].to.source")),
        (&when, "", Some("rules[0].when")),
        (&block, "          use_remote_address: false\n", Some("failed_authentication.source")),
        (&block, "          useRemoteAddress: 'false'\n", Some("failed_authentication.source")),
        (&block, "          original_ip_detection_extensions: []\n", Some("failed_authentication.source")),
        (&alert, "", None),
        (&block, set, None),
        (&in_rule, "          useRemoteAddress: 'true'\n", None),
        (&block, extensions, None),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!((shipped.matches(set).count(), shipped.matches(rules).count()), (1, 1));
        let text = shipped.replacen(set, manager, 1).replacen(rules, rules_are, 1);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("address-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.code(), Some(i32::from(told.is_some())), "{index}: {text}");
        if let Some(path) = told {
            let wanted = format!("and by it goes {path}\n");
            assert!(text.contains(": use_remote_address\n") && text.contains(&wanted), "{index}: {text}");
            assert!(text.ends_with("\n1 warning\n"), "{index}: {text}");
        }
    }
}

/// What a file says comes from elsewhere may pass the filter by, and `check` has not seen it.
#[test]
fn what_comes_from_elsewhere_is_told() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let ads = "config_source: { ads: {} }";
    let routes = "          route_config:\n";
    let top = "static_resources:\n";
    let other = format!(
        "  listeners:\n  - name: other\n    filter_chains: [{{ filters: [{{ name: m, typed_config: {{ rds: {{ {ads} }} }} }}] }}]\n"
    );
    for (index, (from, to, field)) in [
        (routes, format!("          rds: {{ {ads} }}\n          x:\n"), "rds"),
        (routes, format!("          scopedRoutes: {{ {ads} }}\n          x:\n"), "scoped_routes"),
        ("  listeners:\n", other, "rds"),
        (top, format!("dynamic_resources: {{ lds_config: {{ ads: {{}} }} }}\n{top}"), "lds_config"),
        (top, format!("dynamicResources: {{ cdsConfig: {{ ads: {{}} }} }}\n{top}"), "cds_config"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(shipped.matches(from).count(), 1, "{from}");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("elsewhere-{index}.yaml"));
        std::fs::write(&file, shipped.replacen(from, &to, 1)).unwrap();
        let seen = mcp_iap(&["check", "--strict", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!(": {field}\n")) && text.contains("was not looked at"), "{text}");
        assert!(text.ends_with("\n1 warning\n"), "{text}");
    }
}

/// Each of these passes requests unguarded in a real Envoy, or may.
#[test]
fn what_envoy_reads_otherwise_than_it_looks_is_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let entry = "          - name: mcp_iap\n";
    let routes = "              routes:\n";
    let policy = "failure_policy: FAIL_RELOAD";
    let target = "                  cluster: mcp_server\n";
    let clusters = "  clusters:\n";
    let listeners = "  listeners:\n";
    let filters = "          http_filters:\n";
    let off =
        "mcp_iap: { \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }";
    let off_in = |word: &str| off.replace("disabled: true", word);
    let route = |matching: &str, action: &str, field: &str, off: &str| {
        format!(
            "{routes}              - {{ match: {{ {matching} }}, route: {{ {action} }}, {field}: {{ {off} }} }}\n"
        )
    };
    let per_filter = "typed_per_filter_config";
    let old_cluster = |address: &str| {
        format!(
            "{clusters}  - {{ name: old, connect_timeout: 2s, load_assignment: {{ cluster_name: old, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {address} }} }}] }}] }} }}\n"
        )
    };
    let old = old_cluster("{ socket_address: { address: localhost, port_value: 8000 } }");
    let off_to_old = route("path: /old", "cluster: old", per_filter, off);
    let second = |filter: &str| {
        format!(
            "{listeners}  - {{ name: second, address: {{ socket_address: {{ address: 127.0.0.1, port_value: 10001 }} }}, filter_chains: [{{ filters: [{filter}] }}] }}\n"
        )
    };
    let manager = |cluster: &str| {
        second(&format!(
            "{{ name: hcm, typed_config: {{ stat_prefix: x, http_filters: [{{ name: router }}], route_config: {{ virtual_hosts: [{{ name: x, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: {cluster} }} }}] }}] }} }} }}"
        ))
    };
    let tcp = second(
        "{ name: tcp, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: mcp_server } }",
    );
    let weighted = format!(
        "                  weighted_clusters: {{ clusters: [{{ name: mcp_server, weight: 1 }}, {{ name: mcp_server, weight: 1, {per_filter}: {{ {off} }} }}] }}\n"
    );
    let reads_path = "virtual_hosts[0].routes[0]";
    let elsewhere = "listeners.second.virtual_hosts[0].routes[0]";
    let with_regex = [
        (routes, route("prefix: /x", "cluster: mcp_server", per_filter, off)),
        ("match: { prefix: \"/\" }", "match: { safe_regex: { regex: '/.*' } }".to_owned()),
    ];
    for (index, (changes, code, field, reason)) in [
        (vec![(entry, format!("{entry}            disabled: true\n"))], 1, "http_filters.disabled", "is off"),
        (vec![(entry, format!("{entry}            disabled: 'true'\n"))], 1, "http_filters.disabled", "is off"),
        (vec![(entry, format!("{entry}            disabled: false\n"))], 0, "", "ok"),
        (vec![(listeners, manager("mcp_server"))], 1, elsewhere, "without the filter"),
        (vec![(listeners, manager("old")), (clusters, old.clone())], 1, elsewhere, "without the filter"),
        (vec![(listeners, manager("identity_provider"))], 0, "", "ok"),
        (vec![(listeners, tcp)], 1, "tcp_proxy", "without the filter"),
        (vec![(routes, off_to_old.clone()), (clusters, old)], 1, reads_path, "leads to the MCP server"),
        (
            vec![
                (routes, off_to_old),
                (clusters, old_cluster("{ socket_address: { address: 127.0.0.1, port_value: 8001 } }")),
            ],
            0,
            "",
            "ok",
        ),
        (with_regex.to_vec(), 1, reads_path, "leads to the MCP server"),
        (
            vec![(routes, route("path: /x", "cluster_header: x-to", per_filter, off))],
            0,
            reads_path,
            "warning leads where the request says",
        ),
        (
            vec![(routes, route("path: /x", "cluster: other, request_mirror_policies: [{ cluster: mcp_server }]", per_filter, off))],
            1,
            reads_path,
            "leads to the MCP server",
        ),
        (
            vec![(routes, route("prefix: /MCP, case_sensitive: false", "cluster: other", per_filter, off))],
            1,
            reads_path,
            "takes /mcp",
        ),
        (
            vec![(routes, route("path: /x", "cluster: mcp_server", "typedPerFilterConfig", off))],
            1,
            reads_path,
            "leads to the MCP server",
        ),
        (
            vec![(routes, route("path: /x", "cluster: mcp_server", per_filter, &off_in("disabled: 'true'")))],
            1,
            reads_path,
            "leads to the MCP server",
        ),
        (vec![(policy, "failurePolicy: FAIL_OPEN".to_owned())], 1, "failure_policy", "unguarded"),
        (vec![(policy, "failure_policy: 3".to_owned())], 1, "failure_policy", "unguarded"),
        (vec![(policy, "failure_policy: 0".to_owned())], 1, "failure_policy", "unguarded"),
        (vec![(policy, "failure_policy: fail_open".to_owned())], 1, "failure_policy", "unguarded"),
        (vec![(policy, "failure_policy: 1".to_owned())], 0, "", "ok"),
        (vec![(policy, "failure_policy: 2".to_owned())], 0, "failure_policy", "warning refuses everything"),
        (vec![(policy, "fail_open: 'true'".to_owned())], 1, "failure_policy", "unguarded"),
        (vec![(policy, "failOpen: true".to_owned())], 1, "failure_policy", "unguarded"),
        (
            vec![(target, weighted)],
            1,
            "virtual_hosts[0].routes[0].route.weighted_clusters.clusters[1]",
            "takes /mcp",
        ),
        (
            vec![
                (
                    "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n              config:",
                    "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher\n              extension_config:".to_owned(),
                ),
            ],
            1,
            "the filter",
            "can't see what passes it by",
        ),
        (
            vec![(filters, format!("          upgrade_configs: [{{ upgrade_type: websocket, filters: [{{ name: router }}] }}]\n{filters}"))],
            1,
            "upgrade_configs[0].filters",
            "replaces the manager's filters",
        ),
        (
            vec![("          - name: envoy.access_loggers.stdout\n", "          - name: envoy.access_loggers.stdout\n            filter: { not_health_check_filter: {} }\n".to_owned())],
            0,
            "access_log.filter",
            "warning leaves out",
        ),
        (
            vec![(filters, format!("{filters}          - {{ name: other, typedConfig: {{ config: {{ vmConfig: {{ vmId: mcp_iap, code: {{ local: {{ filename: other.wasm }} }} }} }} }} }}\n"))],
            1,
            "vm_config.vm_id",
            "another filter",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut text = shipped.clone();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text = text.replacen(from, &to, 1);
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bypass-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.code(), Some(code), "{index} {field} {reason}: {text}");
        assert!(
            text.contains(reason) && (field.is_empty() || text.contains(&format!(": {field}\n"))),
            "{index} {field} {reason}: {text}"
        );
        assert!(text.lines().count() <= 6, "{index}: one finding: {text}");
    }
}

/// Before the filter is pasted, or where it lost its document, no rule of the document's form is told.
#[test]
fn an_envoy_without_the_filter_is_told_so() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let other = "      http_filters:\n          - name: other\n            typed_config:\n              config:\n                root_id: other\n                vm_config: { code: { local: { filename: other.wasm } } }\n                configuration: { value: 'key: value' }\n";
    assert!(shipped.contains("      http_filters:\n"));
    for (index, (text, told)) in [
        (
            shipped
                .replace("google.protobuf.StringValue", "google.protobuf.Struct")
                .replace("value: |", "value:"),
            "without a filter of mcp-iap",
        ),
        (std::fs::read_to_string(root().join("newcomer/edge.yaml")).unwrap(), "without a filter of mcp-iap"),
        (
            std::fs::read_to_string(root().join("envoy/dynamic/clusters.yaml")).unwrap(),
            "without a filter of mcp-iap",
        ),
        (
            std::fs::read_to_string(root().join("envoy/dynamic/listener.yaml")).unwrap(),
            "`mcp-iap check DIR/filter.yaml`",
        ),
        (
            std::fs::read_to_string(root().join("envoy/dynamic/envoy.yaml")).unwrap(),
            "`mcp-iap check DIR/filter.yaml`",
        ),
        (shipped.replace("      http_filters:\n", other), ": ok, guards http://127.0.0.1:10000/mcp"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("without-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(text.contains("paste"), told.contains("without"), "{text}");
        assert!(text.contains(told) && text.lines().count() <= 4, "{text}");
        assert_eq!(seen.status.success(), told.contains("ok"));
    }
}

/// Another filter in the same Envoy, and whether the `vm_id` of ours is told from its.
#[test]
fn a_vm_id_that_is_not_ours_alone_is_refused() {
    let shipped = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let filters = "          http_filters:\n";
    assert!(shipped.contains(filters));
    let other = |id: &str, code: &str| {
        let filter = format!(
            "{{name: other, typed_config: {{config: {{vm_config: {{vm_id: '{id}', code: {{local: {{filename: {code}}}}}}}}}}}}}"
        );
        shipped.replacen(filters, &format!("{filters}          - {filter}\n"), 1)
    };
    for (index, (text, code, field)) in [
        (other("other", "other.wasm"), 0, None),
        (other("mcp_iap", "dist/mcp_iap.wasm"), 0, None),
        (other("mcp_iap", "other.wasm"), 1, Some("vm_config.vm_id\n    value   \"mcp_iap\"")),
        (
            other("", "other.wasm").replace("vm_id: mcp_iap\n", "vm_id: ''\n"),
            0,
            Some("vm_config.vm_id\n    warning"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-{index}.yaml"));
        std::fs::write(&file, text).unwrap();
        let seen = mcp_iap(&["check", file.to_str().unwrap()]);
        let text = String::from_utf8(seen.stdout).unwrap();
        assert_eq!(seen.status.code(), Some(code), "{text}");
        assert_eq!(field.is_some(), text.contains("vm_id"), "{text}");
        assert!(text.contains(field.unwrap_or_default()), "{text}");
    }
}

/// An MCP server that answers each request with these tools, until the test ends. Stands in for one that wants to
/// deceive who looks at it.
fn server(tools: serde_json::Value) -> String {
    server_for("", tools)
}

/// One that answers 401 to who does not send this line.
fn server_for(wanted: &'static str, tools: serde_json::Value) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = std::io::BufReader::new(stream.unwrap());
            let (mut length, mut is_let_in) = (0, wanted.is_empty());
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                is_let_in |= line.trim_end() == wanted;
                let line = line.trim_end().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                } else if line.is_empty() {
                    break;
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let body =
                serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": &tools}}).to_string();
            let status = if is_let_in { "200 OK" } else { "401 Unauthorized" };
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}/mcp")
}

/// As for `init`; and what is sent is told by no complaint.
#[test]
fn a_server_that_asks_for_a_header_is_compared_with_it() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.yaml");
    let file = file.to_str().unwrap();
    let text = "resource: http://127.0.0.1:1/mcp\nissuers: [{ issuer: https://i.example.com }]\ncatalogue: { tools: { a: {} } }\nrules: []\n";
    std::fs::write(file, text).unwrap();
    let upstream =
        server_for("x-api-key: s3cret: with a colon", serde_json::json!([{"name": "a"}, {"name": "b"}]));
    let check = |more: &[&str]| {
        let seen = mcp_iap(&[&["check", file], more].concat());
        (seen.status.code().unwrap(), String::from_utf8([seen.stdout, seen.stderr].concat()).unwrap())
    };
    let (code, told) = check(&["--upstream", &upstream, "--header", "X-Api-Key:  s3cret: with a colon"]);
    assert!(code == 0 && told.contains("lacks a tool"), "{code} {told}");
    for (more, code, wanted) in [
        (&["--upstream", &upstream][..], 1, "401"),
        (&["--upstream", &upstream, "--header", "x-api-key: s3cret-other"], 1, "401"),
        (&["--upstream", &upstream, "--header", "s3cret"], 2, "NAME: VALUE"),
        (&["--upstream", &upstream, "--header", "x y: s3cret"], 1, ""),
        (&["--header", "x-api-key: s3cret"], 2, "--upstream"),
    ] {
        let (seen, told) = check(more);
        assert!(seen == code && told.contains(wanted) && !told.contains("s3cret"), "{more:?} {seen} {told}");
    }
}

/// What a server or a document says stays text: a terminal obeys nothing of it.
#[test]
fn a_terminal_obeys_nothing_that_is_told() {
    let evil = "\u{1b}]0;\nmcp-iap: x\u{7}\u{9b}2J\u{7f}\u{202e}allowed";
    let is_plain = |text: &[u8]| text.iter().all(|b| matches!(b, b' '..=b'~' | b'\n'));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evil.yaml");
    let file = file.to_str().unwrap();
    let quoted = evil.escape_unicode().to_string().replace("\\u{", "\\U").replace('}', "");
    let quoted = quoted.split("\\U").skip(1).map(|hex| format!("\\U{hex:0>8}")).collect::<String>();
    let written = |rules: &str| {
        let head = "resource: http://127.0.0.1:1/mcp\nissuers: [{ issuer: https://i.example.com }]\n";
        std::fs::write(file, format!("{head}catalogue: {{ tools: {{ a: {{}} }} }}\n{rules}")).unwrap();
    };
    let upstream = server(serde_json::json!([{"name": "a"}, {"name": evil}]));
    let twice = server(serde_json::json!([{"name": evil, "description": "shown"}, {"name": evil}]));
    for (rules, more, told) in [
        ("rules: []\n".to_owned(), vec!["--upstream", &upstream], "lacks a tool"),
        ("rules: []\n".to_owned(), vec!["--upstream", &upstream, "-o", "json"], "lacks a tool"),
        ("rules: []\n".to_owned(), vec!["--upstream", &twice], "allowed\" twice"),
        (format!("rules: [{{ id: a, allow: {{ tools: [\"{quoted}\"] }} }}]\n"), vec![], "allowed"),
        (format!("\"{quoted}\": 1\n"), vec![], "allowed"),
    ] {
        written(&rules);
        let seen = mcp_iap(&[&["check", "--strict", file][..], &more].concat());
        assert_eq!(seen.status.code(), Some(1), "{more:?}");
        let text = [seen.stdout, seen.stderr].concat();
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(
            is_plain(&text) && shown.contains(told) && !shown.contains("\nmcp-iap: x"),
            "{more:?} {shown:?}"
        );
    }
}

#[test]
fn the_examples_are_accepted() {
    let seen = mcp_iap(&["check", "examples/smallest.yaml"]);
    assert_eq!(seen.status.code(), Some(0), "{}", String::from_utf8_lossy(&seen.stdout));
    let json = mcp_iap(&["check", "--output", "json", "examples/smallest.yaml"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["ok"], &json["errors"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn the_shipped_envoy_file_holds_an_accepted_configuration() {
    let text = std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let bootstrap: serde_json::Value = mcp_iap::config::yaml::read(&text).unwrap();
    let filters = bootstrap
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters")
        .unwrap();
    let plugin = &filters[0]["typed_config"]["config"];
    let configuration = plugin["configuration"]["value"].as_str().unwrap();
    let settings = mcp_iap::gate::Settings::load(configuration.as_bytes()).unwrap();
    assert_eq!(plugin["allow_on_headers_stop_iteration"], settings.allow_on_headers_stop_iteration);
    assert_eq!(plugin["failure_policy"], "FAIL_RELOAD");
    let buffer =
        bootstrap.pointer("/static_resources/listeners/0/per_connection_buffer_limit_bytes").unwrap();
    assert!(buffer.as_u64().unwrap() >= settings.limits.body_bytes as u64);
}

#[test]
fn a_configuration_is_checked_where_envoy_has_it() {
    let seen = mcp_iap(&["check", "envoy/envoy.yaml"]);
    assert_eq!(
        String::from_utf8(seen.stdout).unwrap(),
        "envoy/envoy.yaml: ok, guards http://127.0.0.1:10000/mcp\n"
    );
    let text =
        std::fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap().replace("[get_*, list_*]", "get_*");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bootstrap.yaml");
    std::fs::write(&file, text).unwrap();
    let seen = mcp_iap(&["check", file.to_str().unwrap()]);
    assert_eq!(seen.status.code(), Some(1));
    assert!(String::from_utf8(seen.stdout).unwrap().contains("rules[0].allow.tools"));
}

#[test]
fn the_schema_is_current() {
    let seen = mcp_iap(&["schema"]);
    assert_eq!(seen.status.code(), Some(0));
    same_as_golden(&root().join("docs/configuration.schema.json"), &String::from_utf8(seen.stdout).unwrap());
}

#[test]
fn exit_codes_tell_a_fault_from_a_mistake() {
    assert_eq!(mcp_iap(&["check", "no-such-file.yaml"]).status.code(), Some(2));
    assert_eq!(mcp_iap(&["check"]).status.code(), Some(2));
    assert_eq!(mcp_iap(&["chekc"]).status.code(), Some(2));
}
