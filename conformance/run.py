"""Runs the MCP conformance suite directly against a server and through the gate, and compares.

The gate must not change what the suite finds: for each frozen set of requirements, each scenario must have the
same checks with the same verdicts both ways. Two controls show that the comparison can fail: a port where
nobody listens, and the gate without a token, must not come out equal.

Exit code 0: equal; 1: a difference; 2: something is missing. `make conformance` runs this.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from stack import ROOT, NotStarted, Ports, Stack, access_lines, url
from suite import SETS, Suite, differences

OUT = ROOT / "target" / "conformance"
# The suite also asks as a foreign web page would, which is refused before any token is looked at.
BEFORE_THE_TOKEN = {"origin_not_allowed", "host_not_allowed"}
FLUSH = 0.5  # seconds until Envoy has surely written what has ended


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(2))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    try:
        suite = Suite(options.deps / "conformance")
        stack = Stack(options.envoy, options.wasm, Ports.following(options.first_port), OUT)
        with stack:
            faults = compare(suite, stack)
    except NotStarted as missing:
        print(f"conformance: {missing}", file=sys.stderr)
        return 2
    for fault in faults:
        print(f"FAIL {fault}")
    print("conformance: the gate changes nothing" if not faults else f"conformance: {len(faults)} failed")
    return 1 if faults else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True, help="path of an Envoy")
    parser.add_argument("--wasm", type=Path, default=ROOT / "dist/mcp_iap.wasm", help="the filter")
    deps = Path(os.environ.get("MCP_IAP_DEPS") or ROOT / ".deps")
    parser.add_argument("--deps", type=Path, default=deps, help="where scripts/deps.sh installed")
    parser.add_argument("--first-port", type=int, default=12000, help="the first of five ports in a row")
    return parser.parse_args()


def compare(suite, stack):
    """All runs; prints what they found, and returns what is wrong."""
    faults = []
    server, gate = url(stack.ports.server), url(stack.ports.gate)
    direct = {name: suite.run(name, server, OUT / name / "direct") for name in SETS}
    for name, run in direct.items():
        through = suite.run(name, gate, OUT / name / "gate", stack.token())
        faults += judge(name, run, through)
    time.sleep(FLUSH)
    records = access(stack)
    faults += judge_access(records)

    for control, origin in {"nobody listens": url(stack.ports.nobody), "no token": gate}.items():
        for name, run in direct.items():
            other = suite.run(name, origin, OUT / name / control.replace(" ", "-"))
            faults += judge_control(f"{name}, {control}", run, other)
    time.sleep(FLUSH)
    passed = [record for record in access(stack)[len(records) :] if is_allowed_stranger(record)]
    if passed:
        faults.append(f"the gate let {len(passed)} requests pass without a token")
    return faults


def judge(name, direct, gate):
    """The two runs must be the same, and the server one that passes what is required."""
    lines = differences(direct, gate)
    equal = len(direct.scenarios.keys() - {scenario for scenario, *_ in lines})
    checks = sum(sum(checks.values()) for checks in direct.scenarios.values())
    total = len(direct.scenarios)
    print(f"{name}: {equal} of {total} scenarios equal, {checks} checks; directly {direct.passed()} pass")
    faults = []
    if direct.code != 0 or not direct.scenarios:
        faults.append(f"{name}: directly a required scenario fails; see {OUT / name}/direct/suite.log")
    if lines:
        table([("SCENARIO", "CHECK", "DIRECT", "GATE", "WHY"), *lines])
        faults.append(f"{name}: {len(lines)} checks differ; see {OUT / name}/gate/ and {OUT}/envoy-access.jsonl")
    elif gate.code != direct.code:
        faults.append(f"{name}: the suite's exit code is {direct.code} directly and {gate.code} through the gate")
    return faults


def judge_control(name, direct, other):
    """Where nothing is served, most scenarios must differ; some find nothing to object to in silence."""
    equal = direct.scenarios.keys() - {scenario for scenario, *_ in differences(direct, other)}
    print(f"control, {name}: {len(equal)} of {len(direct.scenarios)} scenarios equal")
    if other.code == 0 or len(equal) > len(direct.scenarios) / 4:
        return [f"control, {name}: equal though nothing was served: {', '.join(sorted(equal))}"]
    return []


def access(stack):
    """The filter's records so far; an empty one where a line of the access log has none."""
    return [next(iter(line["mcp_iap"]), {}) for line in access_lines(stack.access_log)]


def judge_access(records):
    """What the gate did, from its own records: each request must have had a token."""
    reasons = Counter(record.get("reason", "no record") for record in records)
    print(f"gate: {len(records)} requests; " + ", ".join(f"{count} {why}" for why, count in reasons.most_common()))
    strangers = Counter(record.get("reason", "no record") for record in records if "caller" not in record)
    for reason in BEFORE_THE_TOKEN:
        del strangers[reason]
    if not records:
        return ["the gate saw no request"]
    return [f"the gate saw {count} requests without a verified caller: {why}" for why, count in strangers.items()]


def is_allowed_stranger(record):
    return record.get("outcome") == "allowed" and "caller" not in record


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("  " + "  ".join([*cells, row[-1].replace("\n", " ")[:200]]).rstrip())


if __name__ == "__main__":
    sys.exit(main())
