"""mcp-iap's demo: real Envoy, OpenID provider, MCP server and client, in about ten seconds.

It prints a row for each step as it ends, then the audit records, and exits 1 if anything
differs from what must be seen, 2 if the components can't run here. With --up it starts the
components and leaves the calling to you. It builds nothing: see `make demo`.
"""

import signal
import sys

# The imports below take a moment, in which nothing has been started yet.
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

import argparse
import asyncio
import time
from pathlib import Path

try:
    import exchange
    import steps
    from stack import ACCESS_LOG, PORTS, PROVIDER, RESOURCE, ROOT, NotStarted, Stack

    from testbed.report import Report
except ModuleNotFoundError as error:
    print(f"demo: {error}; run it with the Python that scripts/deps.sh python sets up", file=sys.stderr)
    sys.exit(2)

GOLDEN_HEAD = """\
# What `make demo` prints, with times and ids blanked. `make demo` runs real components and
# compares; `demo/demo.py --write-golden` writes this file anew.
"""
SERVERS_UP = f"""\
MCP server  http://127.0.0.1:{PORTS["the MCP server"]}/mcp
issuer      {PROVIDER}
ready; Ctrl-C ends both
"""
CURL_LINES = f"""\
Ready. Paste these into another terminal; Ctrl-C here ends all.

# a token for dana (sam is in the group sre as well)
TOKEN=$(curl -s -u dana:dana-secret -d grant_type=client_credentials \\
  -d resource={RESOURCE} {PROVIDER}/token | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')

# one call of the protocol revision 2026-07-28: METHOD NAME PARAMETERS
META='"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}'
mcp() {{ curl -s -i {RESOURCE} -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
  -H 'MCP-Protocol-Version: 2026-07-28' -H "Mcp-Method: $1" -H "Mcp-Name: $2" \\
  -d '{{"jsonrpc":"2.0","id":1,"method":"'"$1"'","params":{{'"$3$META"'}}}}'; echo; }}

# list the tools
mcp tools/list

# allowed
mcp tools/call get_deployment '"name":"get_deployment","arguments":{{"namespace":"web","name":"shop"}},'

# refused
mcp tools/call delete_namespace '"name":"delete_namespace","arguments":{{"name":"web"}},'

# the audit records
sleep 1; tail {ACCESS_LOG.relative_to(ROOT)}
"""


def arguments():
    parser = argparse.ArgumentParser(description="Shows mcp-iap at work on real components.")
    parser.add_argument("--envoy", metavar="PATH", help="the Envoy to start")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--servers", action="store_true", help="start provider and MCP server alone, wait for Ctrl-C")
    what.add_argument("--up", action="store_true", help="start the components, print curl lines, wait for Ctrl-C")
    what.add_argument("--json", action="store_true", help="print rows and records as JSON, at the end")
    golden = parser.add_mutually_exclusive_group()
    golden.add_argument("--golden", type=Path, metavar="FILE", help="fail if the output differs from FILE")
    golden.add_argument("--write-golden", type=Path, metavar="FILE", help="write the output, blanked, to FILE")
    options = parser.parse_args()
    if not (options.envoy or options.servers):
        parser.error("--envoy is needed")
    return options


def stay_up(stack, text):
    print(text, flush=True)
    while True:
        stack.check_alive()
        time.sleep(0.5)


def run_steps(options):
    report = Report(options.json, GOLDEN_HEAD)
    records = asyncio.run(steps.run(report))
    with exchange.SecondGate(options.envoy):
        exchanged = asyncio.run(exchange.run(report))
    report.audit(records, ACCESS_LOG.relative_to(ROOT))
    exchange.tell_tokens(report)
    report.audit(exchanged, exchange.ACCESS_LOG.relative_to(ROOT))
    succeeded = report.close()
    if options.write_golden and succeeded:
        options.write_golden.write_text(report.golden())
    if options.golden and report.differs_from(options.golden):
        succeeded = False
    return 0 if succeeded else 1


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with Stack(None if options.servers else options.envoy) as stack:
            print(f"all components ready after {stack.ready_after:.1f} s", file=sys.stderr)
            if options.servers:
                return stay_up(stack, SERVERS_UP)
            return stay_up(stack, CURL_LINES) if options.up else run_steps(options)
    except NotStarted as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0 if options.up or options.servers else 130


if __name__ == "__main__":
    sys.exit(main())
