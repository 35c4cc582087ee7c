"""docker-compose.yaml as it is, and the demo's steps through the ports that it publishes.

It uses the engine that runs; where none does, it starts one of its own (engine.py). Whatever it made is gone
afterwards: containers, networks, images, the engine. Exits 1 if a step differs or something is left, 2 if it can't run.
"""

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "demo"), str(ROOT)]

import engine
import steps
from images import PUBLIC, docker, provide
from stack import ACCESS_LOG, OUT, PROVIDER, RESOURCE, SEEN
from testbed.processes import NotStarted, Processes, answers, need, program
from testbed.report import Report

PROJECT = "mcp-iap-compose"
METADATA = RESOURCE.replace("/mcp", "/.well-known/oauth-protected-resource")


def say(text):
    print(f"compose: {text}", file=sys.stderr, flush=True)


def compose(*arguments):
    """A command line of docker compose, whichever there is."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        command = [program("docker", engine.PACKAGES), "compose"]
    else:
        command = [program("docker-compose", engine.PACKAGES)]
    return [*command, "--project-name", PROJECT, "--file", str(ROOT / "docker-compose.yaml"), *arguments]


def run_compose(scratch, *arguments):
    log = scratch / "compose.log"
    with open(log, "ab") as out:
        code = subprocess.run(compose(*arguments), cwd=ROOT, stdout=out, stderr=out).returncode
    if code != 0:
        raise NotStarted(f"docker compose {arguments[0]} fails:\n{log.read_text(errors='replace')[-3000:]}")


class Composed(Processes):
    """What `docker compose up` starts, its logs followed into files; inside it all are ready."""

    def __init__(self, scratch):
        super().__init__(OUT)
        self.scratch = scratch

    def __enter__(self):
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        started = time.monotonic()
        try:
            run_compose(self.scratch, "up", "--build", "--detach")
            program_of = program("docker", engine.PACKAGES)
            self.start("envoy", [program_of, "logs", "--follow", self.container("envoy")], stdout=ACCESS_LOG)
            seen = ["tail", "-n", "+1", "-F", "/tmp/server-seen.jsonl"]
            self.start("server", [program_of, "exec", self.container("server"), *seen], stdout=SEEN)
            self.wait_until_ready(
                {
                    "provider": lambda: answers(PROVIDER + "/.well-known/openid-configuration"),
                    "envoy": lambda: answers(METADATA),
                    "server": lambda: "Uvicorn running" in self.logs("server"),
                }
            )
        except BaseException:
            self.show_logs()
            self.__exit__()
            raise
        say(f"all containers ready after {time.monotonic() - started:.0f} s")
        return self

    def __exit__(self, *_):
        self.end()
        run_compose(self.scratch, "down", "--volumes", "--rmi", "local", "--remove-orphans")

    def container(self, service):
        labels = (f"project={PROJECT}", f"service={service}")
        filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
        return docker("ps", "--all", "--quiet", *filters).strip()

    def logs(self, service):
        done = subprocess.run(["docker", "logs", self.container(service)], capture_output=True, text=True)
        return done.stdout + done.stderr

    def show_logs(self):
        for service in ("provider", "server", "envoy"):
            say(f"{service}:\n{self.logs(service)[-1500:] if self.container(service) else 'not there'}")


def things():
    """All that the engine has, as texts; its own three networks are always there."""
    found = {f"container {line}" for line in docker("ps", "--all", "--format", "{{.Names}}").splitlines()}
    found |= {f"network {line}" for line in docker("network", "ls", "--format", "{{.Name}}").splitlines()}
    found |= {f"volume {line}" for line in docker("volume", "ls", "--quiet").splitlines()}
    images = docker("images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
    return found | {f"image {line}" for line in images.splitlines()}


def run_steps(scratch):
    """The demo's steps in containers; the report is closed by who called."""
    report = Report()
    before = things()
    made = []
    try:
        provide(say, scratch, made)
        with Composed(scratch) as composed:
            asyncio.run(steps.run(report))
            with report.step("the server's own ports", "none published") as row:
                row.saw(docker("port", composed.container("server")).strip() or "none published")
    finally:
        if made:
            docker("image", "rm", *reversed(made))
    # What was pulled stays, as after every `docker compose up`.
    left = {line for line in things() - before if not any(name in line for name in PUBLIC if name not in made)}
    with report.step("what is left in the engine", "nothing") as row:
        row.saw("; ".join(sorted(left)) or "nothing")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apart", type=Path, help=argparse.SUPPRESS)
    apart = parser.parse_args().apart
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        need(ROOT / "dist/mcp_iap.wasm", "run make build")
        if apart:
            with engine.started(apart):
                return 0 if run_steps(apart).close() else 1
        if engine.answers():
            say("an engine runs here: it is used")
            with tempfile.TemporaryDirectory() as scratch:
                return 0 if run_steps(Path(scratch)).close() else 1
        say("no engine runs here: one is started for this run, without a network to the outside")
        engine.check_possible()
        if subprocess.run([ROOT / "scripts/deps.sh", "containers"]).returncode != 0:
            raise NotStarted("what the images are made of is missing")
        code, left = engine.run_apart([__file__])
        say("nothing is left on this machine" if not left else "LEFT: " + "; ".join(left))
        return code or (1 if left else 0)
    except NotStarted as error:
        say(error)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
