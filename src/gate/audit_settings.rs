//! What records hold beside what stands in each: the document's `audit`, compiled.

use crate::audit::{Form, Masks, Shown};
use crate::config::{self, AuditAttributes, ConfigError, Environment};
use crate::policy::{Attribute, Pattern};
use crate::secret::Secret;
use std::rc::Rc;

const MAX_CLEAR: usize = 32;
const MAX_PATTERNS: usize = 32;
/// The least length of a key, in bytes: as many as the digest has.
const MIN_KEY: usize = 32;
const MAX_MASK: usize = 64;

/// What records hold.
#[derive(Debug)]
pub struct AuditSettings {
    /// The arguments whose values stand in records.
    pub clear_arguments: Vec<Rc<str>>,
    /// By which arguments are digested.
    pub digest_key: Option<Secret>,
    /// What does not stand in records.
    pub masks: Masks,
    /// What of what rules read stands in records.
    pub attributes: AuditAttributes,
    /// Whether there is a rule that reads something of that.
    pub(super) notes_attributes: bool,
    /// Whether answers are read for errors.
    pub read_answers: bool,
}

impl AuditSettings {
    /// What of what rules read may stand in records; `None` for nothing.
    #[must_use]
    pub fn shown(&self) -> Option<Shown<'_>> {
        let clear_arguments = &*self.clear_arguments;
        let all_arguments = self.attributes == AuditAttributes::All;
        (self.attributes != AuditAttributes::None).then_some(Shown { all_arguments, clear_arguments })
    }

    /// With what the rules read.
    pub(super) fn of_rules<'r>(self, mut reads: impl Iterator<Item = Attribute<'r>>) -> Self {
        let notes_attributes = self.shown().is_some_and(|shown| reads.any(|attribute| shown.has(attribute)));
        Self { notes_attributes, ..self }
    }

    pub(super) fn compile(
        audit: &config::Audit,
        environment: Environment<'_>,
        errors: &mut Vec<ConfigError>,
    ) -> Self {
        let config::Audit {
            clear_arguments: names,
            digest_key,
            mask_arguments,
            mask_values,
            mask,
            attributes,
            mask_attributes,
            read_answers,
        } = audit;
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
        let mut fault = |reason: String, fix: String| {
            errors.push(ConfigError::new("audit.digest_key", reason, fix));
        };
        let digest_key = match digest_key.as_ref().map(|key| key.resolve(environment)) {
            Some(Ok(key)) if key.expose().len() < MIN_KEY => {
                let fix = "use 32 random bytes or more, like `openssl rand -base64 32` makes";
                fault(format!("is shorter than {MIN_KEY} bytes"), fix.to_owned());
                None
            }
            Some(Ok(key)) => Some(key),
            Some(Err((reason, fix))) => {
                fault(reason, fix);
                None
            }
            None => None,
        };
        if mask.is_empty() || mask.len() > MAX_MASK || !mask.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let fix = "use 1 to 64 printable characters of ASCII";
            errors.push(ConfigError::new("audit.mask", "can't stand in a record", fix));
        }
        check_patterns(mask_arguments, "audit.mask_arguments", errors);
        check_patterns(mask_attributes, "audit.mask_attributes", errors);
        check_patterns(mask_values, "audit.mask_values", errors);
        let in_lower_case = |name: &String| Pattern::new(&name.to_lowercase());
        let masks = Masks {
            mask: Rc::from(mask.as_str()),
            names: mask_arguments.iter().map(in_lower_case).collect(),
            attributes: mask_attributes.iter().map(in_lower_case).collect(),
            forms: mask_values.iter().map(|form| Form::new(form)).collect(),
        };
        let (attributes, read_answers) = (*attributes, *read_answers);
        Self { clear_arguments, digest_key, masks, attributes, notes_attributes: false, read_answers }
    }
}

fn check_patterns(texts: &[String], path: &str, errors: &mut Vec<ConfigError>) {
    if texts.len() > MAX_PATTERNS {
        errors.push(ConfigError::new(path, "has too many patterns", "use at most 32"));
    }
    for (index, text) in texts.iter().enumerate() {
        if text.is_empty() || text.len() > 256 {
            let fix = "use 1 to 256 bytes";
            errors.push(ConfigError::new(format!("{path}[{index}]"), "is no pattern", fix));
        }
    }
}
