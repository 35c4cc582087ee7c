//! The filter as a mesh has it: a real Envoy discovers (ECDS) what istiod and istio-agent make of the rendered manifests,
//! and the table runs through it. The two stand-ins here repeat their steps as Istio's sources have them (of August
//! 2026: `pilot/pkg/model/extensions.go`, `pkg/wasm/convert.go`); no istiod runs.

use crate::certificates::Authority;
use crate::envoy::{Changes, Envoy, binary, bootstrap, root, scratch};
use crate::rate_limit_service::{Manner, Service};
use crate::stub::{Reply, Stub};
use crate::table::run;
use crate::world::{KEYS, World, call, claims, post, provide};
use mcp_iap::config::yaml;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const CLUSTER: &str = "outbound|9400||login.mcp-iap.internal";

/// The manifest of the filter that this command renders around the demo's document.
fn manifest(command: &str, folder: &Path) -> Value {
    manifest_of("examples/demo.yaml", command, folder, &[])
}

/// The same around another, with these options as well.
fn manifest_of(document: &str, command: &str, folder: &Path, more: &[&str]) -> Value {
    let document = std::fs::read_to_string(root().join(document)).unwrap();
    let mut document = document.replace("cluster: identity_provider", &format!("cluster: {CLUSTER}"));
    if command == "istio-wasmplugin" {
        document += "allow_on_headers_stop_iteration: false\n";
    }
    let file = folder.join("mcp-iap.yaml");
    std::fs::write(&file, document).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
        .args(["render", command, file.to_str().unwrap(), "--image", "oci://registry.example.com/mcp-iap:1"])
        .args(["--sha256", &"0".repeat(64), "--namespace", "mcp", "--workload", "app=mcp-server"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    yaml::read(text.split("---\n").next().unwrap()).unwrap()
}

/// The list entry below `http_filters` and the extension configuration, as istiod makes them of a WasmPlugin.
fn of_wasm_plugin(manifest: &Value) -> (Value, Value) {
    let spec = &manifest["spec"];
    let name = format!(
        "{}.{}",
        manifest["metadata"]["namespace"].as_str().unwrap(),
        manifest["metadata"]["name"].as_str().unwrap()
    );
    let kinds = ["wasm.v3.Wasm", "rbac.v3.RBAC"]
        .map(|kind| format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    let entry = json!({"name": name, "config_discovery": {
        "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        "type_urls": kinds}});
    assert_eq!((&spec["phase"], &spec["match"]), (&json!("AUTHN"), &json!([{"mode": "SERVER"}])));
    let configuration = json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue", "value": spec["pluginConfig"].to_string()});
    let config = json!({
        "name": name,
        "root_id": spec["pluginName"],
        "configuration": configuration,
        "failure_policy": spec["failStrategy"],
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"remote": {"http_uri": {"uri": spec["url"], "timeout": "30s", "cluster": "_"}, "sha256": spec["sha256"]}},
            "environment_variables": {"key_values": {}},
        },
    });
    let typed = json!({"@type": kinds[0], "config": config});
    (entry, json!({"name": name, "typed_config": typed}))
}

/// The same of an EnvoyFilter, whose patches are both.
fn of_envoy_filter(manifest: &Value) -> (Value, Value) {
    let patch = |kind: &str, operation: &str| {
        let patches = manifest["spec"]["configPatches"].as_array().unwrap();
        let patch = patches.iter().find(|patch| patch["applyTo"] == kind).unwrap();
        assert_eq!(patch["patch"]["operation"], operation);
        patch["patch"]["value"].clone()
    };
    (patch("HTTP_FILTER", "INSERT_FIRST"), patch("EXTENSION_CONFIG", "ADD"))
}

/// istio-agent fetches the module and puts a file in its place.
fn fetched(mut extension: Value) -> Value {
    let code = &mut extension["typed_config"]["config"]["vm_config"]["code"];
    assert!(code["remote"]["http_uri"]["uri"].as_str().unwrap().starts_with("oci://"), "{code}");
    *code = json!({"local": {"filename": root().join("dist/mcp_iap.wasm")}});
    extension
}

/// A gateway whose Envoy discovers this.
fn world(folder: &Path, (entry, extension): (Value, Value)) -> World {
    let (entry, file) = discovered(folder, entry, extension);
    of_filters(&Changes::default(), file, |_, filters| *filters = json!([entry, filters[1]]))
}

/// The entry with a file in the place of istiod's stream (ADS), and that file.
fn discovered(folder: &Path, mut entry: Value, mut extension: Value) -> (Value, PathBuf) {
    let file = folder.join("extension.yaml");
    extension["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    assert_eq!(entry["name"], extension["name"]);
    std::fs::write(&file, json!({"resources": [extension]}).to_string()).unwrap();
    entry["config_discovery"]["config_source"]["ads"] = Value::Null;
    entry["config_discovery"]["config_source"]["path_config_source"] = json!({"path": file});
    (entry, file)
}

/// A gateway with other filters; `put` gets its bootstrap and the list of them.
fn of_filters(changes: &Changes, file: PathBuf, put: impl Fn(&mut Value, &mut Value)) -> World {
    let provider = Stub::start(provide);
    let upstream = Stub::start(|_| {
        let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        Reply::new(200, body).header("content-type: application/json").header("vary: accept")
    });
    let envoy = Envoy::run(changes, |port, admin| {
        let text = bootstrap(changes, port, admin, upstream.port, provider.port);
        let text = text.replace("identity_provider", &format!("\"{CLUSTER}\""));
        let mut text: Value = yaml::read(&text).unwrap();
        text["node"] = json!({"id": "sidecar", "cluster": "mcp-server.mcp"});
        let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
        let mut list = text.pointer(filters).unwrap().clone();
        put(&mut text, &mut list);
        *text.pointer_mut(filters).unwrap() = list;
        text.to_string()
    });
    World { provider, upstream, envoy: envoy.with_configuration(file) }
}

#[test]
fn the_table_through_a_wasm_plugin() {
    let folder = scratch();
    let (entry, extension) = of_wasm_plugin(&manifest("istio-wasmplugin", &folder));
    let world = world(&folder, (entry, fetched(extension)));
    run(&world, |row| row.sees_without_flag);
}

#[test]
fn the_table_through_an_envoy_filter() {
    let folder = scratch();
    let (entry, extension) = of_envoy_filter(&manifest("istio-envoyfilter", &folder));
    let world = world(&folder, (entry, fetched(extension)));
    run(&world, |row| row.sees);
}

/// What istiod makes of the patches for HTTP filters, in their order, before the router.
fn patched(manifest: &Value, router: &Value) -> Vec<Value> {
    let mut filters = vec![router.clone()];
    for patch in manifest["spec"]["configPatches"].as_array().unwrap() {
        let (entry, operation) = (&patch["patch"]["value"], &patch["patch"]["operation"]);
        let beside = &patch["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"];
        match (patch["applyTo"].as_str(), operation.as_str()) {
            (Some("HTTP_FILTER"), Some("INSERT_FIRST")) => filters.insert(0, entry.clone()),
            (Some("HTTP_FILTER"), Some("INSERT_AFTER")) => {
                let at = filters.iter().position(|one| one["name"] == *beside).unwrap();
                filters.insert(at + 1, entry.clone());
            }
            (kind, _) => assert_eq!(kind, Some("EXTENSION_CONFIG"), "{patch}"),
        }
    }
    filters
}

/// The rate limit filter that an EnvoyFilter puts behind asks the service by the name of Istio's cluster, and holds.
#[test]
fn rates_for_all_envoys_count_through_an_envoy_filter() {
    let service = "http://ratelimit.mcp.svc.cluster.local:8081";
    let cluster = "outbound|8081||ratelimit.mcp.svc.cluster.local";
    let limits = std::fs::read_to_string(root().join("envoy/rate-limit-service/global-rate.yaml")).unwrap();
    let folder = scratch();
    let options = ["--rate-limit-service", service];
    let manifest = manifest_of("examples/global-rate.yaml", "istio-envoyfilter", &folder, &options);
    let (entry, extension) = of_envoy_filter(&manifest);
    let (entry, file) = discovered(&folder, entry, fetched(extension));
    let counting = Service::start(&limits, Manner::Counts, None);
    let changes = Changes { shipped: Some("envoy/global-rate.yaml"), ..Changes::default() };
    let world = of_filters(&changes, file, |bootstrap, filters| {
        let mut list = patched(&manifest, &filters[2]);
        let names: Vec<_> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["mcp_iap", "envoy.filters.http.ratelimit", "envoy.filters.http.router"]);
        list[0] = entry.clone();
        *filters = Value::from(list);
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
        let own = clusters.iter_mut().find(|one| one["name"] == "rate_limit_service").unwrap();
        (own["name"], own["load_assignment"]["cluster_name"]) = (json!(cluster), json!(cluster));
        let address =
            "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        *own.pointer_mut(address).unwrap() = json!(counting.port);
    });
    let sam = KEYS.es256(&claims(&["sre"]));
    let scale = || post(&sam, call("scale_deployment", &json!({}))).send(world.envoy.port);
    let statuses: Vec<_> = (0..22).map(|_| scale().status).collect();
    assert_eq!(statuses, [vec![200; 20], vec![429; 2]].concat(), "{}", world.envoy.log());
    assert_eq!((counting.seen().len(), world.upstream.seen().len()), (22, 20));
    drop(counting);
    let unasked = scale();
    assert_eq!((unasked.status, unasked.reason().as_deref()), (503, Some("rate_limit_unavailable")));
    assert_eq!(world.upstream.seen().len(), 20);
}

/// Where istio-agent can't fetch the module, it hands over a filter that denies: Envoy must take it.
#[test]
fn without_the_module_everything_is_denied() {
    for command in ["istio-wasmplugin", "istio-envoyfilter"] {
        let folder = scratch();
        let manifest = manifest(command, &folder);
        let of = if command == "istio-wasmplugin" { of_wasm_plugin } else { of_envoy_filter };
        let (entry, mut extension) = of(&manifest);
        extension["typed_config"] = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {}});
        let world = world(&folder, (entry, extension));
        let token = KEYS.es256(&claims(&["dev"]));
        assert_eq!(
            post(&token, call("get_pods", &json!({}))).send(world.envoy.port).status,
            403,
            "{command}"
        );
        assert!(world.upstream.seen().is_empty(), "{command}");
    }
}

/// The bootstrap that pods are annotated with makes tags of the counters, beside what a mesh has of its own.
#[test]
fn the_bootstrap_of_the_pods_is_merged_into_the_meshs() {
    let manifests = std::fs::read_to_string(root().join("istio/sidecar-envoyfilter.yaml")).unwrap();
    let map: Value = yaml::read(manifests.rsplit("---\n").next().unwrap()).unwrap();
    let custom = map["data"]["custom_bootstrap.json"].as_str().unwrap();
    let mesh = json!({
        "node": {"id": "sidecar", "cluster": "mcp-server.mcp"},
        "stats_config": {"use_all_default_tags": false, "stats_tags": [{"tag_name": "app", "regex": "^x(\\.app\\.(\\w+))"}]},
    });
    let validate = |custom: &str| {
        let folder = scratch();
        std::fs::write(folder.join("envoy.yaml"), mesh.to_string()).unwrap();
        let mut envoy = Command::new(binary("ENVOY"));
        envoy
            .args(["--mode", "validate", "-c"])
            .arg(folder.join("envoy.yaml"))
            .args(["--config-yaml", custom]);
        envoy.output().unwrap().status.success()
    };
    assert!(validate(custom), "{custom}");
    for (from, to) in [("stats_tags", "stat_tags"), ("(\\\\w+)", "(\\\\w+")] {
        assert!(custom.contains(from) && !validate(&custom.replace(from, to)), "{from} as {to} is taken");
    }
}

/// The files of the deployment in kubernetes/, with the folders of a container put elsewhere.
#[test]
fn the_envoy_of_the_deployment_loads() {
    let base = root().join("kubernetes/base");
    let folder = scratch();
    let text = |file: &str| {
        let text = std::fs::read_to_string(base.join(file)).unwrap();
        text.replace("/usr/local/lib/mcp-iap", &root().join("dist").to_string_lossy())
            .replace("/etc/mcp-iap", &folder.to_string_lossy())
            .replace("/var/run/mcp-iap/reviewer", &folder.to_string_lossy())
            .replace("/var/run/mcp-iap/tls", &folder.to_string_lossy())
    };
    let authority = Authority::new();
    authority.sign("mcp.example.com").write(&folder);
    authority.write(&folder.join("ca.crt"));
    std::fs::write(folder.join("token"), "t").unwrap();
    for (file, name) in
        [("sds/reviewer.yaml", "reviewer.yaml"), ("sds/server-certificate.yaml", "server-certificate.yaml")]
    {
        std::fs::write(folder.join(name), text(file)).unwrap();
    }
    let output = Envoy::validate_text(&text("envoy.yaml"), &binary("ENVOY"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let broken = text("envoy.yaml").replace("credential_injector", "credential_injectors");
    assert!(!Envoy::validate_text(&broken, &binary("ENVOY")).status.success());
}
