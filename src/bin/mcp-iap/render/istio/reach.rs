//! How the proxy reaches who is asked for keys, tokens and verdicts, and who counts: for each a ServiceEntry, of which Istio
//! makes the cluster `outbound|PORT||HOST`, and a DestinationRule with TLS. Who can't be reached so is refused here.

use super::super::address::Host;
use super::super::plan::{Cluster, Plan};
use super::super::yaml::scalar;
use super::options::Options;
use crate::fault::Fault;
use std::collections::BTreeSet;

/// The plan, with Istio's cluster for the service that counts.
///
/// # Errors
/// It is none that Istio knows by a name.
pub fn by_name(mut plan: Plan) -> Result<Plan, Fault> {
    let Some(Cluster { name, endpoint, .. }) = &mut plan.rate_limit_service else { return Ok(plan) };
    let refuse = |wanted: &str| Fault::Usage(format!("--rate-limit-service: {wanted}"));
    let Host::Name(host) = &endpoint.host else {
        return Err(refuse("Istio knows services by name, not by address"));
    };
    if !is_host(host) || host.split('.').nth(2) == Some("svc") && !is_of_cluster(host) {
        return Err(refuse("write the whole name, like `ratelimit.mcp.svc.cluster.local`"));
    }
    if is_of_cluster(host) && endpoint.tls {
        return Err(refuse("write `http` for a Service of the cluster: the mesh brings its own TLS"));
    }
    *name = format!("outbound|{}||{host}", endpoint.port);
    Ok(plan)
}

/// Whether it is a Service's name, of which Istio has a cluster already: `NAME.NAMESPACE.svc.DOMAIN`.
fn is_of_cluster(host: &str) -> bool {
    let mut labels = host.split('.').skip(2);
    labels.next() == Some("svc") && labels.next().is_some()
}

/// Two manifests for each cluster, but that of a Service.
///
/// # Errors
/// A cluster that Istio would not make of a ServiceEntry.
pub fn manifests(options: &Options, plan: &Plan) -> Result<Vec<String>, Fault> {
    let mut hosts = BTreeSet::new();
    let mut texts = Vec::new();
    let is_elsewhere =
        |one: &&Cluster| !matches!(&one.endpoint.host, Host::Name(host) if is_of_cluster(host));
    let counting = plan.rate_limit_service.iter().filter(is_elsewhere);
    for cluster in plan.issuers.iter().chain(counting) {
        let service = Service::of(cluster)?;
        if !hosts.insert(service.host.to_owned()) {
            return Err(fault(
                cluster,
                "has the host of another: give each a host of its own, which need not exist",
            ));
        }
        texts.push(service.entry(options));
        texts.push(service.rule(options));
    }
    Ok(texts)
}

/// What stands behind `outbound|PORT||HOST`.
struct Service<'a> {
    cluster: &'a Cluster,
    host: &'a str,
    port: u16,
}

impl<'a> Service<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self, Fault> {
        let parts: Vec<_> = cluster.name.split('|').collect();
        let parsed = match parts.as_slice() {
            ["outbound", port, "", host] => port.parse().ok().filter(|port| *port > 0).zip(Some(*host)),
            _ => None,
        };
        let (port, host) = parsed.filter(|(_, host)| is_host(host)).ok_or_else(|| {
            let host = match &cluster.endpoint.host {
                Host::Name(name) => name.as_str(),
                Host::Address(_) => "a-name.of.your-own",
            };
            fault(
                cluster,
                &format!("is none of Istio's: write `cluster: outbound|{}||{host}`", cluster.endpoint.port),
            )
        })?;
        if cluster.endpoint.tls && matches!(cluster.endpoint.host, Host::Address(_)) {
            return Err(fault(cluster, "is at an address by https: Istio verifies names; write a name"));
        }
        Ok(Self { cluster, host, port })
    }

    fn name(&self, options: &Options) -> String {
        format!("{}-{}", options.name, self.host)
    }

    fn entry(&self, options: &Options) -> String {
        let endpoint = &self.cluster.endpoint;
        let target = if self.port == endpoint.port {
            String::new()
        } else {
            format!(", targetPort: {}", endpoint.port)
        };
        let protocol = match (self.cluster.is_grpc, endpoint.tls) {
            (true, _) => "GRPC",
            (false, true) => "TLS",
            (false, false) => "HTTP",
        };
        let (resolution, endpoints) = match &endpoint.host {
            Host::Name(name) if name == self.host => ("DNS", String::new()),
            Host::Name(name) => ("DNS", format!("  endpoints:\n  - {{ address: {} }}\n", scalar(name))),
            Host::Address(address) => ("STATIC", format!("  endpoints:\n  - {{ address: \"{address}\" }}\n")),
        };
        format!(
            "# {}.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
{}
spec:
  exportTo: [\".\"]
  hosts: [{}]
  location: MESH_EXTERNAL
  resolution: {resolution}
  ports:
  - {{ number: {}, name: {}, protocol: {protocol}{target} }}
{endpoints}",
            self.cluster.purpose,
            options.metadata(&self.name(options), &options.namespace),
            scalar(self.host),
            self.port,
            protocol.to_ascii_lowercase(),
        )
    }

    fn rule(&self, options: &Options) -> String {
        let tls = match &self.cluster.endpoint.host {
            Host::Name(name) if self.cluster.endpoint.tls => {
                let name = scalar(name);
                format!(
                    "# Without certificates and names any server would be believed.
      tls:
        mode: SIMPLE
        sni: {name}
        subjectAltNames: [{name}]
        caCertificates: {}
",
                    scalar(&options.ca)
                )
            }
            _ => "tls: { mode: DISABLE }\n".to_owned(),
        };
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
{}
spec:
  exportTo: [\".\"]
  host: {}
  workloadSelector: {{ matchLabels: {} }}
  trafficPolicy:
    portLevelSettings:
    - port: {{ number: {} }}
      {tls}",
            options.metadata(&self.name(options), &options.namespace),
            scalar(self.host),
            options.labels(),
            self.port,
        )
    }
}

/// Whether it can be a host of a ServiceEntry and a part of names.
fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 180 && host.contains('.') && host.split('.').all(is_label)
}

fn fault(cluster: &Cluster, what: &str) -> Fault {
    Fault::Failed(format!("{}: the cluster `{}` {what}", cluster.purpose, cluster.name))
}

#[cfg(test)]
mod tests {
    use super::super::super::address::Endpoint;
    use super::*;

    fn service(name: &str, scheme: &str, authority: &str) -> Option<(String, u16)> {
        let cluster = Cluster {
            name: name.to_owned(),
            endpoint: Endpoint::parse(scheme, authority).unwrap(),
            credential: None,
            gives_tokens: false,
            is_grpc: false,
            purpose: String::new(),
        };
        Service::of(&cluster).ok().map(|service| (service.host.to_owned(), service.port))
    }

    #[test]
    fn only_what_istio_makes_of_a_service_entry_is_a_cluster() {
        let found = service("outbound|443||login.example.com", "https", "login.example.com");
        assert_eq!(found, Some(("login.example.com".to_owned(), 443)));
        assert!(service("outbound|8443||keys.mcp-iap.internal", "https", "login.example.com").is_some());
        assert!(service("outbound|80||keys.mcp-iap.internal", "http", "10.0.0.1").is_some());
        for name in [
            "login.example.com",
            "outbound|443||",
            "outbound|443|v1|login.example.com",
            "outbound|0||login.example.com",
            "outbound|65536||login.example.com",
            "outbound|443||login",
            "outbound|443||Login.example.com",
            "outbound|443||login.example.com|x",
            "outbound|443||a b.example.com",
            "outbound|443||*.example.com",
            "inbound|443||login.example.com",
        ] {
            assert_eq!(service(name, "https", "login.example.com"), None, "{name}");
        }
        assert_eq!(service("outbound|443||keys.internal", "https", "10.0.0.1"), None, "no name to verify");
    }
}
