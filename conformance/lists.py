"""Compares what a real MCP server lists with what two callers see of it through the gate.

The official Python SDK asks for tools, prompts, resources and templates in both eras, page by page, directly and through
the gate: each caller sees the entries that the rules let him use, each as the server sent it, in the server's order, on
the server's pages. Then a legacy stream is resumed: what it repeats of a list is filtered too. Last the attack: two
requests of a session with one id, so that the server sends the list as the answer to the other. Directly these are not
filtered, which shows that this can fail.

Exit code 0: all as expected; 1: a difference; 2: something is missing. `make test-lists` runs this.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stack import ROOT, NotStarted, Ports, Stack, access_lines, url

OUT = ROOT / "target" / "lists"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
TIMEOUT = 10  # seconds
PAGE_SIZE = 2  # entries
SLOW = "slow"  # the cursor of a first page that takes its time
TRIES = 20
CALL = {"name": "test_tool_with_progress", "arguments": {"never": 1}}  # takes longer
RULES = """\
  - id: dana
    allow: { tools: [test_simple_text, "test_*_content"], prompts: ["*_arguments"], resources: ["test://static-*"] }
    to: { subjects: [dana] }
  - id: dana-calls
    allow: { tools: [test_tool_with_progress] }
    to: { subjects: [dana] }
  - id: sam
    allow: { tools: [test_error_handling], resources: ["test://template/7/*"] }
    to: { subjects: [sam] }
  - id: sam-with-arguments
    allow: { tools: [test_tool_with_progress] }
    to: { subjects: [sam] }
    arguments: { never: { present: true } }
  - id: no-binary
    deny: { tools: [test_image_content], resources: ["test://static-binary"] }
"""
SEES = {
    "dana": {
        "tools": lambda name: name in ("test_simple_text", "test_tool_with_progress")
        or (name.startswith("test_") and name.endswith("_content") and name != "test_image_content"),
        "prompts": lambda name: name.endswith("_arguments"),
        "resources": lambda uri: uri == "test://static-text",
        "templates": lambda _: False,
    },
    "sam": {
        "tools": lambda name: name in ("test_error_handling", "test_tool_with_progress"),
        "prompts": lambda _: False,
        "resources": lambda _: False,
        "templates": lambda template: template == "test://template/{id}/data",
    },
}


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    try:
        ports, server = Ports.following(options.first_port), {"PAGE_SIZE": str(PAGE_SIZE)}
        with Stack(options.envoy, options.wasm, ports, OUT, RULES, server) as stack:
            faults = asyncio.run(compare(stack))
    except NotStarted as missing:
        print(f"lists: {missing}", file=sys.stderr)
        return 2
    for fault in faults:
        print(f"FAIL {fault}")
    print("lists: each caller sees what is theirs" if not faults else f"lists: {len(faults)} failed")
    return 1 if faults else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", required=True, help="path of an Envoy")
    parser.add_argument("--wasm", type=Path, default=ROOT / "dist/mcp_iap.wasm", help="the filter")
    parser.add_argument("--first-port", type=int, default=12100, help="the first of five ports in a row")
    return parser.parse_args()


async def compare(stack):
    faults = []

    def check(what, expected, seen, shown=None):
        same = expected == seen
        print(f"{'pass' if same else 'FAIL'} {what}: {shown or seen}", flush=True)
        if not same:
            faults.append(f"{what}: expected {expected}, seen {seen}")

    direct, gate = (f"{url(port)}/mcp" for port in (stack.ports.server, stack.ports.gate))
    pages = 0
    for era in (MODERN, LEGACY):
        everything = await lists(direct, era)
        for caller, sees in SEES.items():
            seen = await lists(gate, era, stack.token(caller))
            for kind, sent in everything.items():
                expected = [([entry for entry in page if sees[kind](entry[0])], cursor) for page, cursor in sent]
                shown, all_of_them = (sum(len(page) for page, _ in some) for some in (seen[kind], sent))
                said = f"{shown} of {all_of_them} on {len(sent)} pages"
                check(f"{caller}: {kind}, {era}", expected, seen[kind], said)
                pages += len(sent)
    names = {name for name, _ in everything["tools"][0][0]}
    wanted = sorted(filter(SEES["dana"]["tools"], names))
    check("replayed directly", sorted(names), await replayed(direct), "unfiltered")
    check("dana: replayed through the gate", wanted, await replayed(gate, stack.token("dana")))
    # Beside the pages a list and the stream that repeats it.
    check("records that say what was listed", pages + 2, await recorded(stack, pages + 2))
    check("by another's id directly", sorted(names), await misdirected(direct), "unfiltered")
    check("dana: by another's id through the gate", wanted, await misdirected(gate, stack.token("dana")))
    return faults


async def lists(endpoint, era, token=None):
    """What is listed: by kind, page by page with its cursor, each entry's name with all that is said of it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    mode = "legacy" if era == LEGACY else era
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False) as http:
        async with Client(streamable_http_client(endpoint, http_client=http), mode=mode) as client:
            if client.protocol_version != era:
                raise RuntimeError(f"speaks {client.protocol_version}")
            return {
                "tools": await pages_of(client.list_tools, lambda result: result.tools, "name"),
                "prompts": await pages_of(client.list_prompts, lambda result: result.prompts, "name"),
                "resources": await pages_of(client.list_resources, lambda result: result.resources, "uri"),
                "templates": await pages_of(
                    client.list_resource_templates, lambda result: result.resource_templates, "uri_template"
                ),
            }


async def pages_of(ask, entries, name):
    pages, cursor = [], None
    while not pages or cursor is not None:
        result = await ask(cursor=cursor)
        cursor = result.next_cursor
        pages.append(([(str(getattr(entry, name)), entry.model_dump()) for entry in entries(result)], cursor))
    return pages


@contextlib.asynccontextmanager
async def session(endpoint, token):
    """A legacy session, spoken by hand."""
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False) as http:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "lists", "version": "1"}}
        answer = await http.post(endpoint, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        http.headers["MCP-Protocol-Version"] = LEGACY
        await http.post(endpoint, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield http


async def replayed(endpoint, token=None):
    """The tools that a legacy stream lists when it is resumed before its answer."""
    async with session(endpoint, token) as http:
        answer = await http.post(endpoint, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        first = next(line for line in answer.text.splitlines() if line.startswith("id: "))
        resume = {"Last-Event-ID": first.removeprefix("id: ")}
        async with http.stream("GET", endpoint, headers=resume) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                tools = listed(line)
                if tools is not None:
                    return tools
    raise RuntimeError("nothing was repeated")


async def misdirected(endpoint, token=None):
    """The tools that the answer to a call lists, whose id is that of a list that is not answered yet."""
    async with session(endpoint, token) as http:
        ask = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"cursor": SLOW}}
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": CALL}
        # Who comes first is a matter of milliseconds.
        for _ in range(TRIES):
            asked = asyncio.create_task(http.post(endpoint, json=ask))
            await asyncio.sleep(0.01)
            answer = await http.post(endpoint, json=call)
            asked.cancel()
            tools = next((tools for tools in map(listed, answer.text.splitlines()) if tools is not None), None)
            if tools is not None:
                return tools
    raise RuntimeError("the server sent no list to the call")


def listed(line):
    """The tools that a line of an event stream lists; None for another line."""
    data = line.removeprefix("data:").strip()
    if not line.startswith("data:") or not data:
        return None
    tools = json.loads(data).get("result", {}).get("tools")
    return tools if tools is None else sorted(tool["name"] for tool in tools)


async def recorded(stack, expected):
    """How many records say what was listed, when all are there."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        records = [record for line in access_lines(stack.access_log) for record in line["mcp_iap"]]
        count = sum("listed" in record for record in records)
        if count >= expected or time.monotonic() > deadline:
            return count
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
