"""Figures and messages as people read them."""

from __future__ import annotations

from typing import Any

from services.cli.domain import Json


def estimate_words(found: Json | None) -> str:
    """0.88 [0.81, 0.93] of 120 from 40 users; "-" if nothing is known."""
    if not found or not int(found.get("count", 0)):
        return "-"
    figure = f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{figure} of {found['count']} from {found['users']} users"


def text_of(message: Json | None) -> str:
    """The text parts of a message."""
    parts: list[Any] = (message or {}).get("parts", [])
    return "\n".join(part["text"]["text"] for part in parts if part.get("text"))


def interests_words(found: Json | None) -> list[str]:
    """The rule for conflicts of interest, and what it does not promise; nothing of what has none."""
    if not found or not found.get("words"):
        return []
    return [
        f"conflicts of interest: {found['words']}",
        f"what this does not promise: {found['limits']}",
    ]
