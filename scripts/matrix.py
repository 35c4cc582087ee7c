#!/usr/bin/env python3
"""Every scenario of the integration tests on several versions of Envoy, and a table of what came out.

Run by `make test-matrix`, which brings the Envoys. Each version's whole output is kept in target/matrix/.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "matrix"
VERDICT = re.compile(r"^test (\S+) \.\.\. (\w+)", re.MULTILINE)
MARKS = {"ok": "pass", "FAILED": "FAIL"}


def run(version, envoy, only):
    """The verdict of each scenario on this Envoy; of those whose names hold one of `only`, where it names some."""
    started = time.monotonic()
    command = ["cargo", "test", "--test", "integration", "--", *only]
    # The oldest Envoy that a scenario asks for is here the same one.
    env = {**os.environ, "ENVOY": envoy, "ENVOY_OLDEST": envoy}
    log = OUT / f"{version}.log"
    with open(log, "w") as out:
        code = subprocess.run(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT).returncode
    verdicts = {name: MARKS.get(word, word) for name, word in VERDICT.findall(log.read_text(errors="replace"))}
    failed = sum(mark != "pass" for mark in verdicts.values())
    if not verdicts or (code == 0) != (failed == 0):
        sys.exit(f"matrix: the run on {version} is not whole; see {log}")
    print(f"{version}: {len(verdicts) - failed} of {len(verdicts)} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return verdicts


def table(results):
    """A line for each scenario, a column for each version; `-` where it did not run."""
    names = sorted({name for verdicts in results.values() for name in verdicts})
    width = max(len(name) for name in names)
    lines = [" ".join(["SCENARIO".ljust(width), *(version.rjust(7) for version in results)])]
    for name in names:
        marks = [verdicts.get(name, "-") for verdicts in results.values()]
        lines.append(" ".join([name.ljust(width), *(mark.rjust(7) for mark in marks)]))
    return "\n".join(lines)


def main(arguments):
    """Arguments: VERSION=PATH for each Envoy; others are parts of the names of scenarios."""
    OUT.mkdir(parents=True, exist_ok=True)
    envoys = [each.split("=", 1) for each in arguments if "=" in each]
    only = [each for each in arguments if "=" not in each]
    results = {version: run(version, path, only) for version, path in envoys}
    print(table(results))
    marks = [mark for verdicts in results.values() for mark in verdicts.values()]
    same = all(verdicts.keys() == next(iter(results.values())).keys() for verdicts in results.values())
    failed = sum(mark != "pass" for mark in marks)
    print(f"\n{len(marks) - failed} passed, {failed} failed")
    return 0 if failed == 0 and same else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: scripts/matrix.py VERSION=PATH... [SCENARIO...]")
    sys.exit(main(sys.argv[1:]))
