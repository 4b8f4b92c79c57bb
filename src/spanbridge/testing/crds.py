# SPDX-License-Identifier: Apache-2.0
"""
Custom resource definitions as an oracle: would an API server take an object whole?

A server prunes fields that a structural schema does not name, without a word; here they
are faults. Needs the package ``jsonschema``.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

NO_CRDS: Final = (
    "no CustomResourceDefinitions beside the checkout (../shared/data/crds, or $SPANBRIDGE_CRDS)"
)

Schemas = Mapping[tuple[str, str], Any]
"""Structural schemas by apiVersion and kind."""


def find_crds(project: Path) -> Path | None:
    """Find the directory of definitions, or None."""
    named = os.environ.get("SPANBRIDGE_CRDS")
    directory = Path(named) if named else project.parent / "shared/data/crds"
    return directory if directory.is_dir() else None


def read_schemas(*files: Path) -> Schemas:
    """Read every version of every definition in YAML files."""
    found: dict[tuple[str, str], Any] = {}
    for file in files:
        # The quick loader: a definition has 25 000 lines.
        for document in yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                found |= _versions(document["spec"])
    return found


def _versions(spec: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (f"{spec['group']}/{version['name']}", spec["names"]["kind"]): _strict(
            version["schema"]["openAPIV3Schema"]
        )
        for version in spec["versions"]
        if version["served"]
    }


def _strict(schema: Any) -> Any:  # noqa: ANN401  # JSON
    """
    Turn a structural schema into a JSON Schema that refuses what would be pruned.

    Source: Kubernetes documentation, CustomResourceDefinitions, "Field pruning" and
    "Specifying a structural schema".
    """
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = {key: _strict(each) for key, each in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if key in schema:
            made[key] = _strict(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            made[key] = list(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_object = schema.get("type") == "object" and "properties" in schema
    keeps = schema.get("x-kubernetes-preserve-unknown-fields")
    if is_object and not keeps and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    made.pop("format", None)  # formats of OpenAPI, such as int32, are no formats of JSON Schema
    return made


def faults_of(item: Mapping[str, Any], schemas: Schemas) -> Iterator[str]:
    """Say what a server would refuse or drop in an object."""
    from jsonschema import Draft202012Validator

    schema = schemas.get((item["apiVersion"], item["kind"]))
    if schema is None:
        yield f"{item['apiVersion']} {item['kind']} is not served"
        return
    shown: dict[str, Any] = {"apiVersion": {}, "kind": {}, "metadata": {}}
    whole = {**schema, "properties": {**schema.get("properties", {}), **shown}}
    for error in Draft202012Validator(whole).iter_errors(item):
        yield f"{error.json_path}: {error.message}"
