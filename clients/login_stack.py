"""What logging in takes: an Envoy that ends TLS and asks for another host, behind it the gate with two resources as
`mcp-iap render` writes it, an MCP server behind each, and an OpenID provider with a user.

All is on the ports from `first_port` on and writes to `OUT`. Nothing is left when `Stack` ends.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from certificate import write_certificate
from testbed.gate import access_lines, envoy_command, provider_command, url
from testbed.processes import ROOT, NotStarted, Processes, accepts, answers, check_ports, need, node_program

OUT = ROOT / "target" / "stepup"
WITHIN = 30  # seconds for one client
FLUSHED = 0.2  # seconds until Envoy has surely written what has ended
RESOURCES = {  # path: (scope for greeting, what erasing needs besides)
    "files": ("files:read", "files:write"),
    "tickets": ("tickets:read", "tickets:write"),
}
DOCUMENT = """\
issuers:
  - {{ issuer: "{issuer}", insecure_http: true, cluster: provider }}
resources:
"""
RESOURCE = """\
  - resource: {resource}
    rules:
      - id: {name}-greets
        allow: {{ tools: [greet] }}
        to: {{ subjects: [dana, robot] }}
        scope: {read}
      - id: {name}-erases
        allow: {{ tools: [erase] }}
        to: {{ subjects: [dana, robot] }}
        scope: {read} {write}
      - id: {name}-erases-for-admins
        allow: {{ tools: [erase] }}
        to: {{ subjects: [admin] }}
        scope: {name}:admin
"""
# Ends TLS, and asks the gate for a host that nobody outside knows: what the gate tells clients is none of it.
PROXY = """\
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - {{ certificate_chain: {{ filename: {out}/tls.crt }}, private_key: {{ filename: {out}/tls.key }} }}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          use_remote_address: true
          stream_idle_timeout: 3600s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - name: gate
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: gate, host_rewrite_literal: "gate.internal:8080", timeout: 0s }}
  clusters:
  - name: gate
    connect_timeout: 2s
    load_assignment:
      cluster_name: gate
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {gate} }} }} }}
"""



class Stack(Processes):
    """A context manager: inside it all is ready, and logs go to `OUT`."""

    def __init__(self, options):
        super().__init__(OUT)
        self.options = options
        names = ["proxy", "gate", "admin", "provider", *RESOURCES]
        self.ports = dict(zip(names, range(options.first_port, options.first_port + len(names))))
        modules = options.deps / "clients/node_modules"
        need(modules, "run scripts/deps.sh clients")
        need(options.cli, "run make build")
        self.node = node_program(modules, (22, 19))
        self.seen = OUT / "provider-seen.jsonl"
        self.origin = f"https://localhost:{self.ports['proxy']}"
        self.issuer = url(self.ports["provider"])

    def __enter__(self):
        check_ports({f"{name} of this run": port for name, port in self.ports.items()}, "; --first-port names others")
        write_certificate(OUT, "localhost")
        self.write_bootstraps()
        try:
            scopes = {self.resource(name): " ".join(scopes) for name, scopes in RESOURCES.items()}
            provider = [*provider_command()[:1], "demo/provider/users.mjs"]
            known = {"PORT": str(self.ports["provider"]), "RESOURCES": json.dumps(scopes), "SEEN": str(self.seen)}
            self.start("provider", provider, env=known)
            for name in RESOURCES:
                seen = OUT / f"{name}-seen.jsonl"
                server = [sys.executable, "clients/servers/dual.py"]
                self.start(name, server, env={"PORT": str(self.ports[name]), "SEEN": str(seen)})
            self.start("gate", envoy_command(self.options.envoy, OUT / "gate.yaml"), stdout=OUT / "access.jsonl")
            self.start("proxy", envoy_command(self.options.envoy, OUT / "proxy.yaml"))
            probes = {
                "provider": lambda: answers(self.issuer + "/.well-known/openid-configuration"),
                "gate": lambda: answers(url(self.ports["admin"]) + "/ready"),
            }
            for name in ["proxy", *RESOURCES]:
                probes[name] = lambda port=self.ports[name]: accepts(port)
            self.wait_until_ready(probes)
        except BaseException:
            self.end()
            raise
        return self

    def resource(self, name):
        return f"{self.origin}/{name}/mcp"

    def write_bootstraps(self):
        document = DOCUMENT.format(issuer=self.issuer)
        upstreams = []
        for name, (read, write) in RESOURCES.items():
            document += RESOURCE.format(name=name, resource=self.resource(name), read=read, write=write)
            upstreams += ["--upstream", f"{self.resource(name)}=http://localhost:{self.ports[name]}/mcp"]
        (OUT / "document.yaml").write_text(document)
        command = [self.options.cli, "render", "envoy", OUT / "document.yaml", *upstreams]
        command += ["--listen", f"127.0.0.1:{self.ports['gate']}", "--admin", f"127.0.0.1:{self.ports['admin']}"]
        done = subprocess.run([*command, "--wasm", self.options.wasm], capture_output=True, text=True)
        if done.returncode != 0:
            raise NotStarted(f"mcp-iap render envoy: {done.stdout}{done.stderr}")
        (OUT / "gate.yaml").write_text(done.stdout)
        (OUT / "proxy.yaml").write_text(PROXY.format(port=self.ports["proxy"], gate=self.ports["gate"], out=OUT))

    def ask(self, program, mode, flow, name):
        """What the client's program says, and what gate, provider and server saw of it."""
        before = [len(lines) for lines in self.evidence(name)]
        environment = {
            "URL": self.resource(name),
            "MODE": mode,
            "FLOW": flow,
            "ISSUER": self.issuer,
            "CA": str(OUT / "ca.crt"),
            "NODE_EXTRA_CA_CERTS": str(OUT / "ca.crt"),
        }
        interpreter = sys.executable if program.endswith(".py") else self.node
        command = [interpreter, ROOT / "clients/programs" / program]
        try:
            done = subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=WITHIN
            )
            said = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            said = {"error": f"no answer within {WITHIN} s"}
        except (IndexError, ValueError):
            said = {"error": done.stderr[-600:]}
        time.sleep(FLUSHED)
        return said, *[lines[start:] for lines, start in zip(self.evidence(name), before)]

    def logged(self, tokens):
        """The logs of the gate and of the proxy that hold a part of one of these tokens."""
        parts = [part for token in tokens for part in token.split(".")[1:]]
        logs = {name: (OUT / name).read_text() for name in ("access.jsonl", "gate.log", "proxy.log")}
        return [name for name, text in logs.items() if any(part in text for part in parts)]

    def evidence(self, name):
        read = lambda path: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return access_lines(OUT / "access.jsonl"), read(self.seen), read(OUT / f"{name}-seen.jsonl")
