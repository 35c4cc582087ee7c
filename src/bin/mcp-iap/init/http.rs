//! HTTP as `init` needs it: bounded in time and size, and never redirected.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: u64 = 8 * 1024 * 1024;

pub fn agent(ca: Option<&Path>) -> Result<Agent> {
    let roots = match ca {
        None => RootCerts::PlatformVerifier,
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("--ca {}", file.display()))?;
            let items = parse_pem(&text).collect::<Result<Vec<_>, _>>()?;
            let certificates = items.into_iter().filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<Certificate<'static>> = certificates.collect();
            if certificates.is_empty() {
                bail!("--ca {}: holds no certificate in PEM", file.display());
            }
            RootCerts::new_with_certs(&certificates)
        }
    };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build();
    Ok(config.into())
}

/// A URL's scheme with authority, and its path.
pub fn split(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', '\\'])) else {
        bail!("{url} is no URL like `https://host/path`");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || !rest.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("{url} is no URL like `https://host/path`");
    }
    let end = url.len() - rest.len() + authority.len();
    let path = &url[end..];
    Ok((&url[..end], if path.is_empty() { "/" } else { path }))
}

/// `NAME: VALUE`, as curl takes them.
pub fn headers(texts: &[String]) -> Result<Vec<(String, String)>> {
    let each = texts.iter().map(|text| {
        // The value may be a secret: an error names none of it.
        let (name, value) = text.split_once(':').context("--header: write it as `NAME: VALUE`")?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    each.collect()
}
