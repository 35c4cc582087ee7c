//! `mcp-iap render envoy`: the shipped files are what it writes, and nothing that a user gives changes the
//! shape of what is written.
//!
//! `UPDATE_GOLDEN=1` writes the shipped files anew: read the difference before you commit it.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UPSTREAM: [&str; 2] = ["--upstream", "http://127.0.0.1:8000"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn command(file: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    command.args(["render", "envoy", file]).args(arguments);
    command
}

fn render(file: &str, arguments: &[&str]) -> Output {
    command(file, arguments).current_dir(root()).output().unwrap()
}

fn rendered(file: &str, arguments: &[&str]) -> String {
    let output = render(file, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(text: &str) -> Value {
    mcp_iap::config::yaml::read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A new folder.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("render").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A document in a file of its own.
fn document(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("render");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn manager(bootstrap: &Value) -> &Value {
    bootstrap.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap()
}

fn routes(bootstrap: &Value) -> &Value {
    manager(bootstrap).pointer("/route_config/virtual_hosts/0/routes").unwrap()
}

fn cluster<'a>(bootstrap: &'a Value, name: &str) -> &'a Value {
    let clusters = bootstrap.pointer("/static_resources/clusters").unwrap().as_array().unwrap();
    clusters.iter().find(|cluster| cluster["name"] == name).unwrap_or_else(|| panic!("no cluster {name}"))
}

/// The words behind `mcp-iap render envoy` in the head of a rendered file.
fn written_by(text: &str) -> Vec<&str> {
    let command = text.lines().find_map(|line| line.strip_prefix("#   mcp-iap render envoy ")).unwrap();
    command.split_whitespace().collect()
}

/// Each shipped file names the command that writes it.
#[test]
fn the_shipped_files_are_what_render_writes() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<_> =
        std::fs::read_dir(root().join("envoy")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.is_file());
    names.push(root().join("kubernetes/base/envoy.yaml"));
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for path in names {
        let shipped = std::fs::read_to_string(&path).unwrap();
        let words = written_by(&shipped);
        let now = rendered(words[0], &words[1..]);
        if is_update {
            std::fs::write(&path, &now).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap();
        assert_eq!(shipped, now, "{} is not current; `make golden` writes it", path.display());
    }
}

/// The limits that go with a shipped file.
#[test]
fn the_shipped_limits_are_what_render_writes() {
    let limits = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
        command.args(["render", "rate-limit-service", file]).current_dir(root()).output().unwrap()
    };
    let path = root().join("envoy/rate-limit-service/global-rate.yaml");
    let now = String::from_utf8(limits("examples/global-rate.yaml").stdout).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), now, "`make golden` writes it");
    let rates = |path: &str| limits(&document("rates.yaml", path));
    let of_two = "issuers: [{issuer: 'https://i'}]
resources:
  - {resource: 'https://a/x', rules: [{id: r, allow: {tools: [t]}, rate: {calls: 3, per: 24h, global: true}}]}
  - {resource: 'https://b/y', rules: [{id: r, allow: {tools: [t]}, rate: {calls: 3, per: 1h}}]}
  - {resource: 'https://c/z', rules: [{id: r, allow: {tools: [t]}, rate: {calls: 1, per: 60s, global: true}}]}
";
    let caller =
        |unit, count| json!([{"key": "caller", "rate_limit": {"unit": unit, "requests_per_unit": count}}]);
    let entry = |value: &str, inner: Value| {
        let rule = json!([{"key": "rule", "value": "r", "descriptors": inner}]);
        json!({"key": "resource", "value": value, "descriptors": rule})
    };
    let text = String::from_utf8(rates(of_two).stdout).unwrap();
    let both = [entry("https://a/x", caller("day", 3)), entry("https://c/z", caller("minute", 1))];
    assert_eq!(read(&text), json!({"domain": "mcp-iap", "descriptors": both}));
    let none = rates("{resource: 'https://r/mcp', issuers: [{issuer: 'https://i'}], rules: []}");
    assert_eq!(none.status.code(), Some(1));
}

/// A global rate and who counts it go together.
#[test]
fn a_global_rate_needs_a_service_and_a_service_a_global_rate() {
    let service = ["--rate-limit-service", "http://[::1]:8081"];
    let with = |file: &str, more: &[&str]| render(file, &[&UPSTREAM[..], more].concat());
    for (file, options, named) in [
        ("examples/global-rate.yaml", &[][..], "\"scales\""),
        ("examples/global-rate.yaml", &["--filter"][..], "--rate-limit-service"),
        ("examples/demo.yaml", &service[..], "nothing to count"),
    ] {
        let output = with(file, options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(named), "{file}: {said}");
    }
    let parts = read(&rendered("examples/global-rate.yaml", &[&service[..], &["--filter"]].concat()));
    let names: Vec<_> = parts["http_filters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["mcp_iap", "envoy.filters.http.ratelimit"]);
    // A descriptor for each rule that may allow one request.
    let of_two = document(
        "meeting.yaml",
        "{resource: 'https://r/mcp', issuers: [{issuer: 'https://i'}], rules: [
{id: a, allow: {resources: ['a:*']}, rate: {calls: 3, per: 1m, global: true}},
{id: b, allow: {resources: ['b:*']}, rate: {calls: 3, per: 1m, global: true}}]}",
    );
    let more = read(&rendered(&of_two, &[&service[..], &["--filter"]].concat()));
    let lists = |parts: &Value| parts["http_filters"][1]["typed_config"]["rate_limits"].clone();
    let one = lists(&parts)[0].to_string();
    let second = one.replace("wasm.mcp_iap_rate_rule\\", "wasm.mcp_iap_rate_rule_2\\");
    assert_ne!(one, second);
    assert_eq!(lists(&more), json!([read(&one), read(&second)]));
    let tls = ["--rate-limit-service", "https://ratelimit.example.com"];
    let bootstrap = read(&rendered("examples/global-rate.yaml", &[&UPSTREAM[..], &tls].concat()));
    let cluster = cluster(&bootstrap, "rate_limit_service").to_string();
    for part in ["\"sni\":\"ratelimit.example.com\"", "http2_protocol_options"] {
        assert!(cluster.contains(part), "{cluster}");
    }
}

/// Those that Envoy reads anew are written by one command, beside each other.
#[test]
fn the_shipped_dynamic_files_are_what_render_writes() {
    let shipped = root().join("envoy/dynamic");
    let bootstrap = std::fs::read_to_string(shipped.join("envoy.yaml")).unwrap();
    let words = written_by(&bootstrap);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        rendered(words[0], &words[1..]);
    }
    let folder = fresh("shipped");
    std::fs::create_dir(folder.join("examples")).unwrap();
    std::fs::copy(root().join(words[0]), folder.join(words[0])).unwrap();
    assert!(command(words[0], &words[1..]).current_dir(&folder).status().unwrap().success());
    let mut names: Vec<_> =
        std::fs::read_dir(&shipped).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["clusters.yaml", "envoy.yaml", "filter.yaml", "listener.yaml"]);
    for name in names {
        let now = std::fs::read_to_string(folder.join("envoy/dynamic").join(&name)).unwrap();
        let shipped = std::fs::read_to_string(shipped.join(&name)).unwrap();
        assert_eq!(shipped, now, "{name:?} is not current; `make golden` writes it");
    }
}

/// What a running Envoy has to do for a change is no more than the change.
#[test]
fn only_what_changed_is_written() {
    let folder = fresh("changes");
    let dir = folder.join("xds/");
    let dir = dir.to_str().unwrap();
    let document = |rules: &str, more: &str| {
        let text =
            format!("resource: https://r/mcp\nissuers: [{{issuer: 'https://i'}}]\nrules: [{rules}]\n{more}");
        let file = folder.join("document.yaml");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let written = |file: &str, upstream: &str| -> Vec<String> {
        let said = rendered(file, &["--upstream", upstream, "--xds-dir", dir]);
        let lines = said.lines().filter_map(|line| line.strip_prefix("written "));
        lines.map(|line| line.trim().strip_prefix(dir).unwrap().to_owned()).collect()
    };
    let rule = "{id: a, allow: {tools: [b]}}";
    let all = ["clusters.yaml", "filter.yaml", "listener.yaml", "envoy.yaml"];
    assert_eq!(written(&document("", ""), "http://a"), all);
    assert!(written(&document("", ""), "http://a").is_empty());
    assert_eq!(written(&document(rule, ""), "http://a"), ["filter.yaml"]);
    // An upstream with another name is another `Host` as well, and stands in the bootstrap's head.
    assert_eq!(written(&document(rule, ""), "http://c"), ["clusters.yaml", "listener.yaml", "envoy.yaml"]);
    let limits = "limits: {body_bytes: 3000000}\n";
    assert_eq!(written(&document(rule, limits), "http://c"), ["filter.yaml", "listener.yaml"]);
    // Nothing lies beside them, and each is what Envoy takes.
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["clusters.yaml", "envoy.yaml", "filter.yaml", "listener.yaml"]);
    let mut check = Command::new(env!("CARGO_BIN_EXE_mcp-iap"));
    assert!(check.arg("check").arg(format!("{dir}filter.yaml")).status().unwrap().success());

    let filter = || std::fs::read_to_string(format!("{dir}filter.yaml")).unwrap();
    let before = filter();
    let refused = render(&document("{id: a}", ""), &["--upstream", "http://c", "--xds-dir", dir]);
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert_eq!(filter(), before, "what is refused is not written");
}

#[test]
fn a_folder_that_can_not_be_written_is_said() {
    let file =
        document("no-folder", "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: []\n");
    let output = render(&file, &["--upstream", "http://a", "--xds-dir", &format!("{file}/x")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("/x/clusters.yaml: "), "{said}");
}

#[test]
fn a_document_that_check_refuses_is_refused_alike() {
    let file = "tests/golden/configuration/several-faults.yaml";
    let output = render(file, &UPSTREAM);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
    let check =
        Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(["check", file]).current_dir(root()).output();
    assert_eq!(output.stderr, check.unwrap().stdout);
    assert!(String::from_utf8_lossy(&output.stderr).contains("reason "));
}

#[test]
fn the_document_stands_in_it_to_the_letter() {
    for (name, text) in [
        (
            "comment-less-deep",
            "    # deep\nresource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: []\n",
        ),
        (
            "json",
            "{\"resource\": \"https://r/mcp\",\n\"issuers\": [{\"issuer\": \"https://i\"}], \"rules\": []}",
        ),
        ("crlf", "resource: https://r/mcp\r\nissuers: [{issuer: 'https://i'}]\r\nrules: []\r\n"),
        (
            "admin-in-it",
            "resource: https://r/mcp\nissuers:\n- issuer: https://i\n  audiences:\n  - |\n   a\n   admin: { x: 1 }\nrules: []\n",
        ),
        ("markers", "---\n# é x\nresource: https://r/mcp\nissuers: [{issuer: 'https://i'}]\nrules: []\n..."),
    ] {
        let file = document(name, text);
        let bootstrap = read(&rendered(&file, &UPSTREAM));
        let plugin = &manager(&bootstrap)["http_filters"][0]["typed_config"]["config"];
        let written = text.replace('\r', "").trim_end().to_owned() + "\n";
        assert_eq!(plugin["configuration"]["value"], written, "{name}");
        let members: Vec<_> = bootstrap.as_object().unwrap().keys().collect();
        assert_eq!(members, ["admin", "static_resources", "stats_config"], "{name}");
    }
}

#[test]
fn names_are_quoted_wherever_they_stand() {
    let name = "a\"b\nadmin: { x: 1 }\n# ' \\ \u{2028}\u{85} é | & *.yaml";
    let text = json!({
        "resource": "https://r/mcp",
        "issuers": [{"issuer": "https://i", "cluster": name}],
        "rules": [],
        "health_paths": ["/a'b:{}"],
    });
    // As they stand, these two are refused in a document.
    let text = text.to_string().replace('\u{2028}', "\\u2028").replace('\u{85}', "\\u0085");
    let file = document("names.yaml", &text);
    let credential = format!("{name}={name}");
    let arguments = [
        "--upstream",
        "https://127.0.0.1/x'y,:{}",
        "--ca",
        name,
        "--tls-certificate",
        name,
        "--tls-private-key",
        name,
        "--client-ca",
        name,
        "--wasm",
        name,
        "--credential",
        &credential,
    ];
    let text = rendered(&file, &arguments);
    let bootstrap = read(&text);
    let members: Vec<_> = bootstrap.as_object().unwrap().keys().collect();
    assert_eq!(members, ["admin", "node", "static_resources", "stats_config"]);
    assert!(!text.lines().any(|line| line.starts_with("admin: {")), "{text}");
    let issuer = cluster(&bootstrap, name);
    assert_eq!(issuer["load_assignment"]["cluster_name"], name);
    let validation = "/transport_socket/typed_config/common_tls_context/validation_context";
    assert_eq!(issuer.pointer(&format!("{validation}/trusted_ca/filename")).unwrap(), name);
    let sds = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/http_filters/0/typed_config/credential/typed_config/credential/sds_config/path_config_source/path";
    assert_eq!(issuer.pointer(sds).unwrap(), name);
    let tls = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config";
    let tls = bootstrap.pointer(tls).unwrap();
    assert_eq!(tls["require_client_certificate"], true);
    assert_eq!(tls.pointer("/common_tls_context/tls_certificates/0/private_key/filename").unwrap(), name);
    assert_eq!(tls.pointer("/common_tls_context/validation_context/trusted_ca/filename").unwrap(), name);
    let vm = &manager(&bootstrap)["http_filters"][0]["typed_config"]["config"]["vm_config"];
    assert_eq!(vm["code"]["local"]["filename"], name);
    assert_eq!(routes(&bootstrap)[0]["route"]["prefix_rewrite"], "/x'y,:{}");
}

#[test]
fn an_upstream_with_a_path_is_asked_by_that_path() {
    let of = |url| read(&rendered("examples/smallest.yaml", &["--upstream", url]));
    let plain = of("http://127.0.0.1:8000");
    assert_eq!(
        routes(&plain),
        &json!([{"match": {"prefix": "/"}, "route": {"cluster": "mcp_server", "timeout": "0s"}}])
    );
    assert_eq!(routes(&of("http://127.0.0.1:8000/mcp")), routes(&plain));
    let rewritten = of("https://tools.example.com:8443/v1/tools");
    let host = "tools.example.com:8443";
    assert_eq!(
        routes(&rewritten),
        &json!([
            {"match": {"path": "/mcp"}, "route": {"cluster": "mcp_server", "prefix_rewrite": "/v1/tools", "host_rewrite_literal": host, "timeout": "0s"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "mcp_server", "host_rewrite_literal": host, "timeout": "0s"}},
        ])
    );
}

#[test]
fn what_the_document_says_shows_in_envoy() {
    let text = "resource: https://r/mcp\nissuers: [{issuer: 'https://i'}, {issuer: 'https://10.0.0.1:8443/x', jwks_uri: 'http://[::1]:9/keys', insecure_http: true, cluster: keys}]
rules: [{id: a, deny: {tools: ['${TOOL}']}}] # ${COMMENT}
limits: { body_bytes: 3000000 }
allow_on_headers_stop_iteration: false\n";
    let bootstrap = read(&rendered(&document("says.yaml", text), &UPSTREAM));
    let listener = &bootstrap["static_resources"]["listeners"][0];
    assert_eq!(listener["per_connection_buffer_limit_bytes"], 46 * 65536);
    let config = &manager(&bootstrap)["http_filters"][0]["typed_config"]["config"];
    assert_eq!(config["allow_on_headers_stop_iteration"], false);
    assert_eq!(config["vm_config"]["environment_variables"], json!({"host_env_keys": ["TOOL"]}));
    let (issuer, keys) = (cluster(&bootstrap, "i"), cluster(&bootstrap, "keys"));
    assert_eq!((&issuer["type"], &keys["type"]), (&json!("STRICT_DNS"), &json!("STATIC")));
    assert_eq!(issuer["transport_socket"]["typed_config"]["sni"], "i");
    assert_eq!(keys.get("transport_socket"), None);
    let socket = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    assert_eq!(keys.pointer(socket).unwrap(), &json!({"address": "::1", "port_value": 9}));
}

#[test]
fn issuers_share_a_cluster_only_at_one_address() {
    let document_of = |first: &str, second: &str| {
        format!(
            "resource: https://r/mcp\nissuers: [{{issuer: '{first}'}}, {{issuer: '{second}'}}]\nrules: []\n"
        )
    };
    let one = document("one.yaml", &document_of("https://i/realms/a", "https://i/realms/b"));
    let bootstrap = read(&rendered(&one, &UPSTREAM));
    assert_eq!(bootstrap["static_resources"]["clusters"].as_array().unwrap().len(), 2);
    for (first, second, field) in [
        ("https://i", "https://i:8443", "issuers[1].cluster"),
        ("https://a{b}", "https://i", "issuers[0].issuer"),
        ("https://i:99999", "https://j", "issuers[0].issuer"),
    ] {
        let output = render(&document("two.yaml", &document_of(first, second)), &UPSTREAM);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(field), "{said}");
    }
}

#[test]
fn parts_for_an_envoy_that_already_runs() {
    let text = rendered("examples/smallest.yaml", &["--filter", "--wasm", "/etc/envoy/mcp_iap.wasm"]);
    let parts = read(&text);
    let members: Vec<_> = parts.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access_log", "clusters", "http_filters", "stats_config"]);
    assert_eq!(parts["clusters"].as_array().unwrap().len(), 1);
    for member in ["http_filters", "access_log", "stats_config", "clusters"] {
        let at = text.find(&format!("\n{member}:")).unwrap();
        assert!(
            text[..at]
                .lines()
                .rev()
                .take_while(|line| line.starts_with('#'))
                .any(|line| line.starts_with("# Into ")),
            "{member}"
        );
    }
}

/// The clusters of collectors stand in the bootstrap, however the others come: Envoy takes no logger without.
#[test]
fn records_go_where_they_are_wanted() {
    let sinks = ["file=/var/log/a b", "otlp=https://logs.example.com:4317", "als=http://127.0.0.1:9001"];
    let sinks: Vec<_> = sinks.iter().flat_map(|sink| ["--access-log", *sink]).collect();
    let names = |value: &Value| -> Vec<String> {
        let entries = value.as_array().into_iter().flatten();
        entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let loggers = [
        "envoy.access_loggers.file",
        "envoy.access_loggers.open_telemetry",
        "envoy.access_loggers.http_grpc",
    ];
    let whole = rendered("examples/smallest.yaml", &[&UPSTREAM[..], &sinks].concat());
    let bootstrap = read(&whole);
    let log = &manager(&bootstrap)["access_log"];
    assert_eq!(names(log), loggers);
    assert_eq!(log[0]["typed_config"]["path"], "/var/log/a b");
    let collectors = ["access_log_otlp", "access_log_als"];
    assert_eq!(names(&bootstrap["static_resources"]["clusters"])[2..], collectors);
    let otlp = cluster(&bootstrap, "access_log_otlp");
    assert_eq!(otlp["transport_socket"]["typed_config"]["sni"], "logs.example.com");
    assert!(otlp.to_string().contains(r#""explicit_http_config":{"http2_protocol_options":{}}"#), "{otlp}");

    let parts = read(&rendered("examples/smallest.yaml", &[&["--filter"], &sinks[..]].concat()));
    assert_eq!(
        (names(&parts["access_log"]), &names(&parts["clusters"])[1..]),
        (loggers.map(str::to_owned).to_vec(), &collectors.map(str::to_owned)[..])
    );

    let folder = fresh("sinks");
    let dir = folder.to_str().unwrap();
    rendered("examples/smallest.yaml", &[&UPSTREAM[..], &["--xds-dir", dir], &sinks].concat());
    let file = |name: &str| read(&std::fs::read_to_string(folder.join(name)).unwrap());
    assert_eq!(names(&file("envoy.yaml")["static_resources"]["clusters"]), collectors);
    assert_eq!(names(&file("clusters.yaml")["resources"]), ["mcp_server", "login.example.com"]);

    // Each of them is what `check` looks for.
    for sink in ["als=http://127.0.0.1:9001", "otlp=http://127.0.0.1:4317", "stdout", "file=/a"] {
        let text = rendered("examples/smallest.yaml", &[&UPSTREAM[..], &["--access-log", sink]].concat());
        let file = document("sink.yaml", &text);
        let seen = Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(["check", &file]).output().unwrap();
        let said = String::from_utf8(seen.stdout).unwrap();
        assert!(seen.status.success() && !said.contains("access_log"), "{sink}: {said}");
        let without = text.replace("wasm.mcp_iap", "wasm.other");
        let seen = Command::new(env!("CARGO_BIN_EXE_mcp-iap"))
            .args(["check", &document("sink.yaml", &without)])
            .output()
            .unwrap();
        assert!(String::from_utf8(seen.stdout).unwrap().contains("writes no records"), "{sink}");
    }
}

#[test]
fn with_an_upstream_the_parts_lead_to_it() {
    let arguments = ["--filter", "--upstream", "https://tools.example.com/v1"];
    let parts = read(&rendered("examples/smallest.yaml", &arguments));
    let routes = parts["routes"].as_array().unwrap();
    let matches: Vec<_> = routes.iter().map(|route| &route["match"]).collect();
    assert_eq!(
        matches,
        [&json!({"path": "/mcp"}), &json!({"prefix": "/.well-known/oauth-protected-resource"})]
    );
    assert_eq!(routes[0]["route"]["prefix_rewrite"], "/v1");
    for route in routes {
        assert_eq!(
            (&route["route"]["timeout"], &route["route"]["cluster"]),
            (&json!("0s"), &json!("mcp_server"))
        );
    }
    let names: Vec<_> = parts["clusters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["mcp_server", "login.example.com"]);
}

#[test]
fn what_can_not_be_rendered_is_a_mistake_of_use() {
    let twice = ["--upstream", "http://a", "--upstream", "http://b"];
    for (arguments, told) in [
        (&[][..], "give --upstream"),
        (&twice, "once for each resource"),
        (&["--upstream", "https://other/mcp=http://a"], "no resource of this document"),
        (&["--upstream", "http://a?b"], "--upstream"),
        (&["--upstream", "http://a", "--credential", "b=c.yaml"], "login.example.com"),
        (&["--upstream", "http://a", "--client-ca", "c"], "--tls-certificate"),
        (&["--upstream", "http://a", "--tls-certificate", "c"], "--tls-private-key"),
        (&["--upstream", "http://a", "--admin", "127.0.0.1:10000"], "both 127.0.0.1:10000"),
        (&["--filter", "--listen", "127.0.0.1:1"], "--filter"),
        (&["--filter", "--xds-dir", "d"], "--filter"),
        (&["--upstream", "http://a", "--xds-dir", ""], "name a folder"),
        (&["--xds-dir", "/nowhere"], "give --upstream"),
        (&["--upstream", "http://a", "--access-log", "syslog"], "write `stdout`"),
        (
            &["--upstream", "http://a", "--access-log", "otlp=http://a", "--access-log", "otlp=http://b"],
            "--access-log otlp is there twice",
        ),
    ] {
        let output = render("examples/smallest.yaml", arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(told), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(render("no-such-file.yaml", &UPSTREAM).status.code(), Some(2));
}

/// The command stands in the file's head: it can't leave its comment.
#[test]
fn the_command_stays_in_its_comment() {
    let text = rendered(
        "examples/smallest.yaml",
        &["--upstream", "http://127.0.0.1", "--ca", "x\nadmin:\r\u{85}\u{2028}'"],
    );
    let line = text.lines().find(|line| line.starts_with("#   mcp-iap render")).unwrap();
    assert!(line.ends_with("--ca 'x\\nadmin:\\r\\u{85}\\u{2028}\\''"), "{line}");
}

/// The token endpoint has a cluster like an issuer, and `check` misses it where it is not there.
#[test]
fn a_token_endpoint_has_a_cluster() {
    let text = "
resource: https://mcp.example.com/mcp
issuers: [{ issuer: 'https://login.example.com' }]
token_exchange: { token_endpoint: 'https://sts.example.com/token', cluster: sts, audience: backend }
rules: []
";
    let rendered = rendered(
        &document("exchange.yaml", text),
        &[&UPSTREAM[..], &["--credential", "sts=/s/c.yaml"]].concat(),
    );
    let bootstrap = read(&rendered);
    let clusters = bootstrap.pointer("/static_resources/clusters").and_then(Value::as_array).unwrap();
    let sts = clusters.iter().find(|cluster| cluster["name"] == "sts").unwrap();
    let injector = sts.pointer("/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/http_filters/0/typed_config/credential/typed_config").unwrap();
    assert!(injector.get("header_value_prefix").is_none(), "the file holds the whole value");
    let check = |name: &str, text: &str| {
        let file = document(name, text);
        let output = Command::new(env!("CARGO_BIN_EXE_mcp-iap")).args(["check", &file]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check("exchange-envoy.yaml", &rendered).0, Some(0));
    let (code, said) = check("exchange-no-cluster.yaml", &rendered.replace("- name: sts", "- name: other"));
    assert!(code == Some(1) && said.contains("token_exchange.cluster"), "{said}");
    // By discovery it is the issuer's.
    let discovered = text.replace("token_endpoint: 'https://sts.example.com/token', cluster: sts, ", "");
    let rendered = self::rendered(&document("exchange-discovered.yaml", &discovered), &UPSTREAM);
    assert!(
        rendered.contains("# Keys of https://login.example.com; Tokens of login.example.com."),
        "{rendered}"
    );
}
