"""Compares what a real MCP server lists with what two callers see of it through the gate.

The official Python SDK asks for tools, prompts, resources and templates in both eras, directly and through the gate:
each caller sees the entries that the rules let him use, each as the server sent it, in the server's order. Then a
legacy stream is resumed: what it repeats of a list is filtered too. Directly it is not, which shows that this can fail.

Exit code 0: all as expected; 1: a difference; 2: something is missing. `make test-lists` runs this.
"""

import argparse
import asyncio
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
LISTED = 2 * 2 * 4 + 2  # two callers, two eras, four kinds; and a list with the stream that repeats it
RULES = """\
  - id: dana
    allow: { tools: [test_simple_text, "test_*_content"], prompts: ["*_arguments"], resources: ["test://static-*"] }
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
        "tools": lambda name: name == "test_simple_text"
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
        with Stack(options.envoy, options.wasm, Ports.following(options.first_port), OUT, RULES) as stack:
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
    for era in (MODERN, LEGACY):
        everything = await lists(direct, era)
        for caller, sees in SEES.items():
            seen = await lists(gate, era, stack.token(caller))
            for kind, entries in everything.items():
                expected = [entry for entry in entries if sees[kind](entry[0])]
                shown = f"{len(seen[kind])} of {len(entries)}"
                check(f"{caller}: {kind}, {era}", expected, seen[kind], shown)
    names = {name for name, _ in everything["tools"]}
    wanted = sorted(filter(SEES["sam"]["tools"], names))
    check("replayed directly", sorted(names), await replayed(direct), "unfiltered")
    check("sam: replayed through the gate", wanted, await replayed(gate, stack.token("sam")))
    check("records that say what was listed", LISTED, await recorded(stack))
    return faults


async def lists(endpoint, era, token=None):
    """What is listed: by kind, each entry's name with all that is said of it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    mode = "legacy" if era == LEGACY else era
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False) as http:
        async with Client(streamable_http_client(endpoint, http_client=http), mode=mode) as client:
            if client.protocol_version != era:
                raise RuntimeError(f"speaks {client.protocol_version}")
            tools, prompts = (await client.list_tools()).tools, (await client.list_prompts()).prompts
            resources = (await client.list_resources()).resources
            templates = (await client.list_resource_templates()).resource_templates
    return {
        "tools": [(tool.name, tool.model_dump()) for tool in tools],
        "prompts": [(prompt.name, prompt.model_dump()) for prompt in prompts],
        "resources": [(str(resource.uri), resource.model_dump()) for resource in resources],
        "templates": [(template.uri_template, template.model_dump()) for template in templates],
    }


async def replayed(endpoint, token=None):
    """The tools that a legacy stream lists when it is resumed before its answer."""
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False) as http:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "lists", "version": "1"}}
        answer = await http.post(endpoint, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        http.headers["MCP-Protocol-Version"] = LEGACY
        await http.post(endpoint, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        answer = await http.post(endpoint, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        first = next(line for line in answer.text.splitlines() if line.startswith("id: "))
        resume = {"Last-Event-ID": first.removeprefix("id: ")}
        async with http.stream("GET", endpoint, headers=resume) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data:
                    return sorted(tool["name"] for tool in json.loads(data)["result"]["tools"])
    raise RuntimeError("nothing was repeated")


async def recorded(stack):
    """How many records say what was listed, when all are there."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        records = [record for line in access_lines(stack.access_log) for record in line["mcp_iap"]]
        count = sum("listed" in record for record in records)
        if count >= LISTED or time.monotonic() > deadline:
            return count
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
