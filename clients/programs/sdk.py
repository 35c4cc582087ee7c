"""The official Python SDK, in its three modes: legacy, auto, and pinned to a revision."""

from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from steps import counting, serve


class Connected:
    def __init__(self, client):
        self.client = client
        self.protocol = client.protocol_version

    async def tools(self):
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, name, arguments, on_progress=None):
        result = await self.client.call_tool(name, arguments, progress_callback=on_progress)
        return result.content[0].text


@asynccontextmanager
async def connect(url, token, mode, sent):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, event_hooks=counting(sent), trust_env=False) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode="2026-07-28" if mode == "modern" else mode) as client:
            yield Connected(client)


serve(connect)
