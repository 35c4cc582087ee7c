//! Tokens and keys on a real Envoy: the attack list, one request a row, and what Envoy logs of it.

use crate::client::{Answer, Request};
use crate::envoy::Changes;
use crate::stub::{Reply, Seen};
use crate::support::attacks::{CONFIGURATION, Cast, MAIN, Row, SECRET};
use crate::world::{World, call, now};
use serde_json::json;
use std::time::Duration;

/// The configuration under attack, its secret in the VM's environment.
pub fn changes() -> Changes {
    let variables = format!(
        "vm_id: mcp_iap\n                  environment_variables: {{ key_values: {{ SHARED_SECRET: \"{SECRET}\" }} }}"
    );
    Changes {
        configuration: Some(CONFIGURATION.to_owned()),
        replace: vec![("vm_id: mcp_iap", variables)],
        concurrency: Some(1),
        ..Changes::default()
    }
}

/// The issuers' key sets.
pub fn provide(cast: &Cast) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let (main, partner) = (cast.main_jwks().to_string(), cast.partner_jwks().to_string());
    let discovery = json!({"issuer": MAIN, "jwks_uri": format!("{MAIN}/jwks")}).to_string();
    move |seen: &Seen| match seen.path.as_str() {
        "/.well-known/openid-configuration" => Reply::new(200, discovery.clone()),
        "/jwks" => Reply::new(200, main.clone()),
        "/partner-keys" => Reply::new(200, partner.clone()),
        _ => Reply::new(404, ""),
    }
}

/// Sends a row's credential. Made-up key ids keep a distance of a second, so such a row asks again.
fn send(world: &World, row: &Row) -> Answer {
    let mut request = Request::new("POST", "/mcp")
        .header("content-type", "application/json")
        .body(call("get_x", &json!({})));
    for value in &row.authorization {
        request = request.header("authorization", value.as_bytes());
    }
    for _ in 0..3 {
        let answer = request.send(world.envoy.port);
        if answer.status != 503 {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(1100));
    }
    request.send(world.envoy.port)
}

fn attack(cast: &Cast, changes: &Changes) {
    let world = World::with_provider(changes, provide(cast));
    let rows = cast.rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let answer = send(&world, row);
        let seen = answer.reason().unwrap_or_else(|| "allowed".to_owned());
        let status = match row.reason {
            "allowed" => 200,
            "malformed_authorization" => 400,
            _ => 401,
        };
        if seen != row.reason || answer.status != status {
            wrong.push(format!("{}: {} {seen}, not {status} {}", row.name, answer.status, row.reason));
            continue;
        }
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let has_error = challenge.contains(r#"error="invalid_token""#);
        assert_eq!(has_error, status == 401 && row.reason != "missing_token", "{}: {challenge}", row.name);
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    world.envoy.access_lines(rows.len());
    let logs = [world.envoy.access_log(), world.envoy.log()].concat();
    assert!(!logs.contains("panicked"), "{logs}");
    assert!(!logs.contains(SECRET), "the secret is in a log");
    let mut parts = 0;
    for row in &rows {
        for part in row.authorization.iter().flat_map(|value| value.split([' ', '.', '=', ','])) {
            // Short ones occur by chance.
            if part.len() >= 16 {
                parts += 1;
                assert!(!logs.contains(part), "{}: a part of its token is in a log", row.name);
            }
        }
    }
    assert!(parts > 1000, "{parts} parts were looked for");
}

#[test]
fn each_attack_ends_with_its_reason() {
    let cast = Cast::new(now());
    attack(&cast, &changes());
}
