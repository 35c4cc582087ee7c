//! Token introspection (RFC 7662): the question, and what an answer is. What its claims must be is checked by those
//! who check a token's ([`crate::jose::VerifiedClaims::introspected`]).

use super::form::Form;
use crate::json::{self, Map, Value};

/// The answer is none: the server's fault or ours, not the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIntrospection;

/// The question (RFC 7662 section 2.1).
#[must_use]
pub fn introspection_request(token: &str) -> Form {
    Form::default().with("token", token).with("token_type_hint", "access_token")
}

/// The members of an answer about a token that is active, `None` for one that is not (RFC 7662 section 2.2).
///
/// # Errors
/// `active` is absent or neither `true` nor `false`, or the answer is no strict JSON.
pub fn read_introspection(body: &[u8]) -> Result<Option<Map<String, Value>>, NoIntrospection> {
    let Ok(Value::Object(members)) = json::parse(body) else { return Err(NoIntrospection) };
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Some(members)),
        Some(Value::Bool(false)) => Ok(None),
        _ => Err(NoIntrospection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_is_active() {
        for (text, expected) in [
            (r#"{"active":true,"sub":"dana"}"#, Ok(true)),
            (r#"{"active":false}"#, Ok(false)),
            (r#"{"active":false,"sub":"dana"}"#, Ok(false)),
            (r#"{"active":"true"}"#, Err(NoIntrospection)),
            (r#"{"active":1}"#, Err(NoIntrospection)),
            (r#"{"active":null}"#, Err(NoIntrospection)),
            (r#"{"Active":true}"#, Err(NoIntrospection)),
            (r#"{"active":false,"active":true}"#, Err(NoIntrospection)),
            (r#"{"active":false,"Active":true}"#, Err(NoIntrospection)),
            (r#"[{"active":true}]"#, Err(NoIntrospection)),
            (r#"{"sub":"dana"}"#, Err(NoIntrospection)),
            ("true", Err(NoIntrospection)),
            ("", Err(NoIntrospection)),
            ("<html>", Err(NoIntrospection)),
        ] {
            let seen = read_introspection(text.as_bytes()).map(|members| members.is_some());
            assert_eq!(seen, expected, "{text}");
        }
    }

    #[test]
    fn a_token_stays_within_its_parameter() {
        let body = introspection_request("a+b/c=&token=x").into_body();
        let text = String::from_utf8(body.expose().to_vec()).unwrap();
        assert_eq!(text, "token=a%2Bb%2Fc%3D%26token%3Dx&token_type_hint=access_token");
    }
}
