"""Runs real MCP clients through the gate, each in every mode it has, before two servers, and judges what was seen.

A row is one client in one mode before one server: with a good token, then with a tampered one. What was expected
is printed beside what was seen where they differ. The two servers' rows come at the same time.

Exit code 0: all as expected; 1: a difference; 2: something is missing. `make test-clients` runs this.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
from judge import Check, Window, judge, judge_stranger
from programs import Hung, clients, start
from stack import ROOT, NotStarted, Stack, url

OUT = ROOT / "target" / "clients"
FLUSH = 0.15  # seconds until Envoy has surely written what has ended
SETTLED_WITHIN = 3  # seconds until all that a client sent has ended
COLUMNS = {  # check: (heading, width)
    "connected": ("CONNECTED BY", 28),
    "era": ("ERA", 6),
    "tools": ("TOOLS", 19),
    "call": ("CALL", 4),
    "refusal": ("REFUSAL", 7),
    "progress": ("PROGRESS", 9),
    "abort": ("ABORT", 6),
    "wrong token": ("BAD TOKEN", 9),
    "records": ("RECORDS", 8),
}


@dataclass
class Row:
    client: str
    mode: str
    server: str
    checks: list

    @property
    def passed(self):
        return all(check.passed for check in self.checks)


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    report = Report(options.output == "json")
    try:
        known = clients()
        with Stack(options.envoy, options.wasm, options.deps, options.first_port, OUT) as stack:
            report.head()
            run_sides(stack, known, report)
            report.add(whole_run(stack))
    except NotStarted as missing:
        print(f"clients: {missing}", file=sys.stderr)
        return 2
    return report.close()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True, help="path of an Envoy")
    parser.add_argument("--wasm", type=Path, default=ROOT / "dist/mcp_iap.wasm", help="the filter")
    deps = Path(os.environ.get("MCP_IAP_DEPS") or ROOT / ".deps")
    parser.add_argument("--deps", type=Path, default=deps, help="where scripts/deps.sh installed")
    parser.add_argument("--first-port", type=int, default=13000, help="the first of seven ports in a row")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args()


def run_sides(stack, known, report):
    with ThreadPoolExecutor() as both:
        try:
            for side in [both.submit(run_side, stack, side, known, report) for side in stack.sides.values()]:
                side.result()
        except BaseException:
            stack.end()  # so that the threads end
            raise


def run_side(stack, side, known, report):
    token = stack.token()
    start_of, _, signature = token.rpartition(".")
    tampered = f"{start_of}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    for client in known:
        program = start(stack, side, client)
        for mode in client.modes:
            name = "n" + secrets.token_hex(4)  # the Inspector reads digits alone as a number
            question = {"url": f"{side.origin}/mcp", "mode": mode, "name": name, "long": client.aborted is not None}
            row = Row(client.name, mode, side.name, [])
            try:
                window = ask(side, program, {**question, "token": token, "wrong": False})
                row.checks += judge(client, side.name, mode, name, window)
                window = ask(side, program, {**question, "token": tampered, "wrong": True})
                row.checks += judge_stranger(client, window)
            except Hung as error:
                row.checks.append(Check("ends", "in time", str(error)))
                program = start(stack, side, client)
            report.add(row)


def ask(side, program, question):
    """Asks, and waits until gate and server have written all that belongs to it."""
    lines, seen = len(side.access()), len(side.seen())
    answer = program.ask(question)
    wanted = lines + sum(answer["sent"].values())
    deadline = time.monotonic() + SETTLED_WITHIN
    while len(side.access()) < wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(FLUSH)  # for what should not be there
    return Window(answer, side.access()[lines:], side.seen()[seen:])


def whole_run(stack):
    """What holds over all clients: discovery is never forbidden, and Envoy counted as many requests as there are
    records."""
    lines = [line for side in stack.sides.values() for line in side.access()]
    discovered = [line["status"] for line in lines if any(r.get("method") == "server/discover" for r in line["mcp_iap"])]
    forbidden = f"{sum(status == 403 for status in discovered)} of {len(discovered)}"
    counted = sum(requests_of(side) for side in stack.sides.values())
    records = sum(len(line["mcp_iap"]) for line in lines)
    return Row(
        "all",
        "all",
        "both",
        [
            Check("server/discover forbidden", f"0 of {len(discovered) or 'some'}", forbidden),
            Check("records", f"{counted} of {counted}", f"{records} of {counted}"),
        ],
    )


def requests_of(side):
    """Requests of clients by Envoy's own counter."""
    with httpx2.Client(trust_env=False) as http:
        stats = http.get(url(side.gate.admin) + "/stats", params={"filter": "^http.mcp.downstream_rq_total$"})
    return int(stats.raise_for_status().text.split(":")[1])


class Report:
    """Prints a row as soon as it is there; rows come from two threads."""

    def __init__(self, as_json):
        self.as_json = as_json
        self.rows = []
        self.lock = threading.Lock()

    def head(self):
        self.line("", "CLIENT", "MODE", "SERVER", {name: heading for name, (heading, _) in COLUMNS.items()})

    def add(self, row):
        cells = {check.name: check.shown or check.seen if check.passed else "DIFFERS" for check in row.checks}
        with self.lock:
            self.rows.append(row)
            self.line("pass" if row.passed else "FAIL", row.client, row.mode, row.server, cells)
            if not self.as_json:
                for check in row.checks:
                    if not check.passed:
                        print(f"     {check.name}\n       wanted: {check.expected}\n       got:    {check.seen[:600]}")

    def line(self, mark, client, mode, server, cells):
        if not self.as_json:
            start = f"{mark:4} {client:21} {mode:6} {server:6}"
            rest = [cells.get(name, "-").ljust(width) for name, (_, width) in COLUMNS.items()]
            print(" ".join([start, *rest]).rstrip(), flush=True)

    def close(self):
        failed = [row for row in self.rows if not row.passed]
        checks = sum(len(row.checks) for row in self.rows)
        if self.as_json:
            rows = [
                {
                    "client": row.client,
                    "mode": row.mode,
                    "server": row.server,
                    "passed": row.passed,
                    "checks": [
                        {**check._asdict(), "passed": check.passed}
                        for check in row.checks
                    ],
                }
                for row in self.rows
            ]
            print(json.dumps({"rows": rows, "passed": len(rows) - len(failed), "failed": len(failed)}, indent=2))
        else:
            print(f"\n{len(self.rows) - len(failed)} passed, {len(failed)} failed; {checks} checks")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
