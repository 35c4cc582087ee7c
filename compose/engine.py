"""A container engine of this run's own, for machines where none runs: it leaves nothing behind.

The engine, its containers and who calls them live in namespaces of their own (network, mounts, processes), which
end with the run, whatever state they are in. So its bridges, firewall rules and ports are never this machine's. It
has no way to the internet.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from testbed.processes import NotStarted, Processes, program

PACKAGES = "apt-get install docker.io docker-compose iptables iproute2 debootstrap"
SOCKET = "unix:///run/mcp-iap-docker.sock"
READY_WITHIN = 60  # seconds


def answers():
    """Whether an engine runs that this user may use."""
    docker = program("docker", PACKAGES)
    return subprocess.run([docker, "version"], capture_output=True).returncode == 0


def check_possible():
    """Says what is missing where one can't be started."""
    if os.geteuid() != 0:
        raise NotStarted("no container engine runs here, and only root can start one; start Docker, or be root")
    for name in ("dockerd", "docker-proxy", "ip", "iptables", "unshare"):
        program(name, PACKAGES)


def run_apart(arguments):
    """Runs this command again in namespaces of its own; its exit code, and what it has left behind."""
    before = traces()
    scratch = Path(tempfile.mkdtemp(prefix="mcp-iap-compose-"))
    apart = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*apart, sys.executable, *arguments, "--apart", str(scratch)]
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    finally:
        # Who is interrupted takes the namespaces along, and all that runs in them.
        process.kill()
        process.wait()
        shutil.rmtree(scratch)
        remove_control_groups(scratch.name)
    return code, sorted(traces() - before)


def traces():
    """What an engine leaves on a machine, as texts."""
    found = {f"interface {path.name}" for path in Path("/sys/class/net").iterdir()}
    found |= {f"rule {line}" for line in output("iptables-save").splitlines() if line[:2] in ("-A", "-N")}
    found |= {f"chain {line.split()[0]}" for line in output("iptables-save").splitlines() if line[:1] == ":"}
    found |= {f"process {name}" for name in output("ps", "-eo", "comm=").split() if "docker" in name or "containerd" in name}
    found |= {f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines()}
    places = ["/var/lib/docker", "/var/lib/containerd", "/run/docker", "/run/docker.sock", "/run/containerd", "/run/xtables.lock"]
    found |= {f"file {place}" for place in places if Path(place).exists()}
    found |= {f"file {path}" for path in Path("/etc/docker").glob("*")}
    found |= {f"file {path}" for path in Path(tempfile.gettempdir()).glob("mcp-iap-compose-*")}
    return found | {f"group {path}" for path in Path("/sys/fs/cgroup").glob("*/mcp-iap-compose-*")}


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def remove_control_groups(name):
    """They are empty by now: their processes ended with the namespace."""
    for group in [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


@contextmanager
def started(scratch):
    """An engine in these namespaces; the environment that leads its clients to it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for folder in ("/run", "/etc/docker"):
        if Path(folder).exists():
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    command = [program("dockerd", PACKAGES), "--data-root", scratch / "data", "--exec-root", "/run/mcp-iap-docker"]
    command += ["--host", SOCKET, "--pidfile", "/run/mcp-iap-docker.pid", "--cgroup-parent", f"/{scratch.name}"]
    os.environ["DOCKER_HOST"] = SOCKET
    os.environ["DOCKER_CONFIG"] = str(scratch / "config")
    with Processes(scratch) as processes:
        engine = processes.start("dockerd", command)
        deadline = time.monotonic() + READY_WITHIN
        while not answers():
            processes.check_alive()
            if time.monotonic() > deadline:
                raise NotStarted(f"the engine is not ready after {READY_WITHIN} s")
            time.sleep(0.2)
        yield
        engine.terminate()
        engine.wait(30)
        processes.running.pop("dockerd")
