//! One TokenReview: a POST whose success is 201, of a good token and of a bad one alike.
//!
//! A bad token's `authenticated` is not `false` but absent. A server that does not know audiences leaves them out of
//! its answer: then the token was checked for the server's own audience, and not for ours (Kubernetes API,
//! TokenReviewSpec and TokenReviewStatus, `audiences`).

use crate::json::{self, Map, Value};
use serde_json::json;

/// Where reviews are created, behind the server's own path.
pub const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// The status of an answer.
pub const CREATED: u16 = 201;

const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenReview";
/// How many groups one user may have; more is refused rather than cut.
const MAX_GROUPS: usize = 1024;

/// Who a token is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `username`, like `system:serviceaccount:agents:coding-agent`
    pub name: String,
    /// `groups`
    pub groups: Vec<String>,
}

/// What the server says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// It is this user's, for one of the audiences that were asked for.
    User(User),
    /// It is nobody's.
    NotAuthenticated,
    /// It is somebody's, for another audience.
    OtherAudience,
}

/// The answer is none: the server's fault or ours, not the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewError;

/// The question, as JSON: is this token somebody's, for one of these audiences?
#[must_use]
pub fn question(token: &str, audiences: &[String]) -> String {
    let spec = json!({ "token": token, "audiences": audiences });
    json!({ "apiVersion": API_VERSION, "kind": KIND, "spec": spec }).to_string()
}

/// Reads the answer to a question about a token for these audiences.
///
/// # Errors
/// It is no TokenReview, or says what it can't.
pub fn read_answer(body: &[u8], audiences: &[String]) -> Result<Review, ReviewError> {
    let answer = json::parse(body).map_err(|_| ReviewError)?;
    let answer = answer.as_object().ok_or(ReviewError)?;
    let is = |name: &str, wanted: &str| answer.get(name).and_then(Value::as_str) == Some(wanted);
    if !is("apiVersion", API_VERSION) || !is("kind", KIND) {
        return Err(ReviewError);
    }
    let status = answer.get("status").and_then(Value::as_object).ok_or(ReviewError)?;
    match status.get("authenticated") {
        None | Some(Value::Bool(false)) => return Ok(Review::NotAuthenticated),
        Some(Value::Bool(true)) => {}
        Some(_) => return Err(ReviewError),
    }
    let granted = texts(status, "audiences")?;
    if !granted.iter().any(|audience| audiences.contains(audience)) {
        return Ok(Review::OtherAudience);
    }
    let user = status.get("user").and_then(Value::as_object).ok_or(ReviewError)?;
    let name = user.get("username").and_then(Value::as_str).filter(|name| !name.is_empty());
    let groups = texts(user, "groups")?;
    if groups.len() > MAX_GROUPS {
        return Err(ReviewError);
    }
    Ok(Review::User(User { name: name.ok_or(ReviewError)?.to_owned(), groups }))
}

/// A list of texts, empty where it is absent.
fn texts(object: &Map<String, Value>, name: &str) -> Result<Vec<String>, ReviewError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(texts)) => texts
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(ReviewError),
        Some(_) => Err(ReviewError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<String> {
        vec!["mcp".to_owned()]
    }

    fn answer(status: &serde_json::Value) -> Result<Review, ReviewError> {
        let text = json!({"apiVersion": API_VERSION, "kind": KIND, "spec": {"token": "t"}, "status": status});
        read_answer(text.to_string().as_bytes(), &ours())
    }

    #[test]
    fn asks_for_our_audiences() {
        let question: serde_json::Value = serde_json::from_str(&question("a\"b", &ours())).unwrap();
        assert_eq!(question["spec"], json!({"token": "a\"b", "audiences": ["mcp"]}));
        assert_eq!((&question["kind"], &question["apiVersion"]), (&json!(KIND), &json!(API_VERSION)));
    }

    #[test]
    fn only_true_authenticates() {
        let user = json!({"username": "u", "groups": ["g"]});
        let yes = User { name: "u".into(), groups: vec!["g".into()] };
        for (status, expected) in [
            (json!({"authenticated": true, "user": user, "audiences": ["x", "mcp"]}), Ok(Review::User(yes))),
            (json!({"user": {}, "error": "invalid bearer token"}), Ok(Review::NotAuthenticated)),
            (
                json!({"authenticated": false, "user": user, "audiences": ["mcp"]}),
                Ok(Review::NotAuthenticated),
            ),
            (json!({"authenticated": true, "user": user}), Ok(Review::OtherAudience)),
            (json!({"authenticated": true, "user": user, "audiences": []}), Ok(Review::OtherAudience)),
            (json!({"authenticated": true, "user": user, "audiences": ["MCP"]}), Ok(Review::OtherAudience)),
            (json!({"authenticated": "true", "user": user, "audiences": ["mcp"]}), Err(ReviewError)),
            (json!({"authenticated": 1, "user": user, "audiences": ["mcp"]}), Err(ReviewError)),
            (json!({"authenticated": null, "user": user, "audiences": ["mcp"]}), Err(ReviewError)),
            (json!({"authenticated": true, "audiences": ["mcp"]}), Err(ReviewError)),
            (json!({"authenticated": true, "user": {}, "audiences": ["mcp"]}), Err(ReviewError)),
            (
                json!({"authenticated": true, "user": {"username": ""}, "audiences": ["mcp"]}),
                Err(ReviewError),
            ),
            (json!({"authenticated": true, "user": {"username": 7}, "audiences": ["mcp"]}), Err(ReviewError)),
            (
                json!({"authenticated": true, "user": {"username": "u", "groups": "g"}, "audiences": ["mcp"]}),
                Err(ReviewError),
            ),
            (
                json!({"authenticated": true, "user": {"username": "u", "groups": [7]}, "audiences": ["mcp"]}),
                Err(ReviewError),
            ),
            (json!({"authenticated": true, "user": user, "audiences": "mcp"}), Err(ReviewError)),
            (json!(null), Err(ReviewError)),
            (json!([]), Err(ReviewError)),
        ] {
            assert_eq!(answer(&status), expected, "{status}");
        }
    }

    #[test]
    fn what_is_no_token_review_is_none() {
        let good = json!({"authenticated": true, "user": {"username": "u"}, "audiences": ["mcp"]});
        for text in [
            String::new(),
            "true".to_owned(),
            "<html>".to_owned(),
            json!({"status": good}).to_string(),
            json!({"kind": KIND, "apiVersion": "authentication.k8s.io/v1beta1", "status": good}).to_string(),
            json!({"kind": "SubjectAccessReview", "apiVersion": API_VERSION, "status": good}).to_string(),
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure"}).to_string(),
            format!(r#"{{"kind":"{KIND}","apiVersion":"{API_VERSION}","status":{good},"status":{good}}}"#),
        ] {
            assert_eq!(read_answer(text.as_bytes(), &ours()), Err(ReviewError), "{text}");
        }
    }
}
