//! A header map in the host's form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::head::Head;
use mcp_iap::mcp::headers;

fuzz_target!(|buffer: &[u8]| {
    let Some(head) = Head::from_abi(buffer.to_vec()) else { return };
    let _ = head.iter().count();
    let _ = headers::announced(&head).map(|announced| announced.map(|announced| announced.asks().1.len()));
    let _ = headers::era_without_message(&head);
});
