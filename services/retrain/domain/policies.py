"""Policies as the registry describes them: what each says of its runs, and what then applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.retrain.domain.rules import Rules
from shared.language.policies import PolicyKey


@dataclass(frozen=True, slots=True)
class Policy:
    """What it says of its runs: `caps`, `plan`, `thresholds` and `rules` are fields of Caps, TrainingPlan,
    Thresholds and Rules. What it does not set follows the deployment's settings."""

    key: PolicyKey
    # The name that vLLM serves its base model under.
    base_model: str = ""
    # The recipe of its runs, unless they are asked for with another one; empty: none.
    recipe: str = ""
    suites: tuple[str, ...] = ()
    caps: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)

    def effective(self, deployment: Rules) -> Rules:
        """What applies to its runs."""
        return replace(
            deployment,
            base_model=self.base_model or deployment.base_model,
            suites=self.suites,
            caps=replace(deployment.caps, **self.caps),
            plan=replace(deployment.plan, **self.plan),
            thresholds=replace(deployment.thresholds, **self.thresholds),
            **self.rules,
        )
