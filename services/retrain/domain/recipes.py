"""Recipes: which pairs a run takes, how it trains on them, and what the gate asks, by name and version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.retrain.domain.rules import Rules
from services.retrain.domain.selection import Caps
from shared.language.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Recipe:
    """`plan`, each of `before` (stages before the plan's own) and `thresholds` are fields of TrainingPlan and
    Thresholds. What it does not set follows the policy and the deployment. `sources`: empty for all;
    `replay_share`, `praised_answers`: None where they are not set."""

    name: str
    version: int
    what: str
    sources: tuple[str, ...] = ()
    least_confidence: float = 0.0
    replay_share: float | None = None
    praised_answers: int | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Mapping[str, Any], ...] = ()
    thresholds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        return str(self.plan["objective"])

    def applied(self, rules: Rules) -> Rules:
        """What it says takes precedence over `rules`. A candidate that is trained as the control would be has
        none beside it."""
        plan = replace(rules.plan, **self.plan)
        before = tuple(replace(rules.plan, **stage).with_adapter_of(plan) for stage in self.before)
        thresholds = replace(rules.thresholds, **self.thresholds)
        return replace(
            rules,
            recipe=self.name,
            recipe_version=self.version,
            caps=self._chooses(rules.caps),
            plan=replace(plan, before=before),
            thresholds=thresholds,
            # Those of a recipe are for all its runs.
            form_strengths=(
                thresholds.strengths if "strengths" in self.thresholds else rules.form_strengths
            ),
            train_control=rules.train_control and (bool(self.before) or self.objective != "sft"),
        )

    def _chooses(self, caps: Caps) -> Caps:
        share = caps.replay_share if self.replay_share is None else self.replay_share
        praised = caps.praised_answers if self.praised_answers is None else self.praised_answers
        return replace(
            caps,
            sources=self.sources,
            least_confidence=self.least_confidence,
            replay_share=share,
            praised_answers=praised,
        )


# By name. Raises InvalidArgument (UNKNOWN_RECIPE), or (WRONG_RECIPE) naming the file and its field.
RecipeOf = Callable[[str], Recipe]


def unknown(name: str, known: Mapping[str, Recipe]) -> InvalidArgument:
    return InvalidArgument(
        f"there is no recipe {name!r}; choose from {', '.join(sorted(known)) or 'none'}",
        reason="UNKNOWN_RECIPE",
        field="recipe",
    )


def no_recipes(name: str) -> Recipe:
    """Of a house without recipes."""
    raise unknown(name, {})
