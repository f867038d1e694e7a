"""Two evaluation services on one database, as threads and as processes: each request is measured once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.evaluation.adapters.sql_results import SqlResults
from services.evaluation.domain import Measured
from shared.language.estimates import Estimate
from shared.language.topics import EVALUATION_COMPLETED
from shared.state.outbox import OutboxRelay
from tests.contract.state import opened
from tests.unit.evaluation.test_service import House, asked_for


@pytest.fixture
def houses(database_url: str) -> Iterator[tuple[House, House]]:
    with opened("evaluation", database_url) as one, opened("evaluation", database_url) as other:
        yield House(database=one), House(database=other)


def completed(house: House) -> int:
    OutboxRelay(house.database, house.log).relay_once()
    return len(house.log.records(EVALUATION_COMPLETED))


def test_the_same_request_to_two_at_once_is_measured_once(houses: tuple[House, House]) -> None:
    with ThreadPoolExecutor(4) as threads:
        started = [threads.submit(houses[n % 2].start, asked_for()) for n in range(8)]
        assert len({one.result() for one in started}) == 1
        performed = [threads.submit(house.worker.run_once) for house in houses]
        assert sorted(one.result() for one in performed) == [False, True]
    assert {house.policy.asked for house in houses} == {0, 88 + 3 * 24}
    assert completed(houses[0]) == 1
    counts = {outcome + reason: n for _, outcome, reason, n in houses[0].database.counts()}
    assert counts == {"taken": 1, "made" + "evaluated": 1, "waitingUNDER_WAY": 0}


def test_the_first_result_of_a_suite_stays_with_its_judge(houses: tuple[House, House]) -> None:
    houses[0].start(asked_for())
    (evaluation,) = houses[0].app.page("local", None, 1)

    def keep(n: int) -> None:
        measured = Measured((Estimate("win_rate", n / 10, 0.0, 1.0),), f"rewardModels/reward-v{n}")
        SqlResults(houses[n % 2].database).keep_suite(evaluation.evaluation, "win_rate", measured)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, range(8)))
    found = houses[1].app.get("local", evaluation.evaluation)
    (estimate,) = found.estimates
    assert found.reward_model == f"rewardModels/reward-v{round(estimate.value * 10)}"


START = """
import sys
from tests.contract.evaluation.test_many_writers import House, asked_for, opened
with opened("evaluation", sys.argv[1]) as database:
    house = House(database=database)
    for n in range(10):
        house.start(asked_for(request_id=f"r{n}", suites=["over_refusal"]))
        house.worker.run_once()
"""


def test_two_processes_measure_each_request_once(database_url: str) -> None:
    with opened("evaluation", database_url) as database:
        command = [sys.executable, "-c", START, database_url]
        processes = [subprocess.Popen(command) for _ in range(2)]
        assert [process.wait(90) for process in processes] == [0, 0]
        house = House(database=database)
        while house.worker.run_once():
            continue
        assert completed(house) == len(house.app.page("local", None, 50)) == 10
        assert all(one.done for one in house.app.page("local", None, 50))
