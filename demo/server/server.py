"""MCP server of the demo: five tools of a make-believe cluster, over streamable HTTP.

Every request that reaches it is written, byte for byte as it arrives, to the file
named by SEEN. It checks no caller at all: that is the gateway's work.
"""

import asyncio
import json
import os

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

READ = ToolAnnotations(read_only_hint=True)
WRITE = ToolAnnotations(read_only_hint=False, destructive_hint=False)
DESTROY = ToolAnnotations(read_only_hint=False, destructive_hint=True)

server = MCPServer("cluster", instructions="Deployments of a make-believe cluster.")
replicas_of = {("web", "shop"): 2, ("api", "orders"): 2}


@server.tool(annotations=READ)
def get_deployment(namespace: str, name: str) -> str:
    """Say how many replicas a deployment has."""
    return f"{namespace}/{name}: {replicas_of[namespace, name]} replicas"


@server.tool(annotations=READ)
def list_pods(namespace: str) -> str:
    """List the pods of a namespace."""
    return "\n".join(
        f"{name}-{number}"
        for (where, name), count in replicas_of.items()
        if where == namespace
        for number in range(count)
    )


@server.tool(annotations=READ)
async def get_rollout(namespace: str, name: str, ctx: Context) -> str:
    """Watch a rollout to its end, reporting progress on the way."""
    for percent in (25, 50, 75, 100):
        await asyncio.sleep(0.25)
        await ctx.report_progress(percent, 100, f"{percent} % rolled out")
    return f"{namespace}/{name}: rolled out"


@server.tool(annotations=WRITE)
def scale_deployment(namespace: str, name: str, replicas: int) -> str:
    """Set the number of replicas of a deployment."""
    replicas_of[namespace, name] = replicas
    return f"{namespace}/{name}: {replicas} replicas"


@server.tool(annotations=DESTROY)
def delete_namespace(name: str) -> str:
    """Delete a namespace and all that is in it."""
    for key in [key for key in replicas_of if key[0] == name]:
        del replicas_of[key]
    return f"{name}: deleted"


class Witness:
    """ASGI middleware that writes down each request's head and each piece of its body.

    The body is read as it arrives, not when the application asks for it, so bytes of a
    request that the application turns away at its head are written down too. Bytes become
    characters of the same number (latin-1), so nothing is lost and plain text stays plain.
    """

    def __init__(self, app, path):
        self.app = app
        self.file = open(path, "a", buffering=1, encoding="ascii")
        self.requests = 0

    def write(self, **record):
        self.file.write(json.dumps(record) + "\n")

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        self.requests += 1
        number = self.requests
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        self.write(request=number, method=scope["method"], path=target.decode("latin-1"), headers=headers)

        arrived = asyncio.Queue()

        async def read():
            while True:
                message = await receive()
                if message["type"] == "http.request" and message["body"]:
                    self.write(request=number, body=message["body"].decode("latin-1"))
                arrived.put_nowait(message)
                if message["type"] == "http.disconnect":
                    return

        reader = asyncio.create_task(read())
        try:
            await self.app(scope, arrived.get, send)
        finally:
            reader.cancel()


if __name__ == "__main__":
    host = os.environ.get("HOST", "127.0.0.1")  # in a container, all of its own addresses
    app = Witness(server.streamable_http_app(host=host), os.environ["SEEN"])
    uvicorn.run(
        app,
        host=host,
        port=int(os.environ.get("PORT", "8000")),
        access_log=False,
        timeout_graceful_shutdown=1,
    )
