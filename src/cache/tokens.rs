//! Verified tokens: what is known of each, by a tag of its text, and never the text.
//!
//! That a signature holds is a property of token and key, so it needs no lifetime here: whoever takes an entry
//! asks whether its key is still the issuer's, and asks for times, audience and sender for each request anew.
//! A token that does not hold is not remembered: who makes them up would fill the room of the good ones, and
//! saves nobody much.

use super::generations::{Generations, Room};

/// What stands for a token: of two tokens never the same.
pub type Tag = [u8; 16];

/// The most tokens that may be configured.
pub const MAX_TOKENS: usize = 100_000;

/// How many bytes a token may take on average: 10,000 stay within 5 MiB.
const BYTES_EACH: usize = 440;
/// However few tokens there is room for, each of them can be as large as any that is taken.
const LARGEST: usize = 128 * 1024;

/// The tokens that were used last: at least as many as there is room for and at most twice as many, fewer where
/// they are larger than most.
pub struct TokenCache<T>(Generations<Tag, T>);

impl<T: Clone> TokenCache<T> {
    /// Room for this many tokens; none is remembered for zero.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let entries = capacity.min(MAX_TOKENS);
        let bytes = entries.saturating_mul(BYTES_EACH).max(LARGEST);
        Self(Generations::new(Room { entries, bytes }))
    }

    /// What is known of a token.
    pub fn get(&mut self, tag: &Tag) -> Option<T> {
        self.0.get(tag).cloned()
    }

    /// Remembers a token of which so many bytes are known.
    pub fn insert(&mut self, tag: Tag, value: T, bytes: usize) {
        self.0.insert(tag, value, bytes);
    }
}
