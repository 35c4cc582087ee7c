//! The table: one request a row, what it is answered with, what the upstream saw, and its record; with
//! `allow_on_headers_stop_iteration` set and not set.

use crate::envoy::Changes;
use crate::explained::request_is_explained;
use crate::rows::{Row, Sees, rows};
use crate::world::{ISSUER, RESOURCE, World};
use serde_json::{Value, json};

/// Sends each row's request; `sees` says what the upstream may see of it.
pub fn run(world: &World, sees: impl Fn(&Row) -> Sees) -> Vec<Row> {
    let mut explained = 0;
    let rows = rows();
    for (count, row) in (1..).zip(&rows) {
        let Row { name, request, status, reason, .. } = row;
        let (name, status, reason) = (*name, *status, *reason);
        world.upstream.forget();
        let answer = request.send(world.envoy.port);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let record = world.record(count);
        assert_eq!(record["reason"], reason, "{name}: {record}");
        let outcome = match reason {
            "allowed" => "allowed",
            "metadata" | "preflight" => "answered",
            _ => "refused",
        };
        assert_eq!(record["outcome"], outcome, "{name}");
        let lines = world.envoy.access_lines(count);
        explained += usize::from(request_is_explained(&world.envoy, request, &lines[count - 1]));
        let seen = world.upstream.seen();
        match sees(row) {
            Sees::Nothing => assert!(seen.is_empty(), "{name}: the upstream saw {seen:?}"),
            Sees::HeadAtMost => {
                assert!(seen.iter().all(|seen| seen.body.is_empty()), "{name}: the upstream saw {seen:?}");
            }
            Sees::All => {
                assert_eq!(seen.len(), 1, "{name}");
                assert_eq!(seen[0].body, request.body, "{name}: byte for byte");
                assert_eq!((answer.status, record.get("upstream_status")), (200, None), "{name}");
                assert!(answer.header("vary").is_some_and(|vary| vary.starts_with("accept")), "{name}");
            }
        }
        let authorization = request.headers.iter().find(|(name, _)| name == "authorization");
        let token =
            authorization.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
        world.upstream_saw_no_credential(token.split(' ').next_back().unwrap());
        if outcome == "refused" {
            assert_eq!(answer.reason().as_deref(), Some(reason), "{name}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["error"]["data"]["decision"], record["decision"], "{name}");
        }
        let origin =
            request.headers.iter().find(|(name, _)| name == "origin").map(|(_, value)| value.as_slice());
        let shown = if reason == "origin_not_allowed" { None } else { origin };
        let told = answer.header("access-control-allow-origin").map(str::as_bytes);
        assert_eq!(told, shown, "{name}: only an allowed page is told that it may read");
        let told_of_origin =
            answer.headers.iter().any(|(name, value)| name == "vary" && value.contains("Origin"));
        assert_eq!(
            told_of_origin,
            shown.is_some() || reason == "metadata",
            "{name}: what a page reads varies"
        );
        let challenge = answer.header("www-authenticate");
        assert_eq!(
            challenge.is_some(),
            status == 401
                || matches!(reason, "malformed_authorization" | "token_in_query" | "token_repeated"),
            "{name}"
        );
        if let Some(challenge) = challenge {
            let metadata =
                r#"resource_metadata="http://127.0.0.1:10000/.well-known/oauth-protected-resource/mcp""#;
            assert!(
                challenge.starts_with(&format!("Bearer realm=\"{RESOURCE}\""))
                    && challenge.ends_with(metadata),
                "{name}: {challenge}"
            );
            let error = if status == 400 { "invalid_request" } else { "invalid_token" };
            assert_eq!(
                challenge.contains(&format!("error=\"{error}\"")),
                reason != "missing_token",
                "{name}: {challenge}"
            );
        }
        if reason == "metadata" {
            let document: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(
                (&document["resource"], &document["authorization_servers"]),
                (&json!(RESOURCE), &json!([ISSUER]))
            );
        }
    }
    assert!(explained >= 5, "explain was asked of {explained} rows only");
    rows
}

#[test]
fn the_table() {
    let world = World::new(&Changes::default());
    let rows = run(&world, |row| row.sees);
    let without_token = rows.iter().filter(|row| row.reason == "missing_token").count();
    let stats = world.envoy.admin("/stats/prometheus").unwrap();
    let counted: u64 = stats
        .lines()
        .filter(|line| line.starts_with("mcp_iap_requests{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, rows.len() as u64, "each request is counted once:\n{stats}");
    let counter = format!(r#"mcp_iap_requests{{outcome="refused",reason="missing_token"}} {without_token}"#);
    assert!(stats.contains(&counter), "{counter}:\n{stats}");
    assert!(!world.envoy.log().contains("panicked"), "{}", world.envoy.log());
}

#[test]
fn the_table_without_the_flag() {
    run(&World::new(&Changes::without_flag()), |row| row.sees_without_flag);
}
