//! `x-forwarded-client-cert`, as Envoy writes it (Envoy, "HTTP header manipulation"): elements with commas
//! between, of pairs `Key=Value` with semicolons between; a value with one of `,;="` in it stands in quotes.
//!
//! Taken is the one element of one hop. Two elements are two proxies, and who wrote the first one nobody knows.

/// The header's name.
pub const XFCC: &str = "x-forwarded-client-cert";

/// The header is not what one proxy writes of one certificate with one URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Keys that may stand several times: a certificate may have several of these names.
const REPEATED: &[&str] = &["by", "dns"];
/// Keys that may stand once.
const ONCE: &[&str] = &["hash", "cert", "chain", "subject", "uri"];

/// The URI among the names of the certificate that the header tells of; `None` where it has none.
///
/// # Errors
/// [`Malformed`]: several elements, an unknown key, one that is there twice, an unfinished quote.
pub fn forwarded_uri(value: &str) -> Result<Option<String>, Malformed> {
    let (mut uri, mut seen) = (None, Vec::new());
    let mut rest = value;
    loop {
        let (key, behind) = rest.split_once('=').ok_or(Malformed)?;
        let key = key.to_ascii_lowercase();
        let (value, behind) = read_value(behind)?;
        let is_known =
            REPEATED.contains(&key.as_str()) || (ONCE.contains(&key.as_str()) && !seen.contains(&key));
        if !is_known {
            return Err(Malformed);
        }
        if key == "uri" {
            // Envoy writes an empty one for a certificate without a URI.
            uri = (!value.is_empty()).then_some(value);
        }
        seen.push(key);
        if behind.is_empty() {
            return Ok(uri);
        }
        // A comma: an element of another proxy.
        rest = behind.strip_prefix(';').ok_or(Malformed)?;
    }
}

/// A value and what stands behind it.
fn read_value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (value, behind) = text.split_at_checked(end).ok_or(Malformed)?;
        return if value.contains(['"', '=', ' ']) { Err(Malformed) } else { Ok((value.to_owned(), behind)) };
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next().ok_or(Malformed)?.1),
            '"' => {
                let behind = quoted.get(at..).and_then(|rest| rest.strip_prefix('"')).ok_or(Malformed)?;
                return Ok((value, behind));
            }
            _ => value.push(character),
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "spiffe://cluster.local/ns/agents/sa/agent";

    #[test]
    fn reads_what_one_envoy_writes() {
        let hash = "ab".repeat(32);
        for (value, uri) in [
            (format!("By=spiffe://a/b;Hash={hash};Subject=\"\";URI={ID}"), Some(ID)),
            (format!("Hash={hash};Subject=\"CN=x,O=\\\"y\\\";\",URI=x").replace("\",URI=x", "\""), None),
            (format!("By=;Hash={hash};URI="), None),
            (format!("Hash={hash};URI=\"{ID}\";DNS=a.example;DNS=b.example"), Some(ID)),
            (format!("uri={ID}"), Some(ID)),
            (format!("Cert=\"-----BEGIN%20CERTIFICATE-----%0AMII=\";URI={ID}"), Some(ID)),
        ] {
            assert_eq!(forwarded_uri(&value), Ok(uri.map(str::to_owned)), "{value}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let hash = "ab".repeat(32);
        for value in [
            String::new(),
            ID.to_owned(),
            format!("URI={ID},URI={ID}"),
            format!("Hash={hash};URI={ID},By=spiffe://x/y;Hash={hash}"),
            format!("By=a,URI={ID}"),
            format!("URI={ID};URI={ID}"),
            format!("URI={ID};uri=spiffe://other/x"),
            format!("Hash={hash};Hash={hash};URI={ID}"),
            format!("URI={ID};"),
            format!(";URI={ID}"),
            format!("URI={ID};Later=1"),
            format!("Subject=\"x;URI={ID}"),
            format!("Subject=\"x\"y;URI={ID}"),
            format!("URI={ID};Subject=\"x\"é"),
            "Subject=\"x\\".to_owned(),
            format!("Subject=x\"y;URI={ID}"),
            format!("URI={ID} "),
            format!(" URI={ID}"),
            format!("URI ={ID}"),
            format!("URI={ID};By"),
        ] {
            assert_eq!(forwarded_uri(&value), Err(Malformed), "{value}");
        }
    }

    /// A certificate's owner chooses its subject.
    #[test]
    fn a_subject_is_no_uri() {
        let forged = format!("Subject=\"CN=x;URI={ID}\";URI=spiffe://cluster.local/ns/a/sa/b");
        assert_eq!(forwarded_uri(&forged), Ok(Some("spiffe://cluster.local/ns/a/sa/b".to_owned())));
        let escaped = format!("Subject=\"CN=\\\";URI={ID};X=\\\"\"");
        assert_eq!(forwarded_uri(&escaped), Ok(None));
    }

    proptest! {
        #[test]
        fn any_text_does_not_panic(text in r#"[A-Za-z=;,"\\é ]{0,60}"#) {
            let _ = forwarded_uri(&text);
        }
    }
}
