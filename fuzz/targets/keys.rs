//! What an identity provider answers: key set and discovery document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::jose::KeySet;
use mcp_iap::oauth::jwks_uri;

fuzz_target!(|document: &[u8]| {
    if let Some(keys) = KeySet::parse(document) {
        assert!((1..=64).contains(&keys.len()));
    }
    if let Ok(path) = jwks_uri(document, "https://i.example", "https://i.example") {
        assert!(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()));
    }
});
