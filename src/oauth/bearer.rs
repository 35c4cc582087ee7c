//! The bearer token of a request (RFC 6750 section 2.1): the `Authorization` header and no other place.

use crate::bytes::leading;
use crate::head::{Head, One};
use crate::reason::Reason;
use std::fmt;

/// The longest token that is read, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// A token as the client sent it. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// Finds the one bearer token of a request.
    ///
    /// # Errors
    /// [`Reason::MissingToken`], [`Reason::MalformedAuthorization`], [`Reason::TokenInQuery`], or
    /// [`Reason::TokenRepeated`] where the token stands in another header or the path too, in which it
    /// would reach the upstream.
    pub fn from_head(head: &'a Head) -> Result<Self, Reason> {
        if head.one(":path").text().is_some_and(has_token_in_query) {
            return Err(Reason::TokenInQuery);
        }
        let value = match head.one("authorization") {
            One::Absent => return Err(Reason::MissingToken),
            One::Unusable => return Err(Reason::MalformedAuthorization),
            One::Text(value) => value,
        };
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Reason::MissingToken);
        }
        let token = rest.trim_start_matches(' ');
        if token.is_empty() || token.len() > MAX_TOKEN || !is_b64token(token) {
            return Err(Reason::MalformedAuthorization);
        }
        if head.repeats("authorization", token) {
            return Err(Reason::TokenRepeated);
        }
        Ok(Self(token))
    }

    /// The token itself, for the one who verifies it.
    #[must_use]
    pub fn expose(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(***)")
    }
}

/// `b64token` of RFC 6750 section 2.1: letters, `-./0123456789`, which are neighbours, and `_~+`; `=` at the end.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_letter = |b: u8| (b | 0x20).wrapping_sub(b'a') < 26;
    let is_one = |b: u8| is_letter(b) | (b.wrapping_sub(b'-') < 13) | (b == b'_') | (b == b'~') | (b == b'+');
    !body.is_empty() && leading(body.as_bytes(), is_one) == body.len()
}

/// RFC 6750 section 2.3 allows it, MCP forbids it. A name counts in every percent-encoded form.
fn has_token_in_query(path: &str) -> bool {
    let Some((_, query)) = path.split_once('?') else { return false };
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        name.contains('%') || name.eq_ignore_ascii_case("access_token")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(headers: &[(&str, &str)]) -> Result<String, Reason> {
        let head = Head::from_pairs(headers.iter().copied());
        BearerToken::from_head(&head).map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_token_has_the_characters_of_the_rfc() {
        let all = |at: usize, b: u8| is_b64token(&format!("{}{}", "a".repeat(at), char::from(b)));
        for b in 0..128_u8 {
            let is_one = b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
            assert_eq!([all(0, b), all(1, b) && b != b'=', all(15, b) && b != b'='], [is_one; 3], "{b}");
        }
        assert!(!is_b64token("a\u{e9}") && !is_b64token("=") && is_b64token("a=="));
    }

    #[test]
    fn takes_one_bearer_token_and_nothing_else() {
        let cases: &[(&[(&str, &str)], Result<&str, Reason>)] = &[
            (&[("authorization", "Bearer a.b.c")], Ok("a.b.c")),
            (&[("authorization", "bEARER  a.b.c")], Ok("a.b.c")),
            (&[], Err(Reason::MissingToken)),
            (&[("authorization", "Basic YTpi")], Err(Reason::MissingToken)),
            (&[("authorization", "")], Err(Reason::MissingToken)),
            (&[("authorization", "Bearer")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer ")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer a b")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer a,Bearer b")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer \"a\"")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer a\tb")], Err(Reason::MalformedAuthorization)),
            (&[("authorization", "Bearer ===")], Err(Reason::MalformedAuthorization)),
            (
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                Err(Reason::MalformedAuthorization),
            ),
            (
                &[("authorization", "Bearer a"), ("Authorization", "Basic b")],
                Err(Reason::MalformedAuthorization),
            ),
            (
                &[
                    ("authorization", "Bearer header.claims.signature"),
                    ("cookie", "t=header.claims.signature; x"),
                ],
                Err(Reason::TokenRepeated),
            ),
            (
                &[
                    ("authorization", "Bearer header.claims.signature"),
                    (":path", "/mcp?token=header.claims.signature"),
                ],
                Err(Reason::TokenRepeated),
            ),
            (
                &[
                    ("x-forwarded-access-token", "header.claims.signature"),
                    ("authorization", "Bearer header.claims.signature"),
                ],
                Err(Reason::TokenRepeated),
            ),
            (&[("authorization", "Bearer a.b.c"), ("cookie", "t=a.b.d")], Ok("a.b.c")),
            (&[(":path", "/mcp?access_token=a"), ("authorization", "Bearer a")], Err(Reason::TokenInQuery)),
            (&[(":path", "/mcp?x=1&Access_Token=a")], Err(Reason::TokenInQuery)),
            (&[(":path", "/mcp?access%5ftoken=a")], Err(Reason::TokenInQuery)),
        ];
        for (headers, expected) in cases {
            assert_eq!(token(headers), expected.map(str::to_owned), "{headers:?}");
        }
    }

    #[test]
    fn bounds_the_token_and_hides_it() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(token(&[("authorization", &long)]), Err(Reason::MalformedAuthorization));
        assert_eq!(format!("{:?}", BearerToken("secret")), "BearerToken(***)");
    }
}
