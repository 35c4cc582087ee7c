"""The gate before a server: Envoy with the shipped bootstrap, and the demo's OpenID provider.

Of `envoy/envoy.yaml` only the ports, the module's path and the filter's configuration are replaced.
"""

import json
import shutil
from typing import NamedTuple

import httpx2

from testbed.processes import ROOT, NotStarted, need, program

AUDIENCE = "http://127.0.0.1:10000/mcp"  # what the demo's provider gives tokens for

CONFIGURATION = """\
resource: {resource}
issuers:
  - issuer: {provider}
    insecure_http: true
    audiences: [{audience}]
    cluster: identity_provider
rules:
"""


class Gate(NamedTuple):
    """Where one gate listens, and what stands behind it; all on 127.0.0.1."""

    port: int
    admin: int
    server: int
    provider: int


def url(port):
    return f"http://127.0.0.1:{port}"


def provider_command():
    node = program("node", "scripts/deps.sh node says how to bring it")
    need(ROOT / "demo/provider/node_modules/oidc-provider", "run scripts/deps.sh node")
    return [node, "demo/provider/provider.mjs"]


def envoy_program(envoy):
    return program(envoy, "scripts/deps.sh envoy VERSION prints the path of one")


def envoy_command(envoy, bootstrap, flush_ms=50, workers=2):
    """`flush_ms`: how long Envoy may keep a line of its access log to itself."""
    # Envoys with hot restart would have to have different base ids.
    command = [envoy_program(envoy), "-c", bootstrap, "--disable-hot-restart"]
    return [*command, "--concurrency", str(workers), "-l", "warning", "--file-flush-interval-msec", str(flush_ms)]


def write_bootstrap(path, gate, wasm, rules):
    """The shipped bootstrap for this gate, at `path`, with the configuration's `rules`."""
    need(wasm, "run make build")
    # A copy, so that it stays the same while somebody builds.
    wasm = shutil.copy(wasm, path.parent / "mcp_iap.wasm")
    text = (ROOT / "envoy/envoy.yaml").read_text()
    configuration = CONFIGURATION.format(
        resource=url(gate.port) + "/mcp", provider=url(gate.provider), audience=AUDIENCE
    )
    replace = {
        "port_value: 10000": f"port_value: {gate.port}",
        "port_value: 9901": f"port_value: {gate.admin}",
        "port_value: 8000": f"port_value: {gate.server}",
        "port_value: 9400": f"port_value: {gate.provider}",
        "filename: dist/mcp_iap.wasm": f"filename: {wasm}",
        shipped_configuration(text): "".join(" " * 20 + line + "\n" for line in (configuration + rules).splitlines()),
    }
    for before, after in replace.items():
        if text.count(before) != 1:
            raise NotStarted(f"envoy/envoy.yaml has not once: {before.strip().splitlines()[0]}")
        text = text.replace(before, after)
    path.write_text(text)


def shipped_configuration(text):
    """The block below the StringValue: the lines that stand deeper than its `value`."""
    lines = text.partition("                  value: |\n")[2].splitlines(keepends=True)
    inside = []
    for line in lines:
        if line.strip() and not line.startswith(" " * 20):
            break
        inside.append(line)
    if not inside:
        raise NotStarted("envoy/envoy.yaml has no configuration of the filter")
    return "".join(inside)


def token(provider, caller):
    """A new access token of the caller from the provider at this port."""
    with httpx2.Client(trust_env=False) as http:
        answer = http.post(
            url(provider) + "/token",
            auth=(caller, f"{caller}-secret"),
            data={"grant_type": "client_credentials", "resource": AUDIENCE},
        )
    return answer.raise_for_status().json()["access_token"]


def access_lines(path):
    """The access log so far, a dictionary a line; each line's `mcp_iap` lists the filter's records."""
    whole = path.read_text().rpartition("\n")[0]  # its last line may be still being written
    return [json.loads(line) for line in whole.splitlines()]
