//! Who verifies a signature: the host's crypto, else the library. Both give one verdict; they differ in what
//! it costs. Which tokens were verified before is [`super::token`]'s to know; it counts here as well.

use crate::jose::{HostCrypto, Library, NoHost, Signed, Verdict, Verifier};
use std::cell::Cell;

/// Who gave a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifiedBy {
    /// The cache.
    Cache,
    /// The host's crypto.
    Host,
    /// The library in the sandbox.
    Library,
}

/// The signatures of one root.
pub struct Signatures {
    host: Box<dyn HostCrypto>,
    counts: [Cell<u64>; 3],
}

impl VerifiedBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cache, Self::Host, Self::Library];

    /// Its name in the counter `mcp_iap_signatures`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Host => "host",
            Self::Library => "library",
        }
    }
}

impl Signatures {
    /// With this host.
    #[must_use]
    pub fn new(host: Box<dyn HostCrypto>) -> Self {
        Self { host, counts: Default::default() }
    }

    /// How many verdicts were given since the last call, by whom.
    pub fn take_counts(&self) -> impl Iterator<Item = (VerifiedBy, u64)> {
        let counts = VerifiedBy::ALL.into_iter().zip(&self.counts);
        counts.map(|(by, count)| (by, count.take())).filter(|(_, count)| *count > 0)
    }

    /// Counts a verdict.
    pub(super) fn count(&self, by: VerifiedBy) {
        if let Some((_, count)) = VerifiedBy::ALL.into_iter().zip(&self.counts).find(|(one, _)| *one == by) {
            count.set(count.get().saturating_add(1));
        }
    }
}

impl Verifier for Signatures {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        let (verdict, by) = match signed.verify_by(&*self.host) {
            Some(true) => (Verdict::Holds, VerifiedBy::Host),
            Some(false) => (Verdict::Broken, VerifiedBy::Host),
            None => (Library.verify(signed), VerifiedBy::Library),
        };
        self.count(by);
        verdict
    }
}

impl Default for Signatures {
    fn default() -> Self {
        Self::new(Box::new(NoHost))
    }
}
