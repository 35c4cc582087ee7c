"""MCP server for both eras, on the official Python SDK, with the tools that the clients call.

It checks no caller: that is the gate's work. What arrives and what ends early goes to the file $SEEN, a line of
JSON each, with the time in seconds since 1970.
"""

import asyncio
import json
import os
import time

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

SECONDS_A_STEP = 0.1
server = MCPServer("clients-dual")
log = open(os.environ["SEEN"], "a", buffering=1, encoding="ascii")


def saw(event, **details):
    log.write(json.dumps({"at": time.time(), "event": event, **details}) + "\n")


@server.tool()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello, {name}"


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Count slowly, reporting progress on the way."""
    try:
        for number in range(1, to + 1):
            await asyncio.sleep(SECONDS_A_STEP)
            await ctx.report_progress(number, to)
    except asyncio.CancelledError:
        saw("stopped", tool="count")
        raise
    return f"counted to {to}"


@server.tool()
def erase(name: str) -> str:
    """Erase somebody; no caller may, with any name."""
    return f"{name} is erased"


@server.tool()
def forget() -> str:
    """Forget everybody; no rule is about it, and nobody sees it."""
    return "everybody is forgotten"


class Witness:
    """ASGI middleware that notes each request when its body is complete, and when its client leaves early."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, message, answered = bytearray(), {}, False
        if scope["method"] != "POST":
            saw("arrived", http=scope["method"])

        async def receive_and_note():
            nonlocal message
            event = await receive()
            if event["type"] == "http.disconnect":
                if not answered:
                    saw("left", http=scope["method"], **message)
                return event
            body.extend(event["body"])
            if scope["method"] == "POST" and not event.get("more_body"):
                message = read(body)
                saw("arrived", http=scope["method"], **message)
            return event

        async def send_and_note(event):
            nonlocal answered
            answered |= event["type"] == "http.response.body" and not event.get("more_body")
            await send(event)

        await self.app(scope, receive_and_note, send_and_note)


def read(body):
    """Method and tool of a JSON-RPC message."""
    message = json.loads(body) if body else {}
    found = {"method": message.get("method"), "tool": message.get("params", {}).get("name")}
    return {name: value for name, value in found.items() if value}


if __name__ == "__main__":
    uvicorn.run(
        Witness(server.streamable_http_app()),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=False,
        timeout_graceful_shutdown=1,
    )
