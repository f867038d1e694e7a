"""What evaluations need from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.evaluation.domain import Evaluation, Limits, Prompt, Request
from shared.language.errors import TrimtabError
from shared.language.estimates import Estimate
from shared.language.messages import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. No seed is ever sent: this serving build can die of one."""

    max_tokens: int
    temperature: float = 0.7
    top_p: float = 0.9


class PolicyClient(Protocol):
    """A served model. Both calls raise Unavailable while serving is away, NotFound for a name that
    it does not serve."""

    def answer(
        self, served_name: str, prompts: Sequence[Sequence[Message]], sampling: Sampling
    ) -> list[str]:
        """One answer for each prompt, in order."""

    def next_token(
        self, served_name: str, prompts: Sequence[Sequence[Message]]
    ) -> list[Mapping[str, float]]:
        """Log-probabilities of the likeliest next tokens (at least 10). Each prompt ends with an
        assistant message that is gone on with."""


class LogprobModel(Protocol):
    """The policy's weights: log-probabilities of given answers."""

    def logprobs(
        self, adapter_path: str, cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[tuple[float, int]]:
        """For each (prompt, answer): the answer's log-probability (nats) and its tokens; the base
        model for an empty path. Raises NotFound if the folder holds no adapter."""


class RewardScorer(Protocol):
    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> tuple[list[float], str]:
        """Rewards and the model's name. Raises FailedPrecondition until one is trained, Unavailable
        while the service is away."""


class Answers(Protocol):
    """Answers that were given before, so that a killed evaluation does not ask again."""

    def known(self, tenant: str, version: str, keys: Sequence[str]) -> dict[str, str]: ...

    def keep(self, tenant: str, version: str, answers: Mapping[str, str]) -> None: ...


class Results(Protocol):
    """Estimates by suite, as they come."""

    def of_suites(self, evaluation: str) -> dict[str, tuple[Estimate, ...]]: ...

    def keep_suite(self, evaluation: str, suite: str, estimates: Sequence[Estimate]) -> None: ...

    def keep_reward_model(self, evaluation: str, name: str) -> None: ...


class Progress(Protocol):
    def say(self, step: str, share: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What a suite measures with."""

    policy: PolicyClient
    logprobs: LogprobModel
    scorer: RewardScorer
    answers: Answers
    results: Results
    limits: Limits


class Session(Protocol):
    """One transaction over the evaluations: all of what is done in it, or nothing."""

    def add(self, evaluation: Evaluation, request: Request) -> None:
        """With its operation and the job that performs it; one that is there already stays as it is."""

    def request(self, evaluation: str) -> Request:
        """Raises NotFound."""

    def evaluation(self, evaluation: str) -> Evaluation:
        """Raises NotFound."""

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        """Newest first; `before` is the last one's (create time, id)."""

    def show(self, evaluation: str, step: str, share: float) -> None:
        """In its operation."""

    def finish(self, evaluation: str, now: datetime) -> None:
        """Ends its operation, tells evaluation.completed.v1, asks for it to be tracked."""

    def fail(self, evaluation: str, error: TrimtabError) -> None:
        """Ends its operation."""

    def set_run(self, evaluation: str, run_id: str) -> None:
        """The tracker's id of it."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """To look only: nobody is told of a commit."""
