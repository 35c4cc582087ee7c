"""Holds manifests against the schemas of Istio's CRDs and of Kubernetes: fields that they don't have are refused.

Istio's come from its own file (`kubernetes/customresourcedefinitions.gen.yaml` of istio/api) where it is at hand, else
from `istio-schemas.json`, the part of it that the shipped manifests use. Their rules in CEL are not evaluated here:
only an API server does that.
"""

import copy
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from manifests import Invalid

CARRIED = Path(__file__).parent / "istio-schemas.json"
KUBERNETES = "1.37"
KEPT = "x-kubernetes-preserve-unknown-fields"


class Istio:
    """`kinds` maps "apiVersion kind" to the schema of `spec`."""

    def __init__(self, kinds):
        self.kinds = kinds

    @classmethod
    def of_crds(cls, file):
        kinds = {}
        for crd in yaml.safe_load_all(file.read_text()):
            if crd and crd["kind"] == "CustomResourceDefinition":
                group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
                for version in crd["spec"]["versions"]:
                    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
                    kinds[f"{group}/{version['name']} {kind}"] = schema
        return cls(kinds)

    @classmethod
    def carried(cls):
        return cls(json.loads(CARRIED.read_text()))

    def knows(self, document):
        return ".istio.io/" in document["apiVersion"]

    def check(self, document):
        key = f"{document['apiVersion']} {document['kind']}"
        if key not in self.kinds:
            raise Invalid(f"{key}: Istio has no such kind")
        unknown = set(document) - {"apiVersion", "kind", "metadata", "spec"}
        if unknown:
            raise Invalid(f"{', '.join(sorted(unknown))}: unknown")
        validator = jsonschema.Draft202012Validator(closed(copy.deepcopy(self.kinds[key])))
        for error in validator.iter_errors(document.get("spec")):
            raise Invalid(f"spec.{'.'.join(map(str, error.path))}: {error.message[:120]}")

    def part_for(self, documents):
        """What of the schemas these documents use, without descriptions."""
        parts = {}
        for document in documents:
            key = f"{document['apiVersion']} {document['kind']}"
            used(self.kinds[key], document["spec"], parts.setdefault(key, {}))
        return parts


def closed(schema):
    """The same schema, with no other fields than it has."""
    if isinstance(schema, dict):
        is_object = "properties" in schema and schema.get("type") == "object"
        if is_object and KEPT not in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            closed(value)
    elif isinstance(schema, list):
        for value in schema:
            closed(value)
    return schema


def used(schema, value, into):
    """Adds to `into` what of `schema` decides about `value`."""
    for keyword, rule in schema.items():
        if keyword not in ("properties", "items", "description") and not keyword.startswith("x-kubernetes-val"):
            into[keyword] = rule
    if isinstance(value, dict):
        for name, member in value.items():
            if name in schema.get("properties", {}):
                part = into.setdefault("properties", {}).setdefault(name, {})
                used(schema["properties"][name], member, part)
    elif isinstance(value, list) and "items" in schema:
        for element in value:
            used(schema["items"], element, into.setdefault("items", {}))


def check_kubernetes(document):
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        raise Invalid(str(getattr(error, "message", error))[:160]) from error
    except kubernetes_validate.InvalidSchemaError as error:
        raise Invalid(str(error)) from error
