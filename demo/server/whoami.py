"""MCP server of the demo's second gate: it takes nothing but tokens that its provider gave for one of its clusters.

It verifies each token itself, and writes what it got (never the token) to the file named by TOKENS, and every request,
as server.py does, to the file named by SEEN.
"""

import json
import os

import httpx2
import jwt
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from server import Witness

PROVIDER = os.environ["PROVIDER"]
PORT = int(os.environ["PORT"])
CLUSTERS = {name: f"https://{name}.example.com" for name in ("staging", "prod")}


class Verifier:
    """Signature, issuer, audience and end of a token, by the provider's published keys."""

    def __init__(self):
        self.keys = None

    async def verify_token(self, token):
        if self.keys is None:
            async with httpx2.AsyncClient(trust_env=False) as http:
                answer = await http.get(f"{PROVIDER}/jwks")
            self.keys = {key.key_id: key.key for key in jwt.PyJWKSet(answer.raise_for_status().json()["keys"]).keys}
        try:
            key = self.keys[jwt.get_unverified_header(token)["kid"]]
            audiences = list(CLUSTERS.values())
            required = {"require": ["exp", "aud", "sub"]}
            claims = jwt.decode(
                token, key, algorithms=["ES256", "RS256"], audience=audiences, issuer=PROVIDER, options=required
            )
        except (jwt.PyJWTError, KeyError):
            return None
        return AccessToken(
            token=token, client_id=claims["client_id"], scopes=claims["scope"].split(), claims=claims
        )


server = MCPServer(
    "clusters",
    token_verifier=Verifier(),
    auth=AuthSettings(
        issuer_url=AnyHttpUrl(PROVIDER), resource_server_url=None, validate_token_resource=False
    ),
)


def token_for(cluster):
    """The claims of the token that this call came with; it must be for this cluster."""
    claims = get_access_token().claims
    if claims["aud"] != CLUSTERS[cluster]:
        raise ValueError(f"the token is for {claims['aud']}")
    return {name: claims.get(name) for name in ("sub", "act", "aud", "scope")}


@server.tool()
def whoami(cluster: str = "staging") -> str:
    """Say for whom, through whom, to whom and for what the token is that this call came with."""
    told = json.dumps(token_for(cluster))
    with open(os.environ["TOKENS"], "a", encoding="utf-8") as file:
        file.write(told + "\n")
    return told


@server.tool()
def drain(cluster: str = "staging") -> str:
    """Empty a cluster."""
    token_for(cluster)
    return f"{cluster}: drained"


if __name__ == "__main__":
    app = Witness(server.streamable_http_app(), os.environ["SEEN"])
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, timeout_graceful_shutdown=1)
