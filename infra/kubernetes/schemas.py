"""Schemas for kubeconform, made from what the running API server says of its objects, custom ones included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.kubernetes.cluster import Cluster
from infra.kubernetes.processes import run
from infra.kubernetes.tools import tool

# How kubeconform is to find them. The group of what has none is its version.
_TEMPLATE = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
_REFERENCE = "#/components/schemas/"


def write_schemas(cluster: Cluster, folder: Path) -> int:
    """Writes a schema for each kind that the server knows; returns how many. A field that the server does not
    know is refused by them."""
    folder.mkdir(parents=True, exist_ok=True)
    index = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3"))["paths"]
    count = 0
    for path, entry in index.items():
        if not path.startswith(("api/", "apis/")):
            continue
        document = json.loads(cluster.kubectl("get", "--raw", entry["serverRelativeURL"]))
        schemas = document.get("components", {}).get("schemas", {})
        for name, kind in _kinds(schemas, path):
            (folder / kind).write_text(json.dumps(_with_all_it_names(name, schemas)))
            count += 1
    return count


def check(manifests: str, folder: Path) -> str:
    """What kubeconform says of rendered manifests. Raises CommandFailed for one that does not fit."""
    program = tool("kubeconform")
    words = ["-strict", "-summary", "-schema-location", f"{folder}/{_TEMPLATE}"]
    return run([str(program), *words], stdin=manifests)


def _kinds(schemas: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    """Names of schemas and the files for them, of the kinds in the path's group and version."""
    found = []
    for name, schema in schemas.items():
        for one in schema.get("x-kubernetes-group-version-kind", []):
            group, version = one["group"], one["version"]
            if path == (f"apis/{group}/{version}" if group else f"api/{version}"):
                found.append((name, f"{one['kind'].lower()}-{group or version}-{version}.json"))
    return found


def _with_all_it_names(name: str, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """One schema that stands alone."""
    needed: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in needed:
            needed[one] = _strict(schemas[one])
            waiting += _named_in(schemas[one])
    return {"$ref": f"#/definitions/{name}", "definitions": needed}


def _named_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for one in value for name in _named_in(one)]
    if not isinstance(value, dict):
        return []
    own = value.get("$ref")
    rest = [name for one in value.values() for name in _named_in(one)]
    return [own.removeprefix(_REFERENCE), *rest] if isinstance(own, str) else rest


# Within these a schema says a part of what an object may be, not all of it.
_PARTIAL = ("allOf", "anyOf", "oneOf", "not")


def _strict(schema: Any, is_whole: bool = True) -> Any:
    """As JSON Schema: without fields that are not named, nullable where OpenAPI says so."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            made[key] = value.replace(_REFERENCE, "#/definitions/")
        elif key == "properties":
            made[key] = {name: _strict(one, is_whole) for name, one in value.items()}
        elif key in ("items", "additionalProperties"):
            made[key] = _strict(value, is_whole)
        elif key in _PARTIAL:
            made[key] = (
                [_strict(one, False) for one in value]
                if isinstance(value, list)
                else _strict(value, False)
            )
        else:
            made[key] = value
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        made["type"] = [schema["type"], "null"]
    if is_whole and _names_all_fields(schema):
        made["additionalProperties"] = False
    return made


def _names_all_fields(schema: Mapping[str, Any]) -> bool:
    open_ended = (
        schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    )
    return "properties" in schema and not open_ended
