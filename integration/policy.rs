//! The language of rules on a real Envoy: claims, addresses, headers that Envoy sets, hours, spans and conditions
//! in CEL, each met and not met; and that `mcp-iap explain` says of each call what the filter decided.

use crate::client::Request;
use crate::envoy::Changes;
use crate::explained::request_is_explained;
use crate::world::{ISSUER, KEYS, RESOURCE, World, call, claims, now, post};
use mcp_iap::policy::utc_offset;
use serde_json::{Value, json};

const ZONE: &str = "Europe/Zurich";

/// Hours around now in the zone, and those that are not.
pub fn hours() -> (String, String) {
    let seconds = i64::try_from(now()).unwrap();
    let local = seconds + utc_offset(ZONE, seconds).unwrap();
    let hour = |offset: i64| format!("{:02}:00", (local / 3_600 + offset).rem_euclid(24));
    (format!("{}-{}", hour(-2), hour(3)), format!("{}-{}", hour(3), hour(-2)))
}

/// The policy parts of examples/richer.yaml, with what else the language has, around now and this machine.
fn document() -> String {
    let (open, closed) = hours();
    format!(
        r#"resource: {RESOURCE}
issuers:
  - {{ issuer: "{ISSUER}", insecure_http: true, cluster: identity_provider }}
trusted_headers: [x-device-trust]
rules:
  - id: reads
    allow: {{ tools: [get_*, list_*] }}
    to: {{ groups: [dev, sre] }}
  - id: sre-scales-in-office-hours
    allow: {{ tools: [scale_deployment] }}
    to: {{ issuer: "{ISSUER}", groups: [sre], source: [127.0.0.0/8] }}
    scope: mcp:write
    arguments:
      namespace: {{ in: [web, api] }}
      replicas: {{ integer: {{ min: 0, max: 10 }} }}
    time: {{ days: [mon-sun], hours: "{open}", zone: {ZONE} }}
    message: "Scaling is for SRE on weekdays; ask in #platform."
  - id: at-night
    allow: {{ tools: [night_job] }}
    time: {{ hours: "{closed}", zone: {ZONE} }}
  - id: from-the-office
    allow: {{ tools: [office_job] }}
    to: {{ source: [10.0.0.0/8, "2001:db8::/32"] }}
  - id: managed-devices
    allow: {{ tools: [device_job] }}
    to: {{ headers: {{ x-device-trust: [managed] }} }}
  - id: staff
    allow: {{ tools: [staff_job] }}
    to: {{ claims: {{ employment.kind: [staff], level: [3] }} }}
  - id: own-team
    allow: {{ tools: [team_job] }}
    when: args.namespace == "team-" + caller.claims.team && source.address == "127.0.0.1" && now > timestamp("2026-01-01T00:00:00Z")
  - id: year-end-freeze
    deny: {{ tools: ["drop_*"] }}
    time: {{ from: "2020-01-01T00:00:00Z", until: "2120-01-01T00:00:00Z" }}
  - id: past-freeze
    deny: {{ tools: [get_*] }}
    time: {{ until: "2020-01-01T00:00:00Z" }}
  - id: drops
    allow: {{ tools: ["drop_*"] }}
  - id: no-templates
    deny: {{ methods: [resources/templates/list] }}
    to: {{ groups: [dev] }}
  - id: extension
    allow: {{ methods: [acme/run] }}
    to: {{ groups: [dev] }}
"#
    )
}

/// Envoy says which devices are managed, by the certificate, say; here by a header that it removes.
fn devices() -> (&'static str, String) {
    let filters = "          http_filters:\n";
    let mutation = r#"          - name: envoy.filters.http.header_mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations:
                request_mutations:
                - remove: x-device-trust
                - append: { header: { key: x-device-trust, value: "%REQ(x-test-device)%" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
                - remove: x-test-device
"#;
    (filters, format!("{filters}{mutation}"))
}

fn request(claims: &Value, tool: &str, arguments: &Value) -> Request {
    post(&KEYS.es256(claims), call(tool, arguments))
}

#[test]
fn the_language_decides_on_envoy_as_explain_says() {
    let changes = Changes { configuration: Some(document()), replace: vec![devices()], ..Changes::default() };
    let world = World::new(&changes);
    let with = |groups: &[&str], more: Value| {
        let mut claims = claims(groups);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    let (dev, sre) = (with(&["dev"], json!({})), with(&["sre"], json!({"scope": "mcp:write"})));
    let staff = with(&[], json!({"employment": {"kind": "staff"}, "level": 3, "team": "web"}));
    let guest = with(&[], json!({"employment": {"kind": "guest"}, "level": 3, "team": 7}));
    let few = json!({"namespace": "web", "replicas": 3});
    let none = json!({});
    let method = |method: &str| {
        post(&KEYS.es256(&dev), json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string())
    };
    let scale = "sre-scales-in-office-hours";
    let rows: Vec<(Request, &str, Option<&str>)> = vec![
        (request(&dev, "get_pods", &none), "allowed", Some("reads")),
        (request(&dev, "scale_deployment", &few), "no_rule_allows", Some(scale)),
        (request(&sre, "scale_deployment", &few), "allowed", Some(scale)),
        (
            request(&sre, "scale_deployment", &json!({"namespace": "web", "replicas": 50})),
            "argument_out_of_range",
            Some(scale),
        ),
        (request(&sre, "scale_deployment", &json!({"replicas": 3})), "argument_missing", Some(scale)),
        (request(&with(&["sre"], json!({})), "scale_deployment", &few), "insufficient_scope", Some(scale)),
        (request(&sre, "night_job", &none), "outside_time_window", Some("at-night")),
        (request(&sre, "office_job", &none), "source_not_allowed", Some("from-the-office")),
        // Whom a client names as the one before it does not count.
        (
            request(&sre, "office_job", &none).header("x-forwarded-for", "10.0.0.1"),
            "source_not_allowed",
            Some("from-the-office"),
        ),
        (
            request(&sre, "device_job", &none).header("x-test-device", "managed"),
            "allowed",
            Some("managed-devices"),
        ),
        (
            request(&sre, "device_job", &none).header("x-test-device", "own"),
            "attribute_mismatch",
            Some("managed-devices"),
        ),
        (
            request(&sre, "device_job", &none).header("x-device-trust", "managed"),
            "attribute_mismatch",
            Some("managed-devices"),
        ),
        (request(&staff, "staff_job", &none), "allowed", Some("staff")),
        (request(&guest, "staff_job", &none), "claim_mismatch", Some("staff")),
        (request(&dev, "staff_job", &none), "claim_mismatch", Some("staff")),
        (request(&staff, "team_job", &json!({"namespace": "team-web"})), "allowed", Some("own-team")),
        (
            request(&staff, "team_job", &json!({"namespace": "team-api"})),
            "condition_not_met",
            Some("own-team"),
        ),
        (request(&staff, "team_job", &none), "condition_error", Some("own-team")),
        (request(&guest, "team_job", &json!({"namespace": "team-web"})), "condition_error", Some("own-team")),
        (request(&sre, "drop_table", &none), "denied_by_rule", Some("year-end-freeze")),
        (method("resources/list"), "allowed", None),
        (method("resources/templates/list"), "denied_by_rule", Some("no-templates")),
        (method("acme/run"), "allowed", Some("extension")),
        (method("acme/walk"), "unknown_method", None),
    ];
    for (count, (request, reason, rule)) in (1..).zip(&rows) {
        world.upstream.forget();
        let answer = request.send(world.envoy.port);
        let record = world.record(count);
        assert_eq!((&record["reason"], record["rule"].as_str()), (&json!(reason), *rule), "{record}");
        let allowed = *reason == "allowed";
        assert_eq!(answer.status == 200, allowed || *reason == "unknown_method", "{answer:?}");
        assert_eq!(world.upstream.seen().len(), usize::from(allowed), "{reason}");
        let lines = world.envoy.access_lines(count);
        // What Envoy sets before the filter is not what the client sent.
        let is_set_by_envoy = rule.is_some_and(|rule| rule == "managed-devices");
        assert!(
            is_set_by_envoy || request_is_explained(&world.envoy, request, &lines[count - 1]),
            "{record}"
        );
    }
    let refusal = rows[1].0.send(world.envoy.port);
    let told: Value = serde_json::from_slice(&refusal.body).unwrap();
    assert_eq!(told["error"]["message"], "Scaling is for SRE on weekdays; ask in #platform.");
    assert_eq!(told["error"]["data"].as_object().unwrap().len(), 2, "nothing else of the policy: {told}");
}
