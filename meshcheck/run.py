"""Holds the manifests of istio/ and kubernetes/ against the schemas of Istio and Kubernetes, and shows with mutants that
what is wrong is refused.

Exit code 0: all as it must be; 1: not; 2: something is missing. `make test-istio` runs this.
"""

import argparse
import json
import sys
from pathlib import Path

import cluster
import mutants
import walkthrough
from manifests import Invalid, read, shown
from schemas import CARRIED, Istio, check_kubernetes

ROOT = Path(__file__).resolve().parent.parent
# Istio's operator has no CRD any more: `istioctl` alone reads this one.
NO_SCHEMA = {"IstioOperator"}


class Rows:
    """What was seen, a row each, and the closing line."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, passed, what, seen):
        self.passed += passed
        self.failed += not passed
        print(f"{'pass' if passed else 'FAIL'} {what:64} {seen}", flush=True)

    def close(self):
        print(f"\n{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def main():
    options = arguments()
    crds = options.crds if options.crds and options.crds.is_file() else None
    istio = Istio.of_crds(crds) if crds else Istio.carried()
    shipped = {file.stem: file.read_text() for file in sorted((ROOT / "istio").glob("*.yaml"))}
    everything = [one for text in shipped.values() for one in read(text)]
    everything += [one for of_file in walkthrough.documents().values() for one in of_file]
    documents = [one for one in everything if has_schema(istio, one)]
    if options.carry:
        if not crds:
            sys.exit("meshcheck: --carry needs --crds, Istio's own file")
        CARRIED.write_text(json.dumps(istio.part_for(documents), indent=1, sort_keys=True) + "\n")
        return 0
    rows = Rows()
    if crds:
        print(f"Istio's schemas: all of {crds}\n")
        is_current = json.loads(CARRIED.read_text()) == istio.part_for(documents)
        rows.add(is_current, "the part of them that is carried along", "is current" if is_current else "run --carry")
    else:
        print("Istio's schemas: the part that is carried along. ISTIO_CRDS names no file with all of them, so that what\n"
              "they say of fields that the manifests don't have was not looked at.\n")
    for name, text in shipped.items():
        for document in read(text):
            verdict(rows, f"istio/{name}: {shown(document)}", lambda: check(istio, document))
    for what, name, old, new in mutants.ISTIO:
        text = shipped[name]
        if old not in text:
            rows.add(False, f"mutant: {what}", f"istio/{name} has no {old!r}")
            continue
        refused(rows, f"mutant: {what}", lambda: [check(istio, one) for one in read(text.replace(old, new, 1))])
    walkthrough.check(rows, options.kubectl, verdict, refused, lambda document: check(istio, document))
    cluster.check(rows, options.kubectl, verdict, refused)
    return rows.close()


def has_schema(istio, document):
    return istio.knows(document) and document["kind"] not in NO_SCHEMA


def check(istio, document):
    if document["kind"] in NO_SCHEMA:
        return "has no schema: istioctl reads it"
    if istio.knows(document):
        istio.check(document)
    else:
        check_kubernetes(document)
    return "valid"


def verdict(rows, what, run):
    try:
        rows.add(True, what, run())
    except Invalid as error:
        rows.add(False, what, str(error))


def refused(rows, what, run):
    try:
        run()
        rows.add(False, what, "was not refused")
    except Invalid as error:
        rows.add(True, what, f"refused: {str(error)[:100]}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crds", type=Path, help="Istio's CustomResourceDefinitions, as istio/api has them")
    parser.add_argument("--kubectl", type=Path, required=True, help="kubectl, for `kubectl kustomize`")
    parser.add_argument("--carry", action="store_true", help="writes istio-schemas.json anew")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
