//! Parameters of a request to an endpoint: `application/x-www-form-urlencoded` (RFC 6749 appendix B), and the same
//! encoding of a client's id and secret in `Authorization: Basic` (RFC 6749 section 2.3.1).

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Its media type.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters, in order. Some are credentials, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Form(Vec<u8>);

impl Form {
    /// With one parameter more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        encode(name.as_bytes(), &mut self.0);
        self.0.push(b'=');
        encode(value.as_bytes(), &mut self.0);
        self
    }

    /// With one parameter more, where there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// As it is sent.
    #[must_use]
    pub fn into_body(self) -> Secret {
        Secret::new(self.0)
    }
}

/// The value of `Authorization` for a client with a secret (RFC 6749 section 2.3.1, RFC 7617).
#[must_use]
pub fn basic(client_id: &str, client_secret: &Secret) -> Secret {
    let mut pair = Vec::new();
    encode(client_id.as_bytes(), &mut pair);
    pair.push(b':');
    encode(client_secret.expose(), &mut pair);
    Secret::new(format!("Basic {}", STANDARD.encode(pair)).into_bytes())
}

fn encode(bytes: &[u8], into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*') {
            into.push(*byte);
        } else if *byte == b' ' {
            into.push(b'+');
        } else {
            into.push(b'%');
            let digits = [byte >> 4, byte & 15].map(|digit| DIGITS.get(usize::from(digit)).copied());
            into.extend(digits.into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_gets_out_of_it() {
        let form = Form::default()
            .with("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .with("scope", "a b&client_id=evil=+é%\r\n")
            .with_some("resource", None);
        assert_eq!(
            String::from_utf8(form.into_body().expose().to_vec()).unwrap(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
             &scope=a+b%26client_id%3Devil%3D%2B%C3%A9%25%0D%0A"
        );
    }

    /// The example of RFC 6749 section 2.3.1, and a pair whose parts hold what separates them.
    #[test]
    fn a_client_with_a_secret() {
        let value = |id, secret: &str| {
            String::from_utf8(basic(id, &Secret::new(secret.into())).expose().to_vec()).unwrap()
        };
        assert_eq!(
            value("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
        assert_eq!(value("a:b", "c:d %"), format!("Basic {}", STANDARD.encode("a%3Ab:c%3Ad+%25")));
    }
}
