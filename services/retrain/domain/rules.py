"""What the settings say of triggers and runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.retrain.domain.runs import Thresholds
from services.retrain.domain.selection import Caps
from services.retrain.domain.training import TrainingPlan


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of triggers and runs."""

    caps: Caps = field(default_factory=Caps)
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    thresholds: Thresholds = field(default_factory=Thresholds)
    train_control: bool = True
    # A run started by drift waits for this many pairs to train on, at most this long. No run trains on
    # fewer than `least_pairs`.
    min_pairs: int = 60
    pairs_wait_s: float = 600.0
    least_pairs: int = 8
    # No run trains on pairs of fewer users.
    least_users: int = 5
    # A snapshot looks at this many of the newest pairs.
    pairs_looked_at: int = 5000
    cooldown_s: float = 900.0
    volume_pairs: int = 0
    max_failures: int = 3
