"""Use cases: start an evaluation, get and list evaluations, describe one for the tracker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from services.evaluation.domain import Evaluation, Request
from services.evaluation.ports import Store
from shared.language.errors import NotFound
from shared.language.estimates import figure_name
from shared.language.policies import policy_of_version
from shared.tracking.port import TrackedRun


@dataclass(frozen=True, slots=True)
class Evaluations:
    store: Store
    clock: Callable[[], datetime]

    def start(self, request: Request) -> None:
        """Starting the same evaluation again changes nothing."""
        begun = Evaluation(
            evaluation=request.evaluation,
            tenant=request.tenant,
            model_version=request.model.name,
            champion_version=request.champion.name if request.champion else "",
            estimates=(),
            reward_model="",
            create_time=self.clock(),
            done=False,
        )
        with self.store.begin() as session:
            session.add(begun, request)

    def get(self, tenant: str, evaluation: str) -> Evaluation:
        """Raises NotFound, also if it belongs to another tenant."""
        with self.store.read() as session:
            found = session.evaluation(evaluation)
        if found.tenant != tenant:
            raise NotFound(f"there is no evaluation {evaluation!r}", field="name")
        return found

    def page(self, tenant: str, before: tuple[float, str] | None, size: int) -> list[Evaluation]:
        """Newest first; `before` is the last one's (create time, id)."""
        with self.store.read() as session:
            return session.page(tenant, before, size)


def tracked(evaluation: Evaluation) -> TrackedRun:
    metrics: dict[str, float] = {}
    for estimate in evaluation.estimates:
        name = figure_name(estimate)
        metrics[name] = estimate.value
        metrics[f"{name}.low"] = estimate.low
        metrics[f"{name}.high"] = estimate.high
    content = json.dumps([asdict(estimate) for estimate in evaluation.estimates], indent=1)
    return TrackedRun(
        # Versions of two tenants may have one name.
        experiment=f"evaluation/{evaluation.tenant}",
        key=f"{evaluation.tenant}/{evaluation.name}",
        name=f"{evaluation.model_version}-{evaluation.evaluation[:8]}",
        params={
            "model_version": evaluation.model_version,
            "champion_version": evaluation.champion_version,
            "reward_model": evaluation.reward_model,
        },
        metrics=metrics,
        tags={
            "tenant": evaluation.tenant,
            "policy": policy_of_version(evaluation.model_version),
            "model_version": evaluation.model_version,
        },
        artifacts={"figures.json": content.encode()},
    )
