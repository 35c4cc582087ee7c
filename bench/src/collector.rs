//! The collector of the sinks' measurement: takes what Envoy sends by gRPC, of whatever service, and throws it away. A
//! stand-in, so that Envoy is what is measured; `integration/sinks.rs` has collectors that read the records.

use anyhow::Result;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;

/// A collector that runs as long as the runtime.
pub struct Collector {
    pub port: u16,
    received: Arc<AtomicU64>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let collector = Self { port: listener.local_addr()?.port(), received: Arc::default() };
        let received = Arc::clone(&collector.received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    let service = service_fn(move |request| take(request, Arc::clone(&received)));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .initial_stream_window_size(1 << 20)
                        .initial_connection_window_size(4 << 20)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(collector)
    }

    /// How many bytes came since the last call.
    pub fn take_received(&self) -> u64 {
        self.received.swap(0, Ordering::Relaxed)
    }
}

type Answer = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>>;

/// Takes all of a call, one message or a stream of them, and answers with an empty message.
async fn take(mut request: Request<Incoming>, received: Arc<AtomicU64>) -> hyper::Result<Response<Answer>> {
    while let Some(frame) = request.body_mut().frame().await {
        let size = frame?.data_ref().map_or(0, Bytes::len);
        received.fetch_add(size as u64, Ordering::Relaxed);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
