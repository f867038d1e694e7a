"""What is evaluated, and what comes out: estimates."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil
from statistics import NormalDist

from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.language.groups import Composition
from shared.language.identifiers import share_of, stable_id
from shared.language.messages import Message
from shared.language.pairs import Pair
from shared.language.splits import is_held_out
from shared.language.suites import SUITES, judges
from shared.statistics import intervals


@dataclass(frozen=True, slots=True)
class Version:
    """A model version, the name vLLM serves it under, and its adapter's folder (empty: the
    base)."""

    name: str
    served_name: str
    adapter_path: str = ""
    # By group of people, and of everyone else, where not everyone gets its own weights.
    composition: Composition | None = field(default=None, hash=False)
    # What is appended to the system message of every prompt.
    instruction: str = ""
    # Whether the probes are asked of it although it is a control.
    is_probed: bool = False

    def served_to(self, groups: Sequence[str]) -> str:
        """The served name that answers a user of these groups of people."""
        return self.composition.answering(groups) if self.composition else self.served_name

    @property
    def speaker(self) -> str:
        """Who answers. What is the same for two versions, such as the first one and what the champion gives
        those of no group, is asked once."""
        told = f" told {stable_id(self.instruction)}" if self.instruction else ""
        return f"{self.served_name}{told}"

    @property
    def all_served(self) -> tuple[str, ...]:
        return self.composition.names if self.composition else (self.served_name,)

    def as_served(self, served: str) -> Version:
        """The version as if everyone got these weights of it."""
        if self.composition is None:
            return self
        own = served == self.served_name
        return Version(self.name if own else f"{served} in {self.name}", served)


@dataclass(frozen=True, slots=True)
class Prompt:
    """`user_id` is empty for a prompt that no user wrote; `groups` are those that the user is known to be in,
    the learnt one first."""

    messages: tuple[Message, ...]
    user_id: str = ""
    groups: tuple[str, ...] = ()

    @property
    def cluster(self) -> str:
        """Cases of the same cluster are not independent."""
        return f"user:{self.user_id}" if self.user_id else f"prompt:{self.messages[-1].text}"


@dataclass(frozen=True, slots=True)
class Request:
    """One evaluation as requested."""

    evaluation: str
    tenant: str
    model: Version
    champion: Version | None = None
    controls: tuple[Version, ...] = ()
    suites: tuple[str, ...] = SUITES
    # May contain pairs of users who are not held out; `pairs` leaves those out.
    held_out: tuple[Pair, ...] = ()
    confidence: float = 0.95

    @property
    def rivals(self) -> tuple[Version, ...]:
        """What is compared with the champion: the model first, then its controls."""
        return (self.model, *self.controls)

    @property
    def all_versions(self) -> tuple[Version, ...]:
        return (*self.rivals, *((self.champion,) if self.champion else ()))

    @property
    def probed(self) -> tuple[Version, ...]:
        """The versions that get the probes: the model, the champion, and controls that are to have them."""
        others = [one for one in self.controls if one.is_probed]
        return (self.model, *((self.champion,) if self.champion else ()), *others)

    @property
    def pairs(self) -> list[Pair]:
        """Of users that neither the policy nor a reward model has learnt from."""
        return [pair for pair in self.held_out if is_held_out(self.tenant, pair.user_id)]

    def label(self, name: str, version: Version) -> str:
        """`name` for the model itself, `name@version` for others."""
        return name if version == self.model else f"{name}@{version.name}"

    def rate(
        self,
        name: str,
        version: Version,
        outcomes: Sequence[float],
        clusters: Sequence[str],
        suite: str,
        group: str = "",
    ) -> Estimate:
        """A rate of outcomes in [0, 1] (ties are halves), widened by user; `group`: of people, if it is about
        one."""
        found = intervals.rate(outcomes, clusters, self.confidence)
        return replace(_estimate(self.label(name, version), found, clusters, suite), group=group)

    def mean(
        self,
        name: str,
        version: Version,
        values: Sequence[float],
        clusters: Sequence[str],
        suite: str,
    ) -> Estimate:
        """A mean with a bootstrap by user; (0, 0, 0) of no values."""
        found = intervals.mean(values, clusters, self.confidence)
        return _estimate(self.label(name, version), found, clusters, suite)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation as listed. `done` once it has ended, with or without success."""

    evaluation: str
    tenant: str
    model_version: str
    champion_version: str
    estimates: tuple[Estimate, ...]
    reward_model: str
    create_time: datetime
    done: bool
    mlflow_run_id: str = ""
    # Not in lists of evaluations.
    examples: tuple[Example, ...] = ()

    @property
    def name(self) -> str:
        return f"evaluations/{self.evaluation}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a suite found; `reward_model` is the one that scored its answers, if any did. `examples`: some of
    the answers, to prompts of the suite's own."""

    estimates: tuple[Estimate, ...] = ()
    reward_model: str = ""
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteLimits:
    """How much is asked, so that an evaluation ends in reasonable time."""

    # At a confidence of 0.95: see `at`.
    prompts: int = 48
    pairs: int = 32
    answer_tokens: int = 120
    refusal_tokens: int = 40
    # At least this share of the prompts is everyday questions, which the training was not about.
    everyday_share: float = 1 / 3

    def at(self, confidence: float) -> SuiteLimits:
        """The limits that keep an interval of that confidence as narrow as at 0.95: its width is
        proportional to z / sqrt(n). Never fewer than at 0.95."""
        more = max((_z(confidence) / _z(0.95)) ** 2, 1.0)
        return replace(self, prompts=ceil(self.prompts * more), pairs=ceil(self.pairs * more))


def evaluation_id(tenant: str, request_id: str) -> str:
    """The same for the same request_id; a new one if there is none."""
    return stable_id("evaluation", tenant, request_id or uuid.uuid4().hex)


def check_suites(names: Sequence[str]) -> tuple[str, ...]:
    """All suites if none is named, in the order in which they are measured. Raises InvalidArgument for an
    unknown name."""
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise InvalidArgument(
            f"suites {', '.join(unknown)} are not known; choose from: {', '.join(SUITES)}",
            reason="UNKNOWN_SUITE",
            field="suites",
        )
    return tuple(name for name in SUITES if judges(names, name))


def _estimate(
    name: str, found: intervals.Interval, clusters: Sequence[str], suite: str
) -> Estimate:
    return Estimate(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        count=found.count,
        users=len({one for one in clusters if one.startswith("user:")}),
        suite=suite,
        method=found.method,
    )


def sampled(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most `most` pairs, always the same ones, one from each user before a second from anybody."""
    order = sorted(pairs, key=lambda p: share_of(p.user_id, p.chosen.text + p.rejected.text))
    turns: dict[str, int] = {}
    ranked = []
    for place, pair in enumerate(order):
        turns[pair.user_id] = turns.get(pair.user_id, 0) + 1
        ranked.append((turns[pair.user_id], place, pair))
    return [pair for _, _, pair in sorted(ranked, key=lambda entry: entry[:2])[:most]]


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
