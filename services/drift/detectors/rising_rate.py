"""Alarms when a rate rises: an e-detector against an upper bound of the reference's rate."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from services.drift.detectors import e_detector
from services.drift.detectors.detector import ERROR, Memory, Reference

# A bound of 1 could never be exceeded.
_MOST = 0.999


class RisingRate:
    """Values are 0 or 1. `bound` is an upper bound of their rate (Clopper and Pearson), as wide as its
    users allow."""

    name = "e-shiryaev-roberts"
    direction = "up"
    is_rate = True

    def start(
        self,
        values: Sequence[float],
        users: Sequence[Hashable] | None = None,
        error: float = ERROR,
    ) -> tuple[Reference, Memory]:
        count, confidence = len(values), 1.0 - error
        bound = e_detector.clopper_pearson_upper(round(sum(values)), count, confidence)
        bound = e_detector.widened(bound, values, users, confidence)
        spread = float(np.std(values)) or 1.0
        mean = float(np.mean(values))
        reference = Reference(count, mean, spread, min(bound, _MOST), confidence)
        return reference, e_detector.remembered(e_detector.nothing_seen())

    def step(self, memory: Memory, reference: Reference, value: float, uniform: float) -> Memory:
        return e_detector.stepped(memory, value, reference.bound)

    def log_e(self, memory: Memory) -> float:
        return e_detector.log_evidence(e_detector.recalled(memory))

    def change_start(self, memory: Memory) -> int:
        return e_detector.change_start(e_detector.recalled(memory))

    def premise(self, reference: Reference, unit: str) -> str:
        return e_detector.premise("the rate", reference, unit)
