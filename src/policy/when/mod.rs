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
    headers: bool,
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
        let Reads { arguments, headers, source, now, names, groups, claims } = &self.reads;
        let is_given = |name: &String| {
            call.arguments.is_some_and(|given| call.known.arguments || given.get(name).is_some())
        };
        let is_unknown = !arguments.iter().all(is_given)
            || (*headers && call.head.is_none())
            || (*source && call.sender.is_none())
            || (*now && call.now.is_none())
            || (*names && call.operations.is_empty())
            || (*groups && !call.known.groups)
            || (!claims.is_empty() && !call.known.claims);
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
        let Reads { arguments, headers, source, now, names, groups, claims } = &self.reads;
        let is_given = |name: &String| {
            call.arguments.is_some_and(|given| call.known.arguments || given.get(name).is_some())
        };
        let texts = [
            (*headers && call.head.is_none(), "headers"),
            (*source && call.sender.is_none(), "source"),
            (*now && call.now.is_none(), "time"),
            (*names && call.operations.is_empty(), "method"),
            (*groups && !call.known.groups, "caller.groups"),
        ];
        let arguments =
            arguments.iter().filter(|name| !is_given(name)).map(|name| format!("arguments.{name}"));
        let claims = claims.iter().filter(|_| !call.known.claims).map(|path| format!("claims.{path}"));
        let texts = texts.into_iter().filter(|(is_unknown, _)| *is_unknown).map(|(_, text)| text.to_owned());
        arguments.chain(texts).chain(claims).collect()
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
