"""The demo's components: OpenID provider, MCP server, Envoy with the filter, on fixed ports.

They start together, write their logs to target/demo/, and end with this process, however
it ends (SIGKILL excepted). It builds and installs nothing; what is missing is named.
"""

import shutil
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from testbed.gate import envoy_command, provider_command
from testbed.processes import ROOT, NotStarted, Processes, accepts, answers, check_ports, need

OUT = ROOT / "target" / "demo"
SEEN = OUT / "server-seen.jsonl"  # what reached the MCP server
PROVIDER_SEEN = OUT / "provider-seen.jsonl"  # what the provider gave and refused
ACCESS_LOG = OUT / "envoy-access.jsonl"  # what Envoy logged, with the filter's records

PROVIDER = "http://127.0.0.1:9400"
GATEWAY = "http://127.0.0.1:10000"
RESOURCE = GATEWAY + "/mcp"
ENVOY_ADMIN = "http://127.0.0.1:9901"
PORTS = {"Envoy": 10000, "Envoy's admin interface": 9901, "the provider": 9400, "the MCP server": 8000}


class Stack(Processes):
    """A context manager: inside it all components are ready, after it none is left. Without an Envoy there are the
    provider and the MCP server."""

    def __init__(self, envoy):
        super().__init__(OUT)
        self.envoy = envoy

    def __enter__(self):
        provider = provider_command()
        ports = {owner: port for owner, port in PORTS.items() if self.envoy or "Envoy" not in owner}
        if self.envoy:
            envoy = envoy_command(self.envoy, "envoy/envoy.yaml", flush_ms=200)
            need(ROOT / "dist/mcp_iap.wasm", "run make build")
            need(ROOT / "envoy/envoy.yaml", "restore it")
        check_ports(ports)

        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        started = time.monotonic()
        try:
            self.start("provider", provider, env={"PORT": "9400", "SEEN": str(PROVIDER_SEEN)})
            self.start("server", [sys.executable, "demo/server/server.py"], env={"PORT": "8000", "SEEN": str(SEEN)})
            probes = {
                "provider": lambda: answers(PROVIDER + "/.well-known/openid-configuration"),
                "server": lambda: accepts(PORTS["the MCP server"]),
            }
            if self.envoy:
                self.start("envoy", envoy, stdout=ACCESS_LOG)
                probes["envoy"] = lambda: answers(ENVOY_ADMIN + "/ready")
            self.wait_until_ready(probes)
        except BaseException:
            self.end()
            raise
        self.ready_after = time.monotonic() - started
        return self
