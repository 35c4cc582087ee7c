"""What each Python client does when it is asked to: as in steps.mjs, in the same words.

`connect(url, token, mode, sent)` is an asynchronous context manager, the client's own way in. It gives an object
with `protocol`, `tools()`, `call(name, arguments, on_progress)`; `sent` counts its requests by HTTP method.
"""

import asyncio
import json
import sys
import time
from collections import Counter


def serve(connect):
    for line in sys.stdin:
        question, answer, sent = json.loads(line), {}, Counter()
        try:
            asyncio.run(go(connect, question, answer, sent))
        except Exception as error:
            answer["error"] = shown(error)
        print(json.dumps({**answer, "sent": sent}), flush=True)


async def go(connect, question, answer, sent):
    async with connect(question["url"], question["token"], question["mode"], sent) as client:
        answer["protocol"] = client.protocol
        answer["tools"] = await client.tools()
        answer["greeting"] = await client.call("greet", {"name": question["name"]})
        try:
            answer["refusal"] = await client.call("erase", {"name": question["name"]})
        except Exception as error:
            answer["refusal"] = shown(error)
        if question["long"]:
            answer["progress"] = await progress(client)
            answer["abort"] = await abort(client)


async def progress(client):
    """Milliseconds before the call's end at which each progress notification was seen, and the result."""
    times = []

    async def on_progress(*_):
        times.append(time.time())

    text = await client.call("count", {"to": 4}, on_progress)
    end = time.time()
    return {"before_end_ms": [round((end - seen) * 1000) for seen in times], "text": text}


async def abort(client):
    """Aborts a call of some ten seconds at its first progress; `at` is in seconds since 1970."""
    under_way = asyncio.Event()

    async def on_progress(*_):
        under_way.set()

    call = asyncio.create_task(client.call("count", {"to": 100}, on_progress))
    progressing = asyncio.create_task(under_way.wait())
    await asyncio.wait([call, progressing], return_when=asyncio.FIRST_COMPLETED)
    progressing.cancel()
    at = time.time()
    call.cancel()
    try:
        seen = await call
    except (Exception, asyncio.CancelledError) as error:
        seen = shown(error)
    await asyncio.sleep(0.3)  # time to arrive before the connection is closed
    return {"at": at, "seen": seen}


def shown(error):
    """What a user sees of an error; of a group, the first real one."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def counting(sent):
    """Event hooks for an httpx2 client."""

    async def note(request):
        sent[request.method] += 1

    return {"request": [note]}
