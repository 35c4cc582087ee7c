//! The head's credential and the token in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::head::Head;
use mcp_iap::jose::{Algorithm, Expected, Jws, KeySet, Library, VerifiedClaims};
use mcp_iap::oauth::BearerToken;
use mcp_iap::time::UnixTime;

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fuzz_target!(|value: &[u8]| {
    let head = Head::from_pairs([(&b":path"[..], &b"/mcp"[..]), (b"authorization", value)]);
    let Ok(token) = BearerToken::from_head(&head) else { return };
    let Ok(jws) = Jws::parse(token.expose()) else { return };
    let Some(keys) = KeySet::parse(KEYS.as_bytes()) else { panic!("the key is good") };
    let audiences = ["https://r".to_owned()];
    let expected = Expected {
        issuer: "https://i",
        algorithms: &Algorithm::asymmetric(),
        audiences: &audiences,
        clock_skew: std::time::Duration::ZERO,
        now: UnixTime(1_800_000_000),
    };
    let verified = VerifiedClaims::verify(jws, &keys, &expected, &Library);
    assert!(verified.is_err(), "nobody has the private key");
});
