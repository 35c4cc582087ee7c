"""Real MCP clients, given nothing but a URL, find out whom to ask, get a token, and step up by themselves.

A row is one client in one mode, with a user who logs in or with a secret of its own, at one of two resources behind
a proxy that ends TLS. It greets, for which the first token is enough, erases, for which it is not, and greets again.

Exit code 0: all as expected; 1: a difference; 2: something is missing. `make test-stepup` runs this.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from login_stack import OUT, RESOURCES, ROOT, NotStarted, Stack
from programs import locked, node_version


class Client(NamedTuple):
    """A client, its program, its modes, and how it can get tokens."""

    name: str
    program: str
    modes: tuple
    flows: tuple = ("user", "secret")


class Check(NamedTuple):
    name: str
    wanted: object
    seen: object


class Row(NamedTuple):
    client: str
    mode: str
    flow: str
    resource: str
    checks: list

    @property
    def passed(self):
        return all(check.wanted == check.seen for check in self.checks)


def clients():
    modes = ("legacy", "auto")
    return [
        # With a secret, 1.x asks for the scope of its own configuration alone, whatever a challenge says.
        Client(f"TypeScript SDK {node_version('sdk')}", "login1.mjs", ("legacy",), ("user",)),
        Client(f"TypeScript SDK {node_version('client')}", "login2.mjs", modes),
        Client(f"Python SDK {locked(ROOT / 'demo/server/requirements.txt', 'mcp')}", "login.py", modes),
    ]


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    rows, tokens, logged = [], [], []
    try:
        known = clients()
        with Stack(options) as stack:
            for client, mode, flow, name in cases(known):
                said, access, provider, server = stack.ask(client.program, mode, flow, name)
                checks = judge(stack.resource(name), RESOURCES[name], flow, said, access, provider, server)
                tokens += [token for token in (said.get("first"), said.get("second")) if token]
                rows.append(Row(client.name, mode, flow, name, checks))
                if options.output == "table":
                    show(rows[-1])
            logged = stack.logged(tokens)
            if logged:
                print(f"stepup: tokens stand in {', '.join(logged)}", file=sys.stderr)
    except NotStarted as missing:
        print(f"stepup: {missing}", file=sys.stderr)
        return 2
    failed = sum(not row.passed for row in rows)
    if options.output == "json":
        found = [
            {**row._asdict(), "passed": row.passed, "checks": [check._asdict() for check in row.checks]} for row in rows
        ]
        print(json.dumps({"rows": found, "passed": len(rows) - failed, "failed": failed}, indent=2))
    else:
        print(f"\n{len(rows) - failed} passed, {failed} failed; {sum(len(row.checks) for row in rows)} checks")
    return 1 if failed or logged else 0


def cases(known):
    for client in known:
        for mode in client.modes:
            for flow in client.flows:
                for name in RESOURCES:
                    yield client, mode, flow, name


def judge(resource, scopes, flow, said, access, provider, server):
    """`said`: by the client; `access`: by the gate; `provider` and `server`: what these saw of it."""
    read, write = scopes
    both = f"{read} {write}"
    records = [{"status": line["status"], **record} for line in access for record in line["mcp_iap"]]
    reasons = lambda reason: [record for record in records if record["reason"] == reason]
    logins = 2 if flow == "user" else 0
    erased = [event for event in server if event["event"] == "arrived" and event.get("tool") == "erase"]
    refused = [record for record in records if record["outcome"] == "refused" and record["reason"] != "missing_token"]
    error = said.get("error")
    return [
        Check("challenged", [401], sorted({record["status"] for record in reasons("missing_token")})),
        Check("metadata", [200], sorted({record["status"] for record in reasons("metadata")})),
        Check("registered", 1 if logins else 0, sum(event["event"] == "registered" for event in provider)),
        Check("logins", logins, said.get("logins")),
        Check("first token", [read, resource], content(said.get("first"))),
        Check("greets", "hello, greet", said.get("read", error)),
        Check("refused", [[403, "insufficient_scope", "erase", both]], [told(record) for record in refused]),
        Check("second token", [both, resource], content(said.get("second"))),
        Check("erases", "erase is erased", said.get("write", error)),
        Check("greets again", "hello, greet", said.get("again", error)),
        Check("erased", 1, len(erased)),
        Check("tokens", [resource] * 2, [event["resource"] for event in provider if event["event"] == "token"]),
        Check("resources", [resource], sorted({record["protected_resource"] for record in records})),
    ]


def told(record):
    return [record["status"], record["reason"], record.get("tool"), record.get("scope")]


def content(token):
    """Scope and audience of a token."""
    if not token:
        return None
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return [" ".join(sorted(claims["scope"].split())), claims["aud"]]


def show(row):
    mark = "pass" if row.passed else "FAIL"
    seen = {check.name: check.seen for check in row.checks}
    first, second = ((seen.get(name) or ["none"])[0] for name in ("first token", "second token"))
    print(f"{mark} {row.client:21} {row.mode:6} {row.flow:6} {row.resource:7} {first}, then {second}", flush=True)
    for check in row.checks:
        if check.wanted != check.seen:
            print(f"     {check.name}\n       wanted: {check.wanted}\n       got:    {str(check.seen)[:600]}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True, help="path of an Envoy")
    parser.add_argument("--cli", type=Path, default=ROOT / "target/release/mcp-iap", help="the command line")
    parser.add_argument("--wasm", type=Path, default=ROOT / "dist/mcp_iap.wasm", help="the filter")
    deps = Path(os.environ.get("MCP_IAP_DEPS") or ROOT / ".deps")
    parser.add_argument("--deps", type=Path, default=deps, help="where scripts/deps.sh installed")
    parser.add_argument("--first-port", type=int, default=13100, help="the first of six ports in a row")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
