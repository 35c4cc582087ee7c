"""The calls of the newcomer's agents, what each must see, and what `run` must show of it."""

import re

from agent import ask_bare, connect
from stack import ISSUER

# What each caller does: caller, tool, arguments, what the caller sees, the reason, and what `run` shows of it.
CALLS = [
    ("clara", "balance", {"account": "rent"}, "rent: 120000 cents", "-", "read-only-tools"),
    (
        "clara",
        "book_transfer",
        {"source": "rent", "to": "rent", "cents": 500, "currency": "EUR"},
        "500 EUR cents from rent to rent",
        "-",
        "clerks-book",
    ),
    (
        "clara",
        "book_transfer",
        {"source": "rent", "to": "rent", "cents": 60000, "currency": "EUR"},
        "403 cents: 60000 is above 50000",
        "argument_out_of_range",
        "argument_out_of_range (clerks-book)  cents: must be an integer from 1 to 50000",
    ),
    (
        "clara",
        "book_transfer",
        {"source": "rent", "to": "rent", "cents": 5, "currency": "USD"},
        '403 currency: "USD" is not an accepted value',
        "argument_not_in_list",
        "argument_not_in_list (clerks-book)  currency: must be one of EUR, CHF",
    ),
    (
        "clara",
        "close_account",
        {"account": "rent"},
        "403 accounts are closed at the desk",
        "denied_by_rule",
        "denied_by_rule (nobody-closes)  accounts are closed at the desk",
    ),
    (
        "clara",
        "remind",
        {"account": "rent", "text": "pay"},
        "403 no rule allows this",
        "no_rule_allows",
        "no_rule_allows  no rule allows this; the caller's groups: clerk, offline_access",
    ),
    (
        "otto",
        "statement",
        {"account": "rent", "period": {"first": "2026-01", "last": "2026-02"}},
        "rent from 2026-01 to 2026-02, short",
        "-",
        "audit-of-rent",
    ),
    (
        "otto",
        "balance",
        {"account": "rent"},
        "403 no rule allows this",
        "no_rule_allows",
        "no_rule_allows (read-only-tools)  no rule allows this; the caller's groups: auditor",
    ),
]


# The ledger's tools that each may use, of five.
SEES = {"clara": ["balance", "book_transfer", "statement"], "otto": ["statement"]}


async def calls(report, resource, where):
    with report.step(f"{where}: no token", "401 Bearer challenge", "missing_token") as row:
        answer = await ask_bare(resource)
        challenge = answer.headers.get("www-authenticate", "")
        metadata = resource.replace("/books", "/.well-known/oauth-protected-resource/books")
        kind = "Bearer" if f'resource_metadata="{metadata}"' in challenge else challenge
        row.saw(f"{answer.status_code} {kind} challenge", answer.json()["error"]["data"]["reason"])
    for name in ("clara", "otto"):
        async with connect(resource, ISSUER, name) as agent:
            with report.step(f"{where}: {name} lists tools", " ".join(SEES[name])) as row:
                row.saw(" ".join(await agent.tools()))
            for caller, tool, given, wanted, reason, _ in CALLS:
                if caller == name:
                    with report.step(f"{where}: {name} calls {tool}", wanted, reason) as row:
                        row.saw(*await agent.call(tool, **given))


async def shown_by_run(report, terminal):
    with report.step("run shows each decision", f"{len(CALLS)} of {len(CALLS)}") as row:
        # The last of the session's records comes when its requests have ended.
        shown = terminal.shows(CALLS[-1][5])
        lines = [line for line in shown.splitlines() if " tools/call " in line]
        found, lacking = 0, []
        for caller, tool, *_, told in CALLS:
            of_caller = [line for line in lines if f" {caller} " in line and f" {tool} " in line]
            fits = [line for line in of_caller if re.search(f"  {re.escape(told)}(; decision [0-9a-f]{{32}})?$", line)]
            found += bool(fits)
            lacking += [] if fits else [told]
        row.saw(f"{found} of {len(CALLS)}" + "".join(f"; not {told}" for told in lacking))
