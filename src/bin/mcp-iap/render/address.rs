//! Addresses: of an issuer as the filter asks it, and of the upstream as the command line names it.
//!
//! Stricter than a URL may be: what is not plainly a name or an address and a port is refused.

use mcp_iap::oauth::is_one_path;
use std::fmt;
use std::net::IpAddr;

/// Where a cluster's only endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// By TLS.
    pub tls: bool,
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

/// `URL` of `--upstream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub endpoint: Endpoint,
    /// The path of the MCP endpoint there; `None` for the resource's own.
    pub path: Option<String>,
}

impl Endpoint {
    /// Of `https` or `http` and an authority (RFC 3986 section 3.2, without user).
    pub fn parse(scheme: &str, authority: &str) -> Option<Self> {
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, rest) = match authority.strip_prefix('[') {
            Some(inside) => {
                let (address, rest) = inside.split_once(']')?;
                (Host::Address(IpAddr::V6(address.parse().ok()?)), rest)
            }
            None => {
                let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
                (Host::parse(host)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().ok()?
            }
            None if rest.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            _ => return None,
        };
        (port > 0).then_some(Self { tls, host, port })
    }

    /// Host and port, without the port that the scheme implies.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl Host {
    pub fn is_v4(&self) -> bool {
        matches!(self, Self::Address(IpAddr::V4(_)))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(plain);
        // A last label of digits alone is an address that went wrong (`127.1`), not a name.
        let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let is_name = text.len() <= 253
            && text.split('.').all(label)
            && !text.rsplit('.').next().is_some_and(is_number);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl Upstream {
    /// `http://HOST[:PORT][/PATH]` or `https://...`.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let endpoint = Endpoint::parse(scheme, authority)?;
        let path = if path.is_empty() { None } else { Some(path.to_owned()) };
        // With `=` it is more likely a resource whose URL was forgotten: `RESOURCE=URL`.
        let is_plain = |path: &str| is_one_path(path) && !path.contains('=');
        path.as_deref().is_none_or(is_plain).then_some(Self { endpoint, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.endpoint, self.path.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_plain() {
        for (url, shown, path) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000", None),
            ("http://127.0.0.1:80/", "http://127.0.0.1/", Some("/")),
            ("https://MCP.example.com/v1/mcp", "https://mcp.example.com/v1/mcp", Some("/v1/mcp")),
            ("https://[::1]:8443", "https://[::1]:8443", None),
            ("http://mcp_server:443", "http://mcp_server:443", None),
        ] {
            let upstream = Upstream::parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!((upstream.to_string().as_str(), upstream.path.as_deref()), (shown, path));
        }
    }

    #[test]
    fn refuses_what_is_not() {
        for url in [
            "",
            "127.0.0.1:8000",
            "ftp://h",
            "unix:///s",
            "http://",
            "http:///mcp",
            "http://u@h",
            "http://h:0",
            "http://h:65536",
            "http://h:",
            "http://h:+1",
            "http://h:1:2",
            "http://[::1",
            "http://[h]",
            "http://[::1]x",
            "http://::1",
            "http://a b",
            "http://a\"b",
            "http://a\nb",
            "http://a,b",
            "http://h/a b",
            "http://h/a\"",
            "http://h/a\n",
            "http://h/?q",
            "http://h/#f",
            "http://h//a",
            "http://h/../a",
            "http://h/%61",
            "http://127.1",
            "http://a..b",
            "http://é",
            "http://h?q",
            "HTTP://h",
            "http://h/mcp=127.0.0.1:80",
        ] {
            assert_eq!(Upstream::parse(url), None, "{url}");
        }
    }
}
