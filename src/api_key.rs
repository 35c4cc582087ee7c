//! API keys: what is kept of one (HMAC-SHA-256, RFC 2104, with a pepper that stands elsewhere), whether a key is
//! the one, and which keys are too weak to be made one.
//!
//! A key has so much randomness that a slow derivation would add nothing; the pepper keeps a configuration that
//! leaks from being enough to guess at a weaker one.

use crate::secret::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac_sha256::HMAC;
use std::fmt::Write as _;

/// The least length of a key, in characters.
pub const MIN_KEY: usize = 16;
/// The longest key that is looked at, in bytes.
pub const MAX_KEY: usize = 512;
/// The least length of a pepper, in bytes: as many as the hash has.
pub const MIN_PEPPER: usize = 32;
/// How many of the four classes a key needs: upper case, lower case, digits, others.
const MIN_CLASSES: usize = 3;

/// What is kept of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &[u8], pepper: &Secret) -> Self {
        Self(HMAC::mac(key, pepper.expose()))
    }

    /// Reads a hash, in 64 hexadecimal digits or 43 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = if text.len() == 64 { from_hex(text)? } else { URL_SAFE_NO_PAD.decode(text).ok()? };
        bytes.try_into().ok().map(Self)
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// Whether both are the same; takes as long for every pair.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}

/// Why a text can't be made a key; `None` where it can. To be asked where the plain key is known.
#[must_use]
pub fn weakness(key: &str) -> Option<&'static str> {
    let classes: [fn(&u8) -> bool; 4] =
        [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit, |byte| {
            !byte.is_ascii_alphanumeric()
        }];
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("has characters that a header can't carry safely: use ASCII without spaces");
    }
    if key.len() < MIN_KEY {
        return Some("is shorter than 16 characters");
    }
    if key.len() > MAX_KEY {
        return Some("is longer than 512 characters");
    }
    let found = classes.iter().filter(|is_of| key.bytes().any(|byte| is_of(&byte))).count();
    (found < MIN_CLASSES).then_some("has fewer than three of upper case, lower case, digits and others")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_hmac_sha_256() {
        // RFC 4231 section 4.3, test case 2.
        let hash = KeyHash::of(b"what do ya want for nothing?", &Secret::new(b"Jefe".to_vec()));
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hash.to_hex(), hex);
        assert_eq!(KeyHash::parse(hex), Some(hash));
        assert_eq!(KeyHash::parse(&hex.to_uppercase()), Some(hash));
        assert_eq!(KeyHash::parse(&URL_SAFE_NO_PAD.encode(hash.0)), Some(hash));
    }

    #[test]
    fn what_is_no_hash_is_none() {
        let hex = KeyHash([7; 32]).to_hex();
        for text in [
            String::new(),
            hex.get(1..).unwrap().to_owned(),
            format!("{hex}0"),
            hex.replace("07", "0g"),
            format!("{}=", URL_SAFE_NO_PAD.encode([7; 32])),
            URL_SAFE_NO_PAD.encode([7; 31]),
            base64::engine::general_purpose::STANDARD_NO_PAD.encode([0xff; 32]),
            "a-plain-key-of-forty-three-characters-12345".to_owned() + "!",
        ] {
            assert_eq!(KeyHash::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn only_the_same_hash_is_the_same() {
        let hash = KeyHash([7; 32]);
        assert!(hash.is(&KeyHash([7; 32])));
        for at in 0..32 {
            let mut other = [7; 32];
            other[at] ^= 0x80;
            assert!(!hash.is(&KeyHash(other)), "{at}");
        }
    }

    #[test]
    fn weak_keys_are_told() {
        for (key, is_strong) in [
            ("Abcdefghijklmno1", true),
            ("abcdefghijklmn-1", true),
            ("ABCDEFGHIJKLMN-1", true),
            ("Abcdefghijklmno-", true),
            ("Abcdefghijklmn1", false),
            ("abcdefghijklmnop", false),
            ("abcdefghijklmno1", false),
            ("ABCDEFGHIJKLMNO1", false),
            ("----------------1", false),
            ("", false),
            ("Abcdefghijkl mno1", false),
            ("Abcdefghijklmnö1", false),
        ] {
            assert_eq!(weakness(key).is_none(), is_strong, "{key}");
        }
        assert!(weakness(&format!("Aa1{}", "x".repeat(MAX_KEY))).is_some());
    }
}
