"""The files of istio/walkthrough/, which docs/istio.md leads through: valid by the schemas, and fitting each other and
what `render` writes for them. What a real API server makes of them is `make test-kube`.
"""

import copy
import json
import subprocess
from pathlib import Path

from cluster import need, of_kind
from manifests import Invalid, read, shown
from schemas import check_kubernetes

FOLDER = Path(__file__).resolve().parent.parent / "istio" / "walkthrough"
# Parts of Deployments, and where in a pod they put the proxy.
SECRETS = {"secret-sidecar": "containers", "secret-native": "initContainers", "secret-gateway": "containers"}
PARTS = {"sidecar", *SECRETS}


def documents():
    """Of each file that is whole manifests, and not a part of one."""
    files = sorted(file for file in FOLDER.glob("*.yaml") if file.stem not in PARTS)
    return {file.stem: read(file.read_text()) for file in files}


def check(rows, kubectl, verdict, refused, check_one):
    files = documents()
    for name, of_file in files.items():
        for document in of_file:
            verdict(rows, f"istio/walkthrough/{name}: {shown(document)}", lambda: check_one(document))
    everything = [document for of_file in files.values() for document in of_file]
    server = named(everything, "Deployment", "mcp-server")
    merged = merge(kubectl, server, (FOLDER / "sidecar.yaml").read_text())
    everything = [merged if document is server else document for document in everything]
    for what, rule in RULES.items():
        verdict(rows, f"istio/walkthrough: {what}", lambda: rule(everything) or "as it must be")
    for what, change in MUTANTS.items():
        changed = copy.deepcopy(everything)
        change({shown(document): document for document in changed})
        refused(rows, f"mutant: {what}", lambda: all_of(changed, check_one))
    for name in SECRETS:
        text = (FOLDER / f"{name}.yaml").read_text()
        verdict(rows, f"istio/walkthrough/{name}: merged", lambda: check_secret(kubectl, everything, name, text))
        for old, new in (("secretKeyRef", "secretRef"), ("name: istio-proxy", "name: proxy"), ("name: mcp-iap,", ""), ("spec:", "specs:")):
            if old not in text:
                rows.add(False, f"mutant: {name} with {new!r}", f"it has no {old!r}")
            what = f"mutant: {name} with {new!r} for {old!r}"
            refused(rows, what, lambda: check_secret(kubectl, everything, name, text.replace(old, new)))


def all_of(everything, check_one):
    for document in everything:
        check_one(document)
    for rule in RULES.values():
        rule(everything)


def named(everything, kind, name):
    return next((one for one in of_kind(everything, kind) if one["metadata"]["name"] == name), None) or _none(kind, name)


def _none(kind, name):
    raise Invalid(f"{kind} {name} is nowhere")


def proxy_of(everything, name):
    """The pod template of a Deployment, and its entry for Istio's proxy."""
    template = named(everything, "Deployment", name)["spec"]["template"]
    proxies = [one for one in template["spec"]["containers"] if one["name"] == "istio-proxy"]
    need(len(proxies) == 1 and proxies[0]["image"] == "auto", f"Deployment {name}: has no entry that Istio merges")
    return template, proxies[0]


def _mounts(everything, name):
    template, proxy = proxy_of(everything, name)
    maps = {one["name"]: one.get("configMap", {}).get("name") for one in template["spec"]["volumes"]}
    return {mount["mountPath"]: maps.get(mount["name"]) for mount in proxy.get("volumeMounts", [])}


def proxies(everything):
    for name in ("mcp-server", "mcp-gateway"):
        need(_mounts(everything, name).get("/etc/mcp-iap") == "kube-root-ca.crt", f"{name}: no authorities of the issuer")
    server, _ = proxy_of(everything, "mcp-server")
    override = server["metadata"].get("annotations", {}).get("sidecar.istio.io/bootstrapOverride")
    need(override == "mcp-iap-bootstrap", "the sidecar has no bootstrap for the counters' tags")
    gateway, proxy = proxy_of(everything, "mcp-gateway")
    mounts = _mounts(everything, "mcp-gateway")
    need(mounts.get("/etc/istio/custom-bootstrap") == "mcp-iap-bootstrap", "the gateway has no bootstrap")
    files = [one["value"] for one in proxy.get("env", []) if one["name"] == "ISTIO_BOOTSTRAP_OVERRIDE"]
    need(files == ["/etc/istio/custom-bootstrap/custom_bootstrap.json"], "the gateway's bootstrap is not read")
    need(gateway["metadata"]["annotations"] == {"inject.istio.io/templates": "gateway"}, "the gateway is a sidecar")
    need(gateway["metadata"]["labels"].get("sidecar.istio.io/inject") == "true", "the gateway is not injected")


def calls(everything):
    """No retry, no timeout, and only to where the server is; as HTTP."""
    service = named(everything, "Service", "mcp-server")
    port = service["spec"]["ports"][0]
    need(port.get("appProtocol") == "http", "the server's port may be taken for TCP")
    host = "{name}.{namespace}.svc.cluster.local".format(**service["metadata"])
    for name in ("mcp-server", "mcp-gateway"):
        for route in named(everything, "VirtualService", name)["spec"]["http"]:
            need(route.get("retries") == {"attempts": 0}, f"VirtualService {name}: repeats calls")
            need(route.get("timeout") == "0s", f"VirtualService {name}: cuts calls")
            ways = [one["destination"] for one in route["route"]]
            need(ways == [{"host": host, "port": {"number": port["port"]}}], f"VirtualService {name}: leads elsewhere")
    gateway = named(everything, "Gateway", "mcp-gateway")["spec"]["servers"]
    virtual = named(everything, "VirtualService", "mcp-gateway")["spec"]
    need([one["hosts"] for one in gateway] == [virtual["hosts"]], "gateway and routes are for other hosts")
    ports = {one["port"] for one in named(everything, "Service", "mcp-gateway")["spec"]["ports"]}
    need({one["port"]["number"] for one in gateway} == ports, "a port of the gateway is not the service's")
    need(all(one["tls"]["mode"] == "SIMPLE" and one["tls"]["credentialName"] for one in gateway), "no TLS")


def accounts(everything):
    names = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in of_kind(everything, "ServiceAccount")}
    for one in of_kind(everything, "Deployment"):
        account = (one["metadata"]["namespace"], one["spec"]["template"]["spec"]["serviceAccountName"])
        need(account in names, f"{shown(one)}: its account is nowhere")
    need(not of_kind(everything, "Secret"), "a secret stands in a manifest")
    spaces = {one["metadata"]["name"] for one in of_kind(everything, "Namespace")}
    used = {one["metadata"]["namespace"] for one in everything if "namespace" in one["metadata"]}
    need(used == spaces, f"namespaces: {used} are used and {spaces} are there")
    for role in of_kind(everything, "Role") + of_kind(everything, "ClusterRole"):
        allowed = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
        need(role["kind"] == "Role" and role["rules"] == allowed, f"{shown(role)}: may do more than read its certificate")
    for binding in of_kind(everything, "ClusterRoleBinding"):
        need(binding["roleRef"]["name"] == "system:service-account-issuer-discovery", f"{shown(binding)}: gives another role")


def merge(kubectl, deployment, part):
    """By kubectl itself, as `kubectl patch` does on a cluster."""
    run = subprocess.run(
        [kubectl, "patch", "--local", "-f", "-", "-p", part, "-o", "yaml"],
        input=json.dumps(deployment), capture_output=True, text=True, check=False,
    )
    if run.returncode:
        raise Invalid(run.stderr.strip()[:120])
    (merged,) = read(run.stdout)
    check_kubernetes(merged)
    return merged


def check_secret(kubectl, everything, name, text):
    place = SECRETS[name]
    deployment = copy.deepcopy(named(everything, "Deployment", "mcp-gateway" if "gateway" in name else "mcp-server"))
    pod = deployment["spec"]["template"]["spec"]
    if place == "initContainers":  # a name stands in a pod once
        pod["containers"] = [one for one in pod["containers"] if one["name"] != "istio-proxy"]
    before = {one["name"] for one in pod["containers"]}
    merged = merge(kubectl, deployment, text)
    pod = merged["spec"]["template"]["spec"]
    need({one["name"] for one in pod["containers"]} == before, "it is another container")
    proxies = [one for one in pod[place] if one["name"] == "istio-proxy"]
    need(len(proxies) == 1 and proxies[0]["image"] == "auto", "it is not Istio's container")
    values = [one.get("valueFrom") for one in proxies[0]["env"] if one["name"] == "MCP_IAP_PEPPER"]
    need(values == [{"secretKeyRef": {"name": "mcp-iap", "key": "pepper"}}], "it is another secret")
    need(place == "containers" or proxies[0].get("restartPolicy") == "Always", "it is no native sidecar")
    return "valid"


def rendered(everything):
    """What `render` wrote is about the server that is there."""
    template = named(everything, "Deployment", "mcp-server")["spec"]["template"]
    labels = template["metadata"]["labels"]
    (server,) = [one for one in template["spec"]["containers"] if one["name"] == "server"]
    port = str(server["ports"][0]["containerPort"])
    for one in of_kind(everything, "AuthorizationPolicy"):
        need(one["spec"]["selector"]["matchLabels"] == labels, f"{shown(one)}: is about other pods")
        for rule in one["spec"]["rules"]:
            ports = {one for to in rule["to"] for one in to["operation"]["ports"]}
            need(ports == {port}, f"{shown(one)}: is about another port")
    tls = [one["tls"] for rule in of_kind(everything, "DestinationRule")
           for one in rule["spec"]["trafficPolicy"]["portLevelSettings"]]
    mounts = _mounts(everything, "mcp-server")
    for one in tls:
        need(one["caCertificates"].rpartition("/")[0] in mounts, "the authorities are not mounted")
    need(bool(tls), "no issuer is reached")
    named(everything, "ConfigMap", "mcp-iap-bootstrap")


RULES = {"what the proxies need": proxies, "what is rendered fits": rendered, "no retry and no timeout": calls, "what is named is there": accounts}


def _entry(documents, name):
    return documents[f"Deployment {name}"]["spec"]["template"]


def _route(documents, name):
    return documents[f"VirtualService {name}"]["spec"]["http"][0]


MUTANTS = {
    "a proxy without the authorities of the issuer": lambda d: proxy_of(d.values(), "mcp-server")[1].pop("volumeMounts"),
    "a sidecar without its bootstrap": lambda d: _entry(d, "mcp-server")["metadata"]["annotations"].clear(),
    "a gateway with the annotation of a sidecar": lambda d: _entry(d, "mcp-gateway")["metadata"].update(
        annotations={"sidecar.istio.io/bootstrapOverride": "mcp-iap-bootstrap"}),
    "a gateway whose bootstrap is not read": lambda d: _entry(d, "mcp-gateway")["spec"]["containers"][0].pop("env"),
    "a server whose port may be TCP": lambda d: d["Service mcp-server"]["spec"]["ports"][0].pop("appProtocol"),
    "a retry": lambda d: _route(d, "mcp-server").pop("retries"),
    "a timeout": lambda d: _route(d, "mcp-gateway").update(timeout="15s"),
    "a destination that is a text": lambda d: _route(d, "mcp-gateway")["route"][0].update(destination="mcp-server"),
    "retries as a number": lambda d: _route(d, "mcp-gateway").update(retries=0),
    "a gateway without TLS": lambda d: d["Gateway mcp-gateway"]["spec"]["servers"][0]["tls"].update(mode="PASSTHROUGH"),
    "an old TLS": lambda d: d["Gateway mcp-gateway"]["spec"]["servers"][0]["tls"].update(minProtocolVersion="SSLV3"),
    "a port that the gateway's service does not have": lambda d: d["Gateway mcp-gateway"]["spec"]["servers"][0]["port"].update(number=8443),
    "a role that writes secrets": lambda d: d["Role mcp-gateway"]["rules"][0]["verbs"].append("update"),
    "a role of an administrator": lambda d: d["ClusterRoleBinding mcp-iap-issuer-keys"]["roleRef"].update(name="cluster-admin"),
    "a server with another label": lambda d: _entry(d, "mcp-server")["metadata"].update(labels={"app": "server"}),
    "a server at another port": lambda d: next(
        one for one in _entry(d, "mcp-server")["spec"]["containers"] if one["name"] == "server").update(ports=[{"containerPort": 8001}]),
    "authorities at another place": lambda d: d["DestinationRule mcp-iap-kubernetes.mcp-iap.internal"]["spec"]["trafficPolicy"][
        "portLevelSettings"][0]["tls"].update(caCertificates="/etc/other/ca.crt"),
    "an account that is nowhere": lambda d: _entry(d, "client")["spec"].update(serviceAccountName="other"),
}
