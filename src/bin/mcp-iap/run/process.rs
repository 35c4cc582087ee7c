//! A running Envoy: what it says comes as events, and it is gone, with its folder, when this ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How many events wait to be shown; then Envoy's log waits.
const MAX_EVENTS: usize = 1024;
/// The longest line that is taken as one, in bytes: a record is far below.
const MAX_LINE: u64 = 64 * 1024;
/// How many of Envoy's last log lines are kept.
const LAST_LINES: usize = 15;
/// How long what Envoy said before it ended may take to come.
const SAID_WITHIN: Duration = Duration::from_secs(2);
/// How long Envoy may take to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A line of the access log.
    Access(String),
    /// A line of Envoy's own log.
    Log(String),
    /// Envoy's access log has ended, or its own.
    Closed,
    /// SIGINT, SIGTERM or SIGHUP came.
    Signal,
}

/// Envoy, and the folder with its configuration.
pub struct Envoy {
    child: Child,
    admin: SocketAddr,
    folder: PathBuf,
    events: Receiver<Event>,
    last: VecDeque<String>,
    /// How many of the two logs have ended.
    closed: u8,
}

impl Envoy {
    /// Starts Envoy on this bootstrap.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(binary: &Path, bootstrap: &str, admin: SocketAddr) -> std::io::Result<Self> {
        let (sender, events) = sync_channel(MAX_EVENTS);
        let signals = {
            use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
            signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?
        };
        let folder = Folder::new()?;
        let file = folder.0.join("envoy.yaml");
        std::fs::write(&file, bootstrap)?;
        let mut child = super::tether::command(binary)?
            .arg("-c")
            .arg(&file)
            .args(["--disable-hot-restart", "--concurrency", "2", "--file-flush-interval-msec", "100"])
            .args(["-l", "warning", "--component-log-level", "wasm:info"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches this process alone, which ends Envoy in order.
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let envoy = Self { child, admin, folder: folder.keep(), events, last: VecDeque::new(), closed: 0 };
        if let (Some(access), Some(log)) = pipes {
            let (to_access, to_log) = (sender.clone(), sender.clone());
            std::thread::spawn(move || {
                read_lines(access, &to_access, Event::Access);
                let _ = to_access.send(Event::Closed);
            });
            std::thread::spawn(move || {
                read_lines(log, &to_log, Event::Log);
                let _ = to_log.send(Event::Closed);
            });
        }
        std::thread::spawn(move || {
            let mut signals = signals;
            for _ in signals.forever() {
                let _ = sender.send(Event::Signal);
            }
        });
        Ok(envoy)
    }

    /// The next event, if one comes within `wait`.
    pub fn next(&mut self, wait: Duration) -> Option<Event> {
        let event = match self.events.recv_timeout(wait) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        match &event {
            Event::Log(line) => {
                if self.last.len() == LAST_LINES {
                    self.last.pop_front();
                }
                self.last.push_back(line.clone());
            }
            Event::Closed => self.closed = self.closed.saturating_add(1),
            Event::Access(_) | Event::Signal => {}
        }
        Some(event)
    }

    /// How Envoy ended, if it has; with the last lines of its log.
    pub fn ended(&mut self) -> Option<(ExitStatus, Vec<String>)> {
        let status = self.child.try_wait().ok()??;
        let until = Instant::now() + SAID_WITHIN;
        while self.closed < 2 && Instant::now() < until {
            self.next(Duration::from_millis(50));
        }
        Some((status, self.last.iter().cloned().collect()))
    }

    /// Whether Envoy serves.
    pub fn is_ready(&self) -> bool {
        ask(self.admin, "GET", "/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Ends Envoy: it is asked to, and killed where it does not or where a second signal comes. What
    /// happens meanwhile goes to `show`.
    pub fn end(mut self, mut show: impl FnMut(Event)) {
        let is_asked = ask(self.admin, "POST", "/quitquitquit").is_ok();
        let until = Instant::now() + if is_asked { ENDS_WITHIN } else { Duration::ZERO };
        while Instant::now() < until {
            match self.next(Duration::from_millis(50)) {
                Some(Event::Signal) => break,
                Some(Event::Closed) if self.closed < 2 => {}
                Some(Event::Closed) => {
                    // It is ending; its exit comes at once.
                    while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    break;
                }
                Some(event) => show(event),
                None if matches!(self.child.try_wait(), Ok(Some(_))) => break,
                None => {}
            }
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new folder that others can't read; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
        let name = format!("mcp-iap-{:016x}", u64::from_ne_bytes(random));
        let folder = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// Somebody else removes it.
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Each line as an event; one that is too long comes in parts.
fn read_lines(from: impl Read, to: &SyncSender<Event>, event: impl Fn(String) -> Event) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        line.clear();
        if to.send(event(text)).is_err() {
            return;
        }
    }
}

/// Asks the admin interface; the answer as it comes.
fn ask(admin: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut here = admin;
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => here.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => here.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let mut stream = TcpStream::connect_timeout(&here, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_LINE).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
