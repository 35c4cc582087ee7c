//! `mcp-iap render istio-wasmplugin` and `istio-envoyfilter`: the shipped manifests are what they write, and what a mesh
//! could not carry is refused. Against Istio's schemas they are held by `make test-istio`.
//!
//! `UPDATE_GOLDEN=1` writes the shipped manifests anew: read the difference before you commit it.

use mcp_iap::config::yaml;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const OPTIONS: [&str; 8] = [
    "--image",
    "oci://registry.example.com/mcp-iap:1",
    "--sha256",
    SHA256,
    "--namespace",
    "mcp",
    "--workload",
    "app=mcp-server",
];
const PLUGIN: &str = "istio-wasmplugin";
const FILTER: &str = "istio-envoyfilter";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn render(command: &str, file: &str, options: &[&str]) -> Output {
    let mut render = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    render.args(["render", command, file]).args(options).current_dir(root()).output().unwrap()
}

fn rendered(command: &str, file: &str, options: &[&str]) -> String {
    let output = render(command, file, options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and what is said of a command that must not print anything.
fn refused(command: &str, file: &str, options: &[&str]) -> (Option<i32>, String) {
    let output = render(command, file, options);
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn manifests(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|text| yaml::read(text).unwrap()).collect()
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// A document in a file of its own.
fn document(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("istio");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A document without the flag, with these lines as well.
fn plugin_document(name: &str, more: &str) -> String {
    document(
        name,
        &format!(
            "resource: https://r/mcp\nallow_on_headers_stop_iteration: false\nissuers: [{{issuer: 'https://i.example.com', cluster: 'outbound|443||i.example.com'}}]\n{more}"
        ),
    )
}

#[test]
fn the_shipped_manifests_are_what_render_writes() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut count = 0;
    for folder in ["istio", "istio/walkthrough"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let shipped = std::fs::read_to_string(&path).unwrap();
            let start = "#   mcp-iap render ";
            let Some(line) = shipped.lines().find_map(|line| line.strip_prefix(start)) else { continue };
            let words: Vec<_> = line.split_whitespace().collect();
            let now = rendered(words[0], words[1], &words[2..]);
            if is_update {
                std::fs::write(&path, &now).unwrap();
            }
            let shipped = std::fs::read_to_string(&path).unwrap();
            assert_eq!(shipped, now, "{} is not current; `make golden` writes it", path.display());
            count += 1;
        }
    }
    assert_eq!(count, 8, "three kinds in two places, one that counts for all Envoys, and the walk-through's");
}

/// A record has one form, whoever writes it into a log.
#[test]
fn the_mesh_writes_the_same_line_as_the_shipped_envoy() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let line = |text: &str| {
        text.lines().map(str::trim).find(|line| line.starts_with("{\"time\"")).map(str::to_owned).unwrap()
    };
    assert_eq!(line(&read("istio/mesh.yaml")), line(&read("envoy/envoy.yaml")));
    let mesh: Value = yaml::read(&read("istio/mesh.yaml")).unwrap();
    let provider = mesh.pointer("/spec/meshConfig/extensionProviders/0").unwrap();
    let named = manifests(&rendered(FILTER, "examples/mesh.yaml", &OPTIONS));
    let telemetry = of_kind(&named, "Telemetry");
    assert_eq!(telemetry.pointer("/spec/accessLogging/0/providers/0/name"), Some(&provider["name"]));
    assert_eq!(provider.pointer("/envoyFileAccessLog/omitEmptyValues"), Some(&json!(true)));
}

#[test]
fn the_server_is_reached_by_the_filters_proxy_alone() {
    let sidecar = manifests(&rendered(FILTER, "examples/mesh.yaml", &OPTIONS));
    let gateway = [
        OPTIONS.as_slice(),
        &[
            "--at",
            "gateway",
            "--server-namespace",
            "tools",
            "--server",
            "app=tools",
            "--service-account",
            "edge",
        ],
        &["--trust-domain", "example.org"],
    ]
    .concat();
    let gateway = manifests(&rendered(FILTER, "examples/mesh.yaml", &gateway));
    for (manifests, namespace, app, principal) in
        [(&sidecar, "mcp", "mcp-server", "*"), (&gateway, "tools", "tools", "example.org/ns/mcp/sa/edge")]
    {
        for kind in ["PeerAuthentication", "AuthorizationPolicy"] {
            let manifest = of_kind(manifests, kind);
            assert_eq!(manifest["metadata"]["namespace"], namespace);
            assert_eq!(manifest["spec"]["selector"]["matchLabels"], json!({"app": app}));
        }
        assert_eq!(of_kind(manifests, "PeerAuthentication")["spec"]["mtls"]["mode"], "STRICT");
        let [allow, deny] = policies(manifests, namespace, app);
        // What has no method is TCP, which the filter does not see: a rule that names some never allows it.
        let methods = ["GET", "POST", "DELETE", "OPTIONS", "HEAD"];
        let rule = json!({
            "from": [{"source": {"principals": [principal]}}],
            "to": [{"operation": {"methods": methods}}],
        });
        assert_eq!(allow["rules"], json!([rule]));
        // Whatever else is allowed there: a rule that refuses some methods alone refuses TCP.
        let rules = json!([
            {"from": [{"source": {"notPrincipals": [principal]}}]},
            {"to": [{"operation": {"notMethods": methods}}]},
        ]);
        assert_eq!(deny["rules"], rules);
        for kind in ["EnvoyFilter", "ServiceEntry", "DestinationRule", "Telemetry", "ConfigMap"] {
            assert_eq!(of_kind(manifests, kind)["metadata"]["namespace"], "mcp", "beside the filter: {kind}");
        }
    }
}

/// Both AuthorizationPolicies of a server: what is allowed, and what is refused whatever else is allowed.
fn policies<'a>(manifests: &'a [Value], namespace: &str, app: &str) -> [&'a Value; 2] {
    let all: Vec<_> = manifests.iter().filter(|one| one["kind"] == "AuthorizationPolicy").collect();
    let [allow, deny] = all.as_slice() else { panic!("{all:?}") };
    for (policy, action, name) in [(allow, "ALLOW", "mcp-iap"), (deny, "DENY", "mcp-iap-deny")] {
        assert_eq!(policy["metadata"], json!({"name": name, "namespace": namespace}));
        assert_eq!(policy["spec"]["action"], action);
        assert_eq!(policy["spec"]["selector"]["matchLabels"], json!({"app": app}));
    }
    [&allow["spec"], &deny["spec"]]
}

/// Of the other ports nothing is refused for good, and nothing is allowed: whoever wants one opens it.
#[test]
fn with_a_port_the_policies_are_about_that_one() {
    let server = ["--at", "gateway", "--server-namespace", "tools", "--server", "app=tools"];
    let gateway = [server.as_slice(), &["--service-account", "edge"]].concat();
    for (more, namespace, app) in [(vec![], "mcp", "mcp-server"), (gateway, "tools", "tools")] {
        let options = [OPTIONS.as_slice(), &more, &["--port", "8000"]].concat();
        let manifests = manifests(&rendered(FILTER, "examples/mesh.yaml", &options));
        let [allow, deny] = policies(&manifests, namespace, app);
        let rules = [&allow["rules"], &deny["rules"]].map(|rules| rules.as_array().unwrap());
        assert_eq!(rules.map(Vec::len), [1, 2]);
        for rule in rules.into_iter().flatten() {
            assert_eq!(rule["to"][0]["operation"]["ports"], json!(["8000"]), "{rule}");
            assert_eq!(rule["to"].as_array().unwrap().len(), 1);
        }
    }
}

/// What istiod makes of a port that no Service targets, as its sources have it (`ForPassthrough`,
/// `buildInboundPassthroughChains`): a chain without `destination_port`, and one for each port of `portLevelMtls`. The
/// patch and the plugin for a port stand in chains for that port alone, and the policy allows calls there.
#[test]
fn a_port_that_no_service_targets_is_not_without_the_filter() {
    let chains = |manifests: &[Value]| {
        let ports = of_kind(manifests, "PeerAuthentication")["spec"]["portLevelMtls"].clone();
        let ports = ports.as_object().cloned().unwrap_or_default();
        assert!(ports.values().all(|mtls| *mtls == json!({"mode": "STRICT"})), "{ports:?}");
        let each = ports.keys().map(|port| port.parse::<u16>().ok());
        each.chain([None]).collect::<Vec<_>>()
    };
    let options = [OPTIONS.as_slice(), &["--port", "8000"]].concat();
    for (command, file, port) in [
        (FILTER, "examples/mesh.yaml", "/spec/configPatches/0/match/listener/portNumber"),
        (PLUGIN, "examples/mesh-wasmplugin.yaml", "/spec/match/0/ports/0/number"),
    ] {
        let manifests = manifests(&rendered(command, file, &options));
        assert_eq!(manifests[0].pointer(port), Some(&json!(8000)), "{command}");
        let [allow, _] = policies(&manifests, "mcp", "mcp-server");
        assert_eq!(allow["rules"][0]["to"][0]["operation"]["ports"], json!(["8000"]));
        assert_eq!(chains(&manifests), [Some(8000), None], "{command}: no chain for the port");
        // For all ports the filter is in each chain.
        let everywhere = self::manifests(&rendered(command, file, &OPTIONS));
        assert_eq!(everywhere[0].pointer(port), None);
        assert_eq!(chains(&everywhere), [None]);
    }
}

#[test]
fn a_gateway_is_not_told_of_the_annotation_of_sidecars() {
    let said = |file: &str| {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let start = text.find("# Tags of the filter's counters").unwrap();
        text[start..].to_owned()
    };
    let annotation = "sidecar.istio.io/bootstrapOverride: mcp-iap-bootstrap";
    let variable = "ISTIO_BOOTSTRAP_OVERRIDE=/etc/istio/custom-bootstrap/custom_bootstrap.json";
    let (sidecar, gateway) = (said("istio/sidecar-envoyfilter.yaml"), said("istio/gateway-envoyfilter.yaml"));
    assert!(sidecar.contains(annotation) && !sidecar.contains(variable));
    assert!(gateway.contains(variable) && !gateway.contains(annotation));
}

/// Istio makes the same of both, so they must say the same.
#[test]
fn a_traffic_extension_is_the_plugin_in_another_place() {
    let more = format!(
        "rules: []\napi_keys: {{ pepper: '${{PEPPER}}', keys: [{{ name: ci, hash: {} }}] }}\n",
        "ab".repeat(32)
    );
    let file = plugin_document("extension.yaml", &more);
    let options = [OPTIONS.as_slice(), &["--port", "8000", "--pull-secret", "registry"]].concat();
    let plugin = manifests(&rendered(PLUGIN, &file, &options));
    let text = rendered(PLUGIN, &file, &[options.as_slice(), &["--traffic-extension"]].concat());
    assert!(text.contains("for Istio 1.30 or later"));
    let extension = manifests(&text);
    assert_eq!(plugin[1..], extension[1..]);
    assert_eq!(
        (&plugin[0]["kind"], &extension[0]["kind"]),
        (&json!("WasmPlugin"), &json!("TrafficExtension"))
    );
    let mut module = plugin[0]["spec"].clone();
    let mut placed = json!({});
    for field in ["selector", "match", "phase"] {
        placed[field] = module.as_object_mut().unwrap().remove(field).unwrap();
    }
    placed["wasm"] = module;
    assert_eq!(extension[0]["spec"], placed);
    let (code, said) =
        refused(FILTER, "examples/mesh.yaml", &[OPTIONS.as_slice(), &["--traffic-extension"]].concat());
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn who_is_asked_is_reached_by_tls_under_its_own_name() {
    let text = "resource: https://r/mcp
issuers:
- { issuer: 'https://a.example.com', cluster: 'outbound|443||a.example.com' }
- { issuer: 'https://b.example.com', jwks_uri: 'https://b.example.com:8443/k', cluster: 'outbound|15443||keys.internal' }
- { issuer: 'http://c.example.com', insecure_http: true, cluster: 'outbound|80||c.example.com' }
rules: []
";
    let manifests = manifests(&rendered(FILTER, &document("reach.yaml", text), &OPTIONS));
    let of = |kind: &str, host: &str| {
        let name = format!("mcp-iap-{host}");
        let is_it = |manifest: &&Value| manifest["kind"] == kind && manifest["metadata"]["name"] == name;
        manifests.iter().find(is_it).unwrap()["spec"].clone()
    };
    let tls = |host: &str, port: u16| {
        let rule = of("DestinationRule", host);
        assert_eq!((&rule["host"], &rule["exportTo"]), (&json!(host), &json!(["."])));
        let settings = &rule["trafficPolicy"]["portLevelSettings"][0];
        assert_eq!(settings["port"]["number"], port);
        settings["tls"].clone()
    };
    let simple = |name: &str| {
        json!({"mode": "SIMPLE", "sni": name, "subjectAltNames": [name],
            "caCertificates": "/etc/ssl/certs/ca-certificates.crt"})
    };
    assert_eq!(tls("a.example.com", 443), simple("a.example.com"));
    assert_eq!(
        of("ServiceEntry", "a.example.com")["ports"],
        json!([{"number": 443, "name": "tls", "protocol": "TLS"}])
    );
    // A name of one's own: the workload's own connections to the issuer stay as they are.
    assert_eq!(tls("keys.internal", 15443), simple("b.example.com"));
    let entry = of("ServiceEntry", "keys.internal");
    assert_eq!(
        entry["ports"][0],
        json!({"number": 15443, "name": "tls", "protocol": "TLS", "targetPort": 8443})
    );
    assert_eq!(entry["endpoints"], json!([{"address": "b.example.com"}]));
    assert_eq!(tls("c.example.com", 80), json!({"mode": "DISABLE"}));
}

#[test]
fn a_plugin_that_would_do_something_else_is_refused() {
    let (code, said) = refused(PLUGIN, "examples/mesh.yaml", &OPTIONS);
    assert!(
        code == Some(1) && said.starts_with("examples/mesh.yaml: allow_on_headers_stop_iteration\n"),
        "{said}"
    );
    for (name, more, wanted) in [
        (
            "big.yaml",
            "rules: [{id: a, allow: {tools: [t]}, arguments: {n: {integer: {max: 9007199254740993}}}}]\n",
            "rules[0].arguments.n.integer.max\n",
        ),
        (
            "exchange.yaml",
            "rules: []\ntoken_exchange: {token_endpoint: 'https://i.example.com/token', cluster: 'outbound|443||i.example.com', audience: a}\n",
            "token_exchange\n",
        ),
        ("passthrough.yaml", "rules: []\ntoken_passthrough: true\n", "token_passthrough\n"),
        ("several.yaml", "rules: [{id: a, allow: {tools: [t]}, typo: 1}]\n", "typo"),
    ] {
        let (code, said) = refused(PLUGIN, &plugin_document(name, more), &OPTIONS);
        assert!(code == Some(1) && said.contains(wanted), "{name}: {said}");
    }
}

/// Kubernetes reads YAML 1.1, and whatever stands in a document stays in its place.
#[test]
fn a_plugins_document_stays_what_it_is() {
    let more = r#"rules:
- id: words
  allow: { tools: ["on", "yes", "0x1f", "22:00", "1e3", "a: b", "é"] }
  message: "--- # { kind: Secret }"
  to: { groups: ["no", "~", "012"] }
"#;
    let text = rendered(PLUGIN, &plugin_document("words.yaml", more), &OPTIONS);
    let manifests = manifests(&text);
    let rule = &manifests[0]["spec"]["pluginConfig"]["rules"][0];
    assert_eq!(rule["allow"]["tools"], json!(["on", "yes", "0x1f", "22:00", "1e3", "a: b", "é"]));
    assert_eq!(rule["to"]["groups"], json!(["no", "~", "012"]));
    for word in ["on", "yes", "no", "0x1f", "22:00", "1e3", "012"] {
        assert!(text.contains(&format!("\"{word}\"")), "{word} stands without quotes");
    }
    assert_eq!(rule["message"], "--- # { kind: Secret }");
}

/// Behind a sidecar `x-forwarded-for` is the client's address, whoever wrote it.
#[test]
fn what_goes_by_the_clients_address_is_not_rendered_for_a_sidecar() {
    let server = ["--at", "gateway", "--server-namespace", "tools", "--server", "app=tools"];
    let gateway = [OPTIONS.as_slice(), &server, &["--service-account", "edge"]].concat();
    let rule = |more: &str| format!("rules: [{{ id: a, allow: {{ tools: [t] }}, {more} }}]\n");
    let failures = |what: &str| format!("rules: []\nfailed_authentication: {{ {what} }}\n");
    for (index, (more, field)) in [
        (failures("source: block"), Some("failed_authentication.source")),
        (failures("source: slow"), Some("failed_authentication.source")),
        (rule("to: { source: [10.0.0.0/8] }"), Some("rules[0].to.source")),
        (rule("when: source.address == '10.0.0.1'"), Some("rules[0].when")),
        (
            format!("rules: []\nshadow_{}", rule("to: { source: [10.0.0.0/8] }")),
            Some("shadow_rules[0].to.source"),
        ),
        (failures("source: alert, subject: block"), None),
        (failures("source: block, threshold: 0"), None),
        (rule("when: tool == 't'"), None),
    ]
    .into_iter()
    .enumerate()
    {
        for command in [FILTER, PLUGIN] {
            let file = plugin_document(&format!("address-{index}.yaml"), &more);
            rendered(command, &file, &gateway);
            let Some(field) = field else {
                rendered(command, &file, &OPTIONS);
                continue;
            };
            let (code, said) = refused(command, &file, &OPTIONS);
            assert!(code == Some(1) && said.starts_with(&format!("{file}: {field}\n")), "{command}: {said}");
            assert!(said.contains("x-forwarded-for"), "{said}");
        }
    }
}

#[test]
fn what_a_plugin_needs_beside_its_document_is_written() {
    let more = format!(
        "rules: []\napi_keys: {{ pepper: '${{PEPPER}}', keys: [{{ name: ci, hash: {} }}] }}\n",
        "ab".repeat(32)
    );
    let options = [OPTIONS.as_slice(), &["--port", "8000", "--pull-secret", "registry"]].concat();
    let text = rendered(PLUGIN, &plugin_document("pepper.yaml", &more), &options);
    let spec = &manifests(&text)[0]["spec"];
    assert_eq!(spec["vmConfig"]["env"], json!([{"name": "PEPPER", "valueFrom": "HOST"}]));
    assert_eq!(spec["match"], json!([{"mode": "SERVER", "ports": [{"number": 8000}]}]));
    assert_eq!(spec["imagePullSecret"], "registry");
    assert_eq!((&spec["failStrategy"], &spec["phase"]), (&json!("FAIL_RELOAD"), &json!("AUTHN")));
    assert!(text.contains(&format!("sha256: \"{SHA256}\"")), "digits alone are a number without quotes");
}

#[test]
fn a_filter_has_what_a_plugin_can_not_set() {
    let text = "resource: https://r/mcp\nissuers: [{issuer: 'https://i.example.com', cluster: 'outbound|443||i.example.com'}]\nrules: []\nlimits: {body_bytes: 3000000}\n";
    let file = document("filter.yaml", text);
    let manifests = manifests(&rendered(FILTER, &file, &[OPTIONS.as_slice(), &["--port", "8000"]].concat()));
    let patches = manifests[0]["spec"]["configPatches"].as_array().unwrap();
    let kinds: Vec<_> = patches.iter().map(|patch| patch["applyTo"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["HTTP_FILTER", "LISTENER", "EXTENSION_CONFIG"]);
    assert!(patches.iter().all(|patch| patch["match"]["context"] == "SIDECAR_INBOUND"));
    assert_eq!(patches[0]["match"]["listener"]["portNumber"], 8000);
    assert_eq!(patches[0]["patch"]["operation"], "INSERT_FIRST");
    assert_eq!(patches[1]["patch"]["value"], json!({"per_connection_buffer_limit_bytes": 3_014_656}));
    let config = &patches[2]["patch"]["value"]["typed_config"]["config"];
    assert_eq!(config["allow_on_headers_stop_iteration"], true);
    assert_eq!(
        (&config["failure_policy"], &config["vm_config"]["vm_id"]),
        (&json!("FAIL_RELOAD"), &json!("mcp_iap"))
    );
    assert_eq!(config["configuration"]["value"], text);
}

/// Exit code of `check --strict` and what it says of this text, called FILE.
fn check(name: &str, text: &str) -> (Option<i32>, String) {
    let file = document(name, text);
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
        .args(["check", "--strict", &file])
        .current_dir(root())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap().replace(&file, "FILE"))
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(root().join(format!("istio/{name}.yaml"))).unwrap()
}

/// `check` and `explain` take what `render` wrote, and what somebody has changed in it.
#[test]
fn manifests_are_checked() {
    let check = |text: &str| check("rendered.yaml", text);
    for place in ["sidecar", "gateway"] {
        for kind in ["wasmplugin", "trafficextension", "envoyfilter"] {
            let (code, said) = check(&shipped(&format!("{place}-{kind}")));
            assert_eq!((code, said.as_str()), (Some(0), "FILE: ok, guards https://mcp.example.com/mcp\n"));
        }
    }
    for (name, from, to, wanted) in [
        ("sidecar-envoyfilter", "allow: { tools: [get_*", "alow: { tools: [get_*", "FILE: rules[0].alow\n"),
        (
            "sidecar-envoyfilter",
            "stop_iteration: true",
            "stop_iteration: false",
            "is false in Envoy and true in the document",
        ),
        (
            "sidecar-envoyfilter",
            "failure_policy: FAIL_RELOAD",
            "failurePolicy: FAIL_OPEN",
            "passes requests unguarded",
        ),
        ("sidecar-envoyfilter", "vm_id: mcp_iap\n", "vm_id: ''\n", "vm_config.vm_id"),
        (
            "sidecar-wasmplugin",
            "failStrategy: FAIL_RELOAD",
            "failStrategy: FAIL_OPEN",
            "passes requests unguarded",
        ),
        (
            "sidecar-wasmplugin",
            "failStrategy: FAIL_RELOAD",
            "failStrategy: FAIL_CLOSE",
            "refuses everything until",
        ),
        ("sidecar-wasmplugin", "stop_iteration: false", "stop_iteration: true", "Istio has no field for it"),
        (
            "gateway-trafficextension",
            "stop_iteration: false",
            "stop_iteration: true",
            "Istio has no field for it",
        ),
        ("gateway-trafficextension", "groups:\n", "grups:\n", "FILE: rules[0].to.grups\n"),
        (
            "sidecar-envoyfilter",
            "allow: { tools: [scale_deployment] }",
            "allow: { tools: [scale_deployment] }\n                    rate: { calls: 1, per: 1m, global: true }",
            "no rate limit filter behind this one",
        ),
        ("sidecar-wasmplugin", "pluginConfig:\n", "pluginConfig: {}\n  x:\n", "reason  is absent"),
        ("sidecar-wasmplugin", "kind: WasmPlugin", "kind: Secret", "manifests without a filter of mcp-iap"),
    ] {
        let text = shipped(name);
        assert!(text.contains(from), "{name}: {from}");
        let (code, said) = check(&text.replace(from, to));
        assert!(code == Some(1) && said.contains(wanted), "{name}, {to}: {said}");
    }
    // What the document refers to must be given to the filter.
    let secret = "rules: []\napi_keys: { pepper: '${MCP_IAP_NOT_SET}', keys: [{ name: ci, hash: HASH }] }\n";
    let file = plugin_document("given.yaml", &secret.replace("HASH", &"ab".repeat(32)));
    for more in [vec![], vec!["--traffic-extension"]] {
        let text = rendered(PLUGIN, &file, &[OPTIONS.as_slice(), &more].concat());
        let (code, said) = check(&text);
        assert!(code == Some(0) && said.contains("is not set here, so its value was not checked"), "{said}");
        let (code, said) = check(
            &text.replace("valueFrom: HOST", "valueFrom: INLINE, value: pepper-of-at-least-thirty-two-bytes"),
        );
        assert!(code == Some(0), "{said}");
        let (code, said) = check(&text.replace("name: MCP_IAP_NOT_SET", "name: OTHER"));
        assert!(code == Some(1) && said.contains("api_keys.pepper"), "{said}");
    }
}

/// What `render` refuses for a sidecar, `check` refuses in what somebody has changed since; and where nothing tells whose
/// proxy it is, it warns.
#[test]
fn what_goes_by_the_clients_address_is_refused_where_a_sidecar_has_it() {
    const OK: &str = "FILE: ok, guards https://mcp.example.com/mcp\n";
    const REFUSED: &str = "behind Istio's sidecar";
    const UNTOLD: &str = "nothing here tells where it stands";
    let plugin_line = "          groups:\n            - dev\n";
    let extension_line = "            groups:\n              - dev\n";
    let kinds = [
        ("envoyfilter", "[dev, sre] }", "[dev, sre], source: [10.0.0.0/8] }".to_owned()),
        ("wasmplugin", plugin_line, format!("          source: [10.0.0.0/8]\n{plugin_line}")),
        ("trafficextension", extension_line, format!("            source: [10.0.0.0/8]\n{extension_line}")),
    ];
    let by_address = kinds.map(|(kind, from, to)| {
        ["sidecar", "gateway"].map(|place| {
            let text = shipped(&format!("{place}-{kind}"));
            assert!(text.contains(from), "{place}-{kind}: {from}");
            text.replacen(from, &to, 1)
        })
    });
    let verdict = |text: &str, wanted: &str| {
        let (code, said) = check("by-address.yaml", text);
        assert_eq!(code, Some(i32::from(wanted != OK)), "{said}");
        assert!(said.contains(wanted), "{said}");
        assert_eq!(said.starts_with("FILE: rules[0].to.source\n    reason"), wanted == REFUSED, "{said}");
    };
    for [sidecar, gateway] in &by_address {
        verdict(sidecar, REFUSED);
        verdict(gateway, OK);
    }
    let [[_, filter], modules @ ..] = by_address;
    let context = "context: GATEWAY";
    verdict(&filter.replacen(context, "context: SIDECAR_INBOUND", 1), REFUSED);
    verdict(&filter.replacen(context, "context: ANY", 1), UNTOLD);
    verdict(&filter.replacen("      context: GATEWAY\n", "", 1), UNTOLD);
    // Istio does not look at the context of what is discovered, only at that of the listener's patch.
    let discovered = "match: { context: GATEWAY }";
    verdict(&filter.replacen(discovered, "match: { context: SIDECAR_INBOUND }", 1), OK);
    let elsewhere = filter.replacen(
        "        name: mcp_iap\n        config_discovery",
        "        name: x\n        config_discovery",
        1,
    );
    verdict(&elsewhere, OK);
    verdict(&elsewhere.replacen(discovered, "match: { context: SIDECAR_INBOUND }", 1), REFUSED);
    for [sidecar, gateway] in modules {
        let matching =
            |matching: &str| gateway.replacen("  phase:", &format!("  match: {matching}\n  phase:"), 1);
        verdict(&matching("[{ mode: CLIENT }, { mode: SERVER }]"), REFUSED);
        verdict(&matching("[{ mode: CLIENT }]"), OK);
        // Without it the PeerAuthentication beside it tells whether this is the server's own proxy.
        let everywhere = sidecar.replacen("  - { mode: SERVER, ports: [{ number: 8000 }] }\n", "  - {}\n", 1);
        assert_ne!(everywhere, sidecar);
        verdict(&everywhere, REFUSED);
        verdict(gateway.split("---\n").next().unwrap(), UNTOLD);
        verdict(
            &gateway.replacen("  selector: { matchLabels: { app: mcp-server } }\n  mtls", "  mtls", 1),
            UNTOLD,
        );
    }
}

/// The service that counts is reached by Istio's cluster of that name, and what counts stands behind the filter.
#[test]
fn rates_for_all_envoys_are_counted_behind_the_filter() {
    let rendered = |service: &str| {
        let options = [OPTIONS.as_slice(), &["--port", "8000", "--rate-limit-service", service]].concat();
        rendered(FILTER, "examples/mesh-global-rate.yaml", &options)
    };
    let in_the_cluster = rendered("http://ratelimit.mcp.svc.cluster.local:8081");
    let all = manifests(&in_the_cluster);
    let patches = all[0]["spec"]["configPatches"].as_array().unwrap();
    let chain = |patch: &Value| {
        let mut of = patch["match"].clone();
        of["listener"]["filterChain"]["filter"].as_object_mut().unwrap().remove("subFilter");
        of
    };
    assert_eq!(chain(&patches[0]), chain(&patches[1]), "both stand in the same chains");
    assert_eq!(patches[1]["patch"]["operation"], "INSERT_AFTER");
    assert_eq!(
        patches[1].pointer("/match/listener/filterChain/filter/subFilter/name"),
        Some(&json!("mcp_iap"))
    );
    let asked = |manifests: &[Value]| {
        manifests[0]
            .pointer(
                "/spec/configPatches/1/patch/value/typed_config/rate_limit_service/grpc_service/envoy_grpc",
            )
            .cloned()
    };
    let name = "ratelimit.mcp.svc.cluster.local:8081";
    assert_eq!(
        asked(&all),
        Some(json!({"cluster_name": "outbound|8081||ratelimit.mcp.svc.cluster.local", "authority": name}))
    );
    let entries = |manifests: &[Value]| manifests.iter().filter(|one| one["kind"] == "ServiceEntry").count();
    assert_eq!(entries(&all), 1, "the issuer's: Istio knows the Services of its cluster");

    // Elsewhere it is what a ServiceEntry makes of it: gRPC is HTTP/2.
    let all = manifests(&rendered("https://ratelimit.example.com"));
    assert_eq!(entries(&all), 2);
    let of = |kind: &str| {
        let named =
            |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == "mcp-iap-ratelimit.example.com";
        all.iter().find(named).unwrap()["spec"].clone()
    };
    assert_eq!(of("ServiceEntry")["ports"], json!([{"number": 443, "name": "grpc", "protocol": "GRPC"}]));
    let settings = &of("DestinationRule")["trafficPolicy"]["portLevelSettings"][0];
    assert_eq!(
        (&settings["tls"]["mode"], &settings["tls"]["sni"]),
        (&json!("SIMPLE"), &json!("ratelimit.example.com"))
    );

    // What was changed so that nothing counts, is found.
    let changed = |from: &str, to: &str| {
        assert!(in_the_cluster.contains(from), "{from}");
        check("counted.yaml", &in_the_cluster.replacen(from, to, 1))
    };
    assert_eq!(
        changed("kind", "kind"),
        (Some(0), "FILE: ok, guards https://mcp.example.com/mcp\n".to_owned())
    );
    let missing = "no rate limit filter behind this one";
    for (from, to, wanted) in [
        ("operation: INSERT_AFTER", "operation: INSERT_BEFORE", missing),
        ("subFilter: { name: mcp_iap }", "subFilter: { name: other }", missing),
        ("INSERT_AFTER\n", "MERGE\n", "nothing here counts for all Envoys"),
        (
            "        portNumber: 8000\n        filterChain:\n          filter:\n",
            "        portNumber: 8001\n        filterChain:\n          filter:\n",
            missing,
        ),
        ("domain: mcp-iap", "domain: other", "domain"),
        ("failure_mode_deny: true", "failure_mode_deny: false", "failure_mode_deny"),
        ("wasm.mcp_iap_rate_rule", "wasm.other", "rate_limits"),
    ] {
        let (code, said) = changed(from, to);
        assert!(code == Some(1) && said.contains(wanted), "{to}: {said}");
    }
}

#[test]
fn a_rate_for_all_envoys_that_nothing_could_count_is_not_rendered() {
    let file = "examples/mesh-global-rate.yaml";
    let (code, said) = refused(FILTER, file, &OPTIONS);
    assert!(code == Some(2) && said.contains("--rate-limit-service"), "{said}");
    for (url, wanted) in [
        ("http://10.0.0.1:8081", "by name"),
        ("http://ratelimit:8081", "whole name"),
        ("http://ratelimit.mcp.svc:8081", "whole name"),
        ("https://ratelimit.mcp.svc.cluster.local:8081", "its own TLS"),
        ("http://login.example.com:443", "host of another"),
        ("http://ratelimit.example.com/x", "no path"),
    ] {
        let (_, said) = refused(FILTER, file, &[OPTIONS.as_slice(), &["--rate-limit-service", url]].concat());
        assert!(said.contains(wanted), "{url}: {said}");
    }
    let unused = ["--rate-limit-service", "http://ratelimit.mcp.svc.cluster.local:8081"];
    let (code, said) = refused(FILTER, "examples/mesh.yaml", &[OPTIONS.as_slice(), &unused].concat());
    assert!(code == Some(2) && said.contains("nothing to count"), "{said}");
    // A plugin has no filter behind it: what is wrong is named, and no option that it lacks.
    let rule = "rules: [{ id: a, allow: { tools: [t] }, rate: { calls: 1, per: 1m, global: true } }]\n";
    for file in [file.to_owned(), plugin_document("counted.yaml", rule)] {
        let (code, said) = refused(PLUGIN, &file, &OPTIONS);
        assert!(code == Some(1) && !said.contains("--rate-limit-service"), "{said}");
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let gateway = ["--at", "gateway"];
    let server = ["--server-namespace", "a", "--server", "a=b"];
    for (command, more) in [
        (FILTER, [OPTIONS.as_slice(), &gateway].concat()),
        (FILTER, [OPTIONS.as_slice(), &gateway, &server].concat()),
        (FILTER, [OPTIONS.as_slice(), &gateway, &["--service-account", "a"]].concat()),
        (FILTER, [OPTIONS.as_slice(), &server].concat()),
        (FILTER, [OPTIONS.as_slice(), &["--service-account", "a"]].concat()),
        (FILTER, [OPTIONS.as_slice(), &["--pull-secret", "a"]].concat()),
        (FILTER, [OPTIONS.as_slice(), &["--port", "0"]].concat()),
        (FILTER, OPTIONS[..6].to_vec()),
        (FILTER, OPTIONS[2..].to_vec()),
        (PLUGIN, [&OPTIONS[..2], &OPTIONS[4..]].concat()),
        (PLUGIN, [OPTIONS.as_slice(), &["--name", "a\nb"]].concat()),
    ] {
        let file = if command == PLUGIN { "examples/mesh-wasmplugin.yaml" } else { "examples/mesh.yaml" };
        let (code, said) = refused(command, file, &more);
        assert_eq!(code, Some(2), "{more:?}: {said}");
    }
}

#[test]
fn a_cluster_that_istio_would_not_have_is_refused_with_the_one_to_write() {
    let (code, said) = refused(FILTER, "examples/smallest.yaml", &OPTIONS);
    assert_eq!(code, Some(1));
    assert!(said.contains("write `cluster: outbound|443||login.example.com`"), "{said}");
    let twice = "resource: https://r/mcp\nissuers:\n- { issuer: 'https://a.example.com', cluster: 'outbound|443||k.internal' }\n- { issuer: 'https://b.example.com', cluster: 'outbound|444||k.internal' }\nrules: []\n";
    let (code, said) = refused(FILTER, &document("twice.yaml", twice), &OPTIONS);
    assert!(code == Some(1) && said.contains("host of another"), "{said}");
}
