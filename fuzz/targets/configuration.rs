//! The configuration document: a fault has a reason and a fix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::gate::Settings;

fuzz_target!(|document: &[u8]| {
    if let Err(errors) = Settings::load(document) {
        assert!(!errors.0.is_empty());
        assert!(errors.0.iter().all(|error| !error.reason.is_empty() && !error.fix.is_empty()));
    }
});
