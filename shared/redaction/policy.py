"""The policy file named by TRIMTAB_REDACTION, in TOML; read once, at start-up.

    [default]
    secret = "mask"             # off, mask, hash or drop; also email, phone, card, iban, ip
    phone_regions = ["US"]      # how numbers without a + are read: as these countries write them
    content = "text"            # or "metadata": only lengths and digests are stored
    [default.patterns.CUSTOMER] # a kind of your own
    regex = 'CU-\\d{6,10}'
    action = "hash"

    [tenants.acme]              # anything not set here is as in [default]
    email = "hash"

Without a file secrets are masked and the rest is left as it is: a key in a chat is of no use to
anyone's training, while names and numbers may be what a conversation is about.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import phonenumbers

from shared.configuration.settings import CommonSettings, stop
from shared.language.errors import InvalidArgument
from shared.language.identifiers import check_segment
from shared.redaction.patterns import compiled
from shared.redaction.redactor import (
    KINDS,
    Action,
    Pattern,
    RedactionPolicies,
    RedactionPolicy,
    Redactor,
)
from shared.telemetry.metrics import REDACTIONS

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_FIELDS = (*KINDS, "phone_regions", "content", "patterns")


def redactor_of(common: CommonSettings, service: str) -> Redactor:
    """As the settings say. If they are wrong, ends the process with status 2, naming the field."""
    try:
        policies = read_policies(common.redaction)
    except InvalidArgument as error:
        stop("TRIMTAB_REDACTION", f"{error.field}: {error.message}")
    key = common.redaction_key.get_secret_value()
    if policies.needs_key and len(key) < 16:
        stop(
            "TRIMTAB_REDACTION_KEY",
            "the redaction policy hashes: set 16 or more secret characters",
        )

    def counted(kind: str, action: str, n: int) -> None:
        REDACTIONS.labels(service, kind, action).inc(n)

    return Redactor(policies, key, counted)


def read_policies(path: Path | None) -> RedactionPolicies:
    """The default policies without a path. Raises InvalidArgument naming the field, such as
    `tenants.acme.email`."""
    if path is None:
        return RedactionPolicies()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(f"cannot be read: {error.strerror}", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"is not TOML: {error}", str(path)) from error
    _only(document, ("default", "tenants"), "")
    default = _policy(_table(document, "default", ""), RedactionPolicy(), "default")
    tenants = _table(document, "tenants", "")
    return RedactionPolicies(
        default,
        {
            check_segment(name, "tenants"): _policy(
                _table(tenants, name, "tenants."), default, f"tenants.{name}"
            )
            for name in tenants
        },
    )


def _policy(table: Mapping[str, Any], default: RedactionPolicy, place: str) -> RedactionPolicy:
    _only(table, _FIELDS, f"{place}.")
    actions = dict(default.actions)
    actions |= {kind: _action(table[kind], f"{place}.{kind}") for kind in KINDS if kind in table}
    patterns = {pattern.name: pattern for pattern in default.patterns}
    own = _table(table, "patterns", f"{place}.")
    patterns |= {name: _pattern(name, own, f"{place}.patterns.") for name in own}
    content = table.get("content", "metadata" if default.metadata_only else "text")
    if content not in ("text", "metadata"):
        raise _wrong('must be "text" or "metadata"', f"{place}.content")
    return replace(
        default,
        actions=actions,
        patterns=tuple(patterns.values()),
        phone_regions=_regions(table.get("phone_regions", default.phone_regions), place),
        metadata_only=content == "metadata",
    )


def _action(said: object, field: str) -> Action:
    if said not in {action.value for action in Action}:
        raise _wrong("must be one of off, mask, hash, drop", field)
    return Action(str(said))


def _pattern(name: str, tables: Mapping[str, Any], place: str) -> Pattern:
    table = _table(tables, name, place)
    _only(table, ("regex", "action"), f"{place}{name}.")
    if not _NAME.fullmatch(name) or name.lower() in KINDS or name in ("DROPPED", "TEXT"):
        words = "a name has 1 to 32 capitals, digits and _, and is not a built-in kind"
        raise _wrong(words, place + name)
    regex = table.get("regex")
    if not isinstance(regex, str):
        raise _wrong("must be a regular expression", f"{place}{name}.regex")
    expression = compiled(regex, f"{place}{name}.regex")
    return Pattern(name, expression, _action(table.get("action", "mask"), f"{place}{name}.action"))


def _regions(said: Any, place: str) -> tuple[str, ...]:
    known = phonenumbers.SUPPORTED_REGIONS
    if not isinstance(said, list | tuple) or not all(region in known for region in said):
        raise _wrong('must be a list of countries such as ["US", "DE"]', f"{place}.phone_regions")
    return tuple(said)


def _table(owner: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    found = owner.get(name, {})
    if not isinstance(found, dict):
        raise _wrong("must be a table", place + name)
    return found


def _only(table: Mapping[str, Any], fields: tuple[str, ...], place: str) -> None:
    for name in table:
        if name not in fields:
            raise _wrong(f"is unknown; known: {', '.join(fields)}", place + name)


def _wrong(words: str, field: str) -> InvalidArgument:
    return InvalidArgument(words, reason="INVALID_POLICY", field=field)
