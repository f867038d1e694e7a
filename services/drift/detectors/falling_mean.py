"""Alarms when the mean of unbounded values falls: an e-detector on values squashed to [0, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import exp

import numpy as np

from services.drift.detectors import e_detector
from services.drift.detectors.detector import ERROR, Memory, Reference

# A bound of 1 could never be exceeded.
_MOST = 0.999


class FallingMean:
    """Values are squashed by 1 - 1/(1 + exp(-(v - mean)/std)), with the reference's own mean and std: high
    when the value is low. `bound` is an upper bound of that (Hoeffding), as wide as its users allow."""

    name = "e-shiryaev-roberts"
    direction = "down"
    is_rate = False

    def start(
        self,
        values: Sequence[float],
        users: Sequence[Hashable] | None = None,
        error: float = ERROR,
    ) -> tuple[Reference, Memory]:
        count, mean, std = len(values), float(np.mean(values)), float(np.std(values)) or 1.0
        squashed = [squashed_down(value, mean, std) for value in values]
        confidence = 1.0 - error
        bound = e_detector.hoeffding_upper(float(np.mean(squashed)), count, confidence)
        bound = e_detector.widened(bound, squashed, users, confidence)
        reference = Reference(count, mean, std, min(bound, _MOST), confidence)
        return reference, e_detector.remembered(e_detector.nothing_seen())

    def step(self, memory: Memory, reference: Reference, value: float, uniform: float) -> Memory:
        squashed = squashed_down(value, reference.mean, reference.std)
        return e_detector.stepped(memory, squashed, reference.bound)

    def log_e(self, memory: Memory) -> float:
        return e_detector.log_evidence(e_detector.recalled(memory))

    def change_start(self, memory: Memory) -> int:
        return e_detector.change_start(e_detector.recalled(memory))

    def premise(self, reference: Reference, unit: str) -> str:
        return e_detector.premise("1 - squashed reward", reference, unit)


def squashed_down(value: float, mean: float, std: float) -> float:
    """In [0, 1], high when the value is low."""
    return 1.0 / (1.0 + exp(min(max((value - mean) / std, -500.0), 500.0)))
