"""What pairs need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.feedback.mining.ports import Page
from services.feedback.pairs.domain import PairState, StoredPair
from services.feedback.personas.ports import PersonaWork
from shared.language.messages import Message
from shared.language.paging import Term
from shared.language.pairs import Pair


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
        """One reward for each candidate. Raises Unavailable while the service is unavailable, and
        FailedPrecondition with reason REWARD_MODEL_UNTRAINED until there is a model."""


class Moderator(Protocol):
    def offence(self, text: str) -> float:
        """The probability that people call the text offensive."""


class Pairs(Protocol):
    """Preference pairs, within one transaction."""

    def add(self, stored: StoredPair, keys: Sequence[str] = ()) -> bool:
        """Stores a pair, to be found by `keys`, with the groups that its user is known to be in now, whatever
        `pair.groups` says; publishes it on preference.proposed.v1 if it is PROPOSED, on preference.mined.v1 if
        it is KEPT. False if it is there already."""

    def alike(self, pair: Pair, keys: Sequence[str]) -> list[Pair]:
        """Other pairs of the same user that were stored with one of the keys."""

    def drop_proposed(self, pair_ids: Sequence[str], reason: str) -> int:
        """PROPOSED to DROPPED; how many there were."""

    def drop_up_to(self, tenant: str, place: int, most: int, reason: str) -> int:
        """PROPOSED to DROPPED: up to `most` of a tenant, the oldest first, up to a place; how many."""

    def settle(self, pair: Pair, state: PairState, reason: str) -> bool:
        """PROPOSED to KEPT (published) or DROPPED; True for the caller that changed it."""


class PairWork(PersonaWork, Protocol):
    @property
    def pairs(self) -> Pairs: ...


class PairReads(Protocol):
    """What is stored, read outside a transaction."""

    def tenants(self) -> list[str]:
        """Those with pairs that have no verdict yet."""

    def proposed(self, tenant: str, most: int) -> list[Pair]:
        """A tenant's pairs without a verdict, oldest first."""

    def overfull(self, tenant: str, most: int) -> int | None:
        """The place up to which the tenant's pairs without a verdict are beyond the newest `most`."""

    def page(
        self, tenant: str, terms: Sequence[Term], after: int | None, size: int
    ) -> Page[StoredPair]: ...
