//! A SPIFFE ID in its one form (SPIFFE-ID sections 2.1 to 2.4): scheme, trust domain, path of a workload.

use std::fmt;

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID section 2.3
const MAX_BYTES: usize = 2048;
/// SPIFFE-ID section 2.3
const MAX_TRUST_DOMAIN: usize = 255;

/// The identity of a workload: `spiffe://TRUST-DOMAIN/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeId(String);

impl SpiffeId {
    /// Reads the identity of a workload; one without a path is a trust domain's, and no workload's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (trust_domain, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
        let is_id =
            text.len() <= MAX_BYTES && is_trust_domain(trust_domain) && path.split('/').all(is_segment);
        is_id.then(|| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.0.strip_prefix(SCHEME).and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }
}

impl SpiffeId {
    /// Whether a text is the name of a trust domain.
    #[must_use]
    pub fn is_trust_domain(text: &str) -> bool {
        is_trust_domain(text)
    }
}

fn is_trust_domain(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    (1..=MAX_TRUST_DOMAIN).contains(&text.len()) && text.bytes().all(is_plain)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let id = SpiffeId::parse("spiffe://cluster.local/ns/agents/sa/coding-agent").unwrap();
        assert_eq!(id.trust_domain(), "cluster.local");
        for text in [
            "",
            "spiffe://",
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe:///ns/a",
            "spiffe://cluster.local//ns",
            "spiffe://cluster.local/ns/",
            "spiffe://cluster.local/ns/../sa",
            "spiffe://cluster.local/./sa",
            "spiffe://Cluster.local/ns",
            "spiffe://cluster.local:80/ns",
            "spiffe://u@cluster.local/ns",
            "spiffe://cluster.local/ns?x",
            "spiffe://cluster.local/ns#x",
            "spiffe://cluster.local/n%73",
            "spiffe://cluster.local/n s",
            "spiffe://cluster.local/ns\0",
            "spiffe://cluster.local/ns,spiffe://x/y",
            "SPIFFE://cluster.local/ns",
            "https://cluster.local/ns",
            "spiffe://clüster/ns",
            " spiffe://cluster.local/ns",
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://a/{}", "b".repeat(2048))), None);
        assert_eq!(SpiffeId::parse(&format!("spiffe://{}/b", "a".repeat(256))), None);
    }
}
