//! The MCP server, the issuer and the authorization server of the measurement: one HTTP server that reads
//! the whole request and answers at once, over HTTP/1.1. A stand-in, so that Envoy is the bottleneck.

use crate::issuer::Issuer;
use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

/// A server that runs as long as the runtime.
pub struct Server {
    pub port: u16,
    /// Its JWK Set.
    pub jwks: String,
}

impl Server {
    /// What it says at this port.
    pub fn of(issuer: &Issuer, port: u16) -> Self {
        Self { port, jwks: json!({"keys": issuer.all_jwks()}).to_string() }
    }

    /// Its OpenID Connect discovery document.
    pub fn discovery(&self) -> String {
        let issuer = format!("http://127.0.0.1:{}", self.port);
        json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")}).to_string()
    }
}

/// Starts it.
pub async fn start(issuer: &Issuer) -> Result<Server> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let server = Server::of(issuer, port);
    let documents = Documents {
        list: crate::case::list().into(),
        discovery: server.discovery().into(),
        jwks: server.jwks.clone().into(),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let documents = documents.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, documents.clone()));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(server)
}

#[derive(Clone)]
struct Documents {
    list: Bytes,
    discovery: Bytes,
    jwks: Bytes,
}

async fn answer(
    mut request: Request<Incoming>,
    documents: Documents,
) -> hyper::Result<Response<Full<Bytes>>> {
    while let Some(frame) = request.body_mut().frame().await {
        frame?;
    }
    let body = match request.uri().path() {
        "/.well-known/openid-configuration" => documents.discovery,
        "/jwks" => documents.jwks,
        _ if request.headers().get("mcp-method").is_some_and(|method| method == "tools/list") => {
            documents.list
        }
        _ => Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}"#,
        ),
    };
    let mut response = Response::new(Full::new(body));
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}
