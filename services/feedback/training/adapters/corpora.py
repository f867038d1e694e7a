"""Labelled conversations under open licences, as their makers publish them; read by path, never shipped.

Each conversation gives one Labelled for every user turn after an answer. Gzip or plain.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.feedback.mining.app.features import Conversation

_CONVAI2_FILES = ("data_volunteers", "data_intermediate")
_REFUSALS = frozenset({"REJ", "CRI-F", "CRI-A", "CRI-C"})
_TITLE = re.compile(r"@\d+ *<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Labelled:
    """The last message is the user's turn that `label` is of."""

    conversation: Conversation
    label: str
    dialogue: str


def intents(path: Path) -> list[Labelled]:
    """IARD (Cai & Chen, UMAP 2020): what seekers of a recommendation do with it.

    "reject" (any critique, too) before "accept" before "other".
    """
    found = []
    for name, chat in json.loads(_read(path)).items():
        before: list[tuple[str, str]] = []
        answered = False
        for one in chat["dialogue_info"].values():
            seeker = one["role"] == "seeker"
            words = _TITLE.sub(r"\1", one["utterance_text"])
            before.append(("user" if seeker else "assistant", words))
            if seeker and answered:
                label = _intent(frozenset(one["sub-intent/action"]))
                found.append(Labelled(Conversation(tuple(before)), label, name))
            answered = answered or not seeker
    return found


def thumbs(folder: Path) -> list[Labelled]:
    """ConvAI2 (Dinan et al., arXiv 1902.00098), rated bot messages that a user's turn follows:
    "dissatisfied" after a thumb down, otherwise "fine"."""
    return [one for name in _CONVAI2_FILES for one in _thumbs(folder / f"{name}.json.gz", name)]


def _thumbs(path: Path, name: str) -> Iterator[Labelled]:
    for number, chat in enumerate(json.loads(_read(path))):
        before: list[tuple[str, str]] = []
        thumb: int | None = None
        for one in chat["dialog"]:
            of_bot = one["sender_class"] == "Bot"
            before.append(("assistant" if of_bot else "user", str(one["text"])))
            if not of_bot and thumb is not None:
                label = "fine" if thumb else "dissatisfied"
                yield Labelled(Conversation(tuple(before)), label, f"{name}{number}")
            thumb = one["evaluation_score"] if of_bot else None


def _intent(said: frozenset[Any]) -> str:
    if said & _REFUSALS:
        return "reject"
    return "accept" if "ACC" in said else "other"


def _read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
