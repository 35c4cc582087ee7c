#!/usr/bin/env python3
"""usage: scripts/oci.py MODULE FOLDER TAG

Writes the module as an image, in OCI's layout for folders: a manifest with one layer, a `tar+gzip` that holds
`plugin.wasm` (the "compat" variant of the Wasm image specification, which istio-agent, Envoy Gateway and every registry
take). The same module makes the same bytes. Prints the image's digest and the module's SHA-256.
"""

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from pathlib import Path

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.splitlines()[0])
    module, folder, tag = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), sys.argv[3]
    if not module.startswith(b"\0asm"):
        sys.exit(f"oci: {sys.argv[1]} is no module")
    digest = write(module, folder, tag)
    print(f"digest {digest.removeprefix('sha256:')}  --sha256 of an image, by oci://")
    print(f"sha256 {hashlib.sha256(module).hexdigest()}  --sha256 of the module, by https://")


def write(module, folder, tag):
    """Writes the layout; returns the digest of the manifest."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    layer = archive(module)
    config = {
        "architecture": "wasm",
        "os": "wasip1",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(text(config), CONFIG),
        "layers": [put(gzip.compress(layer, 9, mtime=0), LAYER)],
        "annotations": {
            "org.opencontainers.image.title": "mcp-iap",
            "org.opencontainers.image.description": "Identity-aware proxy for MCP: a Proxy-Wasm filter for Envoy and Istio",
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    }
    entry = put(text(manifest), MANIFEST)
    named = entry | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_bytes(text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    (folder / "oci-layout").write_bytes(text({"imageLayoutVersion": "1.0.0"}))
    return entry["digest"]


def archive(module):
    """A tar with the module alone, without owners and times."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("plugin.wasm")
        entry.size, entry.mode = len(module), 0o444
        tar.addfile(entry, io.BytesIO(module))
    return buffer.getvalue()


def text(value):
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
