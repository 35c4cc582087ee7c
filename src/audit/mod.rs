//! The audit record: what one request was, who made it, how it was decided and why.
//!
//! One record a request, on every path; Envoy's access log writes it (`docs/audit.md`). It never holds
//! a token, or text that a caller chose beyond names, what rules read and the arguments that are listed, all cut to a
//! bound.

mod arguments;
mod attributes;
mod caller;
#[cfg(not(target_arch = "wasm32"))]
mod document;
mod line;
mod mask;
mod parts;
mod record;
mod written;

pub use attributes::Shown;
#[cfg(not(target_arch = "wasm32"))]
pub use document::{
    ActorDocument, AnswerDocument, AttributesDocument, CallerDocument, DigestDocument, Document,
    ExchangeDocument, ListedDocument, SessionDocument, ShadowDocument, WaitedDocument,
};
pub use line::written_length;
pub use mask::{Form, MASK, Masks, Secrets};
pub use record::Record;
pub use written::Written;

/// The record's version; a field is only ever added within one.
pub const SCHEMA: u32 = 1;

/// How much of a name that a caller chose is kept, in bytes.
pub const MAX_NAME: usize = 256;
/// How many of the caller's groups are kept.
pub const MAX_GROUPS: usize = 32;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Went to the upstream.
    Allowed,
    /// Was answered here with an error.
    Refused,
    /// Was answered here with a document.
    Answered,
    /// Ended without a decision: the client left, or Envoy ended it.
    Aborted,
}

impl Outcome {
    /// Every outcome there is.
    pub const ALL: [Self; 4] = [Self::Allowed, Self::Refused, Self::Answered, Self::Aborted];

    /// As it stands in the record and in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Aborted => "aborted",
        }
    }
}

/// Cuts a name at a character's end.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn names_are_cut_at_a_characters_end() {
        assert_eq!(cut(&"é".repeat(200)).len(), 256);
        assert_eq!(cut(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
