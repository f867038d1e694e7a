"""A reward model as the experiment tracker keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict

from services.reward.adapters.sql_models import weights_file
from services.reward.domain import ModelCard
from services.reward.ports import RewardModel
from shared.tracking.port import TrackedRun


def tracked_run(tenant: str, model: RewardModel) -> TrackedRun:
    card = model.card
    content = asdict(card) | {"create_time": card.create_time.isoformat()}
    return TrackedRun(
        experiment="reward",
        key=f"{tenant}/{card.name}",
        name=f"{tenant}-reward-v{card.version}",
        params={"tenant": tenant, "members": str(card.members), "pairs": str(card.pairs)},
        metrics=_metrics(card),
        artifacts={
            "reward-model.npz": weights_file(model),
            "reward-model.json": json.dumps(content, indent=1).encode(),
        },
    )


def _metrics(card: ModelCard) -> dict[str, float]:
    metrics = {
        "pairs": float(card.pairs),
        "ratings": float(card.ratings),
        "users": float(card.users),
        "held_out_pairs": float(card.held_out.count),
        "cross_fitted_accuracy": card.cross_fitted.value,
    }
    if card.held_out.count:
        metrics["held_out_accuracy"] = card.held_out.value
        metrics["held_out_accuracy_low"] = card.held_out.low
        metrics["held_out_accuracy_high"] = card.held_out.high
    if card.people:
        metrics["groups"] = float(len(card.people.groups))
        metrics["worst_group_accuracy"] = card.people.by_group_models.worst_group
        metrics["suspects"] = float(card.people.suspects)
    return metrics
