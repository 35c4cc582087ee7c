#!/usr/bin/env python3
"""usage: scripts/sbom.py FOLDER

Writes what the module and the command line are made of, as CycloneDX 1.6: FOLDER/mcp_iap.wasm.cdx.json and
FOLDER/mcp-iap.cdx.json. From `cargo metadata` and Cargo.lock, so each has what is compiled for its own target and nothing
for tests; packages have the checksums of the lock file. The same tree makes the same bytes. What is written is held
against CycloneDX' own schema.
"""

import hashlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
NATIVE = "x86_64-unknown-linux-gnu"
PARTS = {"mcp_iap.wasm": "wasm32-wasip1", "mcp-iap": NATIVE}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    checksums = locked((ROOT / "Cargo.lock").read_text())
    for name, target in PARTS.items():
        text = json.dumps(bill(name, target, checksums), indent=1, sort_keys=True) + "\n"
        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
        if fault:
            sys.exit(f"sbom: {name}: {fault}")
        file = folder / f"{name}.cdx.json"
        file.write_text(text)
        print(f"{file}: {text.count('pkg:cargo/')} references, valid CycloneDX 1.6")


def locked(text):
    """The checksums of a lock file, by name and version."""
    packages = (dict(re.findall(r'^(\w+) = "([^"]*)"$', block, re.M)) for block in text.split("[[package]]")[1:])
    return {(one["name"], one["version"]): one.get("checksum") for one in packages}


def bill(name, target, checksums):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    # What is linked: neither what tests need, nor what only a build needs.
    needs = {
        id: sorted(one["pkg"] for one in node["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"]))
        for id, node in nodes.items()
    }
    reached, ahead = set(), [root]
    while ahead:
        id = ahead.pop()
        if id not in reached:
            reached.add(id)
            ahead.extend(needs[id])
    refs = {id: reference(packages[id]) for id in reached}
    components = sorted((component(packages[id], checksums) for id in reached - {root}), key=lambda one: one["bom-ref"])
    links = [{"ref": refs[id], "dependsOn": sorted({refs[one] for one in needs[id]})} for id in reached]
    own = component(packages[root], checksums) | {"type": "application", "name": name}
    content = hashlib.sha256(json.dumps([own, components]).encode()).digest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=content[:16], version=4)}",
        "version": 1,
        "metadata": {"component": own, "properties": [{"name": "cargo:target", "value": target}]},
        "components": components,
        "dependencies": sorted(links, key=lambda one: one["ref"]),
    }


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def component(package, checksums):
    made = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("license"):
        # `MIT/Apache-2.0` is how it was written before SPDX expressions.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


if __name__ == "__main__":
    main()
