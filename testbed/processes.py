"""Starts processes together, waits until all are ready, and ends them however the run ends.

Each process leads a group of its own: Ctrl-C reaches the run alone, which then ends the groups. It builds and
installs nothing; what is missing is named.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 30  # seconds
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotStarted(Exception):
    """Something is missing or does not start; the text says what, and what to do."""


def need(path, remedy):
    if not path.exists():
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        raise NotStarted(f"{shown} is missing; {remedy}")


def program(name, remedy):
    """The path of the program."""
    path = shutil.which(name)
    if path is None:
        raise NotStarted(f"{name} is no program; {remedy}")
    return path


def node_program(modules, oldest):
    """The Node.js that a lock file brought into `modules`, or else the machine's; `oldest` is as (22, 19)."""
    own = sorted(modules.glob("node-*/bin/node"))
    node = str(own[0]) if own else program("node", "scripts/deps.sh node says how to bring it")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < oldest:
        raise NotStarted(f"{node} is {version or 'no Node.js'}; needed is {'.'.join(map(str, oldest))} or later")
    return node


def check_ports(ports, remedy=""):
    """`ports` says which port is whose, as `{"Envoy": 10000}`."""
    for owner, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise NotStarted(f"port {port} is taken; {owner} needs it{remedy}") from error


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


class Processes:
    """A context manager, after which none of them is left. Each writes its log to `out`."""

    def __init__(self, out):
        self.out = out
        self.running = {}
        self.lock = threading.Lock()  # other threads may start some while this one ends all
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def start(self, name, command, stdin=subprocess.DEVNULL, stdout=None, env=None):
        """Starts a process. What it writes goes to NAME.log, or else to the file `stdout`."""
        log = self.out / f"{name}.log"
        with self.lock, open(log, "ab") as err, open(stdout or log, "ab") as out:
            if self.ended:
                raise NotStarted("the run is over")
            self.running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self.running[name]

    def wait_until_ready(self, probes):
        """`probes` says by process when it is ready, as `{"envoy": lambda: answers(url)}`."""
        deadline = time.monotonic() + READY_WITHIN
        while probes:
            probes = {name: is_ready for name, is_ready in probes.items() if not is_ready()}
            self.check_alive()
            if probes and time.monotonic() > deadline:
                raise NotStarted(f"not ready after {READY_WITHIN} s: {', '.join(probes)}; see {self.out}")
            time.sleep(0.02)

    def check_alive(self):
        for name, process in self.running.items():
            if process.poll() is not None:
                log = self.out / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise NotStarted(f"{name} ended with {process.returncode}; {log} ends so:\n{tail}")

    def end(self):
        """Ends what was started, and waits for it; a second Ctrl-C must not cut this short."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in END_SIGNALS}
        with self.lock:
            self.ended = True
        for process in self.running.values():
            send(process, signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in self.running.values():
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                send(process, signal.SIGKILL)
                process.wait()
        self.running.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def send(process, number):
    """Signals the process and whatever it started."""
    if process.poll() is None:
        os.killpg(process.pid, number)
