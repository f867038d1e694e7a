"""What evaluations need from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from services.evaluation.domain import Evaluation, Measured, Prompt, Request, SuiteLimits
from shared.language.errors import TrimtabError
from shared.language.estimates import Estimate
from shared.language.messages import Message

# Kinds of durable jobs.
EVALUATE_JOB, TRACK_JOB = "evaluation.evaluate", "evaluation.track"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are sampled. A seed is never sent: vLLM on CPU can crash on one."""

    max_tokens: int
    temperature: float = 0.7
    top_p: float = 0.9


class PolicyClient(Protocol):
    """A served model. Both calls raise Unavailable while serving is unavailable, and NotFound for a model that
    is not served."""

    def answer(
        self, served_name: str, prompts: Sequence[Sequence[Message]], sampling: Sampling
    ) -> list[str]:
        """One answer for each prompt, in order."""

    def next_token(
        self, served_name: str, prompts: Sequence[Sequence[Message]]
    ) -> list[Mapping[str, float]]:
        """Log-probabilities of the likeliest next tokens (at least 10). Each prompt ends with an assistant
        message that the model continues."""


class LogprobModel(Protocol):
    """The policy's weights: log-probabilities of given answers."""

    def logprobs(
        self, adapter_paths: Sequence[str], cases: Sequence[tuple[Sequence[Message], str]]
    ) -> list[list[tuple[float, int]]]:
        """For each adapter (the base model for an empty path) and each (prompt, answer): the answer's
        log-probability (nats) and its tokens; all from the same base weights. Raises
        NotFound if a folder holds no adapter."""


class JudgeChanged(Exception):
    """More than one reward model scored. Rewards of two models cannot be compared."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Of answers, in order: everyone's reward, and each group's by the group's name; and the one model that
    gave them."""

    rewards: tuple[float, ...]
    groups: tuple[Mapping[str, float], ...]
    judge: str

    def part(self, start: int, size: int) -> Scores:
        rows = slice(start, start + size)
        return replace(self, rewards=self.rewards[rows], groups=self.groups[rows])

    def of_group(self, group: str) -> list[float]:
        return [by_group[group] for by_group in self.groups]


class RewardScorer(Protocol):
    def score(self, tenant: str, items: Sequence[tuple[Prompt, str]]) -> Scores:
        """By one model. Raises JudgeChanged if more than one model scored,
        FailedPrecondition (REWARD_MODEL_UNTRAINED) until a model is trained, and Unavailable while the
        service is unavailable."""


class Answers(Protocol):
    """The answers an evaluation has so far, so that it need not ask again after a kill. Each evaluation
    samples its own: one lucky sample of a version must not be compared with many others."""

    def known(self, evaluation: str, version: str, keys: Sequence[str]) -> dict[str, str]: ...

    def keep(self, evaluation: str, version: str, answers: Mapping[str, str]) -> None: ...


class Results(Protocol):
    """What suites measured, as they come."""

    def of_suites(self, evaluation: str) -> dict[str, tuple[Estimate, ...]]: ...

    def keep_suite(self, evaluation: str, suite: str, measured: Measured) -> None:
        """Stored together with the reward model it rests on. The first result of a suite stays."""


class Progress(Protocol):
    def say(self, step: str, share: float) -> None: ...


def _to_nobody(words: str) -> None:
    """Where nobody waits for a suite."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a suite measures with. `tell` gets words on how far a suite has come."""

    policy: PolicyClient
    logprobs: LogprobModel
    scorer: RewardScorer
    answers: Answers
    results: Results
    limits: SuiteLimits
    tell: Callable[[str], None] = _to_nobody


class Session(Protocol):
    """One transaction over the evaluations: all of it or nothing."""

    def add(self, evaluation: Evaluation, request: Request) -> None:
        """Also creates its operation and its job. Changes nothing if the evaluation exists."""

    def request(self, evaluation: str) -> Request:
        """The request of a running evaluation. Raises NotFound."""

    def evaluation(self, evaluation: str) -> Evaluation:
        """With its examples. Raises NotFound."""

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        """Newest first, without examples; `before` is the last one's (create time, id)."""

    def show(self, evaluation: str, step: str, share: float) -> None:
        """Shows progress in its operation."""

    def finish(self, evaluation: str, now: datetime) -> None:
        """Deletes its pairs and answers, ends its operation, publishes to evaluation.completed.v1, and
        enqueues its tracking."""

    def fail(self, evaluation: str, error: TrimtabError) -> None:
        """Deletes its pairs and answers, and fails its operation."""

    def set_run(self, evaluation: str, run_id: str) -> None:
        """Stores the tracker's id for it."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """Read only."""
