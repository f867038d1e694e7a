"""What is evaluated, and what comes out: figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.language.identifiers import share_of
from shared.language.messages import Message
from shared.statistics import intervals
from shared.statistics.intervals import bootstrap_mean

SUITES = ("over_refusal", "sycophancy", "win_rate", "form", "held_out_pairs")


@dataclass(frozen=True, slots=True)
class Version:
    """A model version, the name vLLM serves it under, and its adapter's folder (empty: the
    base)."""

    name: str
    served_name: str
    adapter_path: str = ""


@dataclass(frozen=True, slots=True)
class HeldOutPair:
    user_id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """`user_id` is empty for a prompt that no user wrote."""

    messages: tuple[Message, ...]
    user_id: str = ""

    @property
    def group(self) -> str:
        """Cases of one group are not independent of each other."""
        return f"user:{self.user_id}" if self.user_id else f"prompt:{self.messages[-1].text}"


@dataclass(frozen=True, slots=True)
class Figure:
    """`low` and `high` bound it at 0.95; `users` are distinct people behind `count` cases."""

    name: str
    value: float
    low: float
    high: float
    count: int
    users: int
    suite: str
    method: str


@dataclass(frozen=True, slots=True)
class Request:
    """One evaluation as asked for. `held_out` may hold pairs of users that are not: they are left
    out."""

    evaluation: str
    tenant: str
    model: Version
    champion: Version | None = None
    controls: tuple[Version, ...] = ()
    suites: tuple[str, ...] = SUITES
    held_out: tuple[HeldOutPair, ...] = ()

    @property
    def rivals(self) -> tuple[Version, ...]:
        """What is compared with the champion: the model first, then its controls."""
        return (self.model, *self.controls)

    @property
    def all_versions(self) -> tuple[Version, ...]:
        return (*self.rivals, *((self.champion,) if self.champion else ()))

    @property
    def probed(self) -> tuple[Version, ...]:
        """Who is asked the probes: the model and the champion; a control is never served."""
        return (self.model, *((self.champion,) if self.champion else ()))

    def label(self, figure: str, version: Version) -> str:
        """`figure` for the model itself, `figure@version` for others."""
        return figure if version == self.model else f"{figure}@{version.name}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished or running evaluation, as listed."""

    evaluation: str
    tenant: str
    model_version: str
    champion_version: str
    figures: tuple[Figure, ...]
    reward_model: str
    create_time: datetime
    done: bool
    mlflow_run_id: str = ""

    @property
    def name(self) -> str:
        return f"evaluations/{self.evaluation}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked, so that a whole evaluation ends within its time."""

    prompts: int = 48
    pairs: int = 32
    answer_tokens: int = 120
    refusal_tokens: int = 40
    # Of the prompts, at least this share is everyday questions: what the training was not about.
    everyday_share: float = 1 / 3


def rate(name: str, outcomes: Sequence[float], groups: Sequence[str], suite: str) -> Figure:
    """A rate of outcomes in [0, 1] (ties are halves), widened by user."""
    found = intervals.rate(outcomes, groups)
    return Figure(
        name,
        found.value,
        found.low,
        found.high,
        found.count,
        users_in(groups),
        suite,
        found.method,
    )


def mean(name: str, values: Sequence[float], groups: Sequence[str], suite: str) -> Figure:
    """A mean with a bootstrap by user; (0, 0, 0) of no values."""
    low, high = bootstrap_mean(values, groups) if values else (0.0, 0.0)
    value = sum(values) / len(values) if values else 0.0
    users = users_in(groups)
    return Figure(name, value, low, high, len(values), users, suite, "bootstrap-by-user")


def users_in(groups: Sequence[str]) -> int:
    return len({group for group in groups if group.startswith("user:")})


def sampled(pairs: Sequence[HeldOutPair], most: int) -> list[HeldOutPair]:
    """At most `most`, always the same, one of each user before a second of any."""
    order = sorted(pairs, key=lambda p: share_of(p.user_id, p.chosen + p.rejected))
    turns: dict[str, int] = {}
    ranked = []
    for place, pair in enumerate(order):
        turns[pair.user_id] = turns.get(pair.user_id, 0) + 1
        ranked.append((turns[pair.user_id], place, pair))
    return [pair for _, _, pair in sorted(ranked, key=lambda entry: entry[:2])[:most]]
