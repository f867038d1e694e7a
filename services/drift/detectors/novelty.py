"""Alarms when values no longer look like earlier ones: a conformal test of exchangeability."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from services.drift.detectors import conformal, e_detector
from services.drift.detectors.detector import ERROR, Memory, Reference

Vectors = NDArray[np.float32]


class Novelty:
    """Values are distances to the vectors of the reference, in steps of 1/RESOLUTION. There is no bound, so
    `bound` is 0."""

    name = "conformal-shiryaev-roberts"
    direction = "up"
    is_rate = False

    def start(
        self,
        values: Sequence[float],
        users: Sequence[Hashable] | None = None,
        error: float = ERROR,
    ) -> tuple[Reference, Memory]:
        reference = Reference(len(values), float(np.mean(values)), float(np.std(values)), 0.0)
        evidence = e_detector.no_evidence(len(conformal.POWERS))
        return reference, {**e_detector.remembered(evidence), "scores": {}}

    def step(self, memory: Memory, reference: Reference, value: float, uniform: float) -> Memory:
        score = round(value * conformal.RESOLUTION)
        seen = {int(one): count for one, count in memory["scores"].items()}
        p = conformal.p_value(score, seen, uniform)
        evidence = e_detector.step(e_detector.recalled(memory), conformal.log_power_bets(p))
        # JSON's keys are text.
        scores = {**memory["scores"], str(score): seen.get(score, 0) + 1}
        return {**e_detector.remembered(evidence), "scores": scores}

    def log_e(self, memory: Memory) -> float:
        return e_detector.log_evidence(e_detector.recalled(memory))

    def change_start(self, memory: Memory) -> int:
        return e_detector.change_start(e_detector.recalled(memory))

    def premise(self, reference: Reference, unit: str) -> str:
        return f"If requests after the first {reference.count} are exchangeable"


def distance(vector: NDArray[np.float32], reference: Vectors) -> float:
    """The distance of a unit vector (d,) to a reference (n, d), in steps of 1/RESOLUTION."""
    return conformal.nonconformity(vector, reference) / conformal.RESOLUTION


def distances_within(reference: Vectors) -> list[float]:
    """The distance of each vector of a reference to the others."""
    return [
        distance(vector, np.delete(reference, place, axis=0))
        for place, vector in enumerate(reference)
    ]
