"""The clients: how each is started, asked, and what it does by itself.

A program of ours around a client's library is asked by a line of JSON and answers with one (`programs/steps.mjs`
and `programs/steps.py` say what); the Inspector's command line is started once for each thing it shall do.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from typing import NamedTuple

from stack import ROOT, need

HERE = ROOT / "clients"
PACKAGES = HERE / "node_modules/@modelcontextprotocol"
INSPECTOR = PACKAGES / "inspector/clients/launcher/build/index.js"
WITHIN = 20  # seconds for all that is asked at once; a client that takes longer hangs
MODES = ("legacy", "auto", "modern")  # `modern` is pinned to 2026-07-28

SIGNATURE = "the signature of the token is wrong"  # what the gate says of a tampered token
PINNED = "did not offer pinned protocol version 2026-07-28"


class Client(NamedTuple):
    """A client, and what is known of it that the gate must not change."""

    key: str
    name: str
    modes: tuple
    probes_pinned: bool  # asks server/discover although it is pinned
    no_session: str  # what its user is told when it is pinned to a revision that the server lacks
    unauthorized: str  # what its user is told of a 401
    aborted: str | None  # what its user is told of a call that they stop; None where it can't stop one
    connections: int = 1  # for all that it is asked at once


def clients():
    """All clients, with the versions that the lock files name."""
    sdk1, sdk2, inspector = (node_version(name) for name in ("sdk", "client", "inspector"))
    python = locked(ROOT / "demo/server/requirements.txt", "mcp")
    fastmcp = locked(HERE / "requirements.txt", "fastmcp")
    upstream = "no valid session ID"  # the server's own words
    stop = "the user pressed stop"
    return [
        Client("ts1", f"TypeScript SDK {sdk1}", ("legacy",), False, "", SIGNATURE, stop),
        Client("ts2", f"TypeScript SDK {sdk2}", MODES, True, PINNED, "UnauthorizedError", stop),
        Client("sdk", f"Python SDK {python}", MODES, False, upstream, SIGNATURE, "CancelledError"),
        Client("fast", f"FastMCP {fastmcp}", MODES, False, upstream, SIGNATURE, "CancelledError"),
        Client("inspector", f"Inspector CLI {inspector}", MODES, True, PINNED, "auth_required", None, 3),
    ]


def node_version(package):
    need(PACKAGES / package, "run scripts/deps.sh clients")
    return json.loads((PACKAGES / package / "package.json").read_text())["version"]


def locked(path, package):
    return re.search(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE)[1]


class Hung(Exception):
    """A client gave no answer in time."""


def start(stack, side, client):
    """An object whose `ask` puts a question to the client and returns the answer, both dictionaries."""
    if client.key == "inspector":
        return Inspector(stack, side)
    fastmcp = stack.deps / "clients-venv/bin/python"
    need(fastmcp, "run scripts/deps.sh clients")
    command = {
        "ts1": [stack.node, HERE / "programs/ts1.mjs"],
        "ts2": [stack.node, HERE / "programs/ts2.mjs"],
        "sdk": [sys.executable, HERE / "programs/sdk.py"],
        "fast": [fastmcp, HERE / "programs/fast.py"],
    }[client.key]
    return Program(stack, f"client-{client.key}-{side.name}", command, side)


class Program:
    """A program that is asked several times; its answers are kept in NAME.jsonl."""

    def __init__(self, stack, name, command, side):
        self.answers = stack.out / f"{name}.jsonl"
        self.answers.unlink(missing_ok=True)  # of one that hung
        self.asked = 0
        self.process = stack.start(
            name, command, stdin=subprocess.PIPE, stdout=self.answers, env={"ORIGIN": side.origin}
        )

    def ask(self, question):
        self.asked += 1
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Hung("ended before it was asked") from error
        deadline = time.monotonic() + WITHIN
        while True:
            lines = self.answers.read_text().rpartition("\n")[0].splitlines()
            if len(lines) == self.asked:
                return json.loads(lines[-1])
            if self.process.poll() is not None:
                raise Hung(f"ended with {self.process.returncode}, without an answer")
            if time.monotonic() > deadline:
                self.process.kill()
                raise Hung(f"no answer within {WITHIN} s")
            time.sleep(0.01)


class Inspector:
    """The Inspector's command line, started anew for each step, with a home folder of this run."""

    def __init__(self, stack, side):
        self.node = stack.node
        self.origin = side.origin
        self.counts = stack.out / f"inspector-{side.name}-sent.json"
        self.home = stack.out / f"inspector-{side.name}-home"
        self.home.mkdir()

    def ask(self, question):
        answer = {"sent": Counter()}
        tools = self.run(question, answer, "tools/list")
        if tools is None:
            return answer
        name = ["--tool-arg", f"name={question['name']}"]
        greeting = self.run(question, answer, "tools/call", "--tool-name", "greet", *name)
        refused = {"sent": answer["sent"]}
        erased = self.run(question, refused, "tools/call", "--tool-name", "erase", *name)
        answer["tools"] = [tool["name"] for tool in tools["tools"]]
        answer["greeting"] = greeting and greeting["content"][0]["text"]
        answer["refusal"] = refused.get("error", str(erased))
        return answer

    def run(self, question, answer, method, *more):
        """The result, or None with the error in `answer`; adds to what was sent."""
        command = [self.node, "--import", (HERE / "programs/sent.mjs").as_uri(), INSPECTOR, "--cli", question["url"]]
        command += ["--transport", "http", "--protocol-era", question["mode"], "--format", "json"]
        command += ["--header", f"Authorization: Bearer {question['token']}", "--method", method, *more]
        if question["wrong"]:
            command.append("--stored-auth-only")  # else it would have the user log in, and says that it can't
        env = {"ORIGIN": self.origin, "SENT": str(self.counts), "HOME": str(self.home)}
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, env={**os.environ, **env}
            )
        except subprocess.TimeoutExpired as error:
            raise Hung(f"no answer within {WITHIN} s") from error
        if self.counts.exists():
            answer["sent"].update(json.loads(self.counts.read_text()))
            self.counts.unlink()
        if done.returncode != 0:
            answer["error"] = done.stderr.strip()
            return None
        return json.loads(done.stdout)["result"]
