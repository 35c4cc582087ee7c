"""What the demo does, step by step, and what must be seen at each.

First users with the MCP SDK's client in both protocol eras, then attacks, then what the MCP
server, Envoy's logs and the audit records hold of it all. It starts nothing: stack.py does.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import httpx2
from mcp import MCPError

from callers import LEGACY, MODERN, TIMEOUT, Attacker, Evidence, Refusal, claims, sign_in
from stack import ACCESS_LOG, GATEWAY, OUT, PROVIDER, RESOURCE, SEEN

READS = {"get_deployment", "list_pods", "get_rollout"}
METADATA = "/.well-known/oauth-protected-resource"
AUDIT_WITHIN = 3  # seconds; Envoy writes its access log in batches


async def run(report):
    """The steps; answers their audit records."""
    evidence = Evidence()
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        attacker = Attacker(http, evidence)
        expiring = asyncio.create_task(attacker.token("brief"))
        await discover(report, http)
        await session(report, "dana", MODERN, "RS256", evidence, dana)
        await session(report, "dana", LEGACY, "RS256", evidence, dana)
        await session(report, "sam", MODERN, "ES256", evidence, sam)
        await attack_tokens(report, attacker, expiring)
        await attack_bodies(report, attacker)
    records = await audit_holds_everything(report, report.rows, ACCESS_LOG)
    server_saw_nothing_it_should_not(report, evidence)
    return records


# --- users ---


async def discover(report, http):
    with report.step("bare request", "401 challenge", "missing_token") as row:
        note_refusal(row, Refusal.read(await http.post(RESOURCE)), challenge=True)

    with report.step("metadata names the provider", f"200 {PROVIDER}") as row:
        with_path = await http.get(GATEWAY + METADATA + "/mcp")
        at_root = await http.get(GATEWAY + METADATA)
        document = with_path.raise_for_status().json()
        if document != at_root.raise_for_status().json() or document["resource"] != RESOURCE:
            raise ValueError(f"{document} with path, {at_root.text} at the root")
        row.saw(f"200 {', '.join(document['authorization_servers'])}")


async def session(report, name, era, algorithm, evidence, use, resource=RESOURCE):
    """Signs the user in and lets `use` go on from there; a connection that breaks is a failed row."""
    try:
        async with AsyncExitStack() as connection:
            user = None
            with report.step(f"{name}: sign in, {era}", f"401, metadata, token ({algorithm})") as row:
                user = await connection.enter_async_context(sign_in(name, era, evidence, resource))
                row.saw(user.way_in())
            if user:
                await use(report, user, era, evidence)
    except Exception:
        with report.step(f"{name}: connection, {era}", "kept"):
            raise


async def dana(report, user, era, evidence):
    with report.step(f"dana: list tools, {era}", "3 of 5 tools, all that read") as row:
        row.audit = allowed("dana", method="tools/list", listed={"shown": 3, "hidden": 2})
        row.saw(await tools_listed(user, READS, "3 of 5 tools, all that read"))

    with report.step(f"dana: get_deployment, {era}", "web/shop: 2 replicas") as row:
        row.audit = allowed("dana", tool="get_deployment", rule="dev-reads")
        row.saw(await user.call("get_deployment", namespace="web", name="shop"))

    with report.step(f"dana: get_rollout, {era}", "4 reports, first before 50 %") as row:
        row.audit = allowed("dana", tool="get_rollout", rule="dev-reads")
        await watch_rollout(row, user)

    with report.step(f"dana: delete_namespace, {era}", "403", "no_rule_allows") as row:
        error = await refused_call(row, user, "delete_namespace", name=evidence.marker())
        row.saw(user.last_status(), (error.data or {}).get("reason", "-"))


async def tools_listed(user, expected, words):
    """The words, if these are the tools that the user is shown; else the tools."""
    names = {tool.name for tool in (await user.client.list_tools()).tools}
    return words if names == expected else ", ".join(sorted(names))


async def watch_rollout(row, user):
    """The reports of progress must come while the tool runs, not all at its end."""
    reports = []

    async def progress(*_):
        reports.append(time.monotonic())

    arguments = {"namespace": "web", "name": "shop"}
    started = time.monotonic()
    result = await user.client.call_tool("get_rollout", arguments, progress_callback=progress)
    took = time.monotonic() - started
    first = 100 * (reports[0] - started) / took if reports else 100
    ended = result.content[0].text == "web/shop: rolled out"
    row.saw(f"{len(reports)} reports, first at {first:.0f} %", enough=ended and len(reports) == 4 and first < 50)


async def sam(report, user, era, evidence):
    with report.step("sam: list tools", "4 of 5 tools, one to scale") as row:
        row.audit = allowed("sam", method="tools/list", listed={"shown": 4, "hidden": 1})
        row.saw(await tools_listed(user, READS | {"scale_deployment"}, "4 of 5 tools, one to scale"))

    with report.step("sam: scale to 3 replicas", "web/shop: 3 replicas") as row:
        row.audit = allowed("sam", tool="scale_deployment", rule="sre-scales")
        row.saw(await user.call("scale_deployment", namespace="web", name="shop", replicas=3))

    expected = "403 replicas: 50 is above 10"
    with report.step("sam: scale to 50 replicas", expected, "argument_out_of_range") as row:
        arguments = {"namespace": "web", "name": evidence.marker(), "replicas": 50}
        error = await refused_call(row, user, "scale_deployment", **arguments)
        row.saw(f"{user.last_status()} {error.message}", (error.data or {}).get("reason", "-"))


async def refused_call(row, user, tool, **arguments):
    """The error with which the client reports that the call was refused."""
    try:
        text = await user.call(tool, **arguments)
    except MCPError as error:
        row.audit = refused(row, error.error.data or {})
        return error.error
    raise RuntimeError(f"not refused: {text}")


# --- attackers ---


async def attack_tokens(report, attacker, expiring):
    with report.step("no token", "401 challenge", "missing_token") as row:
        note_refusal(row, await attacker.send(), challenge=True)

    with report.step("token for another resource", "401 invalid_token", "wrong_audience") as row:
        token = await attacker.token("dana", resource="https://other.example.com/mcp")
        note_refusal(row, await attacker.send(token), challenge=True)

    with report.step("expired token", "401 invalid_token", "token_expired") as row:
        token = await expiring
        await asyncio.sleep(max(0, claims(token)["exp"] + 1 - time.time()))
        note_refusal(row, await attacker.send(token), challenge=True)

    with report.step("tampered signature", "401 invalid_token", "bad_signature") as row:
        start, signature = (await attacker.token("dana")).rsplit(".", 1)
        tampered = f"{start}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        attacker.evidence.tokens.append(tampered)
        note_refusal(row, await attacker.send(tampered), challenge=True)


async def attack_bodies(report, attacker):
    with report.step("batch of calls", "400", "batch") as row:
        token = await attacker.token("dana")
        note_refusal(row, await attacker.send(token, change=lambda body: f"[{body},{body}]"))

    with report.step("duplicate key: name", "400", "duplicate_key") as row:
        token = await attacker.token("dana")
        twice = '"name":"get_deployment","name":"delete_namespace"'
        answer = await attacker.send(token, change=lambda body: body.replace('"name":"get_deployment"', twice))
        note_refusal(row, answer)

    with report.step("Mcp-Name unlike the body", "400 code -32020", "header_mismatch") as row:
        token = await attacker.token("dana")
        answer = await attacker.send(token, tool="delete_namespace", header_tool="get_deployment")
        note_refusal(row, answer, code=True)


# --- what is to be found afterwards ---


def allowed(subject, method="tools/call", **more):
    return {"outcome": "allowed", "caller": {"subject": subject}, "method": method, **more}


def refused(row, data):
    return {"outcome": "refused", "reason": row.expected_reason, "decision": data.get("decision", "none given")}


def note_refusal(row, refusal, challenge=False, code=False):
    row.audit = refused(row, refusal.data)
    seen = refusal.challenged() if challenge else str(refusal.status)
    row.saw(seen + (f" code {refusal.error.get('code')}" if code else ""), refusal.reason)


def holds(record, wanted):
    """True if the record has all that is wanted, at every depth."""
    if isinstance(wanted, dict) and isinstance(record, dict):
        return all(holds(record.get(key), value) for key, value in wanted.items())
    return record == wanted


def audit_records(log):
    whole = log.read_text().rpartition("\n")[0]  # its last line may be still being written
    lines = whole.splitlines()
    return [record for line in lines for record in json.loads(line).get("mcp_iap") or []]


async def audit_holds_everything(report, rows, log):
    """Each step with a decision has a record of its own, which says the same; answers these records."""
    wanted = [row for row in rows if row.audit]
    with report.step("audit record of each call", f"{len(wanted)} of {len(wanted)}") as row:
        deadline = time.monotonic() + AUDIT_WITHIN
        while True:
            found, lacking = match(audit_records(log), wanted)
            if not lacking or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        row.saw(f"{len(found)} of {len(wanted)}" + "".join(f"; none for {name}" for name in lacking))
    return found


def match(records, rows):
    """The record of each row, in the rows' order, and the names of rows that have none."""
    found, lacking = [], []
    for row in rows:
        record = next((record for record in records if holds(record, row.audit)), None)
        if record is None:
            lacking.append(row.step)
        else:
            records.remove(record)
            found.append(record)
    return found, lacking


def server_saw_nothing_it_should_not(report, evidence):
    heads, bodies = seen_by_server()
    seen = "\n".join([json.dumps(heads), *bodies.values()])
    logs = "\n".join(path.read_text() for path in (ACCESS_LOG, OUT / "envoy.log"))
    signatures = [token.rsplit(".", 1)[1] for token in evidence.tokens]
    credentials = sum(name == "authorization" for head in heads for name, _ in head["headers"])

    def count(needles, text, what):
        return f"{sum(needle in text for needle in needles)} of {len(needles)} {what}"

    with report.step("server saw no inbound token", f"0 of {len(signatures)} tokens") as row:
        if "get_deployment" not in seen:
            raise RuntimeError("the server's record is empty")
        row.saw(count(signatures, seen, "tokens") + (f", {credentials} authorization headers" if credentials else ""))

    expected = f"0 of {len(evidence.markers)} calls"
    with report.step("server saw no refused call", expected) as row:
        row.saw(count(evidence.markers, seen, "calls"))

    with report.step("no token in Envoy's logs", f"0 of {len(signatures)} tokens") as row:
        row.saw(count(signatures, logs, "tokens"))


def seen_by_server():
    """The heads of all requests, and each request's body put together from its pieces."""
    heads, bodies = [], {}
    for line in SEEN.read_text().splitlines():
        record = json.loads(line)
        if "body" in record:
            bodies[record["request"]] = bodies.get(record["request"], "") + record["body"]
        else:
            heads.append(record)
    return heads, bodies
