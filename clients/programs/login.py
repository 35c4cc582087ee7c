"""Logging in with the official Python SDK, in the mode $MODE; as in login.mjs, in the same words. $CA is the
authority of the resource's certificate."""

import asyncio
import json
import os
import ssl
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

URL, FLOW, MODE, ISSUER = (os.environ[name] for name in ("URL", "FLOW", "MODE", "ISSUER"))
REDIRECT = "http://127.0.0.1:1/callback"  # nobody listens: the browser stops there


class Storage:
    """The client's storage, in memory."""

    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """A user with a browser, who approves."""

    def __init__(self):
        self.logins = 0

    async def open(self, to):
        self.logins += 1
        async with httpx2.AsyncClient(trust_env=False) as http:
            while not to.startswith(REDIRECT):
                answer = await http.get(to)
                if "location" not in answer.headers:
                    raise RuntimeError(f"{to}: {answer.status_code} {answer.text}")
                to = urljoin(to, answer.headers["location"])
        self.answer = {name: values[0] for name, values in parse_qs(urlsplit(to).query).items()}

    async def result(self):
        return AuthorizationCodeResult(code=self.answer["code"], state=self.answer["state"], iss=self.answer["iss"])


def login(storage, browser):
    if FLOW == "secret":
        return ClientCredentialsOAuthProvider(URL, storage, "robot", "robot-secret", issuer=ISSUER)
    metadata = OAuthClientMetadata(
        client_name="step-up",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code"],
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(URL, metadata, storage, browser.open, browser.result)


async def main():
    storage, browser, seen = Storage(), Browser(), {}
    trusted = ssl.create_default_context(cafile=os.environ["CA"])
    auth = login(storage, browser)
    try:
        async with httpx2.AsyncClient(auth=auth, verify=trusted, trust_env=False) as http:
            async with Client(streamable_http_client(URL, http_client=http), mode=MODE) as client:
                seen["read"] = await call(client, "greet")
                seen["first"] = storage.tokens.access_token
                seen["write"] = await call(client, "erase")
                seen["second"] = storage.tokens.access_token
                seen["again"] = await call(client, "greet")
    except Exception as error:
        while getattr(error, "exceptions", None):
            error = error.exceptions[0]
        seen["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps({**seen, "logins": browser.logins}))


async def call(client, name):
    result = await client.call_tool(name, {"name": name})
    return result.content[0].text


asyncio.run(main())
