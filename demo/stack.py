"""Starts and ends the demo's components: OpenID provider, MCP server, Envoy with the filter.

They start together, write their logs to target/demo/, and end with this process, however
it ends (SIGKILL excepted). It builds and installs nothing; what is missing is named.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "demo"
SEEN = OUT / "server-seen.jsonl"  # what reached the MCP server
ACCESS_LOG = OUT / "envoy-access.jsonl"  # what Envoy logged, with the filter's records

PROVIDER = "http://127.0.0.1:9400"
GATEWAY = "http://127.0.0.1:10000"
RESOURCE = GATEWAY + "/mcp"
ENVOY_ADMIN = "http://127.0.0.1:9901"
PORTS = {"Envoy": 10000, "Envoy's admin interface": 9901, "the provider": 9400, "the MCP server": 8000}

READY_WITHIN = 30  # seconds
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotStarted(Exception):
    """The stack can't run here; the text says why, and what to do."""


def need(path, remedy):
    if not path.exists():
        raise NotStarted(f"{path.relative_to(ROOT)} is missing; {remedy}")


def check_ports():
    for owner, port in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise NotStarted(f"port {port} is taken; {owner} needs it") from error


def answers(url):
    try:
        with httpx2.Client(trust_env=False, timeout=1) as http:
            return http.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Stack:
    """A context manager: inside it all components are ready, after it none is left."""

    def __init__(self, envoy):
        self.envoy = envoy
        self.processes = {}

    def __enter__(self):
        node = shutil.which("node")
        if node is None:
            raise NotStarted("node is missing; scripts/deps.sh node says how to bring it")
        if shutil.which(self.envoy) is None:
            raise NotStarted(f"{self.envoy} is no program; scripts/deps.sh envoy VERSION prints the path of one")
        need(ROOT / "demo/provider/node_modules/oidc-provider", "run scripts/deps.sh node")
        need(ROOT / "dist/mcp_iap.wasm", "run make build")
        need(ROOT / "envoy/envoy.yaml", "restore it")
        check_ports()

        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        started = time.monotonic()
        try:
            self.start("provider", [node, "demo/provider/provider.mjs"], PORT="9400")
            self.start("server", [sys.executable, "demo/server/server.py"], PORT="8000", SEEN=str(SEEN))
            self.start("envoy", self.envoy_command(), stdout=ACCESS_LOG)
            self.wait_until_ready(started + READY_WITHIN)
        except BaseException:
            self.end()
            raise
        self.ready_after = time.monotonic() - started
        return self

    def __exit__(self, *_):
        self.end()

    def envoy_command(self):
        # The base id only has to differ from that of any other Envoy on this machine.
        command = [self.envoy, "-c", "envoy/envoy.yaml", "--disable-hot-restart"]
        return command + ["--concurrency", "2", "-l", "warning", "--file-flush-interval-msec", "200"]

    def start(self, name, command, stdout=None, **env):
        log = OUT / f"{name}.log"
        with open(log, "ab") as err, open(stdout or log, "ab") as out:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
            )

    def wait_until_ready(self, deadline):
        waiting = {
            "provider": lambda: answers(PROVIDER + "/.well-known/openid-configuration"),
            "server": lambda: accepts(PORTS["the MCP server"]),
            "envoy": lambda: answers(ENVOY_ADMIN + "/ready"),
        }
        while waiting:
            waiting = {name: is_ready for name, is_ready in waiting.items() if not is_ready()}
            self.check_alive()
            if waiting and time.monotonic() > deadline:
                raise NotStarted(f"not ready after {READY_WITHIN} s: {', '.join(waiting)}; see target/demo/")
            time.sleep(0.02)

    def check_alive(self):
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = OUT / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise NotStarted(f"{name} ended with {process.returncode}; target/demo/{log.name} ends so:\n{tail}")

    def end(self):
        """Ends what was started, and waits for it; a second Ctrl-C must not cut this short."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in END_SIGNALS}
        for process in self.processes.values():
            send(process, signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in self.processes.values():
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                send(process, signal.SIGKILL)
                process.wait()
        self.processes.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def send(process, number):
    """Signals the process and whatever it started; each is the leader of its own group."""
    if process.poll() is None:
        os.killpg(process.pid, number)
