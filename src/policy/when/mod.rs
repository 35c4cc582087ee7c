//! `when`: a condition in CEL, the Common Expression Language, without its comprehensions.
//!
//! Names and types are checked when the configuration is loaded. Nothing in it repeats (no `all`, `exists`,
//! `map`, `filter`, no regular expression), so an evaluation visits each node once, and what it may read and
//! make is bounded. An error at run time is never false: the clause can't be evaluated.

mod check;
mod evaluate;
mod lexer;
mod names;
mod node;
mod parser;
mod value;

use super::attribute::Attribute;
use super::call::Call;
use super::clause::Verdict;
use crate::reason::Reason;
use check::Context;
use node::Node;
use std::rc::Rc;

/// How long an expression may be, in bytes.
const MAX_EXPRESSION: usize = 2_000;

/// A compiled condition.
#[derive(Debug)]
pub(super) struct When {
    node: Node,
    reads: Reads,
    text: String,
}

/// What a condition reads.
#[derive(Debug, Default)]
struct Reads {
    arguments: Vec<String>,
    headers: Vec<String>,
    source: bool,
    now: bool,
    /// What the call is about, by name.
    names: bool,
    groups: bool,
    claims: Vec<Rc<str>>,
}

/// What is wrong with an expression, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) fix: String,
}

impl Fault {
    /// At a byte of the expression, told as the character's number.
    #[cold]
    #[inline(never)]
    fn at(at: usize, reason: impl AsRef<str>, fix: impl Into<String>) -> Self {
        let reason = format!("{}, at character {}", reason.as_ref(), at.saturating_add(1));
        Self { reason, fix: fix.into() }
    }
}

impl When {
    pub(super) fn compile(text: &str, trusted_headers: &[String]) -> Result<Self, Fault> {
        if text.len() > MAX_EXPRESSION {
            let reason = "is too long".to_owned();
            return Err(Fault { reason, fix: "write at most 2000 bytes".to_owned() });
        }
        if !text.is_ascii() {
            let reason = "has characters beyond ASCII".to_owned();
            return Err(Fault { reason, fix: "write them in texts as `\\u00e9`".to_owned() });
        }
        let mut reads = Reads::default();
        let node = Context { trusted_headers, reads: &mut reads }.condition(&parser::parse(text)?)?;
        Ok(Self { node, reads, text: text.to_owned() })
    }

    /// Whether it holds for a call that asks for just one thing.
    pub(super) fn check(&self, call: &Call<'_>) -> Verdict {
        let Reads { source, now, names, groups, .. } = self.reads;
        let is_unknown = (source && call.sender.is_none())
            || (now && call.now.is_none())
            || (names && call.operations.is_empty())
            || (groups && !call.known.groups)
            || !self.reads().all(|attribute| call.knows(attribute));
        if is_unknown {
            return Verdict::Unknown;
        }
        match evaluate::condition(&self.node, call) {
            Some(holds) => Verdict::of(holds, Reason::ConditionNotMet),
            None => Verdict::Unevaluated(Reason::ConditionError),
        }
    }

    /// What it reads of a call and is not known there, as a record names it.
    pub(super) fn unknown(&self, call: &Call<'_>) -> Vec<String> {
        let Reads { source, now, names, groups, .. } = self.reads;
        let texts = [
            (source && call.sender.is_none(), "source"),
            (now && call.now.is_none(), "time"),
            (names && call.operations.is_empty(), "method"),
            (groups && !call.known.groups, "caller.groups"),
        ];
        let attributes = self.reads().filter(|attribute| !call.knows(*attribute)).map(|one| one.to_string());
        let texts = texts.into_iter().filter(|(is_unknown, _)| *is_unknown).map(|(_, text)| text.to_owned());
        attributes.chain(texts).collect()
    }

    /// What it reads of what not every record has.
    pub(super) fn reads(&self) -> impl Iterator<Item = Attribute<'_>> {
        let Reads { arguments, headers, claims, .. } = &self.reads;
        let arguments = arguments.iter().map(|name| Attribute::Argument(name));
        let headers = headers.iter().map(|name| Attribute::Header(name));
        arguments.chain(headers).chain(claims.iter().map(|path| Attribute::Claim(path)))
    }

    /// Whether it reads the client's address.
    pub(super) fn reads_source(&self) -> bool {
        self.reads.source
    }

    /// The claims that it reads, by their paths.
    pub(super) fn claims(&self) -> &[Rc<str>] {
        &self.reads.claims
    }

    /// The arguments that it reads.
    pub(super) fn arguments(&self) -> &[String] {
        &self.reads.arguments
    }

    /// Whether it is the same condition as the other one, to the letter.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests;
