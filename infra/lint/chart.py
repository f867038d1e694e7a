"""`python -m infra.lint.chart`: the chart's schema, README's table and rules are as their sources say.

The source of schema and table is values.yaml, whose comments say what each key is for:

    # -- What it is for.                       above the key, or behind its value
    # @schema {"minimum": 1}                   rules for the schema
    # @like gateway                            keys without a comment have those of the keys of `gateway`

A mapping in braces whose keys have no comments is free: the schema does not look inside. `--write` writes all.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.local.paths import REPO

CHART = REPO / "charts" / "trimtab"
RULES = REPO / "infra" / "prometheus" / "gateway.rules.yml"
BEGIN, END = "<!-- values: made from values.yaml -->", "<!-- end of values -->"
_DOC, _RULES, _LIKE = (
    re.compile(r"# -- (.*)"),
    re.compile(r"# @schema (.*)"),
    re.compile(r"@like (\S+)"),
)
_KINDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_OBJECT, _LIST = {"type": "object"}, {"type": "array", "items": {"type": "object"}}
# What may be said of the pods of one part alone.
EXTRA = {
    "annotations": _OBJECT | {"description": "Annotations of its pods."},
    "nodeSelector": _OBJECT | {"description": "Nodes that they may run on."},
    "tolerations": _LIST | {"description": "Taints that they tolerate."},
    "affinity": _OBJECT | {"description": "Their affinity."},
    "volumes": _LIST | {"description": "Further volumes."},
    "volumeMounts": _LIST | {"description": "Where these are mounted."},
    "command": {
        "type": "array",
        "items": {"type": "string"},
        "description": "What they run instead.",
    },
}


class Undescribed(Exception):
    """A key of values.yaml has no comment; the message names it."""


@dataclass
class Key:
    """One key of values.yaml. `parts`: its own keys; empty for one whose value is free or plain."""

    path: str
    value: Any
    words: str = ""
    rules: dict[str, Any] = field(default_factory=dict)
    like: str = ""
    parts: dict[str, "Key"] = field(default_factory=dict)


def read(text: str) -> Key:
    """The whole tree. Raises Undescribed for a key without a comment."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    root = Key("", yaml.safe_load(text))
    root.parts = _parts(node, root, text.splitlines())
    for key in walk(root):
        if key.like:
            _inherit(key, _found(root, key.like))
    missing = [key.path for key in walk(root) if not key.words]
    if missing:
        raise Undescribed(f"values.yaml: no comment says what these are for: {', '.join(missing)}")
    return root


def walk(key: Key) -> Iterator[Key]:
    for part in key.parts.values():
        yield part
        yield from walk(part)


def _parts(node: Any, parent: Key, lines: list[str]) -> dict[str, Key]:
    found = {}
    for name, value in node.value:
        path = f"{parent.path}.{name.value}".lstrip(".")
        key = Key(path, parent.value[name.value])
        if not node.flow_style:
            _note(key, lines, name.start_mark.line)
        if isinstance(value, yaml.MappingNode) and (not value.flow_style or key.like):
            key.parts = _parts(value, key, lines)
        found[name.value] = key
    return found


def _note(key: Key, lines: list[str], at: int) -> None:
    """What the comments above the key, and behind its value, say."""
    above = at
    while above and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    for line in [*lines[above:at], lines[at]]:
        if said := _DOC.search(line):
            key.words = said[1].strip()
        if said := _RULES.search(line):
            key.rules = json.loads(said[1])
        if said := _LIKE.search(line):
            key.like = said[1]
            key.words = key.words.removesuffix(f"@like {said[1]}").rstrip(" #")


def _found(root: Key, path: str) -> Key:
    for name in path.split("."):
        root = root.parts[name]
    return root


def _inherit(key: Key, other: Key) -> None:
    key.words = key.words or other.words
    for name, part in key.parts.items():
        model = other.parts.get(name)
        if model is not None and not part.words:
            part.words, part.rules = model.words, model.rules
            _inherit(part, model)


def schema_of(root: Key) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft-07/schema#",
        "title": "Values of the chart trimtab",
        **_schema(root),
        "$defs": {"extra": {"type": "object", "properties": EXTRA, "additionalProperties": False}},
    }


def _schema(key: Key) -> dict[str, Any]:
    told = {"description": key.words} if key.words else {}
    if "$ref" in key.rules:
        # Before draft 2019-09 nothing beside $ref counts.
        return told | {"allOf": [key.rules]}
    found = told | {"type": _KINDS[type(key.value)]} | key.rules
    if key.parts:
        found["properties"] = {name: _schema(part) for name, part in key.parts.items()}
        found["additionalProperties"] = False
    return found


def table_of(root: Key) -> str:
    """A line a key; keys like those of another are named once."""
    rows = ["| Key | Default | |", "|---|---|---|"]
    for key in walk(root):
        if _is_repeated(root, key):
            continue
        words = f"{key.words} Its keys are those of `{key.like}`." if key.like else key.words
        default = "" if key.parts else f"`{json.dumps(key.value)}`"
        rows.append(f"| `{key.path}` | {default} | {words.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def _is_repeated(root: Key, key: Key) -> bool:
    """Whether the part it belongs to is like another, which has this key with the same words."""
    parent, _, name = key.path.rpartition(".")
    while parent:
        like = _found(root, parent).like
        if like:
            model = _found(root, like).parts.get(name.partition(".")[0])
            return model is not None and (key.words == model.words or "." in name)
        parent, _, last = parent.rpartition(".")
        name = f"{last}.{name}"
    return False


def made(chart: Path = CHART, rules: Path = RULES) -> Mapping[Path, str]:
    """What each made file must hold."""
    root = read((chart / "values.yaml").read_text())
    readme = (chart / "README.md").read_text()
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Undescribed(f"README.md: there is no place for the table: {BEGIN} ... {END}")
    return {
        chart / "values.schema.json": json.dumps(schema_of(root), indent=2) + "\n",
        chart / "README.md": f"{before}{begin}\n{table_of(root)}\n{end}{after}",
        chart / "files" / rules.name: rules.read_text(),
    }


def main() -> int:
    try:
        wanted = made()
    except Undescribed as error:
        print(error)
        return 1
    stale = {
        file: text for file, text in wanted.items() if not file.exists() or file.read_text() != text
    }
    if "--write" in sys.argv[1:]:
        for file, text in stale.items():
            file.write_text(text)
        return 0
    for file in stale:
        print(f"{file.relative_to(REPO)} is out of date: run `python -m infra.lint.chart --write`")
    if not stale:
        print("the chart's schema, table and rules are as their sources say")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
