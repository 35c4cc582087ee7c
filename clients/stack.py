"""What the clients are run against: two MCP servers, each behind a gate of its own, and an OpenID provider.

The server `dual` speaks both eras, `legacy` the revisions before 2026-07-28 only. Envoy has the shipped
bootstrap; changed are its ports and the filter's configuration. Nothing is left when `Stack` ends.
"""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parent.parent))

from testbed.gate import Gate, access_lines, envoy_command, provider_command, token, url, write_bootstrap
from testbed.processes import ROOT, NotStarted, Processes, accepts, answers, check_ports, need, node_program

CALLER = "dana"  # a client of the demo's provider
REFUSAL = "nothing is erased here; ask the operators"
RULES = f"""\
  - id: callers-use
    allow: {{ tools: [greet, count, erase] }}
    to: {{ subjects: [{CALLER}] }}
  - id: nobody-erases
    deny: {{ tools: [erase] }}
    arguments: {{ name: {{ present: true }} }}   # so that it is listed: its arguments decide
    message: {REFUSAL}
"""
SERVERS = ("dual", "legacy")


class Side(NamedTuple):
    """A server and the gate before it: where clients call, and what each wrote down."""

    name: str
    gate: Gate
    out: Path

    @property
    def origin(self):
        return url(self.gate.port)

    def access(self):
        """The gate's access log so far, a dictionary a line."""
        return access_lines(self.out / f"access-{self.name}.jsonl")

    def seen(self):
        """What the server saw so far: dictionaries with `at` (seconds since 1970) and `event`."""
        path = self.out / f"seen-{self.name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Stack(Processes):
    """A context manager: inside it all is ready, and logs go to `out`."""

    def __init__(self, envoy, wasm, deps, first_port, out):
        super().__init__(out)
        self.deps = deps
        modules = deps / "clients/node_modules"
        need(modules / "@modelcontextprotocol/inspector", "run scripts/deps.sh clients")
        self.node = node_program(modules, (22, 19))  # what the Inspector asks for
        self.envoy = envoy
        self.provider = provider_command()
        self.provider_port = first_port
        self.sides = {}
        for number, name in enumerate(SERVERS):
            gate = Gate(*range(first_port + 1 + 3 * number, first_port + 4 + 3 * number), self.provider_port)
            (out / name).mkdir()
            write_bootstrap(out / name / "envoy.yaml", gate, wasm, RULES)
            self.sides[name] = Side(name, gate, out)

    def __enter__(self):
        servers = {
            "dual": [sys.executable, "clients/servers/dual.py"],
            "legacy": [self.node, "clients/servers/legacy.mjs"],
        }
        ports = {"the provider": self.provider_port}
        for name, side in self.sides.items():
            ports[f"the server {name}"] = side.gate.server
            ports[f"the gate before {name}"] = side.gate.port
            ports[f"the admin interface of the gate before {name}"] = side.gate.admin
        check_ports(ports, "; --first-port names others")
        probes = {"provider": lambda: answers(url(self.provider_port) + "/.well-known/openid-configuration")}
        try:
            self.start("provider", self.provider, env={"PORT": str(self.provider_port)})
            for name, side in self.sides.items():
                gate, seen = side.gate, self.out / f"seen-{name}.jsonl"
                self.start(f"server-{name}", servers[name], env={"PORT": str(gate.server), "SEEN": str(seen)})
                envoy = envoy_command(self.envoy, self.out / name / "envoy.yaml")
                self.start(f"envoy-{name}", envoy, stdout=self.out / f"access-{name}.jsonl")
                probes[f"server-{name}"] = lambda port=gate.server: accepts(port)
                probes[f"envoy-{name}"] = lambda port=gate.admin: answers(url(port) + "/ready")
            self.wait_until_ready(probes)
        except BaseException:
            self.end()
            raise
        return self

    def token(self):
        """A new access token of the caller."""
        return token(self.provider_port, CALLER)
