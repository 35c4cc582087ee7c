"""The newcomer's MCP server, on FastMCP: a small ledger below /books/v1, that no shipped file knows.

It checks no caller: that is the gate's work. The tools that ran go to the file $SEEN, a line each.
"""

import json
import os
from typing import Annotated, Literal

from fastmcp import FastMCP
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

server = FastMCP("ledger", instructions="Accounts and transfers of a make-believe bank.")
balances = {"rent": 120_000, "travel": 30_000}
seen = open(os.environ["SEEN"], "a", buffering=1, encoding="utf-8")


class Period(BaseModel):
    """From a month to a month."""

    first: str
    last: str


def ran(tool, **arguments):
    seen.write(json.dumps({"tool": tool, **arguments}) + "\n")


@server.tool(annotations=ToolAnnotations(title="Balance", readOnlyHint=True, openWorldHint=False))
def balance(account: str) -> str:
    """Say what an account holds."""
    ran("balance", account=account)
    return f"{account}: {balances[account]} cents"


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def statement(account: str, period: Period, detail: Literal["short", "full"] = "short") -> str:
    """Write a statement of account.

    With `full` every booking is in it.
    """
    ran("statement", account=account)
    return f"{account} from {period.first} to {period.last}, {detail}"


@server.tool(annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=False, idempotentHint=True))
def book_transfer(
    source: str, to: str, cents: Annotated[int, Field(ge=1)], currency: Literal["EUR", "CHF", "USD"] = "EUR"
) -> str:
    """Move money from an account to another."""
    ran("book_transfer", cents=cents)
    balances[source] -= cents
    balances[to] += cents
    return f"{cents} {currency} cents from {source} to {to}"


@server.tool(annotations=ToolAnnotations(destructiveHint=True))
def close_account(account: str) -> str:
    """Close an account for good."""
    ran("close_account", account=account)
    return f"{account} is closed"


@server.tool
def remind(account: str, text: str) -> str:
    """Send a reminder: a tool that says nothing of itself."""
    ran("remind", account=account)
    return f"reminded {account}"


if __name__ == "__main__":
    server.run(
        transport="http",
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        path="/books/v1",
        show_banner=False,
        uvicorn_config={"access_log": False, "timeout_graceful_shutdown": 1},
    )
