"""Reads manifests as Kubernetes does: YAML 1.1, each member once, each document an object with a kind and a name."""

import re

import yaml

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Invalid(Exception):
    """A manifest is refused; the text says where and why."""


class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = {str(key) for key in keys if keys.count(key) > 1}
        if repeated:
            raise Invalid(f"{', '.join(sorted(repeated))}: stands there twice")
        return super().construct_mapping(node, deep)


def read(text):
    try:
        documents = [document for document in yaml.load_all(text, Strict) if document is not None]
    except yaml.YAMLError as error:
        raise Invalid(f"no YAML: {error}") from error
    for document in documents:
        check_head(document)
    return documents


def check_head(document):
    if not isinstance(document, dict):
        raise Invalid("a document is no object")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str):
            raise Invalid(f"{field}: is no text")
    name = document.get("metadata", {}).get("name")
    if not isinstance(name, str) or len(name) > 253 or not NAME.fullmatch(name):
        raise Invalid(f"metadata.name: {name!r} is no name")


def shown(document):
    return f"{document['kind']} {document['metadata']['name']}"
