//! One line of JSON, written into one buffer as its members come.

use crate::bytes::leading;
use crate::json::Value;
use std::fmt::Write as _;

/// What most records take, in bytes.
const USUAL_SIZE: usize = 1024;

/// An object that is being written. A member that is absent is left out.
#[derive(Clone, Debug)]
pub(super) struct Line(String);

impl Line {
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(USUAL_SIZE);
        text.push('{');
        Self(text)
    }

    /// One that becomes part of another.
    pub(super) fn part() -> Self {
        Self("{".to_owned())
    }

    /// A text, a number, a truth value, `null`, or a list of these.
    pub(super) fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        self.element(value);
    }

    fn element(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.quote(text),
            Value::Array(elements) => {
                self.0.push('[');
                for element in elements {
                    self.separate();
                    self.element(element);
                }
                self.0.push(']');
            }
            value => {
                let _ = write!(self.0, "{value}");
            }
        }
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quote(value);
    }

    pub(super) fn known_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn known_number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    /// A number, a truth value, or `null`.
    pub(super) fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        let _ = write!(self.0, "{value}");
    }

    pub(super) fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        self.name(name);
        self.0.push('[');
        for value in values {
            self.separate();
            self.quote(value);
        }
        self.0.push(']');
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == "{"
    }

    /// A list of objects.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        each: impl Iterator<Item = T>,
        mut members: impl FnMut(T, &mut Self),
    ) {
        self.name(name);
        self.0.push('[');
        for one in each {
            self.separate();
            self.0.push('{');
            members(one, self);
            self.0.push('}');
        }
        self.0.push(']');
    }

    /// An object that was written before.
    pub(super) fn written(&mut self, name: &str, object: &Self) {
        self.name(name);
        self.0.push_str(&object.0);
        self.0.push('}');
    }

    /// Writes something if that takes no more bytes than `room` has, and takes them from it; whether it did.
    pub(super) fn within(&mut self, room: &mut usize, write: impl FnOnce(&mut Self)) -> bool {
        let before = self.0.len();
        write(self);
        match room.checked_sub(self.0.len().saturating_sub(before)) {
            Some(left) => {
                *room = left;
                true
            }
            None => {
                self.0.truncate(before);
                false
            }
        }
    }

    pub(super) fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.0.push('{');
        members(self);
        self.0.push('}');
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.quote(name);
        self.0.push(':');
    }

    fn separate(&mut self) {
        if !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
    }

    /// A text as RFC 8259 section 7 has it. What a terminal or a viewer may obey is escaped as well: all control
    /// characters, and those that turn the direction of writing or end a line.
    fn quote(&mut self, text: &str) {
        self.0.push('"');
        let mut rest = text;
        loop {
            let plain = leading(rest.as_bytes(), |b| (0x20..0x7f).contains(&b) & (b != b'"') & (b != b'\\'));
            let (before, behind) = rest.split_at_checked(plain).unwrap_or((rest, ""));
            self.0.push_str(before);
            let mut others = behind.chars();
            match others.next() {
                None => break,
                Some('"') => self.0.push_str("\\\""),
                Some('\\') => self.0.push_str("\\\\"),
                Some(other) if is_obeyed(other) => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(other));
                }
                Some(other) => self.0.push(other),
            }
            rest = others.as_str();
        }
        self.0.push('"');
    }
}

/// What does something rather than being seen.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many bytes a character of a text takes.
#[must_use]
pub fn written_length(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if is_obeyed(c) => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn members_come_as_they_are_written() {
        let mut line = Line::new();
        line.plain("n", 1);
        line.known_text("absent", None);
        line.object("o", |line| line.plain("b", true));
        line.object("none", |_| {});
        line.texts("t", ["{", "["].into_iter());
        line.texts("few", [].into_iter());
        line.text("last", "{");
        assert_eq!(line.end(), r#"{"n":1,"o":{"b":true},"none":{},"t":["{","["],"few":[],"last":"{"}"#);
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let mut line = Line::new();
        line.text("t", "a\u{9b}31m\u{7f}\u{202e}\u{2028}\u{1b}é漢\n");
        assert_eq!(line.end(), r#"{"t":"a\u009b31m\u007f\u202e\u2028\u001bé漢\u000a"}"#);
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was(name in "\\PC*", texts in proptest::collection::vec(any::<String>(), 0..4)) {
            let mut line = Line::new();
            line.texts(&name, texts.iter().map(String::as_str));
            let line = line.end();
            prop_assert!(!line.contains(is_obeyed));
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json!({ name: texts }));
        }
    }
}
