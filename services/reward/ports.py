"""What the reward service needs from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import Judgement, LoggedAnswer, ModelCard, Pair, Progress, Rating
from services.reward.learning.belonging import Belonging
from services.reward.learning.ensemble import Ensemble
from services.reward.learning.fitting import Model

Vectors = NDArray[np.float32]
# The groups, segments among them, of those of a tenant's users who are known to be in some.
GroupsOf = Callable[[str, Iterable[str]], dict[str, tuple[str, ...]]]


class Encoder(Protocol):
    """Turns the meaning of texts into vectors. The adapter is `shared.encoding.sentences.SentenceEncoder`,
    which also caches."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (len(texts), dim), in the order of the texts."""


@dataclass(frozen=True)
class RewardModel:
    """`tastes`: the rewards of groups of people, and `belonging`, who is of which; None if too few people have
    said enough. `members`: the groups' numbers by user, as the model learnt them; they are not stored.
    `segments`: the rewards of declared segments, if any has enough users."""

    card: ModelCard
    ensemble: Ensemble
    tastes: Model | None = None
    belonging: Belonging | None = None
    members: Mapping[str, int] = field(default_factory=dict)
    segments: Model | None = None


class Intake(Protocol):
    """What the stages write, within one transaction. Repeated ids change nothing."""

    def add_pair(self, tenant: str, pair: Pair) -> bool: ...

    def add_rating(self, tenant: str, rating: Rating) -> bool: ...

    def add_judgement(self, tenant: str, judgement: Judgement) -> bool: ...

    def drop_ratings(self, tenant: str, rating_ids: Sequence[str]) -> None:
        """Forgets ratings that their users have replaced; later models do not learn from them."""

    def count_data(self, tenant: str, *, is_pair: bool) -> Progress:
        """Counts one more pair or rating of the tenant for training."""

    def schedule_training(self, tenant: str, then: Progress) -> None:
        """Enqueues a durable job, once per `then.data`. `then` says when the next one is due."""

    def keep_request(self, said: LoggedAnswer) -> None:
        """Remembers what a user said last in a conversation, for the answer that follows."""

    def last_request(self, tenant: str, conversation_id: str) -> str:
        """Empty if no user has said anything yet."""

    def add_answer(self, answer: LoggedAnswer) -> None: ...

    def backlog(self, tenant: str) -> int:
        """How many of the tenant's answers wait."""

    def count(self, stage: str, outcome: str, reason: str, n: int = 1) -> None: ...


class RewardModels(Protocol):
    """Reads of committed models and data."""

    def newest_version(self, tenant: str) -> int:
        """0 if there is none."""

    def load(self, tenant: str, version: int) -> RewardModel:
        """Raises NotFound."""

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        """Newest first, below version `before`."""

    def data(self, tenant: str, most: int, most_per_user: int) -> tuple[list[Pair], list[Rating]]:
        """The newest pairs and ratings: at most `most` of each, and `most_per_user` of one user. In order of
        arrival; held-out users included."""

    def judgements(self, tenant: str, most: int, most_per_user: int) -> list[Judgement]:
        """Likewise."""


class ModelWriter(Protocol):
    """Writes models within one transaction."""

    def add(self, tenant: str, model: RewardModel) -> ModelCard:
        """Stores the model under the tenant's next version."""

    def set_run(self, tenant: str, version: int, run_id: str) -> None:
        """Records the tracker's run of a model."""


class WaitingAnswers(Protocol):
    """Reads of answers that wait for their score."""

    def waker(self) -> threading.Event:
        """Set whenever an answer or a model was added."""

    def tenants(self) -> list[str]:
        """Tenants with waiting answers and a model to score them with."""

    def next(self, tenant: str, most: int) -> list[tuple[int, LoggedAnswer]]:
        """The tenant's next answers to score, with their numbers; all of one version. The version that
        answered most recently goes first, so that an import does not delay live answers. Within a version
        answers go in order, because drift's streams are by version."""


class ScoredAnswers(Protocol):
    """Removes answers from those that wait, within one transaction."""

    def take(self, numbers: Sequence[int]) -> set[int]:
        """Removes the answers and returns those that were still waiting; another replica may have scored the
        rest."""


class TrainingRequests(Protocol):
    """Trainings requested by a caller."""

    def start(self, tenant: str, request_id: str) -> str:
        """Returns the operation's name. The same request_id gives the same operation; an empty one a new
        operation."""
