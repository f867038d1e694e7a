"""What evaluations need from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.evaluation.domain import Evaluation, Limits, Measured, Prompt, Request
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
        self, adapter_paths: Sequence[str], cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[list[tuple[float, int]]]:
        """For each adapter (the base model for an empty path) and each (prompt, answer): the answer's
        log-probability (nats) and its tokens; all by the same weights of the base model. Raises
        NotFound if a folder holds no adapter."""


class JudgeChanged(Exception):
    """More than one reward model scored: rewards of two are not comparable."""


class RewardScorer(Protocol):
    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> tuple[list[float], str]:
        """Rewards by one model, and its name. Raises JudgeChanged if it was more than one,
        FailedPrecondition (REWARD_MODEL_UNTRAINED) until one is trained, Unavailable while the service
        is away."""


class Answers(Protocol):
    """Answers that an evaluation has got so far, so that one that was killed does not ask again. Each
    evaluation asks anew: one lucky draw of a version must not be compared with many others."""

    def known(self, evaluation: str, version: str, keys: Sequence[str]) -> dict[str, str]: ...

    def keep(self, evaluation: str, version: str, answers: Mapping[str, str]) -> None: ...


class Results(Protocol):
    """What suites measured, as they come."""

    def of_suites(self, evaluation: str) -> dict[str, tuple[Estimate, ...]]: ...

    def keep_suite(self, evaluation: str, suite: str, measured: Measured) -> None:
        """With the reward model that it rests on. What was kept first stays."""


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
        """Of one under way. Raises NotFound."""

    def evaluation(self, evaluation: str) -> Evaluation:
        """Raises NotFound."""

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        """Newest first; `before` is the last one's (create time, id)."""

    def show(self, evaluation: str, step: str, share: float) -> None:
        """In its operation."""

    def finish(self, evaluation: str, now: datetime) -> None:
        """Forgets its pairs and answers, ends its operation, tells evaluation.completed.v1, asks for
        it to be tracked."""

    def fail(self, evaluation: str, error: TrimtabError) -> None:
        """Forgets its pairs and answers, ends its operation."""

    def set_run(self, evaluation: str, run_id: str) -> None:
        """The tracker's id of it."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """To look only: nobody is told of a commit."""
