//! What is remembered between requests: bounded, and by a clock that is passed in.

mod key_record;
mod keys;
mod results;
mod tokens;

pub use key_record::{KeyRecord, KeyShare, NoSharedData, SharedData, Stored};
pub use keys::{KeyCache, KeyTimes, Lookup};
pub use results::{ResultCache, Room, digest};
pub use tokens::{Digest, MAX_TOKENS, TokenCache};
