//! A request's body: what is accepted is an object to the whole-text reader too, and acts on something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::json;
use mcp_iap::mcp::{Message, Operation};

fuzz_target!(|body: &[u8]| {
    let Ok(message) = Message::parse(body) else { return };
    // A duplicate below what the decision looks at is no fault of the message.
    if let Ok(value) = json::parse(body) {
        assert_eq!(value["jsonrpc"], "2.0");
    }
    for operation in message.operations().unwrap_or_default() {
        if let Operation::Tool(name) | Operation::Prompt(name) | Operation::Resource(name) = operation {
            assert!(!name.is_empty());
        }
    }
});
