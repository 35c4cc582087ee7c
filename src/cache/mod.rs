//! What is remembered between requests: bounded, and by a clock that is passed in.

mod keys;
mod tokens;

pub use keys::{KeyCache, Lookup};
pub use tokens::{Digest, MAX_TOKENS, TokenCache};
