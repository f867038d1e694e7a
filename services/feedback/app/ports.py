"""What the feedback service needs of the world.

Each port has an in-memory twin in adapters/memory.py (for Book and Shelf: the SQL adapters on
`sqlite://`); tests/contract runs one suite over twin and adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.feedback.domain import (
    Explicit,
    FollowUp,
    Mined,
    Pair,
    PairState,
    Persona,
    Standing,
    StoredPair,
    Turn,
    User,
)
from shared.language.messages import Message
from shared.tracking.port import TrackedRun

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """[len(texts), dimensions], float32, rows of unit length; the same text gives the same row
        whatever stands beside it (cosine above 0.999)."""


class ChatModel(Protocol):
    """The policy that writes personas and candidates, and judges what the heads are not sure of."""

    @property
    def name(self) -> str: ...

    def choose(
        self, messages: Sequence[Message], choices: Sequence[str], n: int, temperature: float
    ) -> tuple[str, ...]:
        """`n` answers, each one of `choices`. Raises as `complete` does."""

    def complete(
        self, messages: Sequence[Message], n: int, temperature: float, max_tokens: int
    ) -> tuple[str, ...]:
        """`n` answers. Raises Unavailable while the model is away, InvalidArgument if it refuses
        the messages (too long, say)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Messages that end with the answer to be scored; members trained on `user_id` do not judge."""

    messages: tuple[Message, ...]
    user_id: str


@dataclass(frozen=True, slots=True)
class Scores:
    rewards: tuple[float, ...]
    reward_model: str


class RewardScorer(Protocol):
    def score(self, tenant: str, candidates: Sequence[Candidate]) -> Scores:
        """One reward for each candidate. Raises Unavailable while the service is away, and
        FailedPrecondition with reason REWARD_MODEL_UNTRAINED until there is a model."""


class Moderator(Protocol):
    def offence(self, text: str) -> float:
        """The probability that people call the text offensive."""


class TrackedHead(NamedTuple):
    run_id: str
    # Of the tracker's own counting.
    number: str


class HeadTracker(Protocol):
    """Where people compare versions of heads. Both calls raise Unavailable while it is away, and may be
    repeated."""

    def log(self, model: str, run: TrackedRun) -> TrackedHead:
        """Writes the run, and makes it a version of `model`: one for each run's key."""

    def point(self, model: str, number: str) -> None:
        """Says which version serves: it bears the alias "serving"; empty: none does."""


class Book(Protocol):
    """The service's state within one transaction: all of it is kept, or nothing."""

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None: ...

    def enqueue(self, kind: str, job_id: str, payload: Mapping[str, Any]) -> bool:
        """Asks for slow work; False if it was asked for already."""

    def add_turn(self, turn: Turn) -> bool:
        """False if the conversation has a turn at that index."""

    def cut(self, turn: Turn) -> tuple[int, int]:
        """Takes what stands at the turn's place and after it out of the talk, to make room for it: it
        was made instead. Forgets the follow-ups among it that waited: how many of those were ready,
        and of how many the answer was missing. Does nothing if the turn itself is known."""

    def turn_at(self, tenant: str, conversation_id: str, index: int) -> Turn | None: ...

    def turn(self, tenant: str, conversation_id: str, turn_id: str) -> Turn | None:
        """Whether or not another one stands in its place."""

    def judged_alike(self, mined: Mined) -> list[Mined]:
        """What the same user said for sure, and did not take back, of other versions' answers to the
        same prompt in talks of their own; the newest first, at most ten."""

    def judged_before(self, mined: Mined, most: int) -> list[Mined]:
        """What was mined of the user's last `most` turns before the follow-up, the nearest first."""

    def judged_after(self, mined: Mined, most: int) -> list[Mined]:
        """What was mined of the user's next `most` turns after the follow-up, the nearest first."""

    def turns_before(self, tenant: str, conversation_id: str, index: int, most: int) -> list[Turn]:
        """The last `most` turns before `index`, oldest first."""

    def find_answer(self, explicit: Explicit) -> Turn | None:
        """The assistant's turn meant: by completion, by turn, or the conversation's last."""

    def last_arrival(self, tenant: str, conversation_id: str) -> float:
        """When the newest turn of the conversation was taken (Unix time); 0 if there is none."""

    def add_pending(self, feedback_id: str, turn: Turn, *, ready: bool) -> None:
        """A follow-up to be judged; `ready` once its answer is there."""

    def wake_pending(self, turn: Turn, *, is_answer: bool) -> bool:
        """Turn `index` came after its follow-up: makes the follow-up ready, or forgets it if `turn`
        is no answer. False if no follow-up waited."""

    def take_pending(self, feedback_id: str) -> bool:
        """Removes a pending follow-up; True for the one that removed it."""

    def note_turn(self, turn: Turn) -> User:
        """Counts a user's own turn."""

    def note_complaint(self, tenant: str, user_id: str) -> User: ...

    def user(self, tenant: str, user_id: str) -> User: ...

    def spend(self, tenant: str, user_id: str, what: str, day: str, most: int) -> bool:
        """Takes one of the user's `most` for the day; False if there is none left."""

    def add_mined(self, mined: Mined, *, publish: bool = True) -> bool:
        """Stores, and publishes on feedback.mined.v1; False if it is there already."""

    def note_label(self, tenant: str) -> None:
        """A user judged an answer: from now on the tenant's labels are looked at on schedule."""

    def stand(
        self, feedback_id: str, slot: str, said_at: float, *, replaces: bool
    ) -> Standing | None:
        """Takes its place in a slot (user, target, kind of value), in the order in which things were
        said, not in which they came. None if it stands there already."""

    def put_persona(self, persona: Persona, *, publish: bool = True) -> None:
        """Stores it as the user's newest, and among the versions if it has a new number (from 1).
        Publishes on persona.updated.v1."""

    def delete_persona(self, persona: Persona) -> int:
        """Removes it and all its versions; how many. `persona`, which is empty, is published under
        its number, and what was said up to its time is not used again."""

    def add_pair(self, stored: StoredPair, keys: Sequence[str] = ()) -> bool:
        """Stores a pair, to be found by `keys`; publishes it on preference.proposed.v1 if it is
        PROPOSED, on preference.mined.v1 if it is KEPT. False if it is there already."""

    def pairs_alike(self, pair: Pair, keys: Sequence[str]) -> list[Pair]:
        """Other pairs of the same user that were stored with one of the keys."""

    def drop_proposed(self, pair_ids: Sequence[str], reason: str) -> int:
        """PROPOSED to DROPPED; how many there were."""

    def settle_pair(self, pair: Pair, state: PairState, reason: str) -> bool:
        """PROPOSED to KEPT (published) or DROPPED; True for the one that changed it."""


class Shelf(Protocol):
    """The service's state as it can be read outside a transaction."""

    def ready_follow_ups(self, most: int, context: int, characters: int) -> list[FollowUp]:
        """Oldest first."""

    def mined(self, feedback_id: str) -> Mined | None: ...

    def is_replaced(self, feedback_id: str) -> bool:
        """Whether later feedback stands in its place."""

    def user(self, tenant: str, user_id: str) -> User: ...

    def own_turns(self, tenant: str, user_id: str, most: int) -> list[Turn]:
        """The newest first."""

    def complaints(self, tenant: str, user_id: str, most: int) -> list[Mined]:
        """What this user said to change in an answer (not in a whole conversation), newest first."""

    def proposed_pairs(self, most: int) -> list[Pair]:
        """Pairs without a verdict, oldest first."""

    def late_follow_ups(self, before: float, most: int) -> list[Turn]:
        """Follow-ups taken before that time whose answer never came."""


def day_of(moment: datetime) -> str:
    return moment.date().isoformat()
