//! The options that both ways into Istio share, each checked by itself: what is no name in Kubernetes or no place of a
//! module is refused here.

use super::super::options::SYSTEM_CA;
use super::super::yaml::scalar;
use crate::fault::Fault;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where in the mesh the filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// In the sidecar of the MCP server.
    Sidecar,
    /// In a gateway that leads to MCP servers and to nothing else.
    Gateway,
}

/// The document, and what Istio needs beside it.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The configuration of mcp-iap, YAML or JSON; `-` for standard input.
    pub file: PathBuf,
    /// Where istio-agent gets the module: `oci://REGISTRY/REPOSITORY:TAG`, or https.
    #[arg(long, value_name = "URL", value_parser = image)]
    pub image: String,
    /// What it must be, in hex: of an image the digest of its manifest, of a module by https its SHA-256.
    /// `make oci` prints both.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: String,
    /// Where the filter stands.
    #[arg(long, value_enum, default_value = "sidecar")]
    pub at: Place,
    /// The namespace of the workload in whose proxy the filter stands.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub namespace: String,
    /// A label of that workload, several times for several.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label, required = true)]
    pub workload: Vec<Label>,
    /// The port of the MCP server's container. Only this one is guarded, and reached as the policies say; every other is
    /// closed until a policy of yours opens it. Without it every port is guarded.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// With `--at gateway`: the namespace of the MCP server.
    #[arg(long, value_name = "NAME", value_parser = name, requires = "server")]
    pub server_namespace: Option<String>,
    /// With `--at gateway`: a label of the MCP server's workload, several times for several.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label, requires = "server_namespace")]
    pub server: Vec<Label>,
    /// With `--at gateway`: the service account of the gateway, the only one that may reach the MCP server.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub service_account: Option<String>,
    /// The trust domain of the mesh.
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = domain)]
    pub trust_domain: String,
    /// What the manifests are named by.
    #[arg(long, value_name = "NAME", default_value = "mcp-iap", value_parser = name)]
    pub name: String,
    /// The authorities of issuers that are reached by https, a file in the proxy's container, in PEM.
    #[arg(long, value_name = "FILE", default_value = SYSTEM_CA)]
    pub ca: String,
}

/// `LABEL=VALUE`
#[derive(Clone, Debug)]
pub struct Label {
    key: String,
    value: String,
}

impl Options {
    /// # Errors
    /// What of the options does not go together.
    pub fn check(&self) -> Result<(), Fault> {
        let is_whole = !self.server.is_empty() && self.service_account.is_some();
        let message = match self.at {
            Place::Gateway if !is_whole => {
                "--at gateway needs --server-namespace and --server, the MCP server behind it, and \
                 --service-account, the gateway's own: nobody else may reach the server"
            }
            Place::Sidecar if self.service_account.is_some() || !self.server.is_empty() => {
                "--server and --service-account are for --at gateway"
            }
            _ => return Ok(()),
        };
        Err(Fault::Usage(message.to_owned()))
    }

    /// The labels of the workload in whose proxy the filter stands, in flow style.
    pub fn labels(&self) -> String {
        flow(&self.workload)
    }

    /// Namespace and labels of the MCP server.
    pub fn server(&self) -> (&str, String) {
        match &self.server_namespace {
            Some(namespace) => (namespace, flow(&self.server)),
            None => (&self.namespace, self.labels()),
        }
    }

    /// `metadata`, in flow style.
    pub fn metadata(&self, name: &str, namespace: &str) -> String {
        format!("metadata: {{ name: {}, namespace: {} }}", scalar(name), scalar(namespace))
    }
}

fn flow(labels: &[Label]) -> String {
    let labels: Vec<_> =
        labels.iter().map(|Label { key, value }| format!("{}: {}", scalar(key), scalar(value))).collect();
    format!("{{ {} }}", labels.join(", "))
}

fn image(text: &str) -> Result<String, String> {
    let is_place = |rest: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
        rest.contains('/') && rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.chars().all(plain)
    };
    match text.split_once("://") {
        Some(("oci" | "https", rest)) if is_place(rest) => Ok(text.to_owned()),
        _ => Err("write `oci://REGISTRY/REPOSITORY:TAG`, or an https URL without user and query".to_owned()),
    }
}

fn sha256(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Ok(text.to_owned()) } else { Err("write 64 hexadecimal digits, in lower case".to_owned()) }
}

/// A label of RFC 1123, as Kubernetes wants names; room is left for what is put behind it.
pub fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_name = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("write a name of lower case letters, digits and `-`, at most 63".to_owned())
    }
}

fn domain(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(|label| name(label).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("write a domain in lower case, like `cluster.local`".to_owned())
    }
}

fn label(text: &str) -> Result<Label, String> {
    let plain = |part: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.len() <= 63
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && ends(part.chars().next())
            && ends(part.chars().last())
    };
    let parts = text.split_once('=').filter(|(key, value)| {
        let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
        domain(prefix).is_ok() && plain(name) && plain(value)
    });
    let (key, value) =
        parts.ok_or("write LABEL=VALUE, as labels are in Kubernetes, like `app=mcp-server`")?;
    Ok(Label { key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_kubernetes_would_not_take() {
        for text in ["", "-a", "a-", "A", "a.b", "a b", "a\nb", "é", &"a".repeat(64)] {
            assert!(name(text).is_err(), "{text:?}");
        }
        for text in
            ["", "app", "app=", "=a", "app=*", "app=a b", "app=a\"", "a/b/c=d", "A/b=c", "app=-a", "/a=b"]
        {
            assert!(label(text).is_err(), "{text:?}");
        }
        let labels =
            ["app.kubernetes.io/name=mcp-server", "tier=1", "on=yes"].map(|text| label(text).unwrap());
        assert_eq!(flow(&labels), r#"{ app.kubernetes.io/name: mcp-server, tier: "1", "on": "yes" }"#);
    }

    #[test]
    fn a_module_has_one_place_and_one_checksum() {
        for text in [
            "registry/mcp-iap",
            "oci://registry",
            "oci:///a",
            "oci://r/a b",
            "oci://r/a\"",
            "oci://u:p?@r/a",
            "http://r/a",
            "file:///a",
            "https://r/a?b",
            "ftp://r/a",
        ] {
            assert!(image(text).is_err(), "{text}");
        }
        assert!(image("oci://127.0.0.1:5000/mcp-iap:0.1.0").is_ok());
        let digest = "0123456789".repeat(6) + "abcd";
        assert_eq!(sha256(&format!("sha256:{digest}")), Ok(digest.clone()));
        for text in ["", &digest[1..], &digest.to_uppercase(), &format!("sha512:{digest}")] {
            assert!(sha256(text).is_err(), "{text}");
        }
    }
}
