"""What evaluations need from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.evaluation.domain import Figure, Limits, Prompt
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
    """Figures by suite, as they come."""

    def of_suites(self, evaluation: str) -> dict[str, tuple[Figure, ...]]: ...

    def keep_suite(self, evaluation: str, suite: str, figures: Sequence[Figure]) -> None: ...

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
