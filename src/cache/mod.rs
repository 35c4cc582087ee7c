//! What is remembered between requests: bounded, and by a clock that is passed in.

mod key_record;
mod keys;
mod tokens;

pub use key_record::{KeyRecord, KeyShare, NoSharedData, SharedData, Stored};
pub use keys::{KeyCache, KeyTimes, Lookup};
pub use tokens::{Digest, MAX_TOKENS, TokenCache};
