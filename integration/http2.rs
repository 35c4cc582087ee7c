//! HTTP/2, where a request may end with trailers: the body's callback never sees its end then, and what
//! stands in them goes upstream.

use crate::envoy::Changes;
use crate::world::{KEYS, World, call, claims};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Sends a POST over HTTP/2, its body in one frame, with trailers behind it or without.
fn post(port: u16, token: Option<&str>, body: &str, trailers: bool) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut request =
            Request::post("http://mcp.example.com/mcp").header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (response, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
        sender.send_data(Bytes::from(body.to_owned()), !trailers).unwrap();
        if trailers {
            let mut map = HeaderMap::new();
            map.insert("x-trailer", HeaderValue::from_static("1"));
            if let Some(token) = token {
                map.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
            }
            // The answer may be there before the trailers went.
            let _ = sender.send_trailers(map);
        }
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(Ok(chunk)) = body.data().await {
            let _ = body.flow_control().release_capacity(chunk.len());
            bytes.extend_from_slice(&chunk);
        }
        connection.abort();
        (status, bytes)
    })
}

#[test]
fn trailers_end_a_request_without_a_call() {
    let world = World::new(&Changes::default());
    let dev = KEYS.rs256(&claims(&["dev"]));
    let allowed = call("get_pods", &json!({}));
    let refused = call("delete_namespace", &json!({}));
    let too_long = "x".repeat(1_000_001);
    let cases: &[(Option<&str>, &str, bool, u16, &str)] = &[
        (Some(&dev), &allowed, false, 200, "allowed"),
        (Some(&dev), &refused, false, 403, "no_rule_allows"),
        (None, &allowed, false, 401, "missing_token"),
        (Some(&dev), "", false, 400, "invalid_json"),
        (Some(&dev), &allowed, true, 400, "trailers"),
        (Some(&dev), &refused, true, 400, "trailers"),
        (Some(&dev), "", true, 400, "trailers"),
        (None, &allowed, true, 401, "missing_token"),
        (Some("x"), &allowed, true, 401, "malformed_token"),
    ];
    for (count, (token, body, trailers, status, reason)) in (1..).zip(cases) {
        world.upstream.forget();
        let (seen, answer) = post(world.envoy.port, *token, body, *trailers);
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(seen, *status, "trailers {trailers}: {reason}: {answer}");
        assert_eq!(world.record(count)["reason"], *reason, "trailers {trailers}");
        let upstream = world.upstream.seen();
        assert_eq!(upstream.len(), usize::from(*status == 200), "trailers {trailers}: {reason}");
        if let Some(seen) = upstream.first() {
            assert_eq!(seen.body, body.as_bytes());
        } else {
            let error: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(error["error"]["data"]["reason"], *reason);
        }
    }
    let (status, _) = post(world.envoy.port, Some(&dev), &too_long, true);
    assert!(matches!(status, 400 | 413), "{status}");
    world.upstream_saw_no_credential(&dev);
}
