//! HTTP/2, where a request may end with trailers: the body's callback never sees its end then.

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
fn trailers_end_a_body() {
    let world = World::new(&Changes::default());
    let dev = KEYS.rs256(&claims(&["dev"]));
    let allowed = call("get_pods", &json!({}));
    let refused = call("delete_namespace", &json!({}));
    let too_long = "x".repeat(1_000_001);
    let cases: &[(Option<&str>, &str, u16, &str)] = &[
        (Some(&dev), &allowed, 200, "allowed"),
        (Some(&dev), &refused, 403, "no_rule_allows"),
        (None, &allowed, 401, "missing_token"),
        (Some("x"), &allowed, 401, "malformed_token"),
        (Some(&dev), "", 400, "invalid_json"),
        (Some(&dev), "[]", 400, "batch"),
    ];
    let mut count = 0;
    for trailers in [true, false] {
        for (token, body, status, reason) in cases {
            count += 1;
            world.upstream.forget();
            let (seen, answer) = post(world.envoy.port, *token, body, trailers);
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
    }
    let (status, _) = post(world.envoy.port, Some(&dev), &too_long, true);
    assert_eq!(status, 413);
    world.upstream_saw_no_credential(&dev);
}
