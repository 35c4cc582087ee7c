//! The scanner under everything that is read from the wire.

use super::seen::Seen;
use crate::bytes::leading;
use crate::reason::Reason;
use std::borrow::Cow;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: u32 = 64;

/// How many members an object that is visited may have; what is skipped is bounded by its size alone.
pub const MAX_MEMBERS: usize = 1024;

/// From how many bytes on vectors check faster than the standard library whether they are UTF-8.
const LONG: usize = 64;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No JSON text.
    Syntax,
    /// Nests deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Two members of one object have names that are the same or may be taken for it.
    DuplicateKey,
    /// An object that is visited has more than [`MAX_MEMBERS`] members.
    TooManyMembers,
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::Syntax => Self::InvalidJson,
            Error::TooDeep => Self::TooDeep,
            Error::DuplicateKey => Self::DuplicateKey,
            Error::TooManyMembers => Self::TooManyMembers,
        }
    }
}

/// What the next value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// Walks a JSON text from front to back. That it is UTF-8 is checked on the way: outside of strings nothing but ASCII
/// is JSON.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    passes_halves: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, passes_halves: false }
    }

    /// The same, of what goes on as it is written: half a surrogate pair in a text that is skipped is no error.
    #[must_use]
    pub fn of_answer(bytes: &'a [u8]) -> Self {
        Self { passes_halves: true, ..Self::new(bytes) }
    }

    /// What the next value is, without taking it.
    ///
    /// # Errors
    /// [`Error::Syntax`] where no value begins.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        match self.skip_space() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(Error::Syntax),
        }
    }

    /// How far the text is read, in bytes.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What was read since `start`, a position.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// Nothing but white space is left.
    ///
    /// # Errors
    /// [`Error::Syntax`] where something is.
    pub fn end(&mut self) -> Result<(), Error> {
        self.skip_space().map_or(Ok(()), |_| Err(Error::Syntax))
    }

    /// Visits the members of the object that comes next. `each` takes the member's value.
    ///
    /// # Errors
    /// What `each` answers, [`Error::DuplicateKey`], or what the text is not.
    pub fn object<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        let mut seen = Seen::default();
        if !self.close_empty(b'}') {
            loop {
                self.skip_space();
                let name = self.string()?;
                seen.add(name.clone())?;
                self.skip_space();
                self.take(b':')?;
                each(self, name)?;
                if self.next_or_close(b'}')? {
                    break;
                }
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// Visits the elements of the array that comes next. `each` takes the element.
    ///
    /// # Errors
    /// What `each` answers, or what the text is not.
    pub fn array<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[')?;
        if !self.close_empty(b']') {
            loop {
                each(self)?;
                if self.next_or_close(b']')? {
                    break;
                }
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// Takes the string that comes next, with its escapes resolved.
    ///
    /// # Errors
    /// [`Error::Syntax`] where none comes, also for a control character or a lone surrogate in it.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.skip_space();
        self.take(b'"')?;
        let start = self.at;
        let mut resolved = String::new();
        let mut plain_from = start;
        loop {
            match self.end_of_plain() {
                b'"' => {
                    let piece = self.text_from(plain_from)?;
                    self.forward(1);
                    if plain_from == start {
                        return Ok(Cow::Borrowed(piece));
                    }
                    resolved.push_str(piece);
                    return Ok(Cow::Owned(resolved));
                }
                b'\\' => {
                    resolved.push_str(self.text_from(plain_from)?);
                    self.forward(1);
                    resolved.push(self.escape()?);
                    plain_from = self.at;
                }
                _ => return Err(Error::Syntax),
            }
        }
    }

    /// Takes the number that comes next, as it is written (RFC 8259 section 6).
    ///
    /// # Errors
    /// [`Error::Syntax`] where none comes.
    pub fn number(&mut self) -> Result<&'a str, Error> {
        self.skip_space();
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.forward(1);
        }
        match self.peek() {
            Some(b'0') => self.forward(1),
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Error::Syntax),
        }
        if self.peek() == Some(b'.') {
            self.forward(1);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.forward(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.forward(1);
            }
            self.digits()?;
        }
        self.text_from(start)
    }

    /// Takes the `true` or `false` that comes next.
    ///
    /// # Errors
    /// [`Error::Syntax`] where none comes.
    pub fn bool(&mut self) -> Result<bool, Error> {
        self.skip_space();
        if self.peek() == Some(b't') {
            self.literal(b"true").map(|()| true)
        } else {
            self.literal(b"false").map(|()| false)
        }
    }

    /// Takes the value that comes next, whatever it is, and gives it as it is written.
    ///
    /// # Errors
    /// Where it is no JSON or nests too deep.
    pub fn raw(&mut self) -> Result<&'a [u8], Error> {
        self.skip_space();
        let start = self.at;
        self.skip()?;
        self.bytes.get(start..self.at).ok_or(Error::Syntax)
    }

    /// Passes over the value that comes next. Recursion is bounded by [`MAX_DEPTH`].
    ///
    /// # Errors
    /// Where it is no JSON or nests too deep.
    pub fn skip(&mut self) -> Result<(), Error> {
        match self.kind()? {
            Kind::Object => {
                self.open(b'{')?;
                if !self.close_empty(b'}') {
                    loop {
                        self.skip_space();
                        self.skip_string()?;
                        self.skip_space();
                        self.take(b':')?;
                        self.skip()?;
                        if self.next_or_close(b'}')? {
                            break;
                        }
                    }
                }
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Kind::Array => self.array(Self::skip),
            Kind::String => self.skip_string(),
            Kind::Number => self.number().map(|_| ()),
            Kind::Bool => self.bool().map(|_| ()),
            Kind::Null => self.literal(b"null"),
        }
    }

    /// As [`Self::string`], with nothing kept.
    fn skip_string(&mut self) -> Result<(), Error> {
        self.take(b'"')?;
        loop {
            match self.end_of_plain() {
                b'"' => {
                    self.forward(1);
                    return Ok(());
                }
                b'\\' => {
                    self.forward(1);
                    self.skip_escape()?;
                }
                _ => return Err(Error::Syntax),
            }
        }
    }

    /// Goes to the next byte in a string that does not stand for itself, and gives it; 0, which may stand in none, at
    /// the end of the text and behind what is no UTF-8.
    #[inline]
    fn end_of_plain(&mut self) -> u8 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.forward(leading(rest, |b| (b != b'"') & (b != b'\\') & (b >= 0x20) & b.is_ascii()));
        match self.peek() {
            Some(next) if next.is_ascii() => next,
            Some(_) => self.end_of_plain_beyond_ascii(),
            None => 0,
        }
    }

    #[inline(never)]
    fn end_of_plain_beyond_ascii(&mut self) -> u8 {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        self.forward(leading(rest, |b| (b != b'"') & (b != b'\\') & (b >= 0x20)));
        self.text_from(start).ok().and_then(|_| self.peek()).unwrap_or(0)
    }

    /// What was taken since `start`, as text.
    fn text_from(&self, start: usize) -> Result<&'a str, Error> {
        let bytes = self.bytes.get(start..self.at).ok_or(Error::Syntax)?;
        let text = if bytes.len() < LONG {
            std::str::from_utf8(bytes).ok()
        } else {
            simdutf8::basic::from_utf8(bytes).ok()
        };
        text.ok_or(Error::Syntax)
    }

    // Rare, and not to be weighed against what is skipped.
    #[inline(never)]
    fn skip_escape(&mut self) -> Result<(), Error> {
        if self.passes_halves && self.peek() == Some(b'u') {
            self.forward(1);
            return self.hex4().map(|_| ());
        }
        self.escape().map(|_| ())
    }

    fn escape(&mut self) -> Result<char, Error> {
        let kind = self.peek().ok_or(Error::Syntax)?;
        self.forward(1);
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                if !(0xd800..0xe000).contains(&first) {
                    return char::from_u32(first).ok_or(Error::Syntax);
                }
                self.take(b'\\')?;
                self.take(b'u')?;
                let second = self.hex4()?;
                let both = [u16::try_from(first), u16::try_from(second)].map(|half| half.unwrap_or(0));
                let mut decoded = char::decode_utf16(both);
                match (decoded.next(), decoded.next()) {
                    (Some(Ok(c)), None) => c,
                    _ => return Err(Error::Syntax),
                }
            }
            _ => return Err(Error::Syntax),
        })
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let end = self.at.saturating_add(4);
        let digits = self.bytes.get(self.at..end).ok_or(Error::Syntax)?;
        self.at = end;
        digits.iter().try_fold(0_u32, |sum, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Error::Syntax)?;
            Ok((sum << 4) | digit)
        })
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.forward(1);
        }
        if self.at == start { Err(Error::Syntax) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Error> {
        let end = self.at.saturating_add(word.len());
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(Error::Syntax);
        }
        self.at = end;
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Result<(), Error> {
        self.skip_space();
        self.take(bracket)?;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH { Err(Error::TooDeep) } else { Ok(()) }
    }

    fn close_empty(&mut self, bracket: u8) -> bool {
        let closes = self.skip_space() == Some(bracket);
        if closes {
            self.forward(1);
        }
        closes
    }

    /// Takes a comma (more to come: false) or the closing bracket (true).
    fn next_or_close(&mut self, bracket: u8) -> Result<bool, Error> {
        let next = self.skip_space();
        self.forward(1);
        match next {
            Some(b',') => Ok(false),
            Some(b) if b == bracket => Ok(true),
            _ => Err(Error::Syntax),
        }
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.forward(1);
        }
        self.peek()
    }

    fn take(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::Syntax);
        }
        self.forward(1);
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn forward(&mut self, by: usize) {
        self.at = self.at.saturating_add(by);
    }
}
