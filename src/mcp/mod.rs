//! The Model Context Protocol's messages: JSON-RPC 2.0 over Streamable HTTP, modern (2026-07-28) and
//! legacy (2024-11-05 to 2025-11-25).
//!
//! Reads one message strictly, says which operations it asks for, compares the `Mcp-*` headers with it, and
//! takes entries out of lists in the answer. Decides nothing about who may; forwards nothing.

mod events;
pub mod headers;
mod list;
mod message;
mod method;
mod result;
mod traceparent;
mod uri;
mod version;

pub use events::{Events, Judge, Verdict};
pub use list::{BEGINNING, Beginning, CacheScope, Entry, Listed, beginning, filter, is_list};
pub use message::{Arguments, Message, Role};
pub use method::{Operation, Shape, is_removed, shape};
pub use result::{Answering, Told};
pub use traceparent::traceparent;
pub use version::{Era, LEGACY, MODERN};
