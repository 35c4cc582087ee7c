//! An issuer's discovery document, by callouts: where OpenID Connect puts it, or else where RFC 8414 does.

use super::{Callout, CalloutError, Outbox};
use crate::oauth;

/// Fetches the document of an issuer whose own path is `issuer_path`; `get` makes the callout for a path.
///
/// # Errors
/// Why it did not come. Who has no document at the first place is asked at the second; every other failure is one.
pub(super) async fn discover(
    outbox: &Outbox,
    issuer_path: &str,
    get: impl Fn(String) -> Callout,
) -> Result<Vec<u8>, CalloutError> {
    let mut document = Err(CalloutError::Status(404));
    for path in oauth::well_known_paths(issuer_path) {
        if document == Err(CalloutError::Status(404)) {
            document = outbox.call(get(path)).await.and_then(|reply| reply.body_of(200));
        }
    }
    document
}
