"""Policies: what their owners may set, and within which bounds. What is not set follows the deployment's
settings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.steps import PROMOTING, Evidence, OutOfTime, parse
from shared.language.errors import InvalidArgument
from shared.language.interests import ConflictRule, Interests
from shared.language.policies import PolicyKey
from shared.language.schedule import checked
from shared.language.suites import NEEDED, SUITES

MOST_WORDS = 2000
# The sections of a policy that may change, and the fields beside them.
SECTIONS = ("recipe", "triggers", "gate", "rollout", "interests")
CHANGEABLE = ("description", "suites", *SECTIONS)


@dataclass(frozen=True, slots=True)
class Range:
    """Of numbers. An open end does not belong to it."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        opening, closing = "(" if self.low_open else "[", ")" if self.high_open else "]"
        if self.high == math.inf:
            return f"more than {self.low:g}" if self.low_open else f"at least {self.low:g}"
        return f"in {opening}{self.low:g}, {self.high:g}{closing}"


_SHARE, _COUNT = Range(0, 1), Range(1, 1_000_000)
RANGES = {
    "recipe.learning_rate": Range(0, 0.1, low_open=True),
    "recipe.beta": Range(0, 10, low_open=True),
    "recipe.nll_weight": Range(0, 100),
    "recipe.max_steps": _COUNT,
    "recipe.batch_pairs": Range(1, 4096),
    "recipe.persona_share": _SHARE,
    "recipe.lora_rank": Range(1, 512),
    "recipe.lora_layers": Range(1, 1000),
    "recipe.replay_share": _SHARE,
    "recipe.stop_margin": Range(0, 1000, low_open=True),
    "triggers.volume_pairs": Range(0, 1_000_000_000),
    "triggers.cooldown_s": Range(0, 10 * 366 * 86_400),
    "gate.win_rate": _SHARE,
    "gate.sane_margin": _SHARE,
    "gate.pair_accuracy": _SHARE,
    "gate.pair_count": _COUNT,
    "gate.chosen_logp_change": Range(-1000, 1000),
    "gate.length_words": Range(0, 1_000_000),
    "gate.probe_margin": _SHARE,
    "gate.error": Range(0, 1, low_open=True, high_open=True),
    "rollout.canary_share": Range(0, 1, low_open=True),
    "rollout.alpha": Range(0, 1, low_open=True, high_open=True),
    "rollout.worse_by": Range(0, 1, high_open=True),
    "rollout.errors_by": Range(0, 1, high_open=True),
    "rollout.slow_times": Range(1, 1000, low_open=True),
    "rollout.slow_by": Range(0, 1, high_open=True),
    "rollout.reward_by": Range(0, 1, high_open=True),
    "rollout.min_users": _COUNT,
    "interests.margin": Range(0, 1, low_open=True, high_open=True),
    "rollout.max_s": Range(0, 10 * 366 * 86_400, low_open=True),
}
_RECIPE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
# Of fields that are words, those that may be chosen.
_CHOICES: dict[str, tuple[StrEnum, ...]] = {
    "advance_when": tuple(Evidence),
    "promote_when": PROMOTING,
    "out_of_time": tuple(OutOfTime),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    learning_rate: float | None = None
    beta: float | None = None
    nll_weight: float | None = None
    max_steps: int | None = None
    batch_pairs: int | None = None
    persona_share: float | None = None
    lora_rank: int | None = None
    train_control: bool | None = None
    lora_layers: int | None = None
    stop_margin: float | None = None
    # Of a recipe that retrain has; whether it does, retrain says.
    name: str | None = None
    replay_share: float | None = None


@dataclass(frozen=True, slots=True)
class Triggers:
    schedule: str | None = None
    volume_pairs: int | None = None
    drift: bool | None = None
    cooldown_s: float | None = None


@dataclass(frozen=True, slots=True)
class GateThresholds:
    win_rate: float | None = None
    sane_margin: float | None = None
    pair_accuracy: float | None = None
    pair_count: int | None = None
    chosen_logp_change: float | None = None
    length_words: float | None = None
    probe_margin: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class RolloutOverrides:
    canary_share: float | None = None
    alpha: float | None = None
    worse_by: float | None = None
    min_users: int | None = None
    max_s: float | None = None
    steps: str | None = None
    advance_when: str | None = None
    promote_when: str | None = None
    out_of_time: str | None = None
    errors_by: float | None = None
    slow_times: float | None = None
    slow_by: float | None = None
    reward_by: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """`base_model` is the name under which the replicas serve it."""

    key: PolicyKey
    base_model: str = ""
    description: str = ""
    recipe: Recipe = field(default_factory=Recipe)
    triggers: Triggers = field(default_factory=Triggers)
    gate: GateThresholds = field(default_factory=GateThresholds)
    rollout: RolloutOverrides = field(default_factory=RolloutOverrides)
    suites: tuple[str, ...] = ()
    interests: Interests = field(default_factory=Interests)
    create_time: datetime | None = None
    update_time: datetime | None = None
    revision: int = 0
    deleted: bool = False

    def rules(self, deployment: RolloutRules) -> RolloutRules:
        """Raises ValueError for words that `check` refuses."""
        own: dict[str, Any] = {
            name: type(_CHOICES[name][0])(value) if name in _CHOICES else value
            for name, value in _set(self.rollout)
        }
        return replace(deployment, **own)


def check(policy: Policy) -> Policy:
    """The policy. InvalidArgument names the first field whose value is out of range."""
    if len(policy.description) > MOST_WORDS:
        raise _invalid("description", f"may have {MOST_WORDS} characters")
    for section in SECTIONS:
        for name, value in _set(getattr(policy, section)):
            path = f"{section}.{name}"
            if path in RANGES and value not in RANGES[path]:
                raise _invalid(path, f"must be {RANGES[path]}, but is {value:g}")
    if unknown := set(policy.suites) - set(SUITES):
        raise _invalid("suites", f"has {min(unknown)!r}; choose from {', '.join(SUITES)}")
    if policy.suites and not set(NEEDED) <= set(policy.suites):
        raise _invalid("suites", f"must have {' and '.join(NEEDED)}, which judge every candidate")
    if policy.recipe.name and not _RECIPE.fullmatch(policy.recipe.name):
        raise _invalid(
            "recipe.name", "begins with a letter and has at most 40 of a-z, 0-9, _ and -"
        )
    _check_interests(policy.interests)
    _check_rollout(policy.rollout)
    try:
        checked(policy.triggers.schedule or "")
    except ValueError as error:
        raise _invalid("triggers.schedule", f"cannot be read: {error}") from error
    return policy


def _check_rollout(rollout: RolloutOverrides) -> None:
    for name, allowed in _CHOICES.items():
        value = getattr(rollout, name)
        if value is not None and value not in allowed:
            raise _invalid(
                f"rollout.{name}", f"has {value[:40]!r}; choose from {', '.join(allowed)}"
            )
    try:
        parse(rollout.steps or "")
    except ValueError as error:
        raise _invalid("rollout.steps", str(error)) from error


def _check_interests(interests: Interests) -> None:
    """Whoever weighs people's interests otherwise than by default says so by name; that some may lose, and why,
    in words too."""
    if interests.rule is ConflictRule.MEAN and not interests.reason.strip():
        raise _invalid(
            "interests.reason",
            f"is required for the rule {ConflictRule.MEAN}: {interests.limits}",
        )
    if interests != Interests() and not interests.actor.strip():
        raise _invalid("interests.actor", "is required, because it is recorded with the rule")
    for name in ("reason", "actor"):
        if len(getattr(interests, name)) > MOST_WORDS:
            raise _invalid(f"interests.{name}", f"may have {MOST_WORDS} characters")


def changed(policy: Policy, wanted: Policy, paths: Sequence[str]) -> Policy:
    """`policy` with the fields `paths` as in `wanted`: whole sections, or fields of them, such as
    `gate.win_rate`. InvalidArgument for a path that is none."""
    for path in paths:
        section, _, name = path.partition(".")
        if section not in CHANGEABLE or (name and section not in SECTIONS):
            raise _no_path(path)
        value = getattr(wanted, section)
        if name:
            own = getattr(policy, section)
            if name not in {one.name for one in fields(own)}:
                raise _no_path(path)
            value = replace(own, **{name: getattr(value, name)})
        policy = replace(policy, **{section: value})
    return policy


def _set(section: Any) -> Iterator[tuple[str, Any]]:
    for one in fields(section):
        if (value := getattr(section, one.name)) is not None:
            yield one.name, value


def _no_path(path: str) -> InvalidArgument:
    return InvalidArgument(
        f"{path[:60]!r} cannot be changed; what can be changed is {', '.join(CHANGEABLE)}, and the fields of "
        f"{', '.join(SECTIONS)}; for another base model, create another policy",
        reason="INVALID_MASK",
        field="update_mask",
    )


def _invalid(name: str, words: str) -> InvalidArgument:
    return InvalidArgument(f"{name} {words}", reason="OUT_OF_RANGE", field=name)
