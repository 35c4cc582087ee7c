//! What a sender-constrained token is bound to (`cnf`, RFC 7800 section 3): it counts for the one who proves
//! to have the certificate that `x5t#S256` names (RFC 8705 section 3.1), and for nobody else.
//!
//! Every other method, of which `jkt` (DPoP, RFC 9449 section 6.1) is one, is refused, also beside that one:
//! what is bound to a key that nobody asked for is never taken for a plain bearer's.

use crate::json::{Map, Value};
use crate::reason::Reason;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::net::IpAddr;

/// The claim.
const CONFIRMATION: &str = "cnf";
/// The one method that is verified: SHA-256 of the client's certificate in DER, base64url.
const CERTIFICATE: &str = "x5t#S256";

/// Who sends a token, as far as his connection proves it.
pub trait Sender {
    /// SHA-256 of the client's certificate in DER, whose key the handshake of this very connection has
    /// proved; `None` where there is none. What a header says of a certificate is no proof.
    fn certificate(&self) -> Option<[u8; 32]>;

    /// The client's address as the host determines it; `None` where it has none.
    fn address(&self) -> Option<IpAddr>;

    /// The first URI among the names of that certificate (RFC 5280 section 4.2.1.6), if Envoy verified it: its
    /// listener must be told to.
    fn uri(&self) -> Option<String> {
        None
    }
}

/// A sender who proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unproven;

impl Sender for Unproven {
    fn certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn address(&self) -> Option<IpAddr> {
        None
    }
}

/// The certificate to whose holder these claims bind their token; `None` where they bind it to nobody.
pub(super) fn bound_to(claims: &Map<String, Value>) -> Result<Option<[u8; 32]>, Reason> {
    let Some(confirmation) = claims.get(CONFIRMATION) else { return Ok(None) };
    let methods = confirmation.as_object().ok_or(Reason::InvalidClaim)?;
    if methods.keys().any(|method| method != CERTIFICATE) {
        return Err(Reason::SenderConstraintUnsupported);
    }
    methods.get(CERTIFICATE).and_then(digest).map(Some).ok_or(Reason::InvalidClaim)
}

/// Whether the sender is the one to whom a token is bound.
pub(super) fn check(bound_to: &[u8; 32], sender: &dyn Sender) -> Result<(), Reason> {
    let shown = sender.certificate().ok_or(Reason::ClientCertificateMissing)?;
    if are_equal(bound_to, &shown) { Ok(()) } else { Err(Reason::ClientCertificateMismatch) }
}

fn digest(value: &Value) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?.try_into().ok()
}

/// Takes as long for every pair.
fn are_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Shown(Option<[u8; 32]>);

    impl Sender for Shown {
        fn certificate(&self) -> Option<[u8; 32]> {
            self.0
        }

        fn address(&self) -> Option<IpAddr> {
            None
        }
    }

    #[test]
    fn a_bound_token_counts_with_its_certificate_alone() {
        let own = [7; 32];
        let mut near = own;
        near[31] ^= 1;
        let bound = URL_SAFE_NO_PAD.encode(own);
        let hex: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let standard = base64::engine::general_purpose::STANDARD.encode([0xff; 32]);
        for (confirmation, shown, expected) in [
            (json!({CERTIFICATE: bound}), Some(own), Ok(())),
            (json!({CERTIFICATE: bound}), Some(near), Err(Reason::ClientCertificateMismatch)),
            (json!({CERTIFICATE: bound}), Some([0; 32]), Err(Reason::ClientCertificateMismatch)),
            (json!({CERTIFICATE: bound}), None, Err(Reason::ClientCertificateMissing)),
            (json!({"jkt": bound}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({CERTIFICATE: bound, "jkt": "x"}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({CERTIFICATE: bound, "x": null}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({"x5t#s256": bound}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({"x5t": bound}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({"jwk": {}}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({"kid": "k"}), Some(own), Err(Reason::SenderConstraintUnsupported)),
            (json!({}), Some(own), Err(Reason::InvalidClaim)),
            (json!(null), Some(own), Err(Reason::InvalidClaim)),
            (json!(bound), Some(own), Err(Reason::InvalidClaim)),
            (json!([{CERTIFICATE: bound}]), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: null}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: [bound]}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: ""}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: hex}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: format!("{bound}=")}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: bound.get(1..)}), Some(own), Err(Reason::InvalidClaim)),
            (json!({CERTIFICATE: format!("{bound}AA")}), Some(own), Err(Reason::InvalidClaim)),
            (
                json!({CERTIFICATE: standard.trim_end_matches('=')}),
                Some([0xff; 32]),
                Err(Reason::InvalidClaim),
            ),
        ] {
            let claims = json!({CONFIRMATION: confirmation});
            let bound = bound_to(claims.as_object().unwrap());
            let verdict = bound.and_then(|bound| check(&bound.unwrap(), &Shown(shown)));
            assert_eq!(verdict, expected, "{confirmation} {shown:?}");
        }
    }

    #[test]
    fn a_plain_token_is_bound_to_nobody() {
        assert_eq!(bound_to(json!({"sub": "dana"}).as_object().unwrap()), Ok(None));
    }
}
