//! URIs of resources as rules compare them: byte for byte, so a URI that a server may read as another
//! one is refused (RFC 3986 section 6.2: case, percent-encoding and path segment normalisation).

/// Whether no usual normalisation changes what `uri` names.
pub(super) fn is_unambiguous(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    if scheme.bytes().any(|b| b.is_ascii_uppercase()) || uri.contains('\\') {
        return false;
    }
    // `//` begins an authority; anywhere else it may be folded.
    let below = rest.strip_prefix("//").unwrap_or(rest);
    let path = below.split(['?', '#']).next().unwrap_or_default();
    let has_dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    !has_dots && !path.contains("//") && has_plain_encoding(below)
}

/// Whether only characters are percent-encoded that mean something else when they are not, in capital
/// letters: never an unreserved one, and never `/`, `\`, or NUL.
fn has_plain_encoding(text: &str) -> bool {
    text.split('%').skip(1).all(|behind| {
        let digits = behind.as_bytes().get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_canonical = |digits: &str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let Some(byte) = digits
            .filter(|digits| is_canonical(digits))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        else {
            return false;
        };
        !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_spelling() {
        for uri in [
            "file:///srv/a.txt",
            "k8s://prod/secrets",
            "test://static-text",
            "urn:x:y",
            "https://h/a%20b?x=//y",
            "repo://Owner/Name",
            "file:///a/{dir}/...",
            "a%C3%A4",
        ] {
            assert!(is_unambiguous(uri), "{uri}");
        }
        for uri in [
            "file:///data/%73ecret/x",
            "file:///data/./secret",
            "file:///data//secret",
            "file:///data/x/../secret",
            "file:///data/secret\\x",
            "file:///srv/..",
            "FILE:///srv",
            "File:///srv",
            "file:///a%2Fb",
            "file:///a%2fb",
            "file:///a%5Cb",
            "file:///a%2E%2E/b",
            "file:///a%00",
            "file:///a%",
            "file:///a%4",
            "file:///a%zz",
            "file:///a%c3%a4",
            "file:////etc",
        ] {
            assert!(!is_unambiguous(uri), "{uri}");
        }
    }
}
