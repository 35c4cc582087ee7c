//! A client that sends just the bytes that it is told to, over HTTP/1.1.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    /// `error.data.reason` of a refusal.
    pub fn reason(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.pointer("/error/data/reason")?.as_str()?.to_owned())
    }
}

/// A request, to be sent as it is.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Sent in chunks of this size with `Transfer-Encoding: chunked`.
    pub chunk: Option<usize>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new(), chunk: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With all headers of this name gone.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(candidate, _)| candidate != name);
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn chunked(mut self, size: usize) -> Self {
        self.chunk = Some(size);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes_on("close")
    }

    fn bytes_on(&self, connection: &str) -> Vec<u8> {
        let mut out = format!(
            "{} {} HTTP/1.1\r\nhost: mcp.example.com\r\nconnection: {connection}\r\n",
            self.method, self.path
        )
        .into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        match self.chunk {
            None if self.body.is_empty() && self.method != "POST" => out.extend_from_slice(b"\r\n"),
            None => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
                out.extend_from_slice(&self.body);
            }
            Some(size) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks(size) {
                    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        out
    }

    /// Sends the request and waits for the whole answer.
    pub fn send(&self, port: u16) -> Answer {
        let stream = self.start(port);
        finish(stream)
    }

    /// Sends the request by TLS and waits for the whole answer.
    ///
    /// # Errors
    /// The other side ends the connection, in the handshake or behind it.
    pub fn send_tls(&self, port: u16, tls: &Arc<rustls::ClientConfig>) -> std::io::Result<Answer> {
        let name = "mcp.example.com".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(tls), name).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = rustls::StreamOwned::new(connection, tcp);
        stream.write_all(&self.bytes())?;
        stream.flush()?;
        read_answer(stream)
    }

    /// Sends the head and half of the body, and leaves the rest to the caller.
    pub fn start_with_half_a_body(&self, port: u16) -> TcpStream {
        let bytes = self.bytes();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&bytes[..bytes.len() - self.body.len() / 2]).unwrap();
        stream
    }

    /// Sends the request and leaves the answer to the caller.
    pub fn start(&self, port: u16) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Envoy may answer and close before it has read everything.
        let _ = stream.write_all(&self.bytes());
        stream
    }
}

/// A connection that stays open between requests, until the other side says that it ends it.
pub struct KeepAlive {
    port: u16,
    stream: Option<TcpStream>,
    /// How often it was connected.
    pub connected: u32,
}

impl KeepAlive {
    pub fn new(port: u16) -> Self {
        Self { port, stream: None, connected: 0 }
    }

    /// Sends the request and waits for the whole answer.
    ///
    /// # Errors
    /// The other side ended the connection without having said so.
    pub fn send(&mut self, request: &Request) -> std::io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                self.connected += 1;
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                stream
            }
        };
        stream.write_all(&request.bytes_on("keep-alive"))?;
        let answer = read_answer(&mut stream)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Reads one answer; Envoy may leave the connection open for a while behind it.
pub fn finish(stream: TcpStream) -> Answer {
    read_answer(stream).unwrap_or_else(|error| panic!("no whole answer: {error}"))
}

/// Reads one answer.
///
/// # Errors
/// The other side ends the connection before, or says nothing for as long as the stream waits.
pub fn read_answer(mut stream: impl Read) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        if let Some(answer) = parse(&bytes) {
            return Ok(answer);
        }
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::Error::other(String::from_utf8_lossy(&bytes))),
            size => bytes.extend_from_slice(&buffer[..size]),
        }
    }
}

/// The answer, if it is whole.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let value =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let rest = &bytes[end + 4..];
    let body = match value("content-length") {
        Some(length) => rest.get(..length.parse().ok()?)?.to_vec(),
        None if value("transfer-encoding") == Some("chunked") => dechunk(rest)?,
        None => Vec::new(),
    };
    Some(Answer { status, headers, body })
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return bytes.get(end + 2..end + 4).map(|_| out);
        }
        out.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
