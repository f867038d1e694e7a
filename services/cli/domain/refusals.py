"""Refused records in a report. Once they are corrected there, the report is imported like any file."""

from __future__ import annotations

import json

from services.cli.domain import Json
from services.cli.domain.records import Record, Refused
from shared.language.json_text import decode
from shared.language.visible import visible_json

_REASON, _RECORD = "reason", "record"


def unwrapped(record: Record, document: object) -> tuple[object, bytes]:
    """The record that a line of a report holds; anything else as it is."""
    if isinstance(document, dict) and _REASON in document and _RECORD in document:
        held = document[_RECORD]
        raw = held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)
        return held, raw.encode(errors="surrogateescape")
    return document, record.raw


def report_line(refused: Refused) -> str:
    """A line of the report. The record as JSON if it is JSON, otherwise as text, with bytes that are not UTF-8
    as \\xNN."""
    try:
        return f"{visible_json(_entry(refused, decode(refused.record.raw)))}\n"
    except (ValueError, RecursionError):
        text = refused.record.raw.decode(errors="backslashreplace")
        return f"{visible_json(_entry(refused, text))}\n"


def _entry(refused: Refused, raw: object) -> Json:
    return {
        "file": refused.record.file,
        "line": refused.record.line,
        "field": refused.field,
        _REASON: refused.reason,
        "detail": refused.detail,
        _RECORD: raw,
    }
