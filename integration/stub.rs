//! A stand-in HTTP/1.1 server: answers as scripted, records what it sees as it comes, also of requests
//! that never end.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request as it came; the body may be partial.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub is_complete: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_slice())
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Raw header lines without line end.
    pub headers: Vec<Vec<u8>>,
    pub body: Vec<u8>,
    pub delay: Duration,
    /// How often the body is sent, and with which pause: an event stream.
    pub events: Option<(u32, Duration)>,
    /// Instead of all that: whatever is written here, then the connection ends.
    pub wire: Option<Wire>,
}

/// Bytes, written as their author likes.
#[derive(Clone)]
pub struct Wire(Arc<dyn Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            events: None,
            wire: None,
        }
    }

    /// An event stream: this event so often, with a pause before each.
    pub fn events(event: &str, count: u32, pause: Duration) -> Self {
        let stream = Self::new(200, format!("data: {event}\n\n")).header("content-type: text/event-stream");
        Self { events: Some((count, pause)), ..stream }
    }

    /// No answer by the book.
    pub fn wire(write: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self { wire: Some(Wire(Arc::new(write))), ..Self::new(200, "") }
    }

    pub fn header(mut self, line: impl Into<Vec<u8>>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server on a port of its own. It ends with the process.
#[derive(Clone)]
pub struct Stub {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Arc<Script>>>,
    at_head: Arc<std::sync::atomic::AtomicBool>,
}

impl Stub {
    pub fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, script)
    }

    /// On this port; on any for 0.
    pub fn start_at(port: u16, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(port, script, |connection| connection)
    }

    /// The same by TLS.
    pub fn start_tls(
        tls: Arc<rustls::ServerConfig>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(0, script, move |connection| {
            rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&tls)).unwrap(), connection)
        })
    }

    fn listen<C: Read + Write>(
        port: u16,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        accept: impl Fn(TcpStream) -> C + Send + Sync + 'static,
    ) -> Self {
        let accept = Arc::new(accept);
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let boxed: Script = Box::new(script);
        let stub = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(boxed))),
            at_head: Arc::default(),
        };
        let server = stub.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // An answer goes out in pieces; none waits for the other side's acknowledgement.
                let _ = connection.set_nodelay(true);
                let (server, accept) = (server.clone(), Arc::clone(&accept));
                std::thread::spawn(move || {
                    // A connection that breaks is part of the scenarios.
                    let _ = server.serve(accept(connection));
                });
            }
        });
        stub
    }

    pub fn script(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        let boxed: Script = Box::new(script);
        *self.script.lock().unwrap() = Arc::new(boxed);
    }

    /// Answers requests when their heads are here, whatever their bodies.
    pub fn script_at_head(&self, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.script(script);
        self.at_head.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    fn serve(&self, connection: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(connection);
        loop {
            let Some(seen) = self.read_request(&mut reader)? else { return Ok(()) };
            let script = Arc::clone(&self.script.lock().unwrap());
            let reply = script(&seen);
            std::thread::sleep(reply.delay);
            let writer = reader.get_mut();
            if let Some(Wire(write)) = &reply.wire {
                return write(writer);
            }
            write!(writer, "HTTP/1.1 {} X\r\n", reply.status)?;
            match reply.events {
                Some(_) => write!(writer, "transfer-encoding: chunked\r\n")?,
                None => write!(writer, "content-length: {}\r\n", reply.body.len())?,
            }
            for line in &reply.headers {
                writer.write_all(line)?;
                writer.write_all(b"\r\n")?;
            }
            writer.write_all(b"\r\n")?;
            match reply.events {
                Some((count, pause)) => write_events(writer, &reply.body, count, pause)?,
                None => writer.write_all(&reply.body)?,
            }
            writer.flush()?;
        }
    }

    fn read_request(&self, reader: &mut BufReader<impl Read>) -> std::io::Result<Option<Seen>> {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let first = String::from_utf8_lossy(&line).into_owned();
        let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut seen = Seen { path, ..Seen::default() };
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            let text = line.trim_ascii();
            if text.is_empty() {
                break;
            }
            let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            let name = String::from_utf8_lossy(&text[..colon]).to_lowercase();
            seen.headers.push((name, text[(colon + 1).min(text.len())..].trim_ascii().to_vec()));
        }
        if self.at_head.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(Some(seen));
        }
        let index = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let note = |bytes: &[u8], is_complete: bool| {
            if let Some(seen) = self.seen.lock().unwrap().get_mut(index) {
                seen.body.extend_from_slice(bytes);
                seen.is_complete = is_complete;
            }
        };
        let number =
            |name: &str| seen.header(name).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let mut read = |mut left: usize, is_body: bool| -> std::io::Result<Vec<u8>> {
            let (mut buffer, mut all) = ([0; 16 * 1024], Vec::new());
            while left > 0 {
                let size = left.min(buffer.len());
                let got = reader.read(&mut buffer[..size])?;
                if got == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                if is_body {
                    note(&buffer[..got], false);
                }
                all.extend_from_slice(&buffer[..got]);
                left -= got;
            }
            Ok(all)
        };
        let mut body = Vec::new();
        if seen.header("transfer-encoding").is_some() {
            loop {
                let mut size = Vec::new();
                while !size.ends_with(b"\n") {
                    size.extend(read(1, false)?);
                }
                let size = String::from_utf8_lossy(size.trim_ascii()).into_owned();
                let size = usize::from_str_radix(&size, 16).unwrap_or(0);
                body.extend(read(size, true)?);
                read(2, false)?;
                if size == 0 {
                    break;
                }
            }
        } else {
            body = read(number("content-length").unwrap_or(0), true)?;
        }
        note(b"", true);
        seen.body = body;
        seen.is_complete = true;
        Ok(Some(seen))
    }
}

fn write_events(writer: &mut impl Write, event: &[u8], count: u32, pause: Duration) -> std::io::Result<()> {
    for _ in 0..count {
        writer.flush()?;
        std::thread::sleep(pause);
        write!(writer, "{:x}\r\n", event.len())?;
        writer.write_all(event)?;
        writer.write_all(b"\r\n")?;
    }
    writer.write_all(b"0\r\n\r\n")
}
