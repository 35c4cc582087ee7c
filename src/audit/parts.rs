//! The parts of a record that few requests have: digests, shadow rules, the token for the upstream, lists.

use super::line::Line;
use crate::secret::Secret;
use hmac_sha256::{HMAC, Hash};

/// How much of arguments is digested, in bytes.
const DIGESTED: usize = 16 * 1024;
/// How much of a session's id, in bytes.
const SESSION: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct ExchangeRecord {
    pub(super) target: String,
    /// Whether it was remembered, a token or a refusal.
    pub(super) cached: bool,
    /// How long it was waited for, in milliseconds.
    pub(super) waited_ms: Option<u64>,
    /// How it failed: one of a closed list.
    pub(super) error: Option<&'static str>,
    /// Whose it is, by the target's API server.
    pub(super) kubernetes_user: Option<String>,
}

impl ExchangeRecord {
    pub(super) fn write(&self, line: &mut Line) {
        line.known_text("target", Some(self.target.as_str()).filter(|target| !target.is_empty()));
        line.plain("cached", self.cached);
        line.known_number("waited_ms", self.waited_ms);
        line.known_text("error", self.error);
        line.known_text("kubernetes_user", self.kubernetes_user.as_deref());
    }
}

#[derive(Clone, Debug)]
pub(super) struct ShadowRecord {
    pub(super) outcome: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) rule: Option<String>,
}

impl ShadowRecord {
    pub(super) fn write(&self, line: &mut Line) {
        line.text("outcome", self.outcome);
        line.known_text("reason", self.reason);
        line.known_text("rule", self.rule.as_deref());
    }
}

/// Entries of the lists in an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListedRecord {
    pub(super) shown: usize,
    pub(super) hidden: usize,
    /// Messages of a stream in whose place an error went on.
    pub(super) replaced: usize,
}

impl ListedRecord {
    pub(super) fn write(self, line: &mut Line) {
        let Self { shown, hidden, replaced } = self;
        line.plain("shown", shown);
        line.plain("hidden", hidden);
        if replaced > 0 {
            line.plain("replaced", replaced);
        }
    }
}

/// A digest of arguments, and how long all of them are.
#[derive(Clone, Debug)]
pub(super) struct Digested {
    hmac: [u8; 32],
    bytes: usize,
}

impl Digested {
    pub(super) fn of(key: &Secret, written: &[u8]) -> Self {
        let hmac = HMAC::mac(written.get(..DIGESTED).unwrap_or(written), key.expose());
        Self { hmac, bytes: written.len() }
    }

    pub(super) fn write(&self, line: &mut Line) {
        line.text("hmac_sha256", &hex(&self.hmac));
        line.plain("bytes", self.bytes);
    }
}

/// A session by a digest of its id: some servers take whoever knows the id for its owner.
#[derive(Clone, Debug)]
pub(super) struct SessionRecord {
    is_keyed: bool,
    digest: [u8; 32],
}

impl SessionRecord {
    pub(super) fn of(key: Option<&Secret>, id: &[u8]) -> Self {
        let id = id.get(..SESSION).unwrap_or(id);
        let digest = key.map_or_else(|| Hash::hash(id), |key| HMAC::mac(id, key.expose()));
        Self { is_keyed: key.is_some(), digest }
    }

    pub(super) fn write(&self, line: &mut Line) {
        line.text(if self.is_keyed { "hmac_sha256" } else { "sha256" }, &hex(&self.digest));
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sha256sum` and `openssl dgst -sha256 -hmac` make them.
    #[test]
    fn a_session_is_known_by_a_digest() {
        let key = Secret::new("0123456789abcdef0123456789abcdef".into());
        let written = |key: Option<&Secret>, id: &str| {
            let mut line = Line::new();
            SessionRecord::of(key, id.as_bytes()).write(&mut line);
            line.end()
        };
        let plain = "6a840baf5d8c3ff241688aeb14546e653774cd5387faf1cb982b0fbbf1fbb810";
        assert_eq!(written(None, "s-1"), format!("{{\"sha256\":\"{plain}\"}}"));
        assert_eq!(
            written(Some(&key), "{\"namespace\":\"web\"}"),
            "{\"hmac_sha256\":\"67feeecc8fc4b85ef626bbb0d8ba9d6a5fde5d777d7603008111a8a31a1be134\"}"
        );
        // However long it is, no more than a bound is digested.
        let (long, longer) = ("x".repeat(SESSION), "x".repeat(SESSION * 50));
        assert_eq!(written(None, &long), written(None, &longer));
        assert_ne!(written(None, &long), written(None, &"x".repeat(SESSION - 1)));
    }
}
