//! Which workload a connection comes from: by the certificate that its client showed to Envoy, or by what a proxy
//! that is trusted by name says of its own client's.
//!
//! A proxy's identity is never taken for that of whom it speaks for.

use crate::config::{self, ConfigError, Guarded};
use crate::head::{Head, One};
use crate::jose::Sender;
use crate::reason::Reason;
use crate::spiffe::{SpiffeId, XFCC, forwarded_uri};

/// The workloads that count.
#[derive(Debug)]
pub struct MeshSettings {
    trust_domains: Vec<String>,
    trusted_proxies: Vec<SpiffeId>,
    /// Whether a workload is a caller by itself.
    pub authenticates: bool,
}

impl MeshSettings {
    /// The workload that a request comes from; `None` where its certificate names none, or there is none.
    ///
    /// # Errors
    /// [`Reason::MeshIdentityNotAccepted`] where it names another one than those that count, and
    /// [`Reason::MalformedForwardedClientCert`].
    pub(super) fn workload(&self, head: &Head, sender: &dyn Sender) -> Result<Option<SpiffeId>, Reason> {
        let Some(peer) = sender.uri() else { return Ok(None) };
        if !self.trusts(&peer) {
            return self.accept(&peer).map(Some);
        }
        match head.one(XFCC) {
            One::Absent => Ok(None),
            One::Unusable => Err(Reason::MalformedForwardedClientCert),
            One::Text(value) => {
                let uri = forwarded_uri(value).map_err(|_| Reason::MalformedForwardedClientCert)?;
                uri.map(|uri| self.accept(&uri)).transpose()
            }
        }
    }

    /// Whether anybody's `x-forwarded-client-cert` is looked at.
    pub(super) fn reads_forwarded(&self) -> bool {
        !self.trusted_proxies.is_empty()
    }

    /// Whether a request comes from a proxy that is trusted with it.
    pub(super) fn is_trusted(&self, sender: &dyn Sender) -> bool {
        sender.uri().is_some_and(|peer| self.trusts(&peer))
    }

    fn trusts(&self, peer: &str) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy.as_str() == peer)
    }

    fn accept(&self, uri: &str) -> Result<SpiffeId, Reason> {
        let id = SpiffeId::parse(uri).ok_or(Reason::MeshIdentityNotAccepted)?;
        let is_ours = self.trust_domains.iter().any(|domain| domain == id.trust_domain());
        if is_ours { Ok(id) } else { Err(Reason::MeshIdentityNotAccepted) }
    }
}

pub(super) fn compile_mesh(written: &config::MeshIdentity, errors: &mut Vec<ConfigError>) -> MeshSettings {
    let config::MeshIdentity { trust_domains, authenticates, forwarded_client_cert } = written;
    if trust_domains.is_empty() {
        let fix = "name at least one, like `cluster.local`";
        errors.push(ConfigError::new("mesh_identity.trust_domains", "names none: no workload counts", fix));
    }
    for (index, domain) in trust_domains.iter().enumerate() {
        if !SpiffeId::is_trust_domain(domain) {
            let path = format!("mesh_identity.trust_domains[{index}]");
            let fix = "write its name alone, in lower case, like `cluster.local`";
            errors.push(ConfigError::new(path, "is no trust domain", fix).value(domain.as_str()));
        }
    }
    let proxies = forwarded_client_cert.as_ref().map(|trust| trust.trusted_proxies.as_slice());
    let path = "mesh_identity.forwarded_client_cert.trusted_proxies";
    if proxies.is_some_and(<[String]>::is_empty) {
        let fix = "name the SPIFFE ID of each proxy, or leave `forwarded_client_cert` out";
        errors.push(ConfigError::new(path, "trusts nobody", fix));
    }
    let mut trusted_proxies = Vec::new();
    for (index, proxy) in proxies.unwrap_or_default().iter().enumerate() {
        match SpiffeId::parse(proxy) {
            Some(id) => trusted_proxies.push(id),
            None => {
                let fix = "write it whole, like `spiffe://cluster.local/ns/ingress/sa/gateway`";
                let error =
                    ConfigError::new(format!("{path}[{index}]"), "is no SPIFFE ID of a workload", fix);
                errors.push(error.value(proxy.as_str()));
            }
        }
    }
    MeshSettings { trust_domains: trust_domains.clone(), trusted_proxies, authenticates: *authenticates }
}

/// Workloads in rules must be ones that can be.
pub(super) fn check_named_workloads(
    guarded: &Guarded<'_>,
    mesh: Option<&config::MeshIdentity>,
    errors: &mut Vec<ConfigError>,
) {
    for (index, rule) in guarded.rules.iter().enumerate() {
        let named = rule.to.as_ref().and_then(|to| to.spiffe_ids.as_deref()).unwrap_or_default();
        let path = guarded.rule_path(index, "to.spiffe_ids");
        if mesh.is_none() && !named.is_empty() {
            let fix = "give `mesh_identity`";
            errors.push(ConfigError::new(&path, "can't hold: no workload is known", fix));
        }
        for (at, name) in named.iter().enumerate() {
            let is_whole = SpiffeId::parse(name).is_some();
            if !is_whole && !(name.contains('*') && (name.starts_with("spiffe://") || name == "*")) {
                let fix = "write it whole, or with `*`, like `spiffe://cluster.local/ns/agents/*`";
                let error = ConfigError::new(format!("{path}[{at}]"), "is no SPIFFE ID of a workload", fix);
                errors.push(error.value(name.as_str()));
                continue;
            }
            let domain = name.trim_start_matches("spiffe://").split('/').next().unwrap_or_default();
            if mesh.is_some_and(|mesh| {
                !domain.contains('*') && !mesh.trust_domains.iter().any(|one| one == domain)
            }) {
                let reason = "can't hold: its trust domain is none of `mesh_identity.trust_domains`";
                let error =
                    ConfigError::new(format!("{path}[{at}]"), reason, "name the trust domain there as well");
                errors.push(error.value(name.as_str()));
            }
        }
    }
}
