//! Server-sent events (WHATWG HTML, section 9.2, "Server-sent events"): a stream in pieces, cut anywhere, to its
//! events, of each of which the data can be changed; all else passes byte for byte.
//!
//! An event goes on when it is complete, at once; what is held is one event, up to a limit.

use crate::reason::Reason;

/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What becomes of an event, by its data.
pub enum Verdict {
    /// It passes as it came.
    Pass,
    /// It goes on with this data.
    Replace(Vec<u8>),
}

/// Looks at the data of an event, or is told why it can't be had.
pub type Judge<'a> = dyn FnMut(Result<&[u8], Reason>) -> Verdict + 'a;

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    /// The event that is not complete.
    held: Vec<u8>,
    limit: usize,
    /// Nothing stands in the line so far.
    is_blank: bool,
    /// The last line ended with CR: an LF still belongs to it.
    after_cr: bool,
    /// The event is beyond the limit, and dropped to its end.
    is_dropped: bool,
    /// The event is the stream's first: a byte order mark may stand before it.
    is_first: bool,
}

impl Events {
    /// Of which an event has at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit, is_blank: true, after_cr: false, is_dropped: false, is_first: true }
    }

    /// Takes the next piece of the stream and gives what goes on.
    pub fn push(&mut self, piece: &[u8], judge: &mut Judge<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = piece;
        while let Some(first) = rest.first() {
            let is_rest_of_end = std::mem::take(&mut self.after_cr) && *first == b'\n';
            let size = if is_rest_of_end {
                1
            } else {
                rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(rest.len(), |at| at.max(1))
            };
            let (taken, behind) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = behind;
            if is_rest_of_end && self.held.is_empty() && !self.is_dropped {
                // Of an event that has gone on.
                out.extend_from_slice(taken);
                continue;
            }
            self.hold(taken, &mut out, judge);
            let is_end = !is_rest_of_end && matches!(first, b'\r' | b'\n');
            self.after_cr = is_end && *first == b'\r';
            if !is_end {
                self.is_blank &= is_rest_of_end;
            } else if std::mem::replace(&mut self.is_blank, true) {
                self.complete(&mut out, judge);
            }
        }
        out
    }

    /// The stream has ended, perhaps within an event.
    pub fn finish(&mut self, judge: &mut Judge<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.complete(&mut out, judge);
        out
    }

    fn hold(&mut self, bytes: &[u8], out: &mut Vec<u8>, judge: &mut Judge<'_>) {
        if self.is_dropped {
            return;
        }
        if self.held.len().saturating_add(bytes.len()) <= self.limit {
            self.held.extend_from_slice(bytes);
            return;
        }
        self.held = Vec::new();
        self.is_dropped = true;
        if let Verdict::Replace(data) = judge(Err(Reason::ListTooLarge)) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\n\n");
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
        let is_first = std::mem::take(&mut self.is_first);
        if !std::mem::take(&mut self.is_dropped) {
            let event = std::mem::take(&mut self.held);
            judge_event(&event, is_first, out, judge);
        }
    }
}

fn judge_event(whole: &[u8], is_first: bool, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
    let event = whole.strip_prefix(MARK).filter(|_| is_first).unwrap_or(whole);
    let mut data: Option<Vec<u8>> = None;
    let mut is_certain = true;
    for line in Lines(event) {
        match Field::of(line) {
            Field::Data { value, .. } => {
                let data = match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data
                    }
                    None => data.insert(Vec::new()),
                };
                data.extend_from_slice(value);
            }
            Field::LikeData => is_certain = false,
            Field::Other => {}
        }
    }
    let verdict = match (&data, is_certain) {
        (_, false) => judge(Err(Reason::ListUnreadable)),
        // No client makes a message of it; servers begin streams with such events.
        (None, true) => Verdict::Pass,
        (Some(data), true) if data.is_empty() => Verdict::Pass,
        (Some(data), true) => judge(Ok(data)),
    };
    match verdict {
        Verdict::Pass => out.extend_from_slice(whole),
        Verdict::Replace(new) => replace(event, &new, out),
    }
}

/// The event with other data, in the place of the first; its other lines stay.
fn replace(event: &[u8], data: &[u8], out: &mut Vec<u8>) {
    let mut is_written = false;
    for line in Lines(event) {
        match Field::of(line) {
            Field::Other => out.extend_from_slice(line),
            Field::Data { .. } | Field::LikeData if is_written => {}
            Field::Data { .. } | Field::LikeData => {
                is_written = true;
                let end: &[u8] = match line {
                    [.., b'\r', b'\n'] => b"\r\n",
                    [.., b'\r'] => b"\r",
                    _ => b"\n",
                };
                for part in data.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(part);
                    out.extend_from_slice(end);
                }
            }
        }
    }
}

/// A line of an event.
enum Field<'a> {
    Data {
        value: &'a [u8],
    },
    /// Some reader may take it for data.
    LikeData,
    Other,
}

impl<'a> Field<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut line = line;
        while let [rest @ .., b'\r' | b'\n'] = line {
            line = rest;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
        let value = value.strip_prefix(b":").unwrap_or(value);
        if name == b"data" {
            return Self::Data { value: value.strip_prefix(b" ").unwrap_or(value) };
        }
        // Behind a byte order mark it is another name to most readers.
        let name = name.strip_prefix(MARK).unwrap_or(name);
        let is_like = name.trim_ascii().eq_ignore_ascii_case(b"data");
        if is_like { Self::LikeData } else { Self::Other }
    }
}

/// Lines with their ends: CRLF, LF or CR.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(self.0.len());
        let is_both = self.0.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n"));
        let size = end.saturating_add(if is_both { 2 } else { 1 });
        let (line, rest) = self.0.split_at_checked(size).unwrap_or((self.0, &[]));
        self.0 = rest;
        Some(line)
    }
}

#[cfg(test)]
mod tests;
