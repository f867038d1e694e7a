"""How rarely the detector of changes alarms without a change, on long seeded streams."""

from __future__ import annotations

import numpy as np
import pytest

from services.drift.detectors import e_detector
from tests.unit.drift.test_detectors import bernoulli, first_alarm


def test_a_quiet_stream_of_20000_gives_no_alarm() -> None:
    values = bernoulli(0.1, 20_080, seed=3)
    bound = e_detector.clopper_pearson_upper(round(sum(values[:80])), 80)
    assert first_alarm(values[80:], bound)[0] is None


def test_false_alarms_at_the_very_bound_are_as_rare_as_promised() -> None:
    runs = [first_alarm(bernoulli(0.2, 2000, seed=seed), 0.2)[0] for seed in range(40)]
    lasted = [2000 if run is None else run for run in runs]
    assert sum(run is not None for run in runs) == 20  # of 40; 25 would be the memoryless rate
    assert np.mean(lasted) == pytest.approx(1421.65)
