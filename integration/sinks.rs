//! Where records go: a file, Envoy's gRPC access log service, an OpenTelemetry collector. Each has all of every record.

use crate::client::{KeepAlive, Request};
use crate::collector::Collector;
use crate::envoy::{Changes, Envoy, binary, bootstrap, free_port, scratch};
use crate::failures::eventually;
use crate::record_schema;
use crate::rendered::{option, render};
use crate::stub::Reply;
use crate::world::{KEYS, World, call, claims, modern, modern_call, post};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A gate on the shipped file with both collectors, and these.
fn world(binary: PathBuf) -> (World, Collector, Collector) {
    let (als, otlp) = (Collector::start("als", free_port()), Collector::start("otlp", free_port()));
    let (world, ..) = world_with(binary, als.port, otlp.port);
    (world, als, otlp)
}

fn world_with(binary: PathBuf, als: u16, otlp: u16) -> (World, u16, u16) {
    let replace = vec![
        ("port_value: 9001", format!("port_value: {als}")),
        ("port_value: 4317", format!("port_value: {otlp}")),
    ];
    let changes = Changes {
        shipped: Some("envoy/collectors.yaml"),
        replace,
        binary: Some(binary),
        ..Changes::default()
    };
    (World::new(&changes), als, otlp)
}

/// By what a line is known: its decision, or the time where the filter made none.
fn by_decision(lines: &[Value]) -> BTreeMap<String, &Value> {
    let key =
        |line: &Value| line["mcp_iap"][0]["decision"].as_str().or(line["time"].as_str()).unwrap().to_owned();
    let map: BTreeMap<_, _> = lines.iter().map(|line| (key(line), line)).collect();
    assert_eq!(map.len(), lines.len(), "one line a request: {lines:#?}");
    map
}

/// Everything that the file's line has, the other has as well, and the same.
fn same(file: &[Value], other: &[Value], sink: &str) {
    let (file, other) = (by_decision(file), by_decision(other));
    assert!(file.keys().eq(other.keys()), "{sink}: {file:#?} {other:#?}");
    for (key, line) in &file {
        for (name, value) in line.as_object().unwrap() {
            assert_eq!(&other[key][name], value, "{sink}: {name} of {line}");
        }
        for record in other[key]["mcp_iap"].as_array().unwrap() {
            assert_eq!(record_schema::faults(record), Vec::<String>::new(), "{sink}: {record}");
        }
    }
}

/// Requests that end in many ways; how many.
fn requests(world: &World) -> usize {
    let port = world.envoy.port;
    let token = KEYS.rs256(&claims(&["dev", "sre"]));
    let scale = |arguments: Value| call("scale_deployment", &arguments);
    let calls = [
        (200, post(&token, call("get_pods", &json!({})))),
        (200, modern(post(&token, modern_call("list_pods", &json!({}))), "list_pods")),
        (200, post(&token, scale(json!({"namespace": "web", "replicas": 3})))),
        (403, post(&token, scale(json!({"namespace": "web", "replicas": 50})))),
        (403, post(&token, call("delete \"x\"\\ \u{e9}", &json!({})))),
        (401, post("nonsense", call("get_pods", &json!({})))),
        (401, Request::new("POST", "/mcp").body("{}")),
        (400, post(&token, "[1]")),
        (400, post(&token, call("get_pods", &json!({}))).header("content-length", "1, 2")),
        (404, Request::new("GET", "/nowhere?q=\"")),
        (405, Request::new("PUT", "/mcp")),
        (200, Request::new("GET", "/.well-known/oauth-protected-resource")),
    ];
    let count = calls.len();
    for (status, request) in calls {
        let answer = request.send(port);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // The upstream refuses; it ends the connection; the client leaves before and within the answer.
    world.upstream.script(|_| Reply::new(500, "{}"));
    assert_eq!(post(&token, call("get_pods", &json!({}))).send(port).status, 500);
    world.upstream.script(|_| Reply::wire(|_| Ok(())));
    assert_eq!(post(&token, call("get_pods", &json!({}))).send(port).status, 503);
    drop(post(&token, call("get_pods", &json!({}))).start_with_half_a_body(port));
    world.upstream.script(|_| Reply::events("{}", 1000, Duration::from_millis(20)));
    let stream = post(&token, call("get_pods", &json!({}))).start(port);
    eventually("the upstream is asked", || world.upstream.seen().len() >= 6);
    std::thread::sleep(Duration::from_millis(200));
    drop(stream);
    count + 4
}

#[test]
fn each_sink_has_every_record_whole() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let (world, als, otlp) = world(binary(envoy));
        let count = requests(&world);
        let file = world.envoy.access_lines(count);
        assert_eq!(file.len(), count, "{file:#?}");
        same(&file, &als.lines(count), "als");
        same(&file, &otlp.lines(count), "otlp");
        // A moment longer, for one too many.
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!((als.received().len(), otlp.received().len()), (count, count));
        for counter in ["grpc_access_log", "open_telemetry_access_log"] {
            let metric =
                |what: &str| world.envoy.metric(&format!("envoy_access_logs_{counter}_logs_{what}{{}}"));
            assert_eq!((metric("written"), metric("dropped")), (Some(count as u64), Some(0)), "{counter}");
        }
    }
}

/// What a client puts into its query is no record's: but Envoy's own service has it, as docs/audit.md says.
#[test]
fn only_the_access_log_service_has_the_query() {
    let (world, als, otlp) = world(binary("ENVOY"));
    let request = Request::new("POST", "/mcp?access_token=s3cret").header("user-agent", "s3cret").body("{}");
    assert_eq!(request.send(world.envoy.port).reason().as_deref(), Some("token_in_query"));
    let of = |lines: Vec<Value>| json!(lines).to_string();
    assert!(of(als.lines(1)).contains("access_token=s3cret"));
    assert!(!of(otlp.lines(1)).contains("s3cret"));
    assert!(!of(world.envoy.access_lines(1)).contains("s3cret"));
}

/// Requests that the gate answers by itself, on one connection.
fn refused(world: &World, count: usize) {
    let mut client = KeepAlive::new(world.envoy.port);
    for _ in 0..count {
        assert_eq!(client.send(&Request::new("GET", "/nowhere")).unwrap().status, 404);
    }
}

/// Of Envoy's access log service this can't be said: what it sends meanwhile is lost, and not counted.
#[test]
fn a_collector_that_is_away_for_some_seconds_has_every_record() {
    for envoy in ["ENVOY", "ENVOY_OLDEST"] {
        let (world, _, port) = world_with(binary(envoy), free_port(), free_port());
        for _ in 0..5 {
            refused(&world, 10);
            std::thread::sleep(Duration::from_millis(1100));
        }
        let otlp = Collector::start("otlp", port);
        refused(&world, 10);
        same(&world.envoy.access_lines(60), &otlp.lines(60), "otlp");
        let dropped = world.envoy.metric("envoy_access_logs_open_telemetry_access_log_logs_dropped{}");
        assert_eq!(dropped, Some(0));
    }
}

/// Clusters come by CDS there; those of collectors must not.
#[test]
fn a_reloading_gate_has_its_collectors_too() {
    let folder = scratch();
    let otlp = Collector::start("otlp", free_port());
    let sink = format!("otlp=http://127.0.0.1:{}", otlp.port);
    let xds = folder.join("xds");
    let envoy = Envoy::run(&Changes::default(), |port, admin| {
        let options = [
            option("--upstream", "http://127.0.0.1:1"),
            option("--access-log", "stdout"),
            option("--access-log", &sink),
            option("--xds-dir", xds.to_str().unwrap()),
        ];
        let document = "resource: http://r/mcp\nissuers: [{ issuer: 'https://i' }]\nrules: []\n";
        render(&folder, document, port, admin, &options.concat());
        std::fs::read_to_string(xds.join("envoy.yaml")).unwrap()
    });
    eventually("the listener is there", || TcpStream::connect(("127.0.0.1", envoy.port)).is_ok());
    assert_eq!(Request::new("GET", "/nowhere").send(envoy.port).status, 404);
    same(&envoy.access_lines(1), &otlp.lines(1), "otlp");
}

/// A process that ends with the value, where a test fails too.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Envoy with its standard output as its operator has it: a file that standard error goes to as well, as by
/// `envoy > FILE 2>&1`, and a socket, as under systemd.
#[test]
fn standard_output_loses_nothing() {
    for (envoy, is_file) in
        [("ENVOY", true), ("ENVOY_OLDEST", true), ("ENVOY", false), ("ENVOY_OLDEST", false)]
    {
        let folder = scratch();
        let (port, admin) = (free_port(), free_port());
        let text = bootstrap(&Changes::default(), port, admin, 1, 1);
        std::fs::write(folder.join("envoy.yaml"), text).unwrap();
        let both = File::create(folder.join("both")).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stdout: Stdio = if is_file {
            both.try_clone().unwrap().into()
        } else {
            std::os::fd::OwnedFd::from(theirs).into()
        };
        let process = Command::new(binary(envoy))
            .args(["--disable-hot-restart", "-l", "info", "--file-flush-interval-msec", "20", "-c"])
            .arg(folder.join("envoy.yaml"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(both)
            .spawn()
            .unwrap();
        let mut process = Started(process);
        eventually("Envoy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut client = KeepAlive::new(port);
        for _ in 0..100 {
            assert_eq!(client.send(&Request::new("GET", "/nowhere")).unwrap().status, 404);
        }
        std::thread::sleep(Duration::from_millis(300));
        // At its end Envoy logs again: over the records, if they went another way.
        assert!(Command::new("kill").arg(process.0.id().to_string()).status().unwrap().success());
        process.0.wait().unwrap();
        let mut seen = std::fs::read(folder.join("both")).unwrap();
        if !is_file {
            (&ours).read_to_end(&mut seen).unwrap();
        }
        let is_whole =
            |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["status"] == 404);
        let records = String::from_utf8_lossy(&seen).lines().filter(is_whole).count();
        assert_eq!(records, 100, "{envoy}, a file: {is_file}");
    }
}
