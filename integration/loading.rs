//! Loading: the oldest and the newest Envoy, the smallest example as it stands, a configuration that
//! is refused with a reason.

use crate::envoy::{Changes, Envoy, binary};
use crate::stub::{Reply, Stub};
use crate::world::{KEYS, World, call, claims, post};
use serde_json::json;

fn refused(configuration: &str) -> String {
    let changes = Changes { configuration: Some(configuration.to_owned()), ..Changes::default() };
    let output = Envoy::validate(&changes);
    assert!(!output.status.success(), "accepted: {configuration}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_bad_configuration_is_refused_with_its_reason() {
    let good = std::fs::read_to_string(crate::envoy::root().join("examples/smallest.yaml")).unwrap();
    let log = refused(&good.replace("groups: [dev]", "gruops: [dev]"));
    assert!(
        log.contains(
            "configuration refused: `rules[0].to.gruops`: there is no such field; did you mean `groups`?"
        ),
        "{log}"
    );
    let log = refused(&good.replace("https://login", "http://login"));
    assert!(
        log.contains("`issuers[0].issuer` is \"http://login.example.com\": is not reached by https"),
        "{log}"
    );
    assert!(refused("").contains("there is no configuration"));
}

#[test]
fn a_struct_is_refused_with_advice() {
    let (from, to) = (
        "\"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: |\n                    resource",
        "\"@type\": type.googleapis.com/google.protobuf.Struct\n                  value:\n                    resource",
    );
    let output = Envoy::validate(&Changes { replace: vec![(from, to.into())], ..Changes::default() });
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && log.contains("give it as text"), "{log}");
}

/// `examples/smallest.yaml` to the letter; its issuer's cluster is the one of its host.
#[test]
fn the_smallest_example_as_it_stands() {
    let provider = Stub::start(|seen| match seen.path.as_str() {
        "/.well-known/openid-configuration" => {
            assert_eq!(seen.header("host"), Some(&b"login.example.com"[..]));
            let issuer = "https://login.example.com";
            Reply::new(200, json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string())
        }
        "/keys" => Reply::new(200, KEYS.jwks().to_string()),
        _ => Reply::new(404, ""),
    });
    let configuration = std::fs::read_to_string(crate::envoy::root().join("examples/smallest.yaml")).unwrap();
    let changes = Changes {
        configuration: Some(configuration),
        replace: vec![("name: identity_provider", "name: login.example.com".into())],
        ..Changes::default()
    };
    let upstream = Stub::start(|_| Reply::new(200, "{}"));
    let envoy = Envoy::start(&changes, upstream.port, provider.port);
    let world = World { provider, upstream, envoy };
    let mut claims = claims(&["dev"]);
    claims["iss"] = json!("https://login.example.com");
    claims["aud"] = json!("https://mcp.example.com/mcp");
    let token = KEYS.rs256(&claims);
    assert_eq!(post(&token, call("get_pods", &json!({}))).send(world.envoy.port).status, 200);
    let refused = post(&token, call("delete", &json!({}))).send(world.envoy.port);
    assert_eq!(refused.reason().as_deref(), Some("no_rule_allows"));
    assert_eq!(world.record(2)["reason"], "no_rule_allows");
    world.upstream_saw_no_credential(&token);
}

#[test]
fn the_oldest_envoy_serves_too() {
    let changes = Changes { binary: Some(binary("ENVOY_OLDEST")), ..Changes::default() };
    let world = World::new(&changes);
    let token = KEYS.es256(&claims(&["dev"]));
    assert_eq!(post(&token, call("get_pods", &json!({}))).send(world.envoy.port).status, 200);
    let refused = post(&token, call("delete", &json!({}))).send(world.envoy.port);
    assert_eq!((refused.status, refused.reason().as_deref()), (403, Some("no_rule_allows")));
    assert_eq!(world.record(2)["reason"], "no_rule_allows");
    world.upstream_saw_no_credential(&token);
}
