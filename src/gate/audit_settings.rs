//! What records hold beside what stands in each: the document's `audit`, compiled.

use crate::config::{self, ConfigError};
use std::rc::Rc;

const MAX_CLEAR: usize = 32;

/// What records hold.
#[derive(Debug)]
pub struct AuditSettings {
    /// The arguments whose values stand in records.
    pub clear_arguments: Vec<Rc<str>>,
    /// Whether answers are read for errors.
    pub read_answers: bool,
    /// Whether the upstream's answers name the decision.
    pub decision_header: bool,
}

impl AuditSettings {
    pub(super) fn compile(audit: &config::Audit, errors: &mut Vec<ConfigError>) -> Self {
        let config::Audit { clear_arguments: names, read_answers, decision_header } = audit;
        if names.len() > MAX_CLEAR {
            let fix = "name at most 32: those that tell what a call was about";
            errors.push(ConfigError::new("audit.clear_arguments", "has too many names", fix));
        }
        for (index, name) in names.iter().enumerate() {
            let (reason, fix) = if name.is_empty() || name.len() > 256 {
                ("is no argument's name", "use 1 to 256 bytes")
            } else if names.iter().take(index).any(|other| other == name) {
                ("is there twice", "name it once")
            } else {
                continue;
            };
            let path = format!("audit.clear_arguments[{index}]");
            errors.push(ConfigError::new(path, reason, fix).value(name.get(..64).unwrap_or(name)));
        }
        let clear_arguments = names.iter().map(|name| Rc::from(name.as_str())).collect();
        Self { clear_arguments, read_answers: *read_answers, decision_header: *decision_header }
    }
}
