"""The Kustomize base and its overlays in kubernetes/: rendered by Kustomize, valid by Kubernetes' schemas, and no more
than is needed: restricted pods, least privilege, a network that lets nobody past the gate.

Pods are held to what the API server's `restricted` asks (Pod Security Standards) and to a bit more. No API server runs.
"""

import copy
import subprocess
from pathlib import Path

from manifests import Invalid, read, shown
from schemas import check_kubernetes

FOLDER = Path(__file__).resolve().parent.parent / "kubernetes"
OVERLAYS = ("base", "overlays/demo", "overlays/production")
VOLUMES = {"configMap", "emptyDir", "projected", "secret"}


def check(rows, kubectl, verdict, refused):
    for name in OVERLAYS:
        run = subprocess.run([kubectl, "kustomize", FOLDER / name], capture_output=True, text=True)
        if run.returncode:
            rows.add(False, f"kubernetes/{name}", run.stderr.strip()[:120])
            continue
        documents = read(run.stdout)
        for document in documents:
            verdict(rows, f"kubernetes/{name}: {shown(document)}", lambda: valid(document))
        for what, rule in RULES.items():
            verdict(rows, f"kubernetes/{name}: {what}", lambda: rule(documents) or "as it must be")
    for what, change in MUTANTS.items():
        changed = copy.deepcopy(documents)
        change({shown(document): document for document in changed})
        refused(rows, f"mutant: {what}", lambda: all_of(changed))


def valid(document):
    check_kubernetes(document)
    return "valid"


def all_of(documents):
    for document in documents:
        check_kubernetes(document)
    for rule in RULES.values():
        rule(documents)


def need(holds, what):
    if not holds:
        raise Invalid(what)


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def pods(documents):
    return [(shown(one), one["spec"]["template"]["spec"]) for one in of_kind(documents, "Deployment")]


def restricted(documents):
    for name, pod in pods(documents):
        context = pod.get("securityContext", {})
        need(context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0, f"{name}: runs as root")
        need(context.get("seccompProfile", {}).get("type") == "RuntimeDefault", f"{name}: has no seccomp profile")
        need(not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), f"{name}: shares the host's namespaces")
        kinds = {kind for volume in pod.get("volumes", []) for kind in volume if kind != "name"}
        need(kinds <= VOLUMES, f"{name}: has volumes of {kinds - VOLUMES}")
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container.get("securityContext", {})
            need(own.get("allowPrivilegeEscalation") is False, f"{name}: may get more privileges")
            need(own.get("capabilities") == {"drop": ["ALL"]}, f"{name}: has capabilities")
            need(own.get("readOnlyRootFilesystem") is True, f"{name}: may write its root file system")
            need(not {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile"} & set(own), f"{name}: undoes the pod's")
            need("memory" in container.get("resources", {}).get("limits", {}), f"{name}: has no limit of memory")
    for namespace in of_kind(documents, "Namespace"):
        labels = namespace["metadata"].get("labels", {})
        is_enforced = labels.get("pod-security.kubernetes.io/enforce") == "restricted"
        need(is_enforced, f"{shown(namespace)}: takes every pod")


def secrets(documents):
    need(not of_kind(documents, "Secret"), "a secret stands in a manifest")
    for name, pod in pods(documents):
        for container in pod["containers"]:
            for variable in container.get("env", []):
                need("secretKeyRef" not in variable.get("valueFrom", {}), f"{name}: has a secret in its environment")


def privileges(documents):
    allowed = [{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]
    for role in of_kind(documents, "ClusterRole") + of_kind(documents, "Role"):
        need(role["rules"] == allowed, f"{shown(role)}: may do more than ask whose a token is")
    for binding in of_kind(documents, "ClusterRoleBinding") + of_kind(documents, "RoleBinding"):
        need(binding["roleRef"]["name"] == "mcp-iap-reviewer", f"{shown(binding)}: gives another role")
        subjects = [{"kind": "ServiceAccount", "name": "gate", "namespace": "mcp"}]
        need(binding["subjects"] == subjects, f"{shown(binding)}: gives it to somebody else")
    for name, pod in pods(documents):
        need(pod.get("automountServiceAccountToken") is False, f"{name}: has a token that it does not need")
        asks = [volume for volume in pod.get("volumes", []) if "serviceAccountToken" in str(volume)]
        need(bool(asks) == (name == "Deployment gate"), f"{name}: has a token of the API server")


def network(documents):
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(documents, "NetworkPolicy")}
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    need(policies.get("nothing") == nothing, "what no policy names is let through")
    gate, server = ({"matchLabels": {"app": app}} for app in ("gate", "mcp-server"))
    for name, selector in (("gate", gate), ("mcp-server", server)):
        policy = policies.get(name, {})
        need(policy.get("podSelector") == selector, f"NetworkPolicy {name}: is about other pods")
        need(set(policy["policyTypes"]) == {"Ingress", "Egress"}, f"NetworkPolicy {name}: is about one way alone")
        for rule in policy.get("ingress", []) + policy.get("egress", []):
            need(rule.get("ports") and (rule.get("from") or rule.get("to")), f"NetworkPolicy {name}: is open")
    sources = [source for rule in policies["mcp-server"].get("ingress", []) for source in rule["from"]]
    need(sources == [{"podSelector": gate}], "the server is reached past the gate")
    need(not policies["mcp-server"].get("egress"), "the server gets out")
    ports = {port["port"] for rule in policies["gate"]["egress"] for port in rule["ports"]}
    need(ports == {53, 443, 6443, 8000}, f"the gate gets out by {sorted(ports)}")


def fits(documents):
    """What is named is there: ports, accounts, configuration."""
    gate = next(pod for name, pod in pods(documents) if name == "Deployment gate")
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    named = next(volume["configMap"]["name"] for volume in gate["volumes"] if "configMap" in volume)
    need(named in maps, f"the gate's configuration {named} is nowhere")
    bootstrap = maps[named]["envoy.yaml"]
    mounts = [mount["mountPath"] for mount in gate["containers"][0]["volumeMounts"]]
    for path in ("/etc/mcp-iap/reviewer.yaml", "/etc/mcp-iap/server-certificate.yaml", "/var/run/mcp-iap/reviewer/ca.crt"):
        need(path in bootstrap, f"Envoy does not read {path}")
        need(any(path.startswith(mount + "/") for mount in mounts), f"{path} is not mounted")
    need("port_value: 8443" in bootstrap and "address: 127.0.0.1, port_value: 9901" in bootstrap, "other ports")
    accounts = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}
    need({pod["serviceAccountName"] for _, pod in pods(documents)} <= accounts, "an account is nowhere")


RULES = {
    "pods are restricted": restricted,
    "no secret in a manifest": secrets,
    "least privilege": privileges,
    "nobody past the gate": network,
    "what is named is there": fits,
}


def _pod(documents, name):
    return documents[f"Deployment {name}"]["spec"]["template"]["spec"]


def _own(documents, name):
    return _pod(documents, name)["containers"][0]["securityContext"]


MUTANTS = {
    "an unknown field in a pod": lambda d: _pod(d, "gate").update(automountToken=False),
    "a port as a text": lambda d: d["NetworkPolicy gate"]["spec"]["ingress"][0]["ports"][0].update(port=[]),
    "replicas as a text": lambda d: d["Deployment gate"]["spec"].update(replicas="two"),
    "a policy that matches nothing by a typo": lambda d: d["NetworkPolicy nothing"]["spec"].update(podSelectors={}),
    "a container that may write": lambda d: _own(d, "gate").update(readOnlyRootFilesystem=False),
    "a container with a capability": lambda d: _own(d, "gate").update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    "a container that may get more privileges": lambda d: _own(d, "mcp-server").pop("allowPrivilegeEscalation"),
    "a privileged container": lambda d: _own(d, "mcp-server").update(privileged=True),
    "a container that runs as root": lambda d: _own(d, "gate").update(runAsUser=0),
    "a pod that runs as root": lambda d: _pod(d, "gate")["securityContext"].update(runAsUser=0),
    "no seccomp profile": lambda d: _pod(d, "gate")["securityContext"].pop("seccompProfile"),
    "a folder of the host": lambda d: _pod(d, "gate")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "the host's network": lambda d: _pod(d, "gate").update(hostNetwork=True),
    "a namespace that takes every pod": lambda d: d["Namespace mcp"]["metadata"].pop("labels"),
    "a role that reads secrets": lambda d: d["ClusterRole mcp-iap-reviewer"]["rules"].append(
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
    "a role for every account": lambda d: d["ClusterRoleBinding mcp-iap-reviewer"].update(
        subjects=[{"kind": "Group", "name": "system:serviceaccounts", "apiGroup": "rbac.authorization.k8s.io"}]),
    "the role of an administrator": lambda d: d["ClusterRoleBinding mcp-iap-reviewer"]["roleRef"].update(name="cluster-admin"),
    "a token in the server": lambda d: _pod(d, "mcp-server").update(automountServiceAccountToken=True),
    "a secret in a manifest": lambda d: d["ServiceAccount gate"].update(
        kind="Secret", automountServiceAccountToken=None) or d["ServiceAccount gate"].pop("automountServiceAccountToken"),
    "a secret in the environment": lambda d: _pod(d, "gate")["containers"][0].update(
        env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]),
    "no policy for the rest": lambda d: d["NetworkPolicy nothing"]["metadata"].update(name="something"),
    "a way past the gate": lambda d: d["NetworkPolicy mcp-server"]["spec"]["ingress"][0]["from"].append({"podSelector": {}}),
    "a way out of the server": lambda d: d["NetworkPolicy mcp-server"]["spec"].update(
        egress=[{"to": [{"podSelector": {}}], "ports": [{"port": 53}]}]),
    "a policy of one way alone": lambda d: d["NetworkPolicy gate"]["spec"].update(policyTypes=["Ingress"]),
    "a way out by every port": lambda d: d["NetworkPolicy gate"]["spec"]["egress"][2].pop("ports"),
    "a configuration that is not mounted": lambda d: _pod(d, "gate")["containers"][0]["volumeMounts"].pop(0),
}
