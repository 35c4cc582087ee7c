//! Secrets of the document: written as `${NAME}`, read from the environment that Envoy gives to the
//! filter (`vm_config.environment_variables`). A secret in the document itself is refused, and is never
//! repeated in an error.

use crate::secret::Secret;
use serde::Deserialize;
use std::fmt;

/// Looks up a variable; `None` where there is none, or one that is no text.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What stands for a secret that is not set where a document is only looked at: as long as the longest algorithm
/// asks for (HS512: 64 bytes). No filter ever sees it.
pub const STAND_IN: &str = "this stands in for a secret that is not set where mcp-iap checks";

/// The environment of this process; in Envoy, what the VM was given.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `${NAME}`: where a secret is. What is written may be a secret by mistake, so it does not show itself.
#[derive(Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SecretReference(String);

impl SecretReference {
    /// The secret.
    ///
    /// # Errors
    /// Reason and fix, without what is written if that is no reference, and without what the variable holds.
    pub fn resolve(&self, environment: Environment<'_>) -> Result<Secret, (String, String)> {
        let name = self.0.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name.filter(|name| is_name(name)) else {
            let fix = "write `${NAME}`, and give the secret by that environment variable";
            return Err(("is no reference to an environment variable".to_owned(), fix.to_owned()));
        };
        match environment(name) {
            None => Err((
                format!("names the environment variable `{name}`, which is not set"),
                "set it; for Envoy list it in `vm_config.environment_variables`".to_owned(),
            )),
            Some(value) if value.trim() != value => Err((
                format!("names the environment variable `{name}`, which begins or ends with white space"),
                "set it without".to_owned(),
            )),
            Some(value) => Ok(Secret::new(value.into_bytes())),
        }
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretReference(***)")
    }
}

/// A name as POSIX has it (IEEE Std 1003.1 section 8.1), in either case.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("from-the-environment".to_owned()),
            "LINE" => Some("from-the-environment\n".to_owned()),
            _ => None,
        }
    }

    fn resolve(written: &str) -> Result<Vec<u8>, String> {
        let reference = SecretReference(written.to_owned());
        let secret = reference.resolve(&environment);
        secret.map(|secret| secret.expose().to_vec()).map_err(|(reason, fix)| format!("{reason}; {fix}"))
    }

    #[test]
    fn resolves_a_reference_and_nothing_else() {
        assert_eq!(resolve("${KEY}").unwrap(), b"from-the-environment");
        for written in [
            "hunter2-hunter2",
            "$KEY",
            "${}",
            "${KEY",
            "x${KEY}",
            "${KEY}x",
            "${1KEY}",
            "${A B}",
            "${KEY:-x}",
            "",
        ] {
            let error = resolve(written).unwrap_err();
            assert!(error.starts_with("is no reference"), "{error}");
            assert!(written.is_empty() || !error.contains(written), "{error}");
        }
    }

    #[test]
    fn what_is_written_does_not_show_itself() {
        let shown = format!("{:?}", SecretReference("hunter2".to_owned()));
        assert_eq!(shown, "SecretReference(***)");
    }

    #[test]
    fn a_variable_that_can_not_be_used_is_named_and_not_shown() {
        assert!(resolve("${NONE}").unwrap_err().contains("`NONE`, which is not set"));
        let error = resolve("${LINE}").unwrap_err();
        assert!(error.contains("`LINE`") && !error.contains("from-the"), "{error}");
    }
}
