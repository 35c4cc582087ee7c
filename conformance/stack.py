"""What the suite is run against: MCP server, OpenID provider, Envoy with the filter.

Envoy has the shipped bootstrap; changed are its ports and the filter's configuration. The provider is the
demo's. Nothing is left when `Stack` ends.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parent.parent))

from testbed.gate import Gate, access_lines, envoy_command, provider_command, token, url, write_bootstrap
from testbed.processes import ROOT, NotStarted, Processes, accepts, answers, check_ports, node_program

CALLER = "dana"  # a client of the demo's provider
RULES = f"""\
  - id: conformance
    allow: {{ tools: ["*"], prompts: ["*"], resources: ["*"] }}
    to: {{ subjects: [{CALLER}] }}
"""


class Ports(NamedTuple):
    server: int
    provider: int
    gate: int
    admin: int
    nobody: int  # nothing listens here

    @classmethod
    def following(cls, first):
        return cls(*range(first, first + len(cls._fields)))


class Stack(Processes):
    """A context manager: inside it all is ready, and logs go to `out`."""

    def __init__(self, envoy, wasm, ports, out, rules=RULES, server=None):
        super().__init__(out)
        self.server = server or {}  # more of the server's environment
        self.ports = ports
        self.access_log = out / "envoy-access.jsonl"
        self.provider = provider_command()
        self.envoy = envoy_command(envoy, out / "envoy.yaml")
        gate = Gate(port=ports.gate, admin=ports.admin, server=ports.server, provider=ports.provider)
        write_bootstrap(out / "envoy.yaml", gate, wasm, rules)

    def __enter__(self):
        ports = self.ports
        check_ports(ports._asdict(), "; --first-port names others")
        try:
            self.start("server", [sys.executable, "conformance/server/server.py"], env={"PORT": str(ports.server), **self.server})
            self.start("provider", self.provider, env={"PORT": str(ports.provider)})
            self.start("envoy", self.envoy, stdout=self.access_log)
            self.wait_until_ready(
                {
                    "server": lambda: accepts(ports.server),
                    "provider": lambda: answers(url(ports.provider) + "/.well-known/openid-configuration"),
                    "envoy": lambda: answers(url(ports.admin) + "/ready"),
                }
            )
        except BaseException:
            self.end()
            raise
        return self

    def token(self, caller=CALLER):
        """A new access token of the caller."""
        return token(self.ports.provider, caller)
