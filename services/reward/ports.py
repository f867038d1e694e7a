"""What the reward service needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import LoggedAnswer, ModelCard, Pair, Progress, Rating
from services.reward.learning.ensemble import Ensemble
from services.reward.learning.fitting import Model

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """Meaning as vectors. `shared.encoding.sentences.SentenceEncoder` is one; it keeps those of texts that
    come again."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(len(texts), dim) unit vectors, in order."""


@dataclass(frozen=True)
class RewardModel:
    """`tastes`: the rewards of groups of people; None while too few have said enough."""

    card: ModelCard
    ensemble: Ensemble
    tastes: Model | None = None


class Intake(Protocol):
    """What one transaction may write. Repeated ids change nothing."""

    def add_pair(self, tenant: str, pair: Pair) -> bool: ...

    def add_rating(self, tenant: str, rating: Rating) -> bool: ...

    def drop_ratings(self, tenant: str, rating_ids: Sequence[str]) -> None:
        """Forgets ratings that their users have replaced; later models do not learn from them."""

    def count_data(self, tenant: str, *, is_pair: bool) -> Progress:
        """Adds one to the tenant's data for training."""

    def schedule_training(self, tenant: str, then: Progress) -> None:
        """A durable job, once for each `then.data`; `then` says when the next one is due."""

    def keep_request(self, said: LoggedAnswer) -> None:
        """What a user said last in a conversation, for the answer that follows."""

    def last_request(self, tenant: str, conversation_id: str) -> str:
        """Empty if no user has said anything yet."""

    def add_answer(self, answer: LoggedAnswer) -> None: ...

    def backlog(self, tenant: str) -> int:
        """How many of the tenant's answers wait."""

    def count(self, stage: str, outcome: str, reason: str, n: int = 1) -> None: ...


class RewardModels(Protocol):
    """Reads of what is committed."""

    def newest_version(self, tenant: str) -> int:
        """0 if there is none."""

    def load(self, tenant: str, version: int) -> RewardModel:
        """Raises NotFound."""

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        """Newest first, below version `before`."""

    def data(self, tenant: str, most: int, most_per_user: int) -> tuple[list[Pair], list[Rating]]:
        """The newest `most` of each, of one user `most_per_user` at most; in the order of arrival, held-out
        users included."""


class ModelWriter(Protocol):
    """What one transaction writes of models."""

    def add(self, tenant: str, model: RewardModel) -> ModelCard:
        """Stores the model under the tenant's next version."""

    def set_run(self, tenant: str, version: int, run_id: str) -> None:
        """Where the tracker keeps it."""


class WaitingAnswers(Protocol):
    """Reads of the answers that wait for their score."""

    def tenants(self) -> list[str]:
        """Those that have waiting answers and a model to score them with."""

    def next(self, tenant: str, most: int) -> list[tuple[int, LoggedAnswer]]:
        """A tenant's next to score, with their numbers: all of one version. The version that answered last
        goes first, so that an import does not hold up live answers; within a version they go in order, since
        drift's streams are by version."""


class ScoredAnswers(Protocol):
    """Answers that leave the waiting ones, within one transaction."""

    def take(self, numbers: Sequence[int]) -> set[int]:
        """Those that were still waiting; they no longer are. Another replica may have scored the rest."""


class TrainingRequests(Protocol):
    """Trainings that somebody asks for."""

    def start(self, tenant: str, request_id: str) -> str:
        """The name of the operation; the same request_id gives the same one. Empty: a new one."""
