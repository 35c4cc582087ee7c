//! What is remembered between requests: bounded, and by a clock that is passed in.

mod buckets;
mod generations;
mod key_record;
mod keys;
mod results;
mod tokens;

pub use buckets::{Buckets, Size, Taken};
pub use generations::Room;
pub use key_record::{KeyRecord, KeyShare, NoSharedData, SharedData, Stored};
pub use keys::{KeyCache, KeyTimes, Lookup};
pub use results::{Digest, ResultCache, digest};
pub use tokens::{MAX_TOKENS, Tag, TokenCache};
