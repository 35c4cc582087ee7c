//! The load: a number of connections, each with one request at a time, closed loop.

use crate::case::{Case, Requests};
use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A connection, or a stream of one.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn connect(case: &Case, port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        if case.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(Self::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    /// Sends one request and reads the whole answer, which must have the status of the case; its size. A connection
    /// that Envoy closed behind a refusal is opened anew, at the cost of who closes.
    async fn send(&mut self, case: &Case, port: u16, request: Request<Full<Bytes>>) -> Result<usize> {
        if matches!(self, Self::Http1(sender) if sender.is_closed()) {
            *self = Self::connect(case, port).await?;
        }
        let mut response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };
        let status = response.status().as_u16();
        let (mut text, mut size) = (Vec::new(), 0);
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame?;
            size += frame.data_ref().map_or(0, Bytes::len);
            if let (Some(data), true) = (frame.data_ref(), status != case.status) {
                text.extend_from_slice(data);
            }
        }
        let text = String::from_utf8_lossy(&text);
        ensure!(status == case.status, "{status} instead of {}: {text}", case.status);
        Ok(size)
    }
}

fn request(case: &Case, requests: &Requests, number: usize) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::post(if case.http2 { "http://127.0.0.1/mcp" } else { "/mcp" });
    if !case.http2 {
        request = request.header("host", "127.0.0.1");
    }
    if let Some(tool) = requests.tool {
        request = request.header("mcp-name", tool);
    }
    request
        .header("authorization", &requests.authorization[number % requests.authorization.len()])
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", requests.method)
        .body(Full::new(requests.body.clone()))
        .context("a request")
}

/// Sends each token once, after the first answer is as it must be. The size of the last.
pub async fn warm(case: &Case, port: u16, requests: &Requests) -> Result<usize> {
    let mut sender = Sender::connect(case, port).await?;
    let start = Instant::now();
    // The keys may still be on their way.
    while let Err(error) = sender.send(case, port, request(case, requests, 0)?).await {
        ensure!(start.elapsed() < Duration::from_secs(5), "port {port}: {error:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        sender = Sender::connect(case, port).await?;
    }
    let again = requests.authorization.len().max(500);
    let mut size = 0;
    for number in 0..again {
        size = sender.send(case, port, request(case, requests, number)?).await?;
    }
    Ok(size)
}

/// How long each request took, in ns.
pub async fn run(
    case: &Case,
    port: u16,
    requests: &Requests,
    connections: usize,
    time: Duration,
) -> Result<Vec<u64>> {
    let mut shared = Sender::connect(case, port).await?;
    let next = Rc::new(Cell::new(0_usize));
    let mut senders = vec![];
    for _ in 0..connections {
        senders.push(match &mut shared {
            Sender::Http2(sender) => Sender::Http2(sender.clone()),
            Sender::Http1(_) => Sender::connect(case, port).await?,
        });
    }
    let end = Instant::now() + time;
    let loops = senders.into_iter().map(|mut sender| {
        let next = Rc::clone(&next);
        async move {
            let mut latencies = Vec::with_capacity(8192);
            while Instant::now() < end {
                let number = next.replace(next.get().wrapping_add(1));
                let request = request(case, requests, number)?;
                let start = Instant::now();
                sender.send(case, port, request).await?;
                latencies.push(u64::try_from(start.elapsed().as_nanos())?);
            }
            anyhow::Ok(latencies)
        }
    });
    Ok(try_join_all(loops).await?.concat())
}
