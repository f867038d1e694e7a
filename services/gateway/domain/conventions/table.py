"""The conventions that are read, and how those that are not are told from telemetry of other things."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.gateway.domain.conventions.convention import Convention
from services.gateway.domain.conventions.langfuse import LANGFUSE
from services.gateway.domain.conventions.langsmith import LANGSMITH
from services.gateway.domain.conventions.openinference import OPENINFERENCE
from services.gateway.domain.conventions.semconv import SEMCONV
from services.gateway.domain.conventions.vercel import VERCEL
from services.gateway.domain.telemetry import Span

# The first that owns a span decides what it is. All but the last have names of their own, and some use those of
# the last in their own way.
CONVENTIONS = (VERCEL, LANGFUSE, OPENINFERENCE, LANGSMITH, SEMCONV)
UNKNOWN = "unknown"
# How attributes are called that hold what was said to a model or by it, and what they look like, in conventions
# that are not in the table; and attributes that say that a model was called.
_TEXT = re.compile(r"(?:^|[._])(?:prompts?|completions?)(?:[._]|$)", re.IGNORECASE)
_MESSAGES = re.compile(r"messages(?:[._]|$)", re.IGNORECASE)
_MODEL = re.compile(r"(?:^|[._])(?:llm|model|model_name|model_id|tokens?)(?:[._]|$)", re.IGNORECASE)
# LiteLLM repeats a call as its model server got it, below the name of that server.
_ECHO = re.compile(r"llm\.[a-z0-9_-]+\.(?:messages|prompt)")


def convention_of(span: Span) -> Convention | None:
    return next((one for one in CONVENTIONS if one.owns(span)), None)


def unknown_prefix(attributes: Mapping[str, Any]) -> str:
    """How the attributes begin that hold a call to a model which cannot be read here; empty if none do."""
    calls_model = any(_MODEL.search(name) for name in attributes)
    for name, value in attributes.items():
        is_said = calls_model and isinstance(value, str) and _TEXT.search(name)
        if (is_said or _holds_messages(name, value)) and not _ECHO.match(name):
            return name.partition(".")[0][:40]
    return ""


def _holds_messages(name: str, value: Any) -> bool:
    return bool(_MESSAGES.search(name)) and isinstance(value, str) and '"role"' in value
