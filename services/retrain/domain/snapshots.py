"""Snapshots: what a run is trained on and judged by, addressed by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.messages import message_row
from shared.language.pairs import Pair


@dataclass(frozen=True, slots=True)
class Persona:
    """What is known about a user, in words. An empty text means that it was deleted."""

    tenant: str
    user_id: str
    text: str
    version: int
    time: datetime

    @property
    def user(self) -> str:
        """Unique over tenants."""
        return f"{self.tenant}/{self.user_id}"


@dataclass(frozen=True, slots=True)
class Selection:
    """All parts in canonical order, so that the same pairs give the same digest. `left_out`: how many
    pairs are in neither part, by reason. `replayed`: how many of `train` are trained on again, as pairs of
    before the last snapshot. `praised`: answers to keep (praise.py)."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    replayed: int = 0
    praised: tuple[Pair, ...] = ()

    @property
    def parts(self) -> dict[str, tuple[Pair, ...]]:
        """By name. The praised answers are one only where there are some, so that a snapshot without any has
        the digest that it had before there were such."""
        found = {"train": self.train, "held_out": self.held_out}
        return found | ({"praised": self.praised} if self.praised else {})


def row_of(pair: Pair) -> dict[str, object]:
    """The pair as a flat row, with the prompt as JSON (message_row) and the answers as text. A pair without
    groups, samples, or words of its user on the rejected answer has none in its row either, so that its digest
    is as it was before pairs had any."""
    groups = {"groups": list(pair.groups)} if pair.groups else {}
    words = {"feedback_text": pair.feedback_text} if pair.feedback_text else {}
    sampled = [[one.answer.text, one.reward_margin] for one in pair.samples]
    samples = {"samples": json.dumps(sampled)} if sampled else {}
    return {
        "pair_id": pair.pair_id,
        "tenant": pair.tenant,
        "policy": pair.policy,
        "user_id": pair.user_id,
        "conversation_id": pair.conversation_id,
        "source": source_of(pair),
        "prompt": json.dumps([message_row(message) for message in pair.prompt]),
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "persona": pair.persona,
        "confidence": pair.confidence,
        "reward_margin": pair.reward_margin,
        "reward_model": pair.reward_model,
        "model_version": pair.model_version,
        "create_time": pair.time.isoformat(),
        **groups,
        **words,
        **samples,
    }


def source_of(pair: Pair) -> str:
    """The name of its source in settings and datasheets."""
    return pair.source or "unspecified"


def digest_of(selection: Selection) -> str:
    """sha256 over the rows of all parts, one JSON line each: of the content, independent of the file
    format.
    """
    digest = hashlib.sha256()
    for name, pairs in selection.parts.items():
        digest.update(f"{name} {len(pairs)}\n".encode())
        for pair in pairs:
            digest.update(json.dumps(row_of(pair), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    digest: str
    uri: str
    train_pairs: int
    held_out_pairs: int
    train_users: int
    held_out_users: int
    pairs_by_source: Mapping[str, int]
    largest_user_share: float
    # By reason: see selection.verdicts.
    left_out: Mapping[str, int] = field(default_factory=dict)
    # To train on, of each group of people, learnt ones and segments.
    pairs_by_group: Mapping[str, int] = field(default_factory=dict)
    users_by_group: Mapping[str, int] = field(default_factory=dict)
    # Of the training pairs, by what these ask for (asked.py); empty in snapshots of before it was counted.
    users_by_wish: Mapping[str, int] = field(default_factory=dict)
    # To train on; empty in snapshots of before it was counted.
    users_by_source: Mapping[str, int] = field(default_factory=dict)
    # Of the training pairs, those of before the last snapshot that are trained on again (replay.py).
    replayed_pairs: int = 0
    # The share of the user with the fewest pairs to train on; 0 in snapshots of before it was counted.
    smallest_user_share: float = 0.0
    # Answers that users praised, which the training keeps; and of how many users.
    praised_answers: int = 0
    praising_users: int = 0
