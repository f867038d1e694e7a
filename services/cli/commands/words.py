"""Figures and messages as people read them."""

from __future__ import annotations

from typing import Any

from services.cli.domain import Json
from shared.language.interests import Interests, SmallGroups


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


def interests_words(interests: Interests) -> tuple[str, str]:
    """The rule for conflicts, and what it does not promise."""
    small = "are waited for" if interests.small_groups is SmallGroups.HOLD else "are passed over"
    return (
        f"conflicts of interest: {interests.words}; margin {interests.margin:g}; "
        f"groups too small to tell {small}",
        f"what this does not promise: {interests.limits}",
    )
