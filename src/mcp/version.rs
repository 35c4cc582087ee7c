//! Protocol versions and the era that each belongs to (MCP 2026-07-28, "Versioning").

/// The released legacy revisions: handshake, sessions, GET streams.
pub const LEGACY: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The released modern revisions: stateless, `Mcp-*` headers, `_meta` in each request.
pub const MODERN: &[&str] = &["2026-07-28"];

/// Which family of revisions a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25, or no version named.
    Legacy,
    /// 2026-07-28.
    Modern,
}

impl Era {
    /// The era of a version's name, `None` for one that is not known here.
    #[must_use]
    pub fn of(version: &str) -> Option<Self> {
        if MODERN.contains(&version) {
            Some(Self::Modern)
        } else if LEGACY.contains(&version) {
            Some(Self::Legacy)
        } else {
            None
        }
    }

    /// As it stands in the audit record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}
