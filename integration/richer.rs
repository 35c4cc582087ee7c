//! `examples/richer.yaml` to the letter on a real Envoy: two issuers, a token for the cluster that the call names, which
//! that cluster's API server reviews, rules by address, scope, argument, hours and rate, and what the record says of the
//! arguments. The providers and the API servers are stand-ins; the reviews are those that a real API server gave
//! (`tests/fixtures/token_review`).

use crate::client::{Answer, Request};
use crate::envoy::{Changes, Envoy, root};
use crate::policy::hours;
use crate::stub::{Reply, Seen, Stub};
use crate::world::{KEYS, STRANGER, World, call, now, post};
use mcp_iap::policy::utc_offset;
use serde_json::{Value, json};

const LOGIN: &str = "https://login.example.com";
const PARTNER: &str = "https://partner.example.org";
const OFFICE: &str = "time: { days: [mon-fri], hours: \"08:00-18:00\", zone: Europe/Zurich }";
const FREEZE: &str = "from: \"2026-12-20T00:00:00Z\", until: \"2027-01-03T00:00:00Z\"";
const SCALES: &str = "sre-scales-in-office-hours";

fn example() -> String {
    std::fs::read_to_string(root().join("examples/richer.yaml")).unwrap()
}

/// Both issuers, told apart by the host that is asked for.
fn provide(seen: &Seen) -> Reply {
    let (issuer, keys) = match seen.header("host") {
        Some(b"partner.example.org") => (PARTNER, STRANGER.jwks()),
        _ => (LOGIN, KEYS.jwks()),
    };
    let reply = match seen.path.as_str() {
        "/.well-known/openid-configuration" => {
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "token_endpoint": format!("{issuer}/token")})
        }
        "/keys" => keys,
        "/token" => {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            let audience = form.split('&').find_map(|pair| pair.strip_prefix("audience=")).unwrap();
            json!({"access_token": format!("issued.for.{audience}"), "token_type": "Bearer", "expires_in": 300,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})
        }
        _ => return Reply::new(404, ""),
    };
    Reply::new(200, reply.to_string()).header("content-type: application/json")
}

/// What the API server of a target answers to its own tokens, as a real one did.
fn review(seen: &Seen) -> Reply {
    let recorded = |name: &str| {
        let file = root().join("tests/fixtures/token_review").join(name);
        serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap()
    };
    let asked: Value = serde_json::from_slice(&seen.body).unwrap();
    let audience = asked["spec"]["audiences"][0].as_str().unwrap();
    let host = String::from_utf8_lossy(seen.header("host").unwrap()).into_owned();
    let is_own = host == format!("api.{}.example.com", audience.trim_start_matches("k8s-"));
    let mut answer = recorded(if is_own && asked["spec"]["token"] == format!("issued.for.{audience}") {
        "ok.json"
    } else {
        "badsig.json"
    });
    if is_own {
        answer["status"]["audiences"] = json!([audience]);
    }
    Reply::new(201, answer.to_string()).header("content-type: application/json")
}

/// The document behind a proxy whose word on the client's address Envoy takes.
fn world(document: &str) -> World {
    let (provider, servers) = (Stub::start(provide), Stub::start(review));
    let upstream = Stub::start(|_| Reply::new(200, "{}").header("content-type: application/json"));
    let cluster = |name: &str, port: u16| {
        format!(
            "  - name: {name}\n    type: STATIC\n    load_assignment: {{ cluster_name: {name}, endpoints: [{{ lb_endpoints: [{{ endpoint: \
             {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}] }}\n"
        )
    };
    let clusters = [
        cluster("partner.example.org", provider.port),
        cluster("api.staging.example.com", servers.port),
        cluster("api.prod.example.com", servers.port),
    ];
    let secret = "vm_id: mcp_iap\n                  environment_variables: { key_values: { EXCHANGE_SECRET: gate-secret } }";
    let changes = Changes {
        configuration: Some(document.to_owned()),
        replace: vec![
            ("  clusters:\n", format!("  clusters:\n{}", clusters.concat())),
            ("name: identity_provider", "name: login.example.com".into()),
            ("vm_id: mcp_iap", secret.into()),
            ("use_remote_address: true", "use_remote_address: false".into()),
        ],
        ..Changes::default()
    };
    let envoy = Envoy::start(&changes, upstream.port, provider.port);
    World { provider, upstream, envoy }
}

fn claims(subject: &str, role: &str, scope: &str) -> Value {
    json!({"iss": LOGIN, "sub": subject, "client_id": "agent", "aud": "https://mcp.example.com/mcp", "exp": now() + 300,
        "realm_access": {"roles": [role]}, "scope": scope})
}

fn from(address: &str, token: &str, tool: &str, arguments: &Value) -> Request {
    post(token, call(tool, arguments)).header("x-forwarded-for", address)
}

fn reason(answer: &Answer) -> String {
    answer.reason().unwrap_or_else(|| "allowed".to_owned())
}

/// Whether the example's office is open, and whether its freeze is on, by this machine's clock.
fn office_and_freeze() -> (bool, bool) {
    let seconds = i64::try_from(now()).unwrap();
    let local = seconds + utc_offset("Europe/Zurich", seconds).unwrap();
    // The first of January 1970 was a Thursday.
    let (weekday, hour) = ((local.div_euclid(86_400) + 3) % 7, local.rem_euclid(86_400) / 3_600);
    (weekday < 5 && (8..18).contains(&hour), (1_797_724_800..1_798_934_400).contains(&seconds))
}

#[test]
fn the_example_as_it_stands() {
    let world = world(&example());
    let (is_open, is_frozen) = office_and_freeze();
    let dana = KEYS.es256(&claims("dana", "dev", ""));
    let sam = KEYS.es256(&claims("sam", "sre", "mcp:write"));
    let sam_reads = KEYS.es256(&claims("sam", "sre", "mcp:read"));
    let partner = STRANGER
        .es256(&json!({"iss": PARTNER, "sub": "pat", "client_id": "p", "aud": "mcp-partners",
        "exp": now() + 300, "groups": ["dev"]}));
    let few = json!({"namespace": "web", "cluster": "staging", "replicas": 3, "why": "because"});
    let in_hours = |reason: &'static str| if is_open { reason } else { "outside_time_window" };
    let (none, prod) = (json!({}), json!({"cluster": "prod"}));
    let rows: Vec<(Request, &str, Option<&str>)> = vec![
        (from("192.0.2.1", &dana, "get_pods", &none), "allowed", Some("reads")),
        (
            from("192.0.2.1", &dana, "get_pods", &prod),
            if is_frozen { "denied_by_rule" } else { "allowed" },
            Some(if is_frozen { "year-end-freeze" } else { "reads" }),
        ),
        (from("192.0.2.1", &dana, "get_pods", &json!({"cluster": "moon"})), "unknown_target", None),
        (from("192.0.2.1", &partner, "list_pods", &none), "allowed", Some("reads")),
        (from("10.1.2.3", &dana, "scale_deployment", &few), "no_rule_allows", Some(SCALES)),
        (from("192.0.2.1", &sam, "scale_deployment", &few), "source_not_allowed", Some(SCALES)),
        (
            from("10.1.2.3", &sam, "scale_deployment", &json!({"namespace": "web", "replicas": 50})),
            "argument_out_of_range",
            Some(SCALES),
        ),
        (from("10.1.2.3", &sam, "scale_deployment", &few), in_hours("allowed"), Some(SCALES)),
        (
            from("10.1.2.3", &sam_reads, "scale_deployment", &few),
            in_hours("insufficient_scope"),
            Some(SCALES),
        ),
        (from("10.1.2.3", &sam, "delete_pod", &none), "no_rule_allows", None),
    ];
    for (count, (request, expected, rule)) in (1..).zip(&rows) {
        world.upstream.forget();
        let answer = request.send(world.envoy.port);
        assert_eq!(reason(&answer), *expected, "{answer:?}\n{}", world.envoy.log());
        let record = world.record(count);
        assert_eq!((&record["reason"], record["rule"].as_str()), (&json!(expected), *rule), "{record}");
        let sent = world.upstream.seen();
        assert_eq!(sent.len(), usize::from(*expected == "allowed"), "{record}");
        if let Some(sent) = sent.first() {
            let target = record["exchange"]["target"].as_str().unwrap();
            let token = format!("Bearer issued.for.k8s-{target}");
            assert_eq!(sent.header("authorization"), Some(token.as_bytes()));
            let user = &record["exchange"]["kubernetes_user"];
            assert_eq!(user, "system:serviceaccount:agents:coding-agent", "{record}");
        }
    }
    let lines = world.envoy.access_lines(rows.len());
    let arguments = |line: usize| lines[line]["mcp_iap"][0]["arguments"].clone();
    assert_eq!(arguments(5), json!({"namespace": "web", "cluster": "staging", "replicas": 3}));
    assert_eq!(arguments(6), json!({"namespace": "web", "replicas": 50}));
    assert_eq!(arguments(0), Value::Null, "there are none");
    for secret in [dana.as_str(), &sam, &partner, "gate-secret", "issued.for.", "because"] {
        assert!(
            !world.envoy.log().contains(secret) && !world.envoy.access_log().contains(secret),
            "{secret}"
        );
    }
}

/// With its hours and its freeze around now: what the clock of the machine leaves out above.
#[test]
fn the_example_in_office_hours_and_in_the_freeze() {
    let (open, _) = hours();
    let now_open = format!("time: {{ days: [mon-sun], hours: \"{open}\", zone: Europe/Zurich }}");
    let document = example();
    assert!(document.contains(OFFICE) && document.contains(FREEZE));
    let document = document
        .replace(OFFICE, &now_open)
        .replace(FREEZE, "from: \"2020-01-01T00:00:00Z\", until: \"2120-01-01T00:00:00Z\"");
    let world = world(&document);
    let port = world.envoy.port;
    let sam = KEYS.es256(&claims("sam", "sre", "mcp:write"));
    let with = |cluster: &str, token: &str| json!({"namespace": "web", "cluster": cluster, "replicas": 3, "why": token});
    let frozen = from("10.1.2.3", &sam, "scale_deployment", &with("prod", "")).send(port);
    assert_eq!(reason(&frozen), "denied_by_rule");
    let lacks = KEYS.es256(&claims("sam", "sre", "mcp:read"));
    let lacks = from("10.1.2.3", &lacks, "scale_deployment", &with("staging", "")).send(port);
    assert_eq!((lacks.status, reason(&lacks).as_str()), (403, "insufficient_scope"));
    assert!(lacks.header("www-authenticate").unwrap().contains("scope=\"mcp:write\""), "{lacks:?}");
    let request = from("10.1.2.3", &sam, "scale_deployment", &with("staging", ""));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|_| scope.spawn(|| request.send(port))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((20..=22).contains(&passed), "{passed} passed");
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!((refused.status, reason(refused).as_str()), (429, "rate_limited"));
    let told: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(told["error"]["message"], "Scaling is for SRE on weekdays; ask in #platform.");
    // Its own token as the value of an argument that is recorded.
    let leak = json!({"namespace": format!("see {sam}"), "replicas": 3});
    assert_eq!(reason(&from("10.1.2.3", &sam, "scale_deployment", &leak).send(port)), "argument_not_in_list");
    let lines = world.envoy.access_lines(43);
    let last = lines.iter().find(|line| line["mcp_iap"][0]["reason"] == "argument_not_in_list").unwrap();
    assert_eq!(last["mcp_iap"][0]["arguments"], json!({"namespace": "see ***REDACTED***", "replicas": 3}));
    assert!(!world.envoy.access_log().contains(sam.rsplit('.').next().unwrap()));
}
