"""The two ways in which the demo calls the gateway: as a user and as an attacker.

`sign_in` is the MCP SDK's own client, which gets its token by itself, starting from a bare
401. `Attacker` sends requests made by hand. Both note every token, and each refused call
carries a marker, so that it can be shown afterwards where they did and didn't arrive.
"""

import base64
import json
import re
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from stack import PROVIDER, RESOURCE

MODERN, LEGACY = "2026-07-28", "2025-11-25"
TIMEOUT = 5  # seconds


@dataclass
class Evidence:
    """What must not arrive at the server."""

    tokens: list = field(default_factory=list)
    markers: list = field(default_factory=list)

    def marker(self):
        self.markers.append(f"marker-{secrets.token_hex(8)}")
        return self.markers[-1]


def claims(token, part=1):
    """A part of a JWT, unverified: 0 is its header, 1 its claims."""
    return json.loads(base64.urlsafe_b64decode(token.split(".")[part] + "=="))


class TokenStore:
    """The client's token storage, in memory."""

    def __init__(self, evidence):
        self.evidence = evidence
        self.tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        self.evidence.tokens.append(tokens.access_token)

    async def get_client_info(self):
        return None

    async def set_client_info(self, client_info):
        pass


@dataclass
class User:
    """A connected client, and what its connection went through."""

    client: Client
    store: TokenStore
    answers: list  # (path, status) of each answer so far

    def way_in(self):
        """The answers up to the token, in words."""
        words = []
        for path, status in self.answers:
            if path == "/token":
                algorithm = claims(self.store.tokens.access_token, part=0)["alg"]
                return ", ".join([*words, f"token ({algorithm})"])
            if path == "/mcp":
                words.append(str(status))
            elif "oauth-protected-resource" in path:
                words.append("metadata" if status == 200 else f"metadata {status}")
        return ", ".join([*words, "no token"])

    def last_status(self):
        return str(self.answers[-1][1])

    async def call(self, tool, **arguments):
        result = await self.client.call_tool(tool, arguments)
        return result.content[0].text


@asynccontextmanager
async def sign_in(name, era, evidence, resource=RESOURCE):
    """Connects as the user, with nothing but the gateway's address and a client secret."""
    store, answers = TokenStore(evidence), []

    async def note(response):
        request = response.request
        if request.method == "POST" or request.url.path != "/mcp":  # not the handshake protocol's side stream
            answers.append((request.url.path, response.status_code))

    auth = ClientCredentialsOAuthProvider(resource, store, name, f"{name}-secret", issuer=PROVIDER)
    mode = "legacy" if era == LEGACY else "auto"
    hooks = {"response": [note]}
    async with httpx2.AsyncClient(auth=auth, event_hooks=hooks, timeout=TIMEOUT, trust_env=False) as http:
        transport = streamable_http_client(resource, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=TIMEOUT) as client:
            if client.protocol_version != era:
                raise RuntimeError(f"speaks {client.protocol_version}")
            yield User(client, store, answers)


def tool_call(tool, **arguments):
    """The body of a tools/call request of the 2026-07-28 revision."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "demo", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@dataclass
class Refusal:
    """An HTTP answer, read as a refusal by the gateway."""

    status: int
    challenge: str
    error: dict

    @classmethod
    def read(cls, response):
        try:
            error = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            error = {}
        return cls(response.status_code, response.headers.get("www-authenticate", ""), error)

    @property
    def reason(self):
        return self.data.get("reason", "-")

    @property
    def data(self):
        return self.error.get("data") or {}

    def challenged(self):
        """The status, and the error of a complete challenge (RFC 6750, RFC 9728)."""
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', self.challenge))
        if not self.challenge.startswith("Bearer ") or not {"realm", "resource_metadata"} <= parameters.keys():
            return f"{self.status} challenge {self.challenge!r}"
        return f"{self.status} {parameters.get('error', 'challenge')}"


class Attacker:
    """Sends requests by hand; each body and each head carries a fresh marker."""

    def __init__(self, http, evidence):
        self.http = http
        self.evidence = evidence

    async def token(self, client, resource=RESOURCE):
        form = {"grant_type": "client_credentials", "resource": resource}
        response = await self.http.post(PROVIDER + "/token", data=form, auth=(client, f"{client}-secret"))
        token = response.raise_for_status().json()["access_token"]
        self.evidence.tokens.append(token)
        return token

    async def send(self, token=None, tool="get_deployment", header_tool=None, change=lambda body: body):
        """Posts a call; `change` may alter the text of its body."""
        marker = self.evidence.marker()
        body = json.dumps(tool_call(tool, namespace="web", name=marker), separators=(",", ":"))
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MODERN,
            "mcp-method": "tools/call",
            "mcp-name": header_tool or tool,
            "x-demo-marker": marker,
        }
        if token:
            headers["authorization"] = f"Bearer {token}"
        return Refusal.read(await self.http.post(RESOURCE, content=change(body), headers=headers))
