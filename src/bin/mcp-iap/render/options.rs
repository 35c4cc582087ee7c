//! The options of `render envoy` and `run`, each checked by itself.

use super::address::{Endpoint, Upstream};
use super::log::Sink;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a distribution keeps the certificates that it trusts (Debian, Ubuntu, Alpine, Arch).
pub const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The document, and what Envoy needs beside it.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The configuration of mcp-iap, YAML or JSON; `-` for standard input.
    pub file: PathBuf,
    /// The MCP server behind a resource, like `http://127.0.0.1:8000`. With a path, requests for the
    /// resource's own path are rewritten to it. With several resources once for each, as RESOURCE=URL.
    #[arg(long, value_name = "[RESOURCE=]URL", value_parser = upstream)]
    pub upstream: Vec<ForResource>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:10000", value_parser = socket)]
    pub listen: SocketAddr,
    /// Envoy's admin interface.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9901", value_parser = socket)]
    pub admin: SocketAddr,
    /// The filter's module.
    #[arg(long, value_name = "PATH")]
    pub wasm: Option<String>,
    /// The listener's certificate and its chain, in PEM: clients connect by TLS.
    #[arg(long, value_name = "FILE", requires = "tls_private_key", conflicts_with = "tls_sds")]
    pub tls_certificate: Option<String>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_private_key: Option<String>,
    /// The same by SDS: a file with a secret named `server_certificate`, read anew when it changes.
    #[arg(long, value_name = "SDS_FILE", value_parser = sds_file)]
    pub tls_sds: Option<String>,
    /// The authorities of clients' certificates, in PEM: a client must show one.
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<String>,
    /// The authorities of issuers and upstreams that are reached by https, in PEM.
    #[arg(long, value_name = "FILE", default_value = SYSTEM_CA)]
    pub ca: String,
    /// Where the records go: `stdout`, `file=PATH`, `als=URL` (Envoy's gRPC access log service) or `otlp=URL`
    /// (an OpenTelemetry collector, by gRPC). Several times for several.
    #[arg(long, value_name = "SINK", default_value = "stdout", value_parser = Sink::parse)]
    pub access_log: Vec<Sink>,
    /// Has Envoy send a bearer token with what the filter asks of an issuer's cluster: SDS_FILE has a
    /// secret named `credential`. The filter never sees it. Needs Envoy 1.37.
    #[arg(long, value_name = "CLUSTER=SDS_FILE", value_parser = credential)]
    pub credential: Vec<Credential>,
    /// The service that counts rates with `global: true`, by gRPC (RLS v3), like `http://127.0.0.1:8081`.
    #[arg(long, value_name = "URL", value_parser = service)]
    pub rate_limit_service: Option<Endpoint>,
}

/// `[RESOURCE=]URL`
#[derive(Clone, Debug)]
pub struct ForResource {
    pub resource: Option<String>,
    pub upstream: Upstream,
}

/// `CLUSTER=SDS_FILE`
#[derive(Clone, Debug)]
pub struct Credential {
    pub cluster: String,
    pub file: String,
}

fn upstream(text: &str) -> Result<ForResource, String> {
    // An upstream's path has no `//`, so the last `=` before a scheme is the one between the two.
    let at = ["=http://", "=https://"].iter().filter_map(|scheme| text.rfind(scheme)).max();
    let (resource, url) = match at {
        Some(at) => (Some(text[..at].to_owned()), &text[at + 1..]),
        None => (None, text),
    };
    let wanted = "write it like `http://127.0.0.1:8000` or `https://mcp.example.com/mcp`: no user, query or fragment, one way to write the path";
    let upstream = Upstream::parse(url).ok_or(wanted)?;
    Ok(ForResource { resource, upstream })
}

/// A rate limit service.
pub fn service(text: &str) -> Result<Endpoint, String> {
    let plain = Upstream::parse(text).filter(|url| url.path.is_none()).map(|url| url.endpoint);
    plain.ok_or_else(|| {
        "write it like `http://127.0.0.1:8081` or `https://ratelimit.example.com`: no path".to_owned()
    })
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() > 0 => Ok(socket),
        _ => {
            Err("write an IP address and a port, like `127.0.0.1:10000`, `0.0.0.0:443` or `[::]:443`"
                .to_owned())
        }
    }
}

/// Envoy tells a file's format by its name.
fn sds_file(text: &str) -> Result<String, String> {
    let is_known = [".yaml", ".yml", ".json"].iter().any(|end| text.ends_with(end));
    if is_known { Ok(text.to_owned()) } else { Err("an SDS file ends in .yaml, .yml or .json".to_owned()) }
}

fn credential(text: &str) -> Result<Credential, String> {
    // A cluster's name may hold `=`; a file's name seldom does, and not before its folders.
    let (cluster, file) = text.rsplit_once('=').ok_or("write CLUSTER=SDS_FILE")?;
    if cluster.is_empty() {
        return Err("write CLUSTER=SDS_FILE".to_owned());
    }
    Ok(Credential { cluster: cluster.to_owned(), file: sds_file(file)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_may_name_its_resource() {
        let one = upstream("https://mcp.example.com/a=b=http://127.0.0.1:8000").unwrap();
        assert_eq!(one.resource.as_deref(), Some("https://mcp.example.com/a=b"));
        assert_eq!(one.upstream.to_string(), "http://127.0.0.1:8000");
        assert_eq!(upstream("http://127.0.0.1:8000/a").unwrap().resource, None);
        assert!(
            upstream("https://mcp.example.com/a=127.0.0.1:8000")
                .is_err_and(|error| error.starts_with("write"))
        );
    }

    #[test]
    fn refuses_what_envoy_would_not_read() {
        for text in ["10000", "localhost:10000", ":10000", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1"] {
            assert!(socket(text).is_err(), "{text}");
        }
        for text in ["127.0.0.1:8081", "http://127.0.0.1:8081/", "grpc://h", "http://h/x"] {
            assert!(service(text).is_err(), "{text}");
        }
        for text in ["token", "c=token.txt", "=c.yaml", "c"] {
            assert!(credential(text).is_err(), "{text}");
        }
        assert_eq!(credential("outbound|443||h=a.yaml").unwrap().cluster, "outbound|443||h");
    }
}
