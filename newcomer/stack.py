"""What the newcomer has before mcp-iap: an MCP server, an issuer with a path, pages; no shipped file knows them."""

import os
import shutil
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from testbed.gate import envoy_command
from testbed.processes import ROOT, NotStarted, Processes, accepts, answers, check_ports, need, program

OUT = ROOT / "target" / "own"
SEEN = OUT / "ledger-seen.jsonl"  # the tools that ran
LEDGER, ISSUER_PORT, EDGE, EDGE_ADMIN, PAGES = 14100, 14300, 14901, 14902, 14903
UPSTREAM = f"http://127.0.0.1:{LEDGER}/books/v1"
ISSUER = f"http://127.0.0.1:{ISSUER_PORT}/realms/ledger"
DISCOVERY = ISSUER + "/.well-known/openid-configuration"
LOCAL = "http://127.0.0.1:10000/books/v1"  # where `init` and `run` put the resource
PASTED = f"http://127.0.0.1:{EDGE}/books/v1"
PORTS = {
    "`mcp-iap run`": 10000,
    "Envoy's admin interface": 9901,
    "the MCP server": LEDGER,
    "the issuer": ISSUER_PORT,
    "the Envoy that already runs": EDGE,
    "its admin interface": EDGE_ADMIN,
    "its pages": PAGES,
}


class Stack(Processes):
    """A context manager: inside it server, issuer and pages are ready; Envoy is not started yet."""

    def __init__(self, envoy, cli):
        super().__init__(OUT)
        self.envoy = Path(program(envoy, "scripts/deps.sh envoy VERSION prints the path of one"))
        self.cli = cli
        self.folder = OUT / "folder"  # in which the newcomer types

    def __enter__(self):
        node = program("node", "scripts/deps.sh node says how to bring it")
        deps = Path(os.environ.get("MCP_IAP_DEPS") or ROOT / ".deps")
        need(deps / "node/node_modules/oidc-provider", "run scripts/deps.sh node")
        need(self.cli, "run make build")
        need(ROOT / "dist/mcp_iap.wasm", "run make build")
        check_ports(PORTS)
        shutil.rmtree(OUT, ignore_errors=True)
        # As a clone after `make build` looks to someone who types there.
        for path in (self.folder / "target/release", self.folder / "dist", self.folder / "tmp"):
            path.mkdir(parents=True)
        (self.folder / "target/release/mcp-iap").symlink_to(self.cli.resolve())
        (self.folder / "dist/mcp_iap.wasm").symlink_to(ROOT / "dist/mcp_iap.wasm")
        # Node finds packages beside the importing file only.
        shutil.copy(ROOT / "newcomer/issuer.mjs", OUT)
        (OUT / "node_modules").symlink_to(deps / "node/node_modules")
        pages = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(ROOT / "docs")]
        try:
            self.start("issuer", [node, str(OUT / "issuer.mjs")], env={"PORT": str(ISSUER_PORT)})
            self.start_ledger()
            self.start("pages", [*pages, str(PAGES)])
            self.wait_until_ready(
                {
                    "issuer": lambda: answers(DISCOVERY),
                    "ledger": lambda: accepts(LEDGER),
                    "pages": lambda: accepts(PAGES),
                }
            )
        except BaseException:
            self.end()
            raise
        return self

    def start_ledger(self):
        ledger = [sys.executable, "newcomer/ledger.py"]
        self.start("ledger", ledger, env={"PORT": str(LEDGER), "SEEN": str(SEEN)})

    def start_edge(self, bootstrap, name):
        """Starts the Envoy that already runs, and waits for it."""
        self.start(name, envoy_command(str(self.envoy), str(bootstrap)), stdout=OUT / f"{name}-access.log")
        self.wait_until_ready({name: lambda: answers(f"http://127.0.0.1:{EDGE_ADMIN}/ready")})

    def stop(self, name):
        process = self.running.pop(name)
        process.terminate()
        process.wait(10)
