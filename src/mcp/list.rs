//! What a server lists (`tools/list`, `prompts/list`, `resources/list`, `resources/templates/list`), and a message
//! without the entries that a caller may not see.
//!
//! Entries are cut out of the text: what stays, stays byte for byte. What is a list is told by its shape, a member of
//! `result`, never by whose answer it says it is. An entry that says in no certain way what it is called is not shown.

use super::message::{is_usable_name, is_usable_uri, no_variant, object, string};
use crate::json::{Kind, Reader};
use crate::reason::Reason;
use std::borrow::Cow;

/// An entry of a list, by what a request names it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// `name` of a tool.
    Tool(&'a str),
    /// `name` of a prompt.
    Prompt(&'a str),
    /// `uri` of a resource.
    Resource(&'a str),
    /// `uriTemplate` of a resource template (RFC 6570).
    Template(&'a str),
}

/// A message without what was not to be seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// The message.
    pub text: Vec<u8>,
    /// How many entries are in it.
    pub shown: usize,
    /// How many are not.
    pub hidden: usize,
}

/// Whether `method` asks for a list that is filtered.
#[must_use]
pub fn is_list(method: &str) -> bool {
    matches!(method, "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list")
}

/// How many entries one message may list, and how long the name, the URI or the template of one may be that is shown, in
/// bytes: the time that a list takes is bounded by both.
const MAX_ENTRIES: usize = 10_000;
const MAX_NAME: usize = 2_048;

/// How much of a message is looked at to tell by its beginning what it is, in bytes.
pub const BEGINNING: usize = 4_096;

/// What the beginning of a message says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing yet.
    Open,
    /// A list may be in it.
    List,
    /// It has a method: it asks for something or tells it.
    Call,
    /// It is an answer without a list, or no message.
    Other,
}

/// What a message is, by as much of it as is there: a glance, which stops at the first member that tells. What comes
/// behind [`BEGINNING`] is not looked at.
#[must_use]
pub fn beginning(message: &[u8]) -> Beginning {
    let known = message.get(..BEGINNING).unwrap_or(message);
    glance(&mut Reader::of_answer(known), known, false)
}

/// At the object that comes next: the message, or its result.
fn glance(reader: &mut Reader<'_>, known: &[u8], is_result: bool) -> Beginning {
    let rest = known.get(reader.position()..).unwrap_or_default();
    match rest.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(_) => return Beginning::Other,
        None => return Beginning::Open,
    }
    let mut found = Beginning::Open;
    let read = reader.object(|reader, name| {
        found = match (name.as_ref(), is_result) {
            ("tools" | "prompts" | "resources" | "resourceTemplates", true) => Beginning::List,
            // Of other results.
            ("content" | "structuredContent" | "contents" | "messages" | "capabilities", true) => {
                Beginning::Other
            }
            ("method", false) => Beginning::Call,
            ("error", false) => Beginning::Other,
            ("result", false) => glance(reader, known, true),
            _ => return Ok(reader.skip()?),
        };
        // It is told: nothing more is read.
        Err(Reason::InvalidMessage)
    });
    if read.is_ok() { Beginning::Other } else { found }
}

/// What becomes of `cacheScope` in a list (MCP 2026-07-28, "Choosing a Cache Scope"): what is for one caller is for
/// nobody else to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// It stays, so that no message becomes longer.
    Stays,
    /// It becomes `private` where it is there.
    Changes,
    /// And is added where it is not.
    Needed,
}

/// The members of a result that are read.
const RESULT: &[&str] = &["tools", "prompts", "resources", "resourceTemplates", "cacheScope"];

/// Takes from a message what `sees` says is not for the caller, and does to its `cacheScope` what is said. `None` for a
/// message without a list: it passes as it is.
///
/// # Errors
/// Why it can't be said what the message lists; [`Reason::ListTooLarge`] where it lists too many entries.
pub fn filter(
    message: &[u8],
    scope: CacheScope,
    sees: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<Option<Listed>, Reason> {
    let mut reader = Reader::of_answer(message);
    let mut edits = Edits::default();
    object(&mut reader)?;
    reader.object(|reader, name| {
        if name == "result" {
            return edits.result(reader, scope, sees);
        }
        no_variant(&name, &["result"])?;
        Ok(reader.skip()?)
    })?;
    reader.end()?;
    Ok(edits.is_list.then(|| edits.apply(message)))
}

/// What is to be done to a text, from its front to its end.
#[derive(Default)]
struct Edits {
    /// From where to where, and what comes there.
    places: Vec<(usize, usize, &'static str)>,
    is_list: bool,
    shown: usize,
    hidden: usize,
}

impl Edits {
    fn result(
        &mut self,
        reader: &mut Reader<'_>,
        scope: CacheScope,
        sees: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<(), Reason> {
        object(reader)?;
        let inside = reader.position().saturating_add(1);
        let mut lacks_scope = scope == CacheScope::Needed;
        reader.object(|reader, name| match name.as_ref() {
            "tools" | "prompts" | "resources" | "resourceTemplates" => self.entries(reader, &name, sees),
            "cacheScope" if scope == CacheScope::Stays => Ok(reader.skip()?),
            "cacheScope" => {
                lacks_scope = false;
                let (start, end, _) = place(reader)?;
                self.places.push((start, end, "\"private\""));
                Ok(())
            }
            other => {
                no_variant(other, RESULT)?;
                Ok(reader.skip()?)
            }
        })?;
        if self.is_list && lacks_scope {
            self.places.insert(0, (inside, inside, "\"cacheScope\":\"private\","));
        }
        Ok(())
    }

    fn entries(
        &mut self,
        reader: &mut Reader<'_>,
        list: &str,
        sees: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<(), Reason> {
        if reader.kind()? != Kind::Array {
            return Err(Reason::InvalidMessage);
        }
        self.is_list = true;
        let (mut first, mut last, mut kept) = (None, 0, 0_usize);
        reader.array(|reader| {
            let (start, end, raw) = place(reader)?;
            if self.shown.saturating_add(kept).saturating_add(self.hidden) >= MAX_ENTRIES {
                return Err(Reason::ListTooLarge);
            }
            let first = *first.get_or_insert(start);
            if is_seen(raw, list, sees) {
                if kept == 0 {
                    self.cut(first, start);
                }
                kept = kept.saturating_add(1);
            } else {
                self.hidden = self.hidden.saturating_add(1);
                if kept > 0 {
                    // With the comma before it.
                    self.cut(last, end);
                }
            }
            last = end;
            Ok::<_, Reason>(())
        })?;
        if kept == 0 {
            self.cut(first.unwrap_or(last), last);
        }
        self.shown = self.shown.saturating_add(kept);
        Ok(())
    }

    fn cut(&mut self, start: usize, end: usize) {
        match self.places.last_mut() {
            Some((_, known, "")) if *known == start => *known = end,
            _ if start < end => self.places.push((start, end, "")),
            _ => {}
        }
    }

    fn apply(self, message: &[u8]) -> Listed {
        let mut out = Vec::with_capacity(message.len().saturating_add(32));
        let mut at = 0;
        for (start, end, with) in self.places {
            out.extend_from_slice(message.get(at..start).unwrap_or_default());
            out.extend_from_slice(with.as_bytes());
            at = end;
        }
        out.extend_from_slice(message.get(at..).unwrap_or_default());
        Listed { text: out, shown: self.shown, hidden: self.hidden }
    }
}

/// Takes the next value: where it begins, where it ends, and as it is written.
fn place<'a>(reader: &mut Reader<'a>) -> Result<(usize, usize, &'a [u8]), Reason> {
    let raw = reader.raw()?;
    let end = reader.position();
    Ok((end.saturating_sub(raw.len()), end, raw))
}

/// Whether an entry is to be seen. Nobody is asked about what no request could name.
fn is_seen(raw: &[u8], list: &str, sees: &mut dyn FnMut(Entry<'_>) -> bool) -> bool {
    let name = |key| member(raw, key).ok().filter(|name| name.len() <= MAX_NAME);
    match list {
        "tools" => name("name").is_some_and(|name| is_usable_name(&name) && sees(Entry::Tool(&name))),
        "prompts" => name("name").is_some_and(|name| is_usable_name(&name) && sees(Entry::Prompt(&name))),
        "resources" => name("uri").is_some_and(|uri| is_usable_uri(&uri) && sees(Entry::Resource(&uri))),
        _ => name("uriTemplate").is_some_and(|template| {
            // Where there is nothing to fill in, it is a URI.
            let is_usable = if template.contains('{') { is_usable_name } else { is_usable_uri };
            is_usable(&template) && sees(Entry::Template(&template))
        }),
    }
}

/// The text at `key`, of an object that has no other that may be taken for it.
fn member<'a>(raw: &'a [u8], key: &str) -> Result<Cow<'a, str>, Reason> {
    let mut reader = Reader::of_answer(raw);
    let mut found = None;
    object(&mut reader)?;
    reader.object(|reader, name| {
        if name == key {
            found = Some(string(reader)?);
            return Ok(());
        }
        no_variant(&name, &[key])?;
        Ok::<_, Reason>(reader.skip()?)
    })?;
    found.ok_or(Reason::InvalidMessage)
}

#[cfg(test)]
mod tests;
