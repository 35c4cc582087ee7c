//! What a caller is told of a refusal: words of the rule or of the gate, and in them at most one value that he sent. Only
//! that value may hold what must not be written down, so only that is masked, whatever a mask would find around it.

use std::borrow::Cow;
use std::fmt;

/// A sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence(Box<Pieces>);

// Boxed, since a denial is handed up through many calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pieces {
    before: String,
    /// As the caller wrote it; empty where nothing is quoted.
    quoted: String,
    after: String,
}

impl Sentence {
    /// One that quotes a value.
    pub(super) fn quoting(quoted: &str, after: String) -> Self {
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Self(Box::new(match inner {
            Some(text) => {
                Pieces { before: "\"".to_owned(), quoted: text.to_owned(), after: format!("\"{after}") }
            }
            None => Pieces { before: String::new(), quoted: quoted.to_owned(), after },
        }))
    }

    /// The same, behind these words.
    pub(super) fn behind(mut self, words: &str) -> Self {
        self.0.before.insert_str(0, words);
        self
    }

    /// With what `hide` makes of the value that is quoted, where it makes something of it.
    #[must_use]
    pub fn hiding(&self, hide: impl FnOnce(&str) -> Option<String>) -> String {
        let Pieces { before, quoted, after } = &*self.0;
        let quoted = hide(quoted).map_or(Cow::Borrowed(quoted.as_str()), Cow::Owned);
        [before.as_str(), &quoted, after].concat()
    }
}

/// One that quotes nothing.
impl From<String> for Sentence {
    fn from(before: String) -> Self {
        Self(Box::new(Pieces { before, ..Pieces::default() }))
    }
}

impl From<&str> for Sentence {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// With nothing hidden.
impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hiding(|_| None))
    }
}
