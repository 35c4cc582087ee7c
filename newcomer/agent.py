"""The newcomer's agent: the MCP SDK's own client, which finds the issuer by itself, starting from a bare 401."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from mcp import Client, MCPError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

TIMEOUT = 10  # seconds


@dataclass
class Store:
    """Token storage, in memory."""

    tokens: object = None
    given: list = field(default_factory=list)

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        self.given.append(tokens.access_token)

    async def get_client_info(self):
        return None

    async def set_client_info(self, client_info):
        pass


@dataclass
class Agent:
    client: Client
    store: Store
    answers: list  # status of each answer of the resource

    async def tools(self):
        return sorted(tool.name for tool in (await self.client.list_tools()).tools)

    async def call(self, tool, **arguments):
        """The text of the result; or the status, the message and the reason of the refusal."""
        try:
            return (await self.client.call_tool(tool, arguments)).content[0].text, "-"
        except MCPError as error:
            reason = (error.error.data or {}).get("reason", "-")
            return f"{self.answers[-1]} {error.error.message}", reason


@asynccontextmanager
async def connect(resource, issuer, name):
    """An agent with nothing but the resource's URL, its issuer and a client secret."""
    store, answers = Store(), []

    async def note(response):
        if str(response.request.url) == resource and response.request.method == "POST":
            answers.append(response.status_code)

    auth = ClientCredentialsOAuthProvider(resource, store, name, f"{name}-secret", issuer=issuer)
    hooks = {"response": [note]}
    async with httpx2.AsyncClient(auth=auth, event_hooks=hooks, timeout=TIMEOUT, trust_env=False) as http:
        transport = streamable_http_client(resource, http_client=http)
        async with Client(transport, read_timeout_seconds=TIMEOUT) as client:
            yield Agent(client, store, answers)


async def ask_bare(resource, token=None):
    """A call as no SDK makes it: without a token, or with one that was got elsewhere."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"accept": "application/json, text/event-stream"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        return await http.post(resource, json=body, headers=headers)
