"""Users' personas in the prompts of their chats: a setting, off by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from shared.language.messages import persona_words


class Personas(Protocol):
    def of(self, tenant: str, user_id: str) -> str:
        """The text for the prompt; empty if none is known. Never waits, never raises."""


class NoPersonas:
    """Prompts are sent on as they came."""

    def of(self, tenant: str, user_id: str) -> str:
        return ""


def with_persona(body: Mapping[str, Any], persona: str) -> dict[str, Any]:
    """The body with the persona at the end of its first message if that is a system (or developer) message,
    otherwise in a system message of its own, as in training."""
    if not persona:
        return dict(body)
    words = persona_words(persona)
    first, *others = body["messages"]
    if first.get("role") not in ("system", "developer"):
        return {**body, "messages": [{"role": "system", "content": words}, first, *others]}
    content = first.get("content")
    if isinstance(content, list):
        longer: object = [*content, {"type": "text", "text": words}]
    else:
        longer = f"{content}\n{words}" if content else words
    return {**body, "messages": [{**first, "content": longer}, *others]}
