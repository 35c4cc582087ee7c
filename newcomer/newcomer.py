"""A platform engineer who has read the README protects a server and an issuer of their own, in real time.

Types what the README says, reads what is told, edits the document, runs it, calls with a real MCP client, and
pastes the filter into an Envoy that already runs. A row for each step; exit code 0: all as it must be; 1: a
difference; 2: something is missing. `make test-own` runs this.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

try:
    import steps
    from stack import OUT, ROOT, NotStarted, Stack

    from testbed.report import Report
except ModuleNotFoundError as error:
    print(f"newcomer: {error}; run it with the Python that scripts/deps.sh clients sets up", file=sys.stderr)
    sys.exit(2)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True, metavar="PATH", help="the Envoy to start")
    cli = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/mcp-iap"
    parser.add_argument("--cli", type=Path, default=cli, metavar="PATH", help="the command line")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, at the end")
    return parser.parse_args()


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    report = Report(options.json, widths=(4, 31, 43, 43, 21, 5))
    try:
        with Stack(options.envoy, options.cli) as stack:
            asyncio.run(steps.run(report, stack))
            succeeded = report.close()
    except NotStarted as error:
        print(f"newcomer: {error}", file=sys.stderr)
        return 2
    if not succeeded:
        print(f"what was typed and shown is in {OUT.relative_to(ROOT)}/", file=sys.stderr)
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
