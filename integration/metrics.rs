//! What a real Envoy shows of the filter, as a real Prometheus scrapes it: each query of `monitoring/` finds something,
//! and no client adds a series.

use crate::client::Request;
use crate::envoy::{Changes, free_port, root, scratch};
use crate::failures::eventually;
use crate::stub::{Reply, Seen};
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, introspecting, now, post, provide};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const OPAQUE: &str = "an-opaque-token-0123456789";

/// An issuer that is asked, an API server and a token endpoint, all of one stand-in.
fn answers(seen: &Seen) -> Reply {
    let told = json!({"active": true, "iss": ISSUER, "sub": "dana", "aud": RESOURCE, "exp": now() + 300});
    let reviewed = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "x"},
        "status": {"authenticated": true, "audiences": [RESOURCE], "user": {"username": "system:serviceaccount:a:b"}}});
    let issued = json!({"access_token": "up.stream", "token_type": "Bearer", "expires_in": 300,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
    match seen.path.as_str() {
        "/introspect" => Reply::new(200, told.to_string()),
        "/apis/authentication.k8s.io/v1/tokenreviews" => Reply::new(201, reviewed.to_string()),
        "/token" => Reply::new(200, issued.to_string()).header("content-type: application/json"),
        _ => provide(seen),
    }
}

/// A gate that has all that is counted.
fn world() -> World {
    let document = format!(
        "{}token_review: {{ server: '{ISSUER}', insecure_http: true, cluster: identity_provider }}
token_exchange: {{ token_endpoint: '{ISSUER}/token', cluster: identity_provider, insecure_http: true, audience: b }}
rules:
  - {{ id: reads, allow: {{ tools: ['get_*'] }} }}
  - {{ id: few, allow: {{ tools: [few] }}, rate: {{ calls: 1, per: 1h }} }}
shadow_rules:
  - {{ id: fewer, allow: {{ tools: [get_pods] }} }}
",
        introspecting("")
    );
    let changes = Changes { configuration: Some(document), concurrency: Some(1), ..Changes::default() };
    let world = World::with_provider(&changes, answers);
    world.upstream.script(|seen| {
        let is_list = seen.body.windows(10).any(|name| name == b"tools/list");
        let result = if is_list { r#"{"tools":[{"name":"get_x"},{"name":"drop"}]}"# } else { "{}" };
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        Reply::new(200, body).header("content-type: application/json")
    });
    world
}

fn reviewed_token() -> String {
    let mut claims = claims(&[]);
    claims["iss"] = json!("https://kubernetes.default.svc");
    KEYS.rs256(&claims)
}

/// Something of everything.
fn use_all(world: &World) {
    let send = |request: &Request| request.send(world.envoy.port).status;
    let tokens = [KEYS.es256(&claims(&["dev"])), OPAQUE.to_owned(), reviewed_token()];
    for token in &tokens {
        for tool in ["get_pods", "get_x", "get_x", "few", "few", "drop"] {
            send(&post(token, call(tool, &json!({}))));
        }
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(send(&post(&tokens[0], list)), 200);
    for _ in 0..5 {
        assert_eq!(send(&post("no.token.atall", "{}")), 401);
    }
}

/// Ends when dropped.
struct Prometheus {
    port: u16,
    process: Child,
}

impl Prometheus {
    fn start(target: u16) -> Self {
        let deps = std::env::var("MCP_IAP_DEPS").unwrap_or_else(|_| ".deps".to_owned());
        let binary = Path::new(&deps).join("prometheus/prometheus");
        assert!(binary.is_file(), "{} is missing: run `scripts/deps.sh prometheus`", binary.display());
        let (folder, port) = (scratch(), free_port());
        let alerts = root().join("monitoring/alerts.yaml");
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [alerts],
            "scrape_configs": [{"job_name": "envoy", "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": [format!("127.0.0.1:{target}")]}]}],
        });
        fs::write(folder.join("prometheus.yml"), configuration.to_string()).unwrap();
        let process = Command::new(binary)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self { port, process };
        eventually("Prometheus has scraped twice", || {
            prometheus
                .query("count_over_time(mcp_iap_requests[10s]) > 2")
                .is_some_and(|found| !found.is_empty())
        });
        prometheus
    }

    /// What a query finds now; `None` while nobody answers.
    fn query(&self, query: &str) -> Option<Vec<Value>> {
        if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            return None;
        }
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = Request::new("GET", &format!("/api/v1/query?query={encoded}")).send(self.port);
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        assert_ne!(body["errorType"], "bad_data", "{query}: {body}");
        Some(body["data"]["result"].as_array()?.clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    queries
        .map(|(title, query)| (title, query.replace("$__rate_interval", "20s").replace("$instance", ".*")))
        .collect()
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|char: char| !(char.is_ascii_alphanumeric() || "_:".contains(char)));
    let is_metric = |word: &&str| ["mcp_iap", "envoy_"].iter().any(|prefix| word.starts_with(prefix));
    words.filter(is_metric).filter(|word| *word != "envoy_cluster_name").map(str::to_owned).collect()
}

#[test]
fn every_query_finds_something() {
    let world = world();
    use_all(&world);
    // What requests left to be counted is counted at a tick.
    for name in [
        r#"mcp_iap_remembered{of="introspections"}"#,
        r#"mcp_iap_remembered{of="token_exchanges"}"#,
        r#"mcp_iap_remembered{of="token_reviews"}"#,
        r#"mcp_iap_shadow{difference="would_deny"}"#,
        r#"mcp_iap_signatures{by="cache"}"#,
        r#"mcp_iap_list_entries{result="hidden"}"#,
        r#"mcp_iap_requests{outcome="refused",reason="rate_limited"}"#,
    ] {
        eventually(name, || world.envoy.metric(name).is_some_and(|count| count > 0));
    }
    let prometheus = Prometheus::start(world.envoy.admin_port());
    for (title, query) in dashboard() {
        eventually(&format!("{title}: {query}"), || {
            prometheus.query(&query).is_some_and(|found| !found.is_empty())
        });
    }
    // A histogram's quantile is there, and a number, only once something was counted while it looked.
    use_all(&world);
    let alerts = fs::read_to_string(root().join("monitoring/alerts.yaml")).unwrap();
    let rules: Value = mcp_iap::config::yaml::read(&alerts).unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        for name in names(rule["expr"].as_str().unwrap()) {
            eventually(&name, || prometheus.query(&name).is_some_and(|found| !found.is_empty()));
        }
    }
    let firing = r#"ALERTS{alertname="McpIapFailedAuthentications",alertstate="firing"}"#;
    eventually("ten failed authentications alert", || {
        prometheus.query(firing).is_some_and(|found| found.len() == 1)
    });
}

/// The series of the filter, without their values.
fn series(world: &World) -> BTreeSet<String> {
    let stats = world.envoy.admin("/stats/prometheus").unwrap();
    let ours = stats.lines().filter(|line| line.starts_with("mcp_iap"));
    ours.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[test]
fn no_client_adds_a_series() {
    let world = world();
    use_all(&world);
    let send = |request: &Request| request.send(world.envoy.port);
    let hostile = |name: &str| {
        let mut stranger = claims(&["dev"]);
        stranger["iss"] = json!(format!("https://{name}.example"));
        let mut named = claims(&[name]);
        (named["sub"], named["client_id"]) = (json!(name), json!(name));
        let method = json!({"jsonrpc": "2.0", "id": 1, "method": name}).to_string();
        for request in [
            post(&KEYS.es256(&claims(&["dev"])), call(name, &json!({name: name}))),
            post(&KEYS.es256(&claims(&["dev"])), method),
            post(&KEYS.es256(&stranger), call("get_pods", &json!({}))),
            post(&KEYS.es256(&named), call("get_pods", &json!({}))),
            Request::new("GET", &format!("/{name}")),
            Request::new("BREW", "/mcp"),
        ] {
            send(&request);
        }
    };
    hostile("evil-first");
    let before = || {
        std::thread::sleep(std::time::Duration::from_secs(6)); // longer than a tick
        series(&world)
    };
    let known = before();
    for name in ["evil.reason.x", "evil;.;a=.=b", "evil{x=\"y\"}", "evil.outcome.allowed", "évil"] {
        hostile(name);
    }
    assert_eq!(before(), known);
    assert!(!known.iter().any(|name| name.contains("evil")), "{known:?}");
}
