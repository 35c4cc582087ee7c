//! Strict JSON (RFC 8259): one pass over a text, nothing copied that is not asked for.
//!
//! Stricter than most parsers, because an upstream may read a loose text differently: no byte order
//! mark, no trailing data, no lone surrogate, a bounded depth, and in every object that is visited no
//! two members whose names some parser takes for one (see [`fold`]). What is skipped is checked for
//! grammar and depth only. Numbers are handed out as they are written.

mod fold;
mod reader;
mod seen;
mod value;

pub use fold::{fold, same_when_folded};
pub use reader::{Error, Kind, MAX_DEPTH, MAX_MEMBERS, Reader};
pub use value::{Map, Value, parse};
