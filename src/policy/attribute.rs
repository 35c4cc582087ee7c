//! What rules read of a call beside what each record has: claims, headers that Envoy sets, arguments. By these names a
//! record has them, and says which are not there.

use super::call::Call;
use super::{PolicySet, Rule};
use crate::head::One;
use crate::json::Value;
use std::fmt;

/// Something that a rule reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'r> {
    /// The claim at this path.
    Claim(&'r str),
    /// The header with this name.
    Header(&'r str),
    /// The argument with this name.
    Argument(&'r str),
}

/// What of a call stands under the name of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read<'a> {
    /// Nothing.
    Absent,
    /// What one reader takes for something and another for nothing: a header twice, an argument in another spelling.
    Unclear,
    /// A header's value.
    Text(&'a str),
    /// A claim.
    Claim(&'a Value),
    /// An argument, as it is written.
    Argument(&'a [u8]),
}

impl<'r> Attribute<'r> {
    fn parts(self) -> (&'static str, &'r str) {
        match self {
            Self::Claim(path) => ("claims", path),
            Self::Header(name) => ("headers", name),
            Self::Argument(name) => ("arguments", name),
        }
    }

    /// Whether `text` is how a record names it.
    #[must_use]
    pub fn is_named(self, text: &str) -> bool {
        let (kind, name) = self.parts();
        text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) == Some(name)
    }

    /// What of a call stands under this name; arguments that are not known are unclear.
    #[must_use]
    pub fn read<'a>(self, call: &Call<'a>) -> Read<'a> {
        match self {
            Self::Claim(path) => call.caller.claim(path).map_or(Read::Absent, Read::Claim),
            Self::Header(name) => match call.head.map(|head| head.one(name)) {
                Some(One::Text(text)) => Read::Text(text),
                Some(One::Absent) => Read::Absent,
                Some(One::Unusable) | None => Read::Unclear,
            },
            Self::Argument(name) => match call.arguments.map(|given| (given.get(name), given)) {
                Some((Some(raw), _)) => Read::Argument(raw),
                Some((None, given)) if !given.has_variant_of(name) => Read::Absent,
                Some((None, _)) | None => Read::Unclear,
            },
        }
    }
}

/// As a record names it.
impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(f, "{kind}.{name}")
    }
}

impl Rule {
    fn reads(&self) -> impl Iterator<Item = Attribute<'_>> {
        let claims = self.subjects.claims.iter().map(|(path, _)| Attribute::Claim(path));
        let headers = self.subjects.headers.iter().map(|(name, _)| Attribute::Header(name));
        let arguments = self.arguments.iter().map(|(name, _)| Attribute::Argument(name));
        claims.chain(headers).chain(arguments).chain(self.when.iter().flat_map(|when| when.reads()))
    }
}

impl PolicySet {
    /// What these rules read, the same thing as often as it is read.
    pub fn reads(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.rules.iter().flat_map(Rule::reads)
    }

    /// What those of them read that are about what a call asks for, whether or not the decision comes to them.
    pub fn reads_of<'r, 'c>(&'r self, call: &Call<'c>) -> impl Iterator<Item = Attribute<'r>> + use<'r, 'c> {
        let Call { method, operations, .. } = *call;
        operations.iter().flat_map(move |operation| self.about(method, *operation)).flat_map(Rule::reads)
    }
}
