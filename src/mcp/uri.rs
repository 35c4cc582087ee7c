//! URIs of resources as rules compare them: byte for byte, so a URI that a server may read as another
//! one is refused (RFC 3986 section 6.2: case, percent-encoding and path segment normalisation).

/// Whether no usual normalisation changes what `uri` names. `{` and `}` stand in URI templates.
pub(super) fn is_unambiguous(uri: &str) -> bool {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let is_plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'^' | b'|' | b'`' | b'\\');
    let of_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.bytes().all(of_scheme) || !uri.bytes().all(is_plain) {
        return false;
    }
    let has_one_form = match scheme {
        "file" => rest.starts_with("///") && !rest.contains('?'),
        "http" | "https" | "ws" | "wss" | "ftp" => rest.strip_prefix("//").is_some_and(is_plain_url),
        _ => true,
    };
    // `//` begins an authority; anywhere else it may be folded.
    let below = rest.strip_prefix("//").unwrap_or(rest);
    let path = below.split('?').next().unwrap_or_default();
    let has_dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    has_one_form && !has_dots && !path.contains("//") && has_plain_encoding(below)
}

/// Whether a URL has a plain authority and a path, which else some add, without parameters (`;`), which some cut off.
fn is_plain_url(rest: &str) -> bool {
    let before_query = rest.split('?').next().unwrap_or_default();
    before_query
        .split_once('/')
        .is_some_and(|(authority, path)| is_plain_authority(authority) && !path.contains(';'))
}

/// Whether a URL's authority is in lower case, without user and without a dot at its end, zeros before a port, or a
/// port that may be left out.
fn is_plain_authority(authority: &str) -> bool {
    let plain = |b: u8| !b.is_ascii_uppercase() && !matches!(b, b'@' | b'%');
    let optional = [".", ":", ":80", ":443", ":21"];
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    let is_plain_port = |port: &str| !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
    !authority.is_empty()
        && port.is_none_or(is_plain_port)
        && authority.bytes().all(plain)
        && !optional.iter().any(|end| authority.ends_with(end))
}

/// Whether only characters are percent-encoded that can't stand in a path as they are, in capital
/// letters: never an unreserved one, a delimiter, `/`, `\`, a bracket, or a control character.
fn has_plain_encoding(text: &str) -> bool {
    text.split('%').skip(1).all(|behind| {
        let digits = behind.as_bytes().get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_canonical = |digits: &&str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let byte = digits.filter(is_canonical).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| byte >= 0x80 || b" %\"<>?#|^`".contains(&byte))
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
            "https://h:8443/x",
            "file:///a%20b",
            "https://[::1]/x",
            "https://[::1]:8443/x",
            "https://h/?x=a;b",
            "git+ssh://h/x;y",
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
            "file:///etc/passwd#",
            "file:///docs/secret.key#.md",
            "file:///docs/secret.key?.md",
            "file:/data/x",
            "file:data/x",
            "file://localhost/data/x",
            "file:///my secret/x",
            "file:///ä",
            "https://HOST/x",
            "https://h:443/x",
            "https://h./x",
            "https://u@h/x",
            "https:/h/x",
            "https:///h/x",
            "file:///a%21",
            "file:///a%40b",
            "file:////etc",
            "https://h:0443/x",
            "https://[::1]:0443/x",
            "https://h:8443x/x",
            "https://h",
            "https://h?x=1",
            "https://h/x;v=1/y",
            "file:///a%5Bb%5D",
            "file:///a%7Bb%7D",
            "fi_le:///a",
            "a/b:c",
        ] {
            assert!(!is_unambiguous(uri), "{uri}");
        }
    }
}
