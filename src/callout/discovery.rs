//! An issuer's discovery document, by callouts: where OpenID Connect puts it, or else where RFC 8414 does.

use super::{Callout, CalloutError, Outbox, Refused, Reply};
use crate::oauth;

/// Fetches the document of an issuer whose own path is `issuer_path`; `get` makes the callout for a path.
///
/// # Errors
/// Why it did not come. Who has no document at the first place is asked at the second; every other failure is one.
pub(super) async fn discover(
    outbox: &Outbox,
    issuer_path: &str,
    get: impl Fn(String) -> Callout,
) -> Result<Vec<u8>, Refused> {
    let absent = |document: &Result<_, Refused>| {
        document.as_ref().is_err_and(|refused| refused.error == CalloutError::Status(404))
    };
    let mut document = Err(CalloutError::Status(404).into());
    for path in oauth::well_known_paths(issuer_path) {
        if absent(&document) {
            document = outbox.call(get(path)).await.map_err(Refused::from).and_then(Reply::document);
        }
    }
    document
}
