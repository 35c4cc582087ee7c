"""Starts and ends what the suite is run against: MCP server, OpenID provider, Envoy with the filter.

Envoy has the shipped bootstrap; changed are its ports and the filter's configuration. The provider is the
demo's. Nothing is left when `Stack` ends.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx2

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 30  # seconds
CALLER = "dana"  # a client of the demo's provider

AUDIENCE = "http://127.0.0.1:10000/mcp"  # what the demo's provider gives tokens for

CONFIGURATION = """\
resource: {resource}
issuers:
  - issuer: {provider}
    insecure_http: true
    audiences: [{audience}]
    cluster: identity_provider
rules:
  - id: conformance
    allow: {{ tools: ["*"], prompts: ["*"], resources: ["*"] }}
    to: {{ subjects: [{caller}] }}
"""


class NotStarted(Exception):
    """Something is missing or does not start; the text says what, and what to do."""


class Ports(NamedTuple):
    server: int
    provider: int
    gate: int
    admin: int
    nobody: int  # nothing listens here

    @classmethod
    def following(cls, first):
        return cls(*range(first, first + len(cls._fields)))


def url(port):
    return f"http://127.0.0.1:{port}"


def bootstrap(ports, wasm):
    """The shipped bootstrap with ports and a configuration of this run."""
    text = (ROOT / "envoy/envoy.yaml").read_text()
    configuration = CONFIGURATION.format(
        resource=url(ports.gate) + "/mcp", provider=url(ports.provider), audience=AUDIENCE, caller=CALLER
    )
    replace = {
        "port_value: 10000": f"port_value: {ports.gate}",
        "port_value: 9901": f"port_value: {ports.admin}",
        "port_value: 8000": f"port_value: {ports.server}",
        "port_value: 9400": f"port_value: {ports.provider}",
        "filename: dist/mcp_iap.wasm": f"filename: {wasm}",
        shipped_configuration(text): "".join(" " * 20 + line + "\n" for line in configuration.splitlines()),
    }
    for before, after in replace.items():
        if text.count(before) != 1:
            raise NotStarted(f"envoy/envoy.yaml has not once: {before.strip().splitlines()[0]}")
        text = text.replace(before, after)
    return text


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


class Stack:
    """A context manager: inside it all is ready, and logs go to `out`."""

    def __init__(self, envoy, wasm, ports, out):
        self.envoy = shutil.which(envoy)
        self.wasm = wasm
        self.ports = ports
        self.out = out
        self.access_log = out / "envoy-access.jsonl"
        self.processes = {}
        if self.envoy is None:
            raise NotStarted(f"{envoy} is no program; scripts/deps.sh envoy VERSION prints the path of one")
        if not wasm.is_file():
            raise NotStarted(f"{wasm} is missing; run make build")
        if shutil.which("node") is None or not (ROOT / "demo/provider/node_modules/oidc-provider").is_dir():
            raise NotStarted("the demo's provider is missing; run scripts/deps.sh node")

    def __enter__(self):
        for port in self.ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise NotStarted(f"port {port} is taken; --first-port names others") from error
        try:
            self.start_all()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def start_all(self):
        ports = self.ports
        # A copy, so that it stays the same while somebody builds.
        wasm = shutil.copy(self.wasm, self.out / "mcp_iap.wasm")
        config = self.out / "envoy.yaml"
        config.write_text(bootstrap(ports, wasm))
        server = [sys.executable, "conformance/server/server.py"]
        # The base id only has to differ from that of any other Envoy on this machine.
        envoy = [self.envoy, "-c", config, "--base-id", str(os.getpid()), "--concurrency", "2"]
        self.start("server", server, PORT=str(ports.server))
        self.start("provider", [shutil.which("node"), "demo/provider/provider.mjs"], PORT=str(ports.provider))
        self.start(
            "envoy", [*envoy, "-l", "warning", "--file-flush-interval-msec", "50"], stdout=self.access_log
        )
        deadline = time.monotonic() + READY_WITHIN
        self.wait(deadline, "server", url(ports.server) + "/", ready=(404,))
        self.wait(deadline, "provider", url(ports.provider) + "/.well-known/openid-configuration")
        self.wait(deadline, "envoy", url(ports.admin) + "/ready")

    def start(self, name, command, stdout=None, **env):
        log = self.out / f"{name}.log"
        with open(log, "wb") as err, open(stdout or log, "ab") as out:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
            )

    def wait(self, deadline, name, address, ready=(200,)):
        """Waits until the answer has one of these statuses."""
        while True:
            try:
                with httpx2.Client(trust_env=False, timeout=1) as http:
                    if http.get(address).status_code in ready:
                        return
            except httpx2.HTTPError:
                pass
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{name} is not ready; see {self.out / name}.log")
            time.sleep(0.05)

    def token(self):
        """A new access token of the caller."""
        with httpx2.Client(trust_env=False) as http:
            answer = http.post(
                url(self.ports.provider) + "/token",
                auth=(CALLER, f"{CALLER}-secret"),
                data={"grant_type": "client_credentials", "resource": AUDIENCE},
            )
        answer.raise_for_status()
        return answer.json()["access_token"]

    def end(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
