//! How a server answered: the error of JSON-RPC, or of a tool (`isError`, MCP 2026-07-28, "Tools"). For the record
//! only: nothing is decided by it, and what can't be read says so.

use crate::json::{Kind, Reader};
use crate::reason::Reason;

/// How much of an answer is kept to be read, in bytes: of JSON no more than that is read at all, of a stream its end.
const WINDOW: usize = 16 * 1024;

/// What an answer says of how the request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A result, and no error of a tool.
    Good,
    /// JSON-RPC's error, with its code.
    Error(i64),
    /// The tool says that it failed.
    ToolError,
    /// It can't be told: too long, cut off, encoded, or no answer.
    Unread,
}

/// An answer that is read as it passes, and held by nobody.
#[derive(Debug)]
pub struct Answering {
    end: Vec<u8>,
    is_stream: bool,
    is_cut: bool,
}

impl Answering {
    /// Of an answer with this `Content-Type`; `None` for what is neither JSON nor an event stream.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_stream = media_type.eq_ignore_ascii_case("text/event-stream");
        let is_json = media_type.eq_ignore_ascii_case("application/json");
        (is_stream || is_json).then(|| Self { end: Vec::new(), is_stream, is_cut: false })
    }

    /// Whether a further piece of `size` bytes is of use.
    #[must_use]
    pub fn wants(&mut self, size: usize) -> bool {
        if !self.is_stream && self.end.len().saturating_add(size) > WINDOW {
            self.end = Vec::new();
            self.is_cut = true;
        }
        self.is_stream || !self.is_cut
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        // Of a long piece the end alone: what was reserved once stays so.
        let last = piece.get(piece.len().saturating_sub(WINDOW)..).unwrap_or_default();
        let surplus = self.end.len().saturating_add(last.len()).saturating_sub(WINDOW);
        self.is_cut |= surplus > 0 || last.len() < piece.len();
        self.end.drain(..surplus.min(self.end.len()));
        self.end.extend_from_slice(last);
    }

    /// What it says, when all of it has passed.
    #[must_use]
    pub fn told(&self) -> Told {
        if !self.is_stream {
            return if self.is_cut { Told::Unread } else { read(&self.end) };
        }
        // The answer is the last event that is one: what comes before it asks or tells.
        let mut events = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        // What is left of a line is none.
        for line in self.end.split(|byte| *byte == b'\n').skip(usize::from(self.is_cut)) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(rest) = line.strip_prefix(b"data:") {
                data.extend_from_slice(rest);
                data.push(b'\n');
            } else if line.is_empty() && !data.is_empty() {
                events.push(std::mem::take(&mut data));
            }
        }
        let told = events.iter().rev().map(|event| read(event));
        told.into_iter().find(|told| *told != Told::Unread).unwrap_or(Told::Unread)
    }
}

fn read(message: &[u8]) -> Told {
    let mut told = Told::Unread;
    let mut reader = Reader::of_answer(message);
    let is_object = reader.kind().is_ok_and(|kind| kind == Kind::Object);
    let read = reader.object(|reader, name| {
        match name.as_ref() {
            "result" if reader.kind()? == Kind::Object => {
                let is_error = flag(reader)?;
                told = if is_error { Told::ToolError } else { Told::Good };
            }
            "error" if reader.kind()? == Kind::Object => {
                let mut code = None;
                reader.object(|reader, name| {
                    if name == "code" && reader.kind()? == Kind::Number {
                        code = reader.number()?.parse().ok();
                        return Ok(());
                    }
                    Ok::<_, Reason>(reader.skip()?)
                })?;
                told = code.map_or(Told::Unread, Told::Error);
            }
            _ => reader.skip()?,
        }
        Ok::<_, Reason>(())
    });
    if is_object && read.is_ok() && reader.end().is_ok() { told } else { Told::Unread }
}

/// `isError` of a result.
fn flag(reader: &mut Reader<'_>) -> Result<bool, Reason> {
    let mut is_error = false;
    reader.object(|reader, name| {
        if name == "isError" && reader.kind()? == Kind::Bool {
            is_error = reader.bool()?;
            return Ok(());
        }
        Ok::<_, Reason>(reader.skip()?)
    })?;
    Ok(is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(content_type: &str, pieces: &[&[u8]]) -> Told {
        let mut answering = Answering::of(content_type).unwrap();
        for piece in pieces {
            if answering.wants(piece.len()) {
                answering.push(piece);
            }
        }
        answering.told()
    }

    const JSON: &str = "application/json; charset=utf-8";
    const EVENTS: &str = "Text/Event-Stream";

    #[test]
    fn an_answer_says_how_it_went() {
        let long = vec![b' '; WINDOW];
        let rows: [(&[&[u8]], Told); 11] = [
            (&[br#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#], Told::Good),
            (&[br#"{"result":{"content":[{"isError":true}]},"id":1}"#], Told::Good),
            (&[br#"{"result":{"content":[],"#, br#""isError":true}}"#], Told::ToolError),
            (&[br#"{"error":{"message":"x","code":-32602,"data":{"code":1}},"id":1}"#], Told::Error(-32602)),
            (&[br#"{"error":{"code":"x"}}"#], Told::Unread),
            (&[br#"{"error":{"code":1.5}}"#], Told::Unread),
            (&[br#"{"result":{}"#], Told::Unread),
            (&[br#"{"result":{}} {"error":{"code":1}}"#], Told::Unread),
            (&[br#"[{"result":{}}]"#], Told::Unread),
            (&[b""], Told::Unread),
            (&[br#"{"result":{}}"#, &long, b" "], Told::Unread),
        ];
        for (pieces, expected) in rows {
            assert_eq!(told(JSON, pieces), expected, "{:?}", pieces.concat());
        }
    }

    #[test]
    fn of_a_stream_the_last_answer_counts() {
        let error = b"event: message\r\ndata: {\"error\":\r\ndata: {\"code\":7}}\r\n\r\n";
        let asked = b"data: {\"method\":\"ping\",\"id\":3}\n\n";
        let long = [b"data: {\"method\":\"".as_slice(), &vec![b'x'; 3 * WINDOW], b"\"}\n\n"].concat();
        assert_eq!(told(EVENTS, &[asked, &long, error, asked]), Told::Error(7));
        assert_eq!(told(EVENTS, &[error, &long]), Told::Unread);
        // It ended within the event.
        assert_eq!(told(EVENTS, &[asked, &error[..40]]), Told::Unread);
        assert!(Answering::of("text/html").is_none());
    }

    #[test]
    fn no_more_is_held_than_the_window() {
        let mut answering = Answering::of(EVENTS).unwrap();
        for _ in 0..100 {
            answering.push(&[b'x'; 1000]);
        }
        assert_eq!(answering.end.len(), WINDOW);
        assert!(answering.end.capacity() <= 2 * WINDOW, "{}", answering.end.capacity());
    }
}
