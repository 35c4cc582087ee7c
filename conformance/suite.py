"""Runs the MCP conformance suite against a server, and reads what it found."""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from stack import NotStarted, node_program

HERE = Path(__file__).resolve().parent
WITHIN = 300  # seconds; a run takes a few
# What the suite is asked for: the requirements of each revision as they were frozen at its release.
SETS = {revision: ["--requirements", revision] for revision in ("2025-11-25", "2026-07-28")}
VERDICTS = ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")  # INFO says what was seen, not how it was judged


class Check(NamedTuple):
    """One verdict of a scenario."""

    id: str
    status: str


class Run(NamedTuple):
    """What one run of the suite found."""

    code: int  # 0 where every scenario passed that the revision requires, -1 where it did not end
    scenarios: dict  # name: Counter of its checks
    messages: dict  # (name, check): why

    def passed(self):
        return sum(1 for checks in self.scenarios.values() if not fails(checks))


def fails(checks):
    return any(check.status == "FAILURE" for check in checks)


class Suite:
    """The suite as installed into `folder`."""

    def __init__(self, folder):
        modules = folder / "node_modules"
        self.program = modules / "@modelcontextprotocol/conformance/dist/index.js"
        if not self.program.is_file():
            raise NotStarted("the conformance suite is missing; run scripts/deps.sh conformance")
        self.node = node_program(modules, (22, 0))

    def run(self, name, origin, out, token=None):
        """Runs the set `name` against the server at `origin`; with a token, each request has it."""
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        command = [self.node, self.program, "server", "--url", f"{origin}/mcp", *SETS[name], "-o", out / "results"]
        env = dict(os.environ)
        if token is not None:
            env |= {"ORIGIN": origin, "BEARER": token}
            command[1:1] = ["--import", (HERE / "bearer.mjs").as_uri()]
        with open(out / "suite.log", "wb") as log:
            try:
                code = subprocess.run(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=WITHIN
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
        return read(code, out / "results")


def read(code, results):
    run = Run(code, {}, {})
    for file in sorted(results.glob("server-*/checks.json")):
        scenario = re.sub(r"^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$", r"\1", file.parent.name)
        found = [found for found in json.loads(file.read_text()) if found["status"] in VERDICTS]
        run.scenarios[scenario] = Counter(Check(check["id"], check["status"]) for check in found)
        for check in found:
            run.messages[scenario, Check(check["id"], check["status"])] = check.get("errorMessage", "")
    return run


def differences(direct, gate):
    """Lines `(scenario, check, direct, through the gate, why)`, empty where the two runs found the same."""
    lines = []
    for scenario in sorted(direct.scenarios.keys() | gate.scenarios.keys()):
        if scenario not in direct.scenarios or scenario not in gate.scenarios:
            there = ["there" if scenario in run.scenarios else "not there" for run in (direct, gate)]
            lines.append((scenario, "-", *there, ""))
            continue
        before, after = direct.scenarios[scenario], gate.scenarios[scenario]
        for id in sorted({check.id for check in (before - after) + (after - before)}):
            why = [gate.messages[scenario, check] for check in after - before if check.id == id]
            why = why or [direct.messages[scenario, check] for check in before - after if check.id == id]
            lines.append((scenario, id, verdicts(before, id), verdicts(after, id), why[0]))
    return lines


def verdicts(checks, id):
    """`SUCCESS`, `2 SUCCESS, 1 FAILURE` or `none`."""
    found = {check.status: count for check, count in checks.items() if check.id == id}
    if list(found.values()) == [1]:
        return next(iter(found))
    return ", ".join(f"{count} {status}" for status, count in sorted(found.items())) or "none"
