"""Refused records in a report. Once they are corrected there, the report is imported like any file."""

from __future__ import annotations

import json

from services.cli.domain import Json
from services.cli.domain.records import Record, Refused

_REASON, _RECORD = "reason", "record"


def unwrapped(record: Record, document: object) -> tuple[object, bytes]:
    """The record that a line of a report holds; anything else as it is."""
    if isinstance(document, dict) and _REASON in document and _RECORD in document:
        held = document[_RECORD]
        raw = held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)
        return held, raw.encode(errors="surrogateescape")
    return document, record.raw


def report_entry(refused: Refused) -> Json:
    """The record as JSON if it is JSON, otherwise as text, with bytes that are not UTF-8 as \\xNN."""
    raw: object
    try:
        raw = json.loads(refused.record.raw)
    except ValueError:
        raw = refused.record.raw.decode(errors="backslashreplace")
    return {
        "file": refused.record.file,
        "line": refused.record.line,
        "field": refused.field,
        _REASON: refused.reason,
        "detail": refused.detail,
        _RECORD: raw,
    }
