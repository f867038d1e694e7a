"""What is known of a tenant's own head of dissatisfaction: its card, and how it stood against the head
that it was to replace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.feedback.mining.app.classifier import Exchange
from services.feedback.mining.app.dissatisfaction import DissatisfactionHead
from services.feedback.mining.app.features import Floats
from shared.language.errors import InvalidArgument

Numbers = NDArray[np.int64]

PREFIX = "heads/dissatisfaction-v"
# Why a fitted head does not serve. NOT_BETTER: the interval of what it saves in log loss does not lie
# above zero; RANKS_WORSE: its AUROC may be lower than the other's by more than the margin; CAN_NOT_TELL:
# its AUROC may be no better than the least wanted.
NOT_BETTER, RANKS_WORSE, CAN_NOT_TELL = "NOT_BETTER", "RANKS_WORSE", "CAN_NOT_TELL"
# Of one that served: a newer one took its place; the shipped head that it corrects was replaced; a
# person took it back.
SUPERSEDED, OTHER_SHIPPED_HEAD, RETIRED = "SUPERSEDED", "OTHER_SHIPPED_HEAD", "RETIRED"


class HeadState(StrEnum):
    SERVING = "serving"
    # Has served.
    FORMER = "former"
    # The gate left the head before it in place.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of held-out users alone. Gains are paired, and positive where the new head is better: what it
    saves in log loss (nats a label), and how much higher its AUROC is. Intervals at `confidence`."""

    labels: int
    users: int
    confidence: float
    log_loss_before: float
    log_loss_after: float
    log_loss_gain: Interval
    auroc_before: Interval
    auroc_after: Interval
    auroc_gain: Interval
    calibration_error_before: float
    calibration_error_after: float


@dataclass(frozen=True, slots=True)
class HeadCard:
    """`shipped`: the head that it corrects; `against`: the one that it was to replace. `strength`: how
    strongly it is held to the shipped head (infinite: slope and shift alone). `labels` and `users`: what
    it was fitted on. `attempt`: how many were held against `against` by then, this one included."""

    tenant: str
    version: int
    state: HeadState
    reason: str
    shipped: str
    against: str
    strength: float
    attempt: int
    labels: int
    users: int
    figures: Figures
    create_time: datetime
    mlflow_run_id: str = ""
    mlflow_version: str = ""

    @property
    def name(self) -> str:
        return head_name(self.version)

    @property
    def promoted(self) -> bool:
        return self.state is not HeadState.REFUSED


@dataclass(frozen=True, slots=True)
class Look:
    """The last time that a tenant's labels were looked at, and what came of it: how much there was to
    fit on, and by whom to judge. `reason`: as counted; empty until the first look."""

    tenant: str
    looked: datetime
    reason: str = ""
    labels: int = 0
    users: int = 0
    held_out_users: int = 0


@dataclass(frozen=True, slots=True)
class HeadLabel:
    """`place` grows in the order in which labels came."""

    user_id: str
    conversation_id: str
    exchange: Exchange
    bad: float
    place: int


@dataclass(frozen=True, slots=True)
class Stand:
    """What serves now: its name, its head, how many were held against it, and the place of the newest
    label that any head of the tenant's was fitted on."""

    name: str
    head: DissatisfactionHead
    attempts: int = 0
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Correction:
    """`columns` [k] of the head's inputs that have a weight of their own in `weights` [k]; all others
    keep the shipped one."""

    slope: float
    shift: float
    columns: Numbers
    weights: Floats

    def logits(self, rows: Any, shipped: Floats) -> Floats:
        """[n], of the inputs [n, all columns] (scipy sparse) and the shipped head's logits [n]."""
        own = rows[:, self.columns] @ self.weights if len(self.columns) else 0.0
        return np.asarray(self.slope * shipped + self.shift + own)

    def of(self, shipped: DissatisfactionHead) -> DissatisfactionHead:
        weights = self.slope * shipped.weights
        weights[self.columns] += self.weights
        bias = self.slope * shipped.bias + self.shift
        return DissatisfactionHead(weights, bias, shipped.mean, shipped.scale)


def head_name(version: int) -> str:
    return f"{PREFIX}{version}"


def version_of(name: str) -> int:
    """Raises InvalidArgument for what is not the name of a head."""
    number = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or not number.isdecimal():
        raise InvalidArgument(
            f"{name!r} is not the name of a head (such as {PREFIX}1): see `trimtab feedback heads`",
            reason="INVALID_NAME",
            field="name",
        )
    return int(number)
