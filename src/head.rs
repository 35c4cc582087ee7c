//! The head of a message: header names and values as bytes, as the host gives them.
//!
//! Values are bytes because HTTP's are: what must be text is asked for as text and refused otherwise.

use std::fmt;
use std::ops::Range;

/// What is shorter is no secret, and may stand elsewhere by chance.
const MIN_SECRET: usize = 16;

/// Header names and values of one message, in order, in the one buffer that they came in.
///
/// HTTP/1 and HTTP/2 pseudo-headers (`:path`, `:method`, `:authority`, `:status`) stand among them.
#[derive(Clone, Default)]
pub struct Head {
    buffer: Vec<u8>,
    entries: Vec<(Range<usize>, Range<usize>)>,
    /// The marks of all names.
    marks: u64,
}

/// One bit of 64 for a name, the same however it is written. Most of what is asked for is not there, and is not looked for
/// where its bit is not set.
fn mark(name: &[u8]) -> u64 {
    let end = |byte: Option<&u8>| byte.map_or(0, |byte| u32::from(byte.to_ascii_lowercase()));
    let length = u32::try_from(name.len()).unwrap_or(0);
    1_u64.wrapping_shl(
        length.wrapping_mul(5) ^ end(name.first()).wrapping_mul(11) ^ end(name.last()).wrapping_mul(3),
    )
}

impl Head {
    /// Reads the host's form of a header map: a count, that many pairs of lengths, then each name and
    /// value with a NUL behind it, all numbers 32 bit little-endian (Proxy-Wasm ABI 0.2.1).
    ///
    /// Returns `None` where the lengths don't fit the buffer.
    #[must_use]
    pub fn from_abi(buffer: Vec<u8>) -> Option<Self> {
        if buffer.is_empty() {
            return Some(Self::default());
        }
        let number = |at: usize| -> Option<usize> {
            let bytes = buffer.get(at..at.checked_add(4)?)?;
            usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        let count = number(0)?;
        let mut at = count.checked_mul(8)?.checked_add(4)?;
        if at > buffer.len() {
            return None;
        }
        let (mut entries, mut marks) = (Vec::with_capacity(count), 0);
        for index in 0..count {
            let sizes = index.checked_mul(8)?.checked_add(4)?;
            let mut take = |length: usize| -> Option<Range<usize>> {
                let range = at..at.checked_add(length)?;
                buffer.get(range.clone())?;
                at = range.end.checked_add(1)?;
                Some(range)
            };
            let name = take(number(sizes)?)?;
            let value = take(number(sizes.checked_add(4)?)?)?;
            marks |= mark(buffer.get(name.clone())?);
            entries.push((name, value));
        }
        Some(Self { buffer, entries, marks })
    }

    /// Builds a head from pairs; for tests and for what did not come from the host.
    #[must_use]
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut head = Self::default();
        for (name, value) in pairs {
            let start = head.buffer.len();
            head.buffer.extend_from_slice(name.as_ref());
            let middle = head.buffer.len();
            head.buffer.extend_from_slice(value.as_ref());
            head.entries.push((start..middle, middle..head.buffer.len()));
            head.marks |= mark(name.as_ref());
        }
        head
    }

    /// All names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter_map(|(name, value)| {
            Some((self.buffer.get(name.clone())?, self.buffer.get(value.clone())?))
        })
    }

    /// All values of the header `name` (lower case).
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let entries = if self.marks & mark(name.as_bytes()) == 0 { &[][..] } else { &self.entries };
        let is_named = move |range: &Range<usize>| {
            range.len() == name.len()
                && self.buffer.get(range.clone()).is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
        };
        let named = entries.iter().filter(move |(own, _)| is_named(own));
        named.filter_map(|(_, value)| self.buffer.get(value.clone()))
    }

    /// The value of the header `name`, whether it is there once, not at all, or can't be relied on.
    #[must_use]
    pub fn one(&self, name: &str) -> One<'_> {
        let mut found = One::Absent;
        for value in self.all(name) {
            found = match (found, std::str::from_utf8(value)) {
                (One::Absent, Ok(text)) => One::Text(text),
                _ => return One::Unusable,
            };
        }
        found
    }

    /// Whether `secret`, an ASCII text which stands in the header `name`, stands in another one too, or in the path: there it
    /// would go on to the upstream. What is shorter than 16 bytes may do so by chance.
    #[must_use]
    pub fn repeats(&self, name: &str, secret: &str) -> bool {
        let mut others = self.iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
        // The search of texts takes time with the sum of both lengths; comparing at each place, with their product.
        let holds =
            |value: &[u8]| value.len() >= secret.len() && String::from_utf8_lossy(value).contains(secret);
        secret.len() >= MIN_SECRET && others.any(|(_, value)| holds(value))
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

/// How a header that may stand only once stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum One<'a> {
    /// Not there.
    Absent,
    /// There once, as UTF-8 text.
    Text(&'a str),
    /// Repeated, or no UTF-8 text.
    Unusable,
}

impl<'a> One<'a> {
    /// The text where there is just one.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Unusable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secret = "abcdefghijklmnop";
        let with = |value: &[u8]| Head::from_pairs([(&b"authorization"[..], &b"x"[..]), (b"y", value)]);
        for value in ["abcdefghijklmnop", "-abcdefghijklmnop-", "aabcdefghijklmnop"] {
            assert!(with(value.as_bytes()).repeats("authorization", secret), "{value}");
        }
        assert!(with(b"\xff\xc3abcdefghijklmnop\xe2\x82").repeats("authorization", secret));
        assert!(!with(b"abcdefghijklmno\xffp").repeats("authorization", secret));
        assert!(!with(b"abcdefghijklmno").repeats("authorization", secret));
        assert!(!Head::from_pairs([("Authorization", secret)]).repeats("authorization", secret));
    }

    /// Whoever sends a head must not keep a worker from everybody else.
    #[test]
    fn a_secret_is_looked_for_in_time_that_grows_with_the_head_alone() {
        let quickest = |length: usize| {
            let secret = format!("{}b", "a".repeat(length));
            let head = Head::from_pairs([("authorization", secret.clone()), ("x", "a".repeat(44_000))]);
            let timed = (0..50).map(|_| {
                let begun = std::time::Instant::now();
                assert!(!head.repeats("authorization", &secret));
                begun.elapsed()
            });
            timed.min().unwrap_or_default()
        };
        // Comparing at each place takes some hundred times as long.
        let (short, long) = (quickest(20), quickest(15_000));
        assert!(long < short * 20, "{short:?}, {long:?}");
    }

    fn abi(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
        for (name, value) in pairs {
            out.extend((name.len() as u32).to_le_bytes());
            out.extend((value.len() as u32).to_le_bytes());
        }
        for (name, value) in pairs {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out
    }

    #[test]
    fn reads_the_hosts_form() {
        let head = Head::from_abi(abi(&[(b":path", b"/mcp"), (b"x", b"\xff\xfe"), (b"x", b"")])).unwrap();
        assert_eq!(head.one(":path"), One::Text("/mcp"));
        assert_eq!(head.all("x").collect::<Vec<_>>(), [&b"\xff\xfe"[..], b""]);
        assert_eq!(head.one("x"), One::Unusable);
        assert_eq!(head.one("y"), One::Absent);
        assert_eq!(Head::from_abi(Vec::new()).unwrap().iter().count(), 0);
    }

    #[test]
    fn refuses_lengths_that_do_not_fit() {
        let mut cut = abi(&[(b"name", b"value")]);
        cut.truncate(cut.len().saturating_sub(3));
        assert!(Head::from_abi(cut).is_none());
        assert!(Head::from_abi(vec![0xff; 4]).is_none());
        assert!(Head::from_abi(vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn debug_shows_no_value() {
        let head = Head::from_pairs([("authorization", "Bearer secret")]);
        assert_eq!(format!("{head:?}"), r#"["authorization"]"#);
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(head) = Head::from_abi(bytes) {
                head.iter().count();
            }
        }
    }
}
