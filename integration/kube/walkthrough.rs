//! What docs/istio.md and kubernetes/README.md have a reader type on a cluster, typed: a real kubectl at a real API server
//! with Istio's CRDs, and a real Envoy with the filter where a pod would be. No pod starts here and no istiod runs: what
//! waits for pods ends at once, and a pod's `curl` runs on this machine.

use super::typed::{Typist, blocks};
use crate::cluster::Cluster;
use crate::envoy::{Changes, Envoy, root, scratch};
use crate::rendered::render;
use crate::stub::{Reply, Stub};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Istio's CRDs, as far as the shipped manifests use them.
fn crds() -> Value {
    let kinds: Value =
        serde_json::from_slice(&fs::read(root().join("meshcheck/istio-schemas.json")).unwrap()).unwrap();
    let crds = kinds.as_object().unwrap().iter().map(|(key, spec)| {
        let (version, kind) = key.split_once(' ').unwrap();
        let (group, version) = version.split_once('/').unwrap();
        let singular = kind.to_lowercase();
        let plural = match singular.strip_suffix('y') {
            Some(stem) if !stem.ends_with('a') => format!("{stem}ies"),
            _ => format!("{singular}s"),
        };
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
                "versions": [{"name": version, "served": true, "storage": true, "schema": schema}],
            },
        })
    });
    json!({"apiVersion": "v1", "kind": "List", "items": crds.collect::<Vec<_>>()})
}

/// A cluster with Istio's CRDs, and who types there. What is published is what kubectl checks by.
fn cluster_with_istio(folder: &Path) -> (Cluster, Typist) {
    let cluster = Cluster::start();
    fs::write(folder.join("crds.json"), crds().to_string()).unwrap();
    let mut typist = Typist::new(folder, &cluster);
    typist.must("kubectl apply -f crds.json");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !typist.must("kubectl get --raw /openapi/v2").contains("io.istio.telemetry.v1.Telemetry") {
        assert!(Instant::now() < deadline, "the API server does not publish the CRDs");
        std::thread::sleep(Duration::from_millis(200));
    }
    (cluster, typist)
}

/// The proxy with the filter in it: the document is that of the EnvoyFilter as the API server has it, asked for keys here.
fn proxy(typist: &mut Typist, cluster: &Cluster, namespace: &str, upstream: u16, more: &[String]) -> Envoy {
    let filter = typist.must(&format!("kubectl -n {namespace} get envoyfilter mcp-iap -o json"));
    let filter: Value = serde_json::from_str(&filter).unwrap();
    let patches = filter.pointer("/spec/configPatches").and_then(Value::as_array).unwrap();
    let value = "/patch/value/typed_config/config/configuration/value";
    let document = patches.iter().find_map(|patch| patch.pointer(value)).and_then(Value::as_str).unwrap();
    // As docs/istio.md says: what the cluster itself says of its issuer.
    let said = typist.must("kubectl get --raw /.well-known/openid-configuration");
    let said: Value = serde_json::from_str(&said).unwrap();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let keys = format!("{issuer}/openid/v1/jwks");
    assert!(document.contains(&format!("issuer: {issuer}\n")) && document.contains(&keys), "{document}");
    let document = document
        .replace(&keys, &format!("https://localhost:{}/openid/v1/jwks", cluster.port))
        .replace(&format!("issuer: {issuer}\n"), &format!("issuer: {}\n", said["issuer"]));
    let folder = scratch();
    let mut options = vec!["--upstream".to_owned(), format!("http://127.0.0.1:{upstream}")];
    options.extend(["--ca".to_owned(), cluster.folder.join("ca.crt").display().to_string()]);
    options.extend_from_slice(more);
    Envoy::run(&Changes::default(), |port, admin| render(&folder, &document, port, admin, &options))
}

/// A stand-in for the demo's MCP server.
fn server() -> Stub {
    Stub::start(|_| {
        let result = json!({"jsonrpc": "2.0", "id": 1,
            "result": {"content": [{"type": "text", "text": "web/shop: 2 replicas"}]}});
        Reply::new(200, result.to_string()).header("content-type: application/json")
    })
}

/// An allowed and a refused call are recorded as such, and no token reached the server.
fn saw_both(envoy: &Envoy) {
    let lines = envoy.access_lines(2);
    let reasons: Vec<_> = lines.iter().map(|line| line["mcp_iap"][0]["reason"].clone()).collect();
    assert!(reasons.contains(&json!("no_rule_allows")) && reasons.contains(&json!("allowed")), "{reasons:?}");
}

/// The commands of docs/istio.md from the first `kubectl apply` to the last refused call, in their order.
#[test]
fn the_walk_through_of_istio() {
    let folder = scratch();
    let (cluster, mut typist) = cluster_with_istio(&folder);
    let upstream = server();
    let keys = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' --cacert {}/ca.crt https://localhost:{}/openid/v1/jwks",
        cluster.folder.display(),
        cluster.port
    );
    assert_eq!(typist.must(&keys), "403", "issuer.yaml is what opens them");
    let mut envoys = Vec::new();
    let mut typed = 0;
    for block in blocks("docs/istio.md") {
        if block.mark.starts_with("not run") || block.is_made() {
            continue;
        }
        if block.text.contains("create token") {
            let is_gateway = block.text.contains("port-forward");
            let (namespace, port, more) = if is_gateway {
                let file = |name: &str| folder.join(name).display().to_string();
                let tls =
                    ["--tls-certificate", &file("gateway.crt"), "--tls-private-key", &file("gateway.key")];
                ("mcp-gateway", "8443", tls.map(str::to_owned).to_vec())
            } else {
                ("mcp", "8000", Vec::new())
            };
            let envoy = proxy(&mut typist, &cluster, namespace, upstream.port, &more);
            typist.stands_at(port, envoy.port);
            envoys.push(envoy);
        }
        typed += typist.block(&block);
    }
    assert_eq!(envoys.len(), 2);
    assert!(typed >= 14, "{typed} commands of docs/istio.md");
    assert_eq!(typist.must(&keys), "200");
    assert_eq!(upstream.seen().len(), 2, "the calls that are allowed");
    assert!(upstream.seen().iter().all(|seen| seen.header("authorization").is_none()));
    envoys.iter().for_each(saw_both);
    // What the patches made of the Deployments.
    for (namespace, name, count) in [("mcp", "mcp-server", 2), ("mcp-gateway", "mcp-gateway", 1)] {
        let deployment = typist.must(&format!("kubectl -n {namespace} get deployment {name} -o json"));
        let deployment: Value = serde_json::from_str(&deployment).unwrap();
        let containers =
            deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array).unwrap();
        assert_eq!(containers.len(), count, "{deployment}");
        let proxy = containers.iter().find(|one| one["name"] == "istio-proxy").unwrap();
        assert_eq!(proxy["image"], "auto");
        assert!(proxy["env"].to_string().contains("MCP_IAP_PEPPER"), "{proxy}");
        assert!(proxy["volumeMounts"].to_string().contains("/etc/mcp-iap"), "{proxy}");
    }
    // The API server does refuse.
    for (old, new, said) in [
        ("action: DENY", "action: REFUSE", "Unsupported value"),
        ("mtls:", "mtlss:", "unknown field"),
        ("namespace: mcp ", "namespace: nowhere ", "not found"),
    ] {
        let command = format!("sed 's/{old}/{new}/' mcp-iap-istio.yaml | kubectl apply -f - || true");
        assert!(typist.must(&command).contains(said), "{new}");
    }
}

/// The gate as kubernetes/ has it, with its pod's folders and the cluster's addresses on this machine, and its own token.
fn gate(typist: &mut Typist, cluster: &Cluster, made: &Path, upstream: u16) -> Envoy {
    let folder = scratch();
    for (from, to) in [("server.crt", "tls.crt"), ("server.key", "tls.key")] {
        fs::copy(made.join(from), folder.join(to)).unwrap();
    }
    fs::copy(cluster.folder.join("ca.crt"), folder.join("ca.crt")).unwrap();
    fs::write(folder.join("token"), typist.must("kubectl -n mcp create token gate")).unwrap();
    let text = |file: &str| {
        let mut text = fs::read_to_string(root().join("kubernetes/base").join(file)).unwrap();
        for place in ["/etc/mcp-iap", "/var/run/mcp-iap/reviewer", "/var/run/mcp-iap/tls"] {
            text = text.replace(place, &folder.to_string_lossy());
        }
        text.replace("/usr/local/lib/mcp-iap", &root().join("dist").to_string_lossy())
    };
    for name in ["reviewer.yaml", "server-certificate.yaml"] {
        fs::write(folder.join(name), text(&format!("sds/{name}"))).unwrap();
    }
    Envoy::run(&Changes::default(), |port, admin| {
        let mut text = text("envoy.yaml");
        for (old, new) in [
            ("address: 0.0.0.0, port_value: 8443", port),
            ("address: 127.0.0.1, port_value: 9901", admin),
            ("address: mcp-server.mcp.svc.cluster.local, port_value: 8000", upstream),
            ("address: kubernetes.default.svc, port_value: 443", cluster.port),
        ] {
            assert_eq!(text.matches(old).count(), 1, "{old}");
            text = text.replace(old, &format!("address: 127.0.0.1, port_value: {new}"));
        }
        text
    })
}

/// The commands of kubernetes/README.md, and what the API server makes of the gate's role.
#[test]
fn the_deployment_without_a_mesh() {
    let folder = scratch();
    let cluster = Cluster::start();
    let mut typist = Typist::new(&folder, &cluster);
    let upstream = server();
    let (mut typed, mut envoy) = (0, None);
    for block in blocks("kubernetes/README.md") {
        if block.mark.starts_with("not run") {
            continue;
        }
        if block.text.contains("create token") {
            let gate = gate(&mut typist, &cluster, &folder, upstream.port);
            typist.stands_at("8443", gate.port);
            envoy = Some(gate);
        }
        typed += typist.block(&block);
    }
    assert!(typed >= 10, "{typed} commands of kubernetes/README.md");
    saw_both(&envoy.unwrap());
    assert_eq!(upstream.seen().len(), 1, "the call that is allowed");
    assert_eq!(upstream.seen()[0].header("authorization"), None);
    for (who, verb, what, may) in [
        ("mcp:gate", "create", "tokenreviews.authentication.k8s.io", "yes"),
        ("mcp:gate", "get", "secrets", "no"),
        ("mcp:gate", "create", "subjectaccessreviews.authorization.k8s.io", "no"),
        ("mcp:mcp-server", "create", "tokenreviews.authentication.k8s.io", "no"),
        ("agents:reader", "create", "tokenreviews.authentication.k8s.io", "no"),
    ] {
        let command = format!(
            "kubectl auth can-i {verb} {what} --as system:serviceaccount:{who} --as-group system:serviceaccounts \
             --as-group system:authenticated 2>/dev/null || true"
        );
        assert_eq!(typist.must(&command), may, "{who}: {verb} {what}");
    }
}
