//! URLs of the configuration that callouts go to: what is accepted as one, and the cluster that stands for it.

use crate::callout::Endpoint;

/// A URL as far as callouts need it.
pub(super) struct Url<'a> {
    pub(super) scheme: &'static str,
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://")? {
            ("https", rest) => ("https", rest),
            ("http", rest) => ("http", rest),
            _ => return None,
        };
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'\\' | b'@');
        let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
        (!authority.is_empty() && rest.bytes().all(plain)).then_some(Self { scheme, authority, path })
    }

    /// As [`Self::parse`], for a field that must be reached by https; else why not, and what to do.
    pub(super) fn of_field(text: &'a str, insecure_http: bool) -> Result<Self, (&'static str, &'static str)> {
        match Self::parse(text) {
            Some(url) if url.scheme == "https" || insecure_http => Ok(url),
            Some(_) => Err(("is not reached by https", "use https, or set `insecure_http: true` for a test")),
            None => Err((
                "is no URL without query, fragment, user and white space",
                "write it like `https://login.example.com`; an issuer as the token's `iss` has it",
            )),
        }
    }

    /// Where it is, through `cluster` or else the one that is named as its host.
    ///
    /// # Errors
    /// `cluster` is empty.
    pub(super) fn endpoint(&self, cluster: Option<&str>) -> Result<Endpoint, (&'static str, &'static str)> {
        let cluster = cluster.unwrap_or_else(|| self.host()).to_owned();
        if cluster.is_empty() {
            return Err(("is empty", "name the Envoy cluster, or leave it out for the host"));
        }
        let path = if self.path.is_empty() { "/" } else { self.path };
        let (authority, path) = (self.authority.to_owned(), path.to_owned());
        Ok(Endpoint { cluster, scheme: self.scheme, authority, path })
    }

    /// The authority without port, and without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &'a str {
        if let Some((address, _)) = self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return address;
        }
        self.authority.split(':').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_cluster_is_the_host() {
        for (url, host) in [
            ("https://login.example.com", "login.example.com"),
            ("https://login.example.com:8443/realm", "login.example.com"),
            ("https://[::1]", "::1"),
            ("https://[::1]:8443/realm", "::1"),
        ] {
            assert_eq!(Url::parse(url).unwrap().host(), host, "{url}");
        }
        for text in [
            "",
            "login.example.com",
            "ftp://h",
            "https://",
            "https:///x",
            "https://u@h",
            "https://h/?q",
            "https://h/ x",
        ] {
            assert!(Url::parse(text).is_none(), "{text}");
        }
    }
}
