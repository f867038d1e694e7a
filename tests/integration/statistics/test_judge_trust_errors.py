"""How often the judge of unsure follow-ups is trusted, over many simulated streams of users."""

from __future__ import annotations

from math import log

import numpy as np

from services.feedback.mining.app.agreement import evidence
from services.feedback.mining.domain import Compared
from shared.statistics.intervals import wilson
from tests.integration.feedback.test_unsure import RULES_OF_100


def judged(
    random: np.random.Generator, users: int, agrees: float, spread: float = 0.1
) -> list[Compared]:
    """Users with one to four follow-ups, of whom half are easy and half are hard to judge."""
    found = []
    for user in range(users):
        own = agrees + (spread if random.random() < 0.5 else -spread)
        for _ in range(random.integers(1, 5)):
            said = bool(random.random() < 0.5)
            right = bool(random.random() < own)
            found.append(Compared(f"u{user}", said is right, said))
    return found


def test_a_judge_that_is_not_good_enough_is_hardly_ever_trusted_however_often_one_looks() -> None:
    """At every follow-up of the stream. Asked in the same way, an interval for one look lets many pass."""
    random = np.random.default_rng(0)
    streams = [judged(random, 120, agrees=0.7, spread=0.25) for _ in range(100)]
    assert sum(_ever(stream) for stream in streams) <= 5
    assert sum(_ever_by_interval(stream) for stream in streams) > 10


def _ever(stream: list[Compared]) -> bool:
    looks = range(20, len(stream) + 1, 10)
    return any(evidence(stream[:size], 0.7)[0] >= log(1 / 0.05) for size in looks)


def _ever_by_interval(stream: list[Compared]) -> bool:
    right = np.cumsum([one.judged_bad == one.said_bad for one in stream])
    looks = range(20, len(stream) + 1, 10)
    return any(wilson(int(right[size - 1]), size)[0] >= 0.7 for size in looks)


def test_a_good_judge_is_trusted_and_one_that_got_worse_no_more() -> None:
    random = np.random.default_rng(1)
    good = [judged(random, 150, agrees=0.9) for _ in range(50)]
    assert sum(RULES_OF_100.agreement(stream).trusted for stream in good) >= 40
    (stream,) = [judged(random, 300, agrees=0.95)]
    assert RULES_OF_100.agreement(stream).trusted
    worse = [replace_user(one, "later") for one in judged(random, 300, agrees=0.3)]
    assert not RULES_OF_100.agreement([*stream, *worse]).trusted


def replace_user(one: Compared, prefix: str) -> Compared:
    return Compared(f"{prefix}-{one.user_id}", one.judged_bad, one.said_bad)
