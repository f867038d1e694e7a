"""What mining needs from outside.

Each port has an in-memory twin in adapters/memory.py (of stores: the SQL adapters on `sqlite://`);
tests/contract runs one suite over twin and adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.feedback.mining.domain import Compared, FollowUp, Judgement, Mined, Standing
from shared.language.messages import Message
from shared.language.opinions import ExplicitFeedback
from shared.language.paging import Term
from shared.language.turns import Turn

Vectors = NDArray[np.float32]
T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    items: list[T]
    # The last item's place, or None if no more follow.
    after: int | None
    total: int


class Waiting(NamedTuple):
    feedback: ExplicitFeedback
    # Unix time.
    arrived: float


class Ready(NamedTuple):
    """`lost`: ids of follow-ups whose turns no longer exist; `last`: the tenant served last."""

    found: list[FollowUp]
    lost: list[str]
    last: str


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """[len(texts), dimensions], float32, rows of unit length; the same text gives the same row whatever
        else is in the call (cosine above 0.999)."""


class ChatModel(Protocol):
    """The policy: it writes personas and candidates, and judges what the heads are unsure of."""

    @property
    def name(self) -> str: ...

    def choose(
        self, messages: Sequence[Message], choices: Sequence[str], n: int, temperature: float
    ) -> tuple[str, ...]:
        """`n` answers, each one of `choices`. Raises as `complete` does."""

    def complete(
        self, messages: Sequence[Message], n: int, temperature: float, max_tokens: int
    ) -> tuple[str, ...]:
        """`n` answers. Raises Unavailable while the model is unavailable, InvalidArgument if it refuses
        the messages (too long, say)."""


class Turns(Protocol):
    """The turns of conversations, within one transaction."""

    def add(self, turn: Turn) -> bool:
        """False if the conversation has a turn at that index."""

    def cut(self, turn: Turn) -> tuple[int, int]:
        """Removes what stands at the turn's place and after it from the conversation, because the turn
        replaces it. Forgets the waiting follow-ups among it; returns how many of those were ready, and for
        how many the answer was missing. Does nothing if the turn itself is known."""

    def at(self, tenant: str, conversation_id: str, index: int) -> Turn | None: ...

    def get(self, tenant: str, conversation_id: str, turn_id: str) -> Turn | None:
        """Also if another one has taken its place."""

    def before(self, tenant: str, conversation_id: str, index: int, most: int) -> list[Turn]:
        """The last `most` turns before `index`, oldest first."""

    def answer_meant(self, explicit: ExplicitFeedback) -> Turn | None:
        """The assistant's turn meant: by completion, by turn, or the conversation's last."""

    def last_arrival(self, tenant: str, conversation_id: str) -> float:
        """When the newest turn of the conversation was taken (Unix time); 0 if there is none."""


class FollowUps(Protocol):
    """Follow-ups that wait to be judged, within one transaction."""

    def add(self, feedback_id: str, turn: Turn, *, ready: bool) -> None:
        """`ready` once its answer is there."""

    def wake(self, turn: Turn, *, is_answer: bool) -> bool:
        """Turn `index` came after its follow-up: makes the follow-up ready, or forgets it if `turn`
        is not an answer. False if no follow-up waited."""

    def take(self, feedback_id: str) -> bool:
        """Removes one; True for the caller that removed it."""

    def drop_up_to(self, tenant: str, place: int, most: int) -> int:
        """Removes up to `most` that are ready, the oldest first, up to a place; how many."""


class FeedbackWrites(Protocol):
    """What was mined, within one transaction."""

    def add(self, mined: Mined, *, publish: bool = True, replaced: bool = False) -> bool:
        """Stores it, and publishes it on feedback.mined.v1, with the groups that its user is known to be in
        now, whatever `mined.groups` says; False if it is there already. `replaced`: later feedback has
        replaced it already."""

    def alike(self, mined: Mined) -> list[Mined]:
        """What the same user said for sure, and did not take back, of other versions' answers to the
        same prompt in conversations of their own; the newest first, at most ten."""

    def before(self, mined: Mined, most: int) -> list[Mined]:
        """What was mined of the user's last `most` turns before the follow-up, the nearest first."""

    def after(self, mined: Mined, most: int) -> list[Mined]:
        """What was mined of the user's next `most` turns after the follow-up, the nearest first."""

    def note_label(self, tenant: str) -> None:
        """A user judged an answer: from now on the schedule looks at the tenant's labels."""

    def stand(
        self, tenant: str, feedback_id: str, slot: str, said_at: float, *, replaces: bool
    ) -> Standing | None:
        """Takes its place in a slot (user, target, kind of value), in the order in which things were
        said, not in which they came. None if it stands there already."""


class WaitingWakes(Protocol):
    """Explicit feedback that waits for its turn, within one transaction."""

    def wake(self, turn: Turn) -> None:
        """What may be about `turn`, or its conversation, is looked at again."""


class MiningWork(Protocol):
    """One transaction: all that is done in it is kept, or nothing."""

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None: ...

    def enqueue(self, kind: str, job_id: str, payload: Mapping[str, Any], tenant: str) -> bool:
        """Asks for slow work of a tenant's; False if it was asked for already."""

    @property
    def turns(self) -> Turns: ...

    @property
    def follow_ups(self) -> FollowUps: ...

    @property
    def feedback(self) -> FeedbackWrites: ...

    @property
    def waiting(self) -> WaitingWakes: ...

    def is_full(self, kind: str, tenant: str) -> bool:
        """Whether the tenant has as many unfinished jobs of the kind as it may."""


W = TypeVar("W", bound=MiningWork)
W_contra = TypeVar("W_contra", bound=MiningWork, contravariant=True)


class Consequences(Protocol[W_contra]):
    """What other rooms do about what was taken or mined: ask for slow work, or make something immediately."""

    def after_turn(self, turn: Turn, work: W_contra) -> None:
        """After a user's own turn was taken."""

    def after_complaint(self, mined: Mined, work: W_contra) -> None:
        """After feedback that says what to change in an answer."""

    def after_feedback(self, mined: Mined, work: W_contra) -> None:
        """After a follow-up whose label is sure."""

    def after_explicit(self, mined: Mined, work: W_contra) -> None:
        """After explicit feedback that says a degree."""

    def demonstrated(self, mined: Mined, better: str, work: W_contra) -> None:
        """A user said what the answer should have been."""

    def taken_back(self, tenant: str, feedback_ids: Sequence[str], work: W_contra) -> None:
        """Later feedback stands in the place of these."""


class FeedbackReads(Protocol):
    """What is stored, read outside a transaction."""

    def ready_follow_ups(self, most: int, context: int, characters: int, after: str = "") -> Ready:
        """Up to `most`, the same share for each tenant that has any, the oldest first; round robin from the
        tenant that comes after `after`."""

    def overfull(self, most: int) -> list[tuple[str, int]]:
        """Tenants with more than `most` ready follow-ups, and the place up to which those are too many."""

    def late_follow_ups(self, before: float, most: int) -> list[str]:
        """Ids of follow-ups taken before that time whose answer never arrived."""

    def mined(self, feedback_id: str) -> Mined | None: ...

    def is_replaced(self, feedback_id: str) -> bool:
        """Whether later feedback has replaced it."""

    def own_turns(self, tenant: str, user_id: str, most: int) -> list[Turn]:
        """The newest first."""

    def complaints(self, tenant: str, user_id: str, most: int) -> list[Mined]:
        """What this user said to change in an answer (not in a whole conversation), newest first."""

    def page(
        self, tenant: str, terms: Sequence[Term], after: int | None, size: int
    ) -> Page[Mined]: ...

    def waiting(self, tenant: str, after: int | None, size: int) -> Page[Waiting]:
        """Explicit feedback whose turn is not there yet, oldest first."""


class JudgementReads(Protocol):
    """What the served model said of unsure follow-ups, read outside a transaction."""

    def compared(self, tenant: str, model: str, most: int) -> list[Compared]:
        """Follow-ups whose answer their user also judged explicitly, to one side: the first `most`, in the
        order in which both were known."""

    def page(self, tenant: str, before: int | None, size: int) -> Page[Judgement]:
        """Newest first, below place `before`."""


class JudgementWrites(Protocol):
    """The same within one transaction."""

    def add(self, judgement: Judgement) -> None: ...
