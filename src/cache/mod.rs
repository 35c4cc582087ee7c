//! What is remembered between requests: bounded, and by a clock that is passed in.

mod keys;

pub use keys::{KeyCache, Lookup};
