"""Pushes the module's image to a real registry on this machine, pulls it back, and takes the module out of it as
istio-agent does: by the rules of Istio's `pkg/wasm/imagefetcher.go` and `cache.go` (August 2026), repeated here. Then it
is signed with cosign and a key of the run, as docs/dependencies.md shows, without a transparency log.

Exit code 0: what comes back is what was built, and what is no such image is refused; 1: not; 2: something is missing.
`make oci` runs this.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from manifests import Invalid
from run import Rows, refused

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MODULE_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
READY_WITHIN = 20  # seconds


class Registry:
    """docker-registry on a port of its own, with its images in a folder that goes away."""

    def __init__(self, binary, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        configuration = folder / "registry.json"
        configuration.write_text(json.dumps({
            "version": 0.1, "log": {"level": "error"}, "http": {"addr": self.host},
            "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}}}))
        self.log = (folder / "registry.log").open("w")
        command = [binary, "serve", configuration]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self):
        deadline = time.monotonic() + READY_WITHIN
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        sys.exit(f"image: the registry does not start; see {self.log.name}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.log.close()

    def get(self, path, accept="*/*"):
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", headers={"accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Invalid(f"could not fetch: {error.code}") from error


def fetched(registry, repository, reference, checksum):
    """The module, as istio-agent gets it; `checksum` is `sha256` of the WasmPlugin."""
    raw = registry.get(f"{repository}/manifests/{reference}", f"{OCI_MANIFEST}, {DOCKER_MANIFEST}")
    digest = hashlib.sha256(raw).hexdigest()
    if checksum not in ("", digest):
        raise Invalid(f"module has checksum {digest}, which does not match: {checksum}")
    manifest = json.loads(raw)
    layers = manifest.get("layers", [])

    def blob(layer):
        data = registry.get(f"{repository}/blobs/{layer['digest']}")
        if hashlib.sha256(data).hexdigest() != layer["digest"].removeprefix("sha256:"):
            raise Invalid("a layer is not what its digest says")
        return data

    wanted = DOCKER_LAYER if manifest.get("mediaType") == DOCKER_MANIFEST else OCI_LAYER
    modules = [layer for layer in layers if layer["mediaType"] == MODULE_LAYER]
    if layers and layers[-1]["mediaType"] == wanted:
        module = unpacked(blob(layers[-1]))
    elif len(layers) == 2 and modules:
        module = blob(modules[0])
    else:
        raise Invalid("the given image is in invalid format as an OCI image")
    if len(module) < 8 or not module.startswith(b"\0asm"):
        raise Invalid("fetched Wasm binary is invalid")
    return module


def unpacked(layer):
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
            for entry in tar:
                if Path(entry.name).name == "plugin.wasm":
                    return tar.extractfile(entry).read()
    except (OSError, tarfile.TarError) as error:
        raise Invalid(f"failed to parse layer as tar.gz: {error}") from error
    raise Invalid("plugin.wasm not found in the archive")


def main():
    options = arguments()
    module = options.module.read_bytes()
    folder = Path(tempfile.mkdtemp(prefix="mcp-iap-image-"))
    rows = Rows()
    try:
        with Registry(options.tools / "docker-registry", folder) as registry:
            check(rows, registry, options, module, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows.close()


def check(rows, registry, options, module, folder):
    def oras(*arguments, cwd=folder):
        run = subprocess.run([options.tools / "oras", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
        return run.returncode == 0, (run.stdout + run.stderr).strip()

    index = json.loads((options.layout / "index.json").read_text())
    built = index["manifests"][0]
    digest, tag = built["digest"].removeprefix("sha256:"), built["annotations"]["org.opencontainers.image.ref.name"]
    here = f"{registry.host}/mcp-iap"

    ok, said = oras("cp", "--from-oci-layout", f"{options.layout.resolve()}:{tag}", "--to-plain-http", f"{here}:{tag}")
    rows.add(ok, "pushed to a registry", f"oci://.../mcp-iap:{tag}" if ok else said)
    ok, said = oras("cp", "--from-plain-http", f"{here}:{tag}", "--to-oci-layout", f"{folder}/pulled:{tag}")
    pulled = {blob.name: blob.read_bytes() for blob in folder.glob("pulled/blobs/sha256/*")}
    same = pulled == {blob.name: blob.read_bytes() for blob in options.layout.glob("blobs/sha256/*")}
    rows.add(ok and same and digest in pulled, "pulled back, every byte the same", digest if ok else said)
    for reference in (tag, f"sha256:{digest}"):
        got = fetched(registry, "mcp-iap", reference, digest)
        seen = hashlib.sha256(got).hexdigest() if got == module else "another module"
        rows.add(got == module, f"as istio-agent takes it, by {'tag' if reference == tag else 'digest'}", seen)

    refused(rows, "another checksum than the image's digest", lambda: fetched(registry, "mcp-iap", tag, "0" * 64))
    wasm = hashlib.sha256(module).hexdigest()
    refused(rows, "the module's checksum, where the image's is wanted", lambda: fetched(registry, "mcp-iap", tag, wasm))
    refused(rows, "a tag that is not there", lambda: fetched(registry, "mcp-iap", "none", ""))
    (folder / "plugin.wasm").write_bytes(module)
    (folder / "config.json").write_text("{}")
    oras("push", "--plain-http", f"{registry.host}/one:1", f"plugin.wasm:{MODULE_LAYER}")
    refused(rows, "the module as the only layer of an artifact", lambda: fetched(registry, "one", "1", ""))
    configuration = "application/vnd.module.wasm.config.v1+json"
    oras("push", "--plain-http", f"{registry.host}/two:1", f"config.json:{configuration}", f"plugin.wasm:{MODULE_LAYER}")
    rows.add(fetched(registry, "two", "1", "") == module, "the same beside its configuration", "taken")
    with tarfile.open(folder / "other.tar.gz", "w:gz") as tar:
        tar.add(folder / "plugin.wasm", "filter.wasm")
    oras("push", "--plain-http", f"{registry.host}/other:1", f"other.tar.gz:{OCI_LAYER}")
    refused(rows, "a layer without plugin.wasm", lambda: fetched(registry, "other", "1", ""))
    signed(rows, options, registry, digest, folder)


def signed(rows, options, registry, digest, folder):
    """What is signed is verified; by another key, or of another module, it is not."""
    def cosign(*arguments):
        environment = {"HOME": str(folder), "COSIGN_PASSWORD": "", "PATH": os.environ["PATH"]}
        command = [options.tools / "cosign", *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        return run.returncode == 0, (run.stdout + run.stderr).strip().splitlines()[-1:]

    image = f"{registry.host}/mcp-iap@sha256:{digest}"
    module, bill = options.module.resolve(), options.bill.resolve()
    (folder / "changed.wasm").write_bytes(module.read_bytes() + b"\0\x01\x00")
    plain, offline, unlogged = "--allow-http-registry", "--tlog-upload=false", "--insecure-ignore-tlog"
    for key in ("cosign", "other"):
        cosign("generate-key-pair", "--output-key-prefix", key)
    for wanted, what, arguments in (
        (False, "not signed yet", ["verify", plain, unlogged, "--key", "cosign.pub", image]),
        (True, "the image is signed", ["sign", plain, offline, "--key", "cosign.key", image]),
        (True, "  and verified", ["verify", plain, unlogged, "--key", "cosign.pub", image]),
        (False, "  by another key it is not", ["verify", plain, unlogged, "--key", "other.pub", image]),
        (True, "its bill of materials is attested", ["attest", plain, offline, "--key", "cosign.key", "--type", "cyclonedx",
                                                     "--predicate", bill, image]),
        (True, "  and verified", ["verify-attestation", plain, unlogged, "--key", "cosign.pub", "--type", "cyclonedx", image]),
        (True, "the module is signed", ["sign-blob", "--yes", offline, "--key", "cosign.key", "--bundle", "bundle", module]),
        (True, "  and verified", ["verify-blob", unlogged, "--key", "cosign.pub", "--bundle", "bundle", module]),
        (False, "  changed it is not", ["verify-blob", unlogged, "--key", "cosign.pub", "--bundle", "bundle", "changed.wasm"]),
    ):
        ok, said = cosign(*arguments)
        rows.add(ok == wanted, what, "yes" if ok else f"no: {' '.join(said)[:90]}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--layout", type=Path, required=True, help="the image, as scripts/oci.py writes it")
    parser.add_argument("--bill", type=Path, required=True, help="the module's bill of materials")
    parser.add_argument("--tools", type=Path, required=True, help="the folder with docker-registry, oras and cosign")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
