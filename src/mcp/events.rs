//! Server-sent events (WHATWG HTML, section 9.2, "Server-sent events"): a stream in pieces, cut anywhere, to its
//! events, of each of which the data can be changed; all else passes byte for byte.
//!
//! An event goes on when it is complete, at once; what is held is one event, up to a limit. Of a stream that is only
//! watched an event is held as long as its beginning does not tell that it is no list. Comments pass as they come.

use super::list::{BEGINNING, Beginning, beginning};
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

/// Looks at the data of an event, or at what there is of it where it can't be had, and is told why.
pub type Judge<'a> = dyn FnMut(&[u8], Option<Reason>) -> Verdict + 'a;

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    /// The event that is not complete.
    held: Vec<u8>,
    limit: usize,
    /// Whether only what begins as a list is to be looked at.
    is_watched: bool,
    /// Nothing stands in the line so far.
    is_blank: bool,
    /// The last line ended with CR: an LF still belongs to it.
    after_cr: bool,
    /// What becomes of what comes.
    way: Way,
    /// The event is the stream's first: a byte order mark may stand before it.
    is_first: bool,
}

/// What becomes of the bytes of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Held,
    /// The watched event begins as a list.
    HeldAsList,
    /// Before an event a line of comment passes.
    Comment,
    /// The watched event is no list, and passes to its end.
    Passed,
    /// The event is beyond the limit, and dropped to its end.
    Dropped,
}

impl Events {
    /// Of which an event has at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            held: Vec::new(),
            limit,
            is_watched: false,
            is_blank: true,
            after_cr: false,
            way: Way::Held,
            is_first: true,
        }
    }

    /// Of which events that don't begin as a list pass as they come, whatever their size.
    #[must_use]
    pub fn watched(limit: usize) -> Self {
        Self { is_watched: true, ..Self::new(limit) }
    }

    /// How much is held, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next piece of the stream and gives what goes on. `room`: how much may be held just now, in bytes,
    /// whatever the limit is.
    pub fn push(&mut self, piece: &[u8], room: usize, judge: &mut Judge<'_>) -> Vec<u8> {
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
            if is_rest_of_end && self.held.is_empty() && self.way == Way::Held {
                // Of an event, or a comment, that has gone on.
                out.extend_from_slice(taken);
                continue;
            }
            if *first == b':' && self.held.is_empty() && self.is_blank && self.way == Way::Held {
                (self.way, self.is_first) = (Way::Comment, false);
            }
            self.take(taken, room, &mut out, judge);
            let is_end = !is_rest_of_end && matches!(first, b'\r' | b'\n');
            self.after_cr = is_end && *first == b'\r';
            if !is_end {
                self.is_blank &= is_rest_of_end;
            } else if std::mem::replace(&mut self.is_blank, true) {
                self.complete(&mut out, judge);
            } else if self.way == Way::Comment {
                self.way = Way::Held;
            }
        }
        self.watch(false, &mut out);
        out
    }

    /// The stream has ended, perhaps within an event.
    pub fn finish(&mut self, judge: &mut Judge<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.complete(&mut out, judge);
        out
    }

    fn take(&mut self, bytes: &[u8], room: usize, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
        if matches!(self.way, Way::Held | Way::HeldAsList) {
            let size = self.held.len().saturating_add(bytes.len());
            if size > self.limit.min(room) {
                self.held.extend_from_slice(bytes.get(..BEGINNING).unwrap_or(bytes));
                self.watch(true, out);
                if self.way != Way::Passed {
                    let reason = if size > self.limit { Reason::ListTooLarge } else { Reason::Overloaded };
                    self.drop(reason, out, judge);
                    return;
                }
                out.extend_from_slice(bytes.get(BEGINNING..).unwrap_or_default());
                return;
            }
            self.held.extend_from_slice(bytes);
            return;
        }
        if self.way != Way::Dropped {
            out.extend_from_slice(bytes);
        }
    }

    /// What is held of a watched event goes on, unless it begins as a list, or may do so and need not be told yet.
    fn watch(&mut self, is_final: bool, out: &mut Vec<u8>) {
        if !self.is_watched || self.way != Way::Held || self.held.is_empty() {
            return;
        }
        match beginning(&Data::of(&self.held, self.is_first).text) {
            Beginning::List => self.way = Way::HeldAsList,
            Beginning::Open if !is_final && self.held.len() <= BEGINNING => {}
            _ => {
                out.append(&mut self.held);
                self.way = Way::Passed;
            }
        }
    }

    fn drop(&mut self, reason: Reason, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
        let held = std::mem::take(&mut self.held);
        self.way = Way::Dropped;
        if let Verdict::Replace(data) = judge(&Data::of(&held, self.is_first).text, Some(reason)) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\n\n");
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
        let is_first = std::mem::take(&mut self.is_first);
        let way = std::mem::take(&mut self.way);
        let event = std::mem::take(&mut self.held);
        if matches!(way, Way::Held | Way::HeldAsList) {
            judge_event(&event, is_first, self.is_watched, out, judge);
        }
    }
}

/// The data of an event, as far as it is there.
struct Data {
    text: Vec<u8>,
    /// No reader takes another line for data.
    is_certain: bool,
}

impl Data {
    fn of(whole: &[u8], is_first: bool) -> Self {
        let (mut text, mut is_certain, mut is_begun) = (Vec::new(), true, false);
        for line in Lines(without_mark(whole, is_first)) {
            match Field::of(line) {
                Field::Data { value, .. } => {
                    if std::mem::replace(&mut is_begun, true) {
                        text.push(b'\n');
                    }
                    text.extend_from_slice(value);
                }
                Field::LikeData => is_certain = false,
                Field::Other => {}
            }
        }
        Self { text, is_certain }
    }
}

fn without_mark(event: &[u8], is_first: bool) -> &[u8] {
    event.strip_prefix(MARK).filter(|_| is_first).unwrap_or(event)
}

fn judge_event(whole: &[u8], is_first: bool, is_watched: bool, out: &mut Vec<u8>, judge: &mut Judge<'_>) {
    let Data { text, is_certain } = Data::of(whole, is_first);
    let verdict = if is_watched && beginning(&text) != Beginning::List {
        Verdict::Pass
    } else if !is_certain {
        judge(&text, Some(Reason::ListUnreadable))
    } else if text.is_empty() {
        // No client makes a message of it; servers begin streams with such events.
        Verdict::Pass
    } else {
        judge(&text, None)
    };
    match verdict {
        Verdict::Pass => out.extend_from_slice(whole),
        Verdict::Replace(new) => replace(without_mark(whole, is_first), &new, out),
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
                let has_space = !line.starts_with(b"data:") || line.starts_with(b"data: ");
                let end: &[u8] = match line {
                    [.., b'\r', b'\n'] => b"\r\n",
                    [.., b'\r'] => b"\r",
                    _ => b"\n",
                };
                for part in data.split(|byte| *byte == b'\n') {
                    // Of a value the first space is the form's.
                    let is_spaced = has_space || part.first() == Some(&b' ');
                    out.extend_from_slice(if is_spaced { b"data: " } else { b"data:" });
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
