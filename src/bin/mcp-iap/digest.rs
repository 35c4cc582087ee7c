//! The digest of a tool's definition, as the catalogue keeps it.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// `sha256:` and the SHA-256 of the definition as JSON with sorted keys, without white space.
pub fn digest_of(definition: &Value) -> String {
    let mut text = "sha256:".to_owned();
    // Keys are sorted because serde_json's maps are; a test holds it.
    for byte in Sha256::digest(definition.to_string()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_count() {
        let digest = |text: &str| digest_of(&serde_json::from_str(text).unwrap());
        assert_eq!(
            digest(r#"{"name":"a","x":{"b":1,"a":2}}"#),
            digest(r#"{ "x": {"a":2,"b":1}, "name":"a" }"#)
        );
        assert_ne!(digest(r#"{"name":"a"}"#), digest(r#"{"name":"b"}"#));
        assert_eq!(digest("{}"), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
