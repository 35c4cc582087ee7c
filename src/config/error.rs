//! What is wrong with a configuration: where, what stands there, why it can't be, and what to write.

use serde_json::Value;
use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as `rules[0].allow.tools[1]`; empty for the whole document.
    pub path: String,
    /// What stands there, where it is short and no secret.
    pub value: Option<String>,
    /// Why it is refused.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// How long a value may be to be shown.
const MAX_SHOWN: usize = 80;

impl ConfigError {
    /// A fault at `path`. Never inlined: it is made in hundreds of places, each at most once a load.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn new(path: impl Into<String>, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.into(), value: None, reason: reason.into(), fix: fix.into() }
    }

    /// With what stands there.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        let text = value.into().to_string();
        self.value = if text.len() > MAX_SHOWN { None } else { Some(text) };
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(f, "`{path}`")?;
        if let Some(value) = &self.value {
            write!(f, " is {value}")?;
        }
        write!(f, ": {}; {}", self.reason, self.fix)
    }
}

/// All faults of one configuration, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<ConfigError>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for Errors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
