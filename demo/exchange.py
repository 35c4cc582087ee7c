"""The demo's chapter on token exchange: a second gate, and before it a server that takes tokens of its own alone.

The provider is the first chapter's; its grant for token exchange is this project's own (demo/provider/exchange.mjs). The
gate's credential for it is added by Envoy. It runs when the first chapter's components are up.
"""

import json
import sys

import httpx2

import steps
from callers import MODERN, TIMEOUT, Evidence, tool_call
from stack import OUT, PROVIDER, PROVIDER_SEEN
from testbed.gate import envoy_command
from testbed.processes import ROOT, Processes, accepts, answers, check_ports, need

TITLE = "TOKEN EXCHANGE: a second gate, whose server takes tokens of its own alone"
RESOURCE = "http://127.0.0.1:10001/mcp"
SERVER = "http://127.0.0.1:8001/mcp"
PORTS = {"the second gate": 10001, "its Envoy's admin interface": 9902, "its MCP server": 8001}
ACCESS_LOG = OUT / "second-access.jsonl"
SEEN = OUT / "second-seen.jsonl"
TOKENS = OUT / "second-tokens.jsonl"  # what its server printed of the tokens that it got
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"


class SecondGate(Processes):
    """Inside it the gate and its server are ready."""

    def __init__(self, envoy):
        super().__init__(OUT)
        self.envoy = envoy

    def __enter__(self):
        need(ROOT / "envoy/exchange.yaml", "restore it")
        check_ports(PORTS)
        environment = {"PORT": "8001", "PROVIDER": PROVIDER, "SEEN": str(SEEN), "TOKENS": str(TOKENS)}
        try:
            self.start("second-server", [sys.executable, "demo/server/whoami.py"], env=environment)
            # One worker: each remembers the tokens that it got, and the records say which were remembered.
            command = envoy_command(self.envoy, "envoy/exchange.yaml", flush_ms=200, workers=1)
            self.start("second-envoy", command, stdout=ACCESS_LOG)
            probes = {
                "second-server": lambda: accepts(PORTS["its MCP server"]),
                "second-envoy": lambda: answers("http://127.0.0.1:9902/ready"),
            }
            self.wait_until_ready(probes)
        except BaseException:
            self.end()
            raise
        return self


async def run(report):
    """The steps; answers the audit records of this gate."""
    report.write(TITLE)
    before, evidence = len(report.rows), Evidence()
    with report.step("dana's own token, at the server", "401") as row:
        row.saw(await past_the_gate("dana"))
    await steps.session(report, "dana", MODERN, "RS256", evidence, dana, RESOURCE)
    await steps.session(report, "sam", MODERN, "ES256", evidence, sam, RESOURCE)
    records = await steps.audit_holds_everything(report, report.rows[before:], ACCESS_LOG)
    nothing_inbound_is_left(report, evidence)
    return records


async def past_the_gate(name):
    """How the server itself answers the token that the user has for the gate."""
    form = {"grant_type": "client_credentials", "resource": RESOURCE}
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        answer = await http.post(PROVIDER + "/token", data=form, auth=(name, f"{name}-secret"))
        bearer = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        return str((await http.post(SERVER, json=tool_call("whoami"), headers=bearer)).status_code)


async def dana(report, user, era, evidence):
    await whoami(report, user, "dana", "staging.example.com mcp:read")
    with report.step("dana: whoami, prod", "403", "target_refused") as row:
        error = await steps.refused_call(row, user, "whoami", cluster="prod")
        row.saw(user.last_status(), (error.data or {}).get("reason", "-"))
    with report.step("dana: drain, prod", "403, no token asked for", "no_rule_allows") as row:
        before = exchanges()
        error = await steps.refused_call(row, user, "drain", cluster="prod")
        asked = exchanges() - before
        row.saw(f"{user.last_status()}, {asked or 'no'} token asked for", (error.data or {}).get("reason", "-"))


async def sam(report, user, era, evidence):
    await whoami(report, user, "sam", "prod.example.com mcp:write", cluster="prod")


async def whoami(report, user, name, where, **arguments):
    """What the server tells of the token that it got: for whom, through whom, for which cluster, for what."""
    target = arguments.get("cluster", "staging")
    claims = {}
    asked = f", {target}" if arguments else ""
    with report.step(f"{name}: whoami{asked}", f"{name} through gateway") as row:
        row.audit = steps.allowed(name, tool="whoami", exchange={"target": target})
        claims = json.loads(await user.call("whoami", **arguments))
        row.saw(f"{claims['sub']} through {claims['act']['sub']}")
    with report.step("  that token's audience and scope", where) as row:
        row.saw(f"{claims['aud'].removeprefix('https://')} {claims['scope']}")


def exchanges():
    """How many token exchanges the provider was asked for."""
    return sum(json.loads(line)["grant"] == GRANT for line in PROVIDER_SEEN.read_text().splitlines())


def nothing_inbound_is_left(report, evidence):
    places = {
        "server saw no inbound token": (SEEN,),
        "no inbound token in the logs": (ACCESS_LOG, OUT / "second-envoy.log", OUT / "second-server.log", TOKENS),
    }
    signatures = [token.rsplit(".", 1)[1] for token in evidence.tokens]
    for name, paths in places.items():
        with report.step(name, f"0 of {len(signatures)} tokens") as row:
            text = "".join(path.read_text() for path in paths)
            if "whoami" not in text:
                raise RuntimeError("nothing was written")
            row.saw(f"{sum(signature in text for signature in signatures)} of {len(signatures)} tokens")


def tell_tokens(report):
    """Prints what the server printed of its tokens."""
    report.write(f"\nTOKENS that its server got, as it wrote them to {TOKENS.relative_to(ROOT)}")
    report.write(TOKENS.read_text().rstrip())
