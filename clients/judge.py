"""What must be seen of a client, in what it was told, in the gate's records and in the server's own log.

Each check compares a text of what is expected with one of what was seen; nothing here runs anything.
"""

from collections import Counter
from typing import NamedTuple

from stack import REFUSAL

STEPS, EARLY = 4, 200  # progress notifications of a call of 400 ms, and how long before its end the first is seen
NOTICED_WITHIN = 2000  # milliseconds until the server has noticed an abort
PROTOCOL = {"modern": "2026-07-28", "legacy": "2025-11-25"}


class Check(NamedTuple):
    name: str
    expected: str
    seen: str
    shown: str = ""  # in the table instead of what was seen: in short, or as measured

    @property
    def passed(self):
        return self.expected == self.seen


class Window(NamedTuple):
    """What happened while a client did what it was asked: its answer, and what gate and server wrote meanwhile."""

    answer: dict
    lines: list  # of the access log
    seen: list  # by the server

    @property
    def records(self):
        return [record for line in self.lines for record in line["mcp_iap"]]


def era_of(server, mode):
    """The era that a client must end up with; None where it must give up."""
    if mode == "auto":
        return "modern" if server == "dual" else "legacy"
    return None if (server, mode) == ("legacy", "modern") else mode


def way_in(client, server, mode):
    """How the client must connect: methods and statuses."""
    if mode == "legacy":
        return ["initialize 200"]
    found = ["discover 200"] if server == "dual" else ["discover 400"]
    if mode == "modern":
        return found if client.probes_pinned else []
    return found if server == "dual" else [*found, "initialize 200"]


def judge(client, server, mode, name, window):
    """The checks of a client with a good token."""
    era = era_of(server, mode)
    checks = [connected(client, server, mode, window), accounted(window)]
    if era is None:
        return [*checks, told("error", client.no_session, window.answer.get("error")), refusals(window, {})]
    answer = window.answer
    eras = {record.get("era") for record in window.records if (record.get("method") or "").startswith("tools/")}
    checks += [
        Check("error", "none", str(answer.get("error", "none"))),
        Check("era", era, ", ".join(sorted(str(era) for era in eras))),
        Check("tools", "count, erase, greet", ", ".join(sorted(answer.get("tools", [])))),
        Check("call", f"hello, {name}", str(answer.get("greeting")), "ok"),
        told("refusal", REFUSAL, answer.get("refusal")),
        refusals(window, {"denied_by_rule": 1}),
    ]
    if client.aborted is not None:
        checks.append(Check("protocol", PROTOCOL[era], str(answer.get("protocol"))))
        checks += [progress(answer.get("progress")), abort(era, answer.get("abort"), window.seen)]
        checks.append(told("stopped", client.aborted, (answer.get("abort") or {}).get("seen")))
    return checks


def judge_stranger(client, window):
    """The checks of the same client with a tampered token: it says so, soon, and nothing passes."""
    outcomes = {(line["status"], record["reason"]) for line in window.lines for record in line["mcp_iap"]}
    requests = len(window.lines)
    return [
        told("wrong token", client.unauthorized, window.answer.get("error")),
        accounted(window)._replace(name="wrong token: records"),
        Check("wrong token: answers", "401 bad_signature", ", ".join(f"{status} {why}" for status, why in outcomes)),
        Check("wrong token: requests", "1 or 2", "1 or 2" if requests in (1, 2) else str(requests)),
        Check("wrong token: reached the server", "nothing", ", ".join(map(str, window.seen)) or "nothing"),
    ]


def connected(client, server, mode, window):
    """The requests that negotiate, from the records."""
    names = {"server/discover": "discover", "initialize": "initialize"}
    seen = [
        f"{names[record['method']]} {line['status']}"
        for line in window.lines
        for record in line["mcp_iap"]
        if record.get("method") in names
    ]
    expected = way_in(client, server, mode)
    if era_of(server, mode) is not None:
        expected = expected * client.connections
    shown = ", ".join(way_in(client, server, mode)) or "none"
    return Check("connected", ", ".join(expected) or "none", ", ".join(seen) or "none", shown)


def accounted(window):
    """Each request that the client sent has one record, and reached the server once if and only if it was allowed."""
    sent = Counter(window.answer.get("sent", {}))
    recorded = Counter(record["http_method"] for record in window.records)
    allowed = Counter(subject(record) for record in window.records if record["outcome"] == "allowed")
    arrived = Counter(subject(event) for event in window.seen if event["event"] == "arrived")
    seen = []
    if any(len(line["mcp_iap"]) != 1 for line in window.lines):
        seen.append(f"{len(window.lines)} requests with {len(window.records)} records")
    if sent != recorded:
        seen.append(f"sent {dict(sent)}, recorded {dict(recorded)}")
    if allowed != arrived:
        seen.append(f"allowed but not arrived {dict(allowed - arrived)}, arrived but not allowed {dict(arrived - allowed)}")
    count = f"{sent.total()} of {sent.total()}"
    if not sent:
        seen.append("nothing was sent")
    return Check("records", count, "; ".join(seen) or count)


def subject(found):
    """What a record or an event of the server's log is about."""
    return found.get("http_method") or found.get("http"), found.get("method"), found.get("tool")


def refusals(window, expected):
    seen = Counter(record["reason"] for record in window.records if record["outcome"] != "allowed")
    return Check("refused", listed(expected), listed(seen))


def listed(counts):
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"


def told(name, expected, seen):
    """The text must be in what the client's user is told."""
    seen = str(seen)
    return Check(name, expected, expected if expected and expected in seen else seen, "told")


def progress(seen):
    """All notifications arrive, the first long before the call is over."""
    expected = f"{STEPS} notifications, the first {EARLY} ms or more before the end"
    times = (seen or {}).get("before_end_ms", [])
    as_expected = len(times) == STEPS and times[0] >= EARLY and seen["text"] == f"counted to {STEPS}"
    return Check("progress", expected, expected if as_expected else str(seen), f"{len(times)}, {max(times, default=0)} ms")


def abort(era, seen, events):
    """The server hears of the abort, in the words of the era, and its tool stops."""
    heard = {"legacy": "notifications/cancelled", "modern": "closed request"}[era]
    expected = f"{heard} and stop within {NOTICED_WITHIN} ms"
    at = (seen or {}).get("at")
    after = {what(event): round((event["at"] - at) * 1000) for event in events if at and event["at"] >= at - 0.002}
    words = {"notifications/cancelled", "closed request", "stop"} & after.keys()
    wanted = {heard, "stop"}
    # When a legacy client closes the request as well, that is no news.
    as_expected = words - ({"closed request"} - wanted) == wanted
    as_expected = as_expected and all(after[word] <= NOTICED_WITHIN for word in wanted)
    latest = max((after[word] for word in wanted & words), default=-1)
    return Check("abort", expected, expected if as_expected else f"aborted at {at}, then {after}", f"{latest} ms")


def what(event):
    """An event of the server's log, in a word."""
    if event["event"] == "arrived":
        return event.get("method")
    return {"left": "closed request", "stopped": "stop"}[event["event"]] if event.get("tool") == "count" else "other"
