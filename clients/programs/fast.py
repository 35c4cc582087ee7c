"""The FastMCP client, in its three modes: legacy, auto, and pinned to a revision."""

from contextlib import asynccontextmanager

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from steps import counting, serve


class Connected:
    def __init__(self, client):
        self.client = client
        self.protocol = client.session.protocol_version

    async def tools(self):
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, name, arguments, on_progress=None):
        result = await self.client.call_tool(name, arguments, progress_handler=on_progress)
        return result.content[0].text


@asynccontextmanager
async def connect(url, token, mode, sent):
    def http_client(**options):
        return httpx2.AsyncClient(event_hooks=counting(sent), trust_env=False, **options)

    transport = StreamableHttpTransport(url, auth=token, httpx_client_factory=http_client)
    async with Client(transport, mode="2026-07-28" if mode == "modern" else mode) as client:
        yield Connected(client)


serve(connect)
