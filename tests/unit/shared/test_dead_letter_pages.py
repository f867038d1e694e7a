"""A page of dead letters reads as much of its topic as it shows, however long the topic is."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

import pytest

from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.topics import dead_letters
from shared.log.events import Event, Page, Positions
from shared.log.memory import MemoryEventLog
from shared.serving import stage_api
from shared.serving.stage_api import DeadLetterServicer

TOPIC, TIME = "in.v1", datetime(2026, 1, 1, tzinfo=UTC)


class Noting(MemoryEventLog):
    """Notes how many records each page was made of."""

    def __init__(self) -> None:
        super().__init__(partitions=1)
        self.read: list[int] = []

    def read_back(
        self, topic: str, before: Positions | None = None, most: int = 50, key: str = ""
    ) -> Page:
        page = super().read_back(topic, before, most, key)
        self.read.append(len(page.records))
        return page


@pytest.fixture
def log() -> Noting:
    log, numbers = Noting(), count()
    log.ensure_topics([TOPIC])
    # The newest 300 are another service's.
    for stage, n in (("keeper", 1000), ("another", 300)):
        log.publish(
            [
                Event(
                    dead_letters(TOPIC), f"e{next(numbers)}", "k", b"x", stage, TIME,
                    headers={"dlq_stage": stage},
                )
                for _ in range(n)
            ]
        )  # fmt: skip
    return log


async def page(log: Noting, stage: str, token: str = "") -> pb.ListDeadLettersResponse:
    asked = pb.ListDeadLettersRequest(topic=TOPIC, page_size=10, page_token=token)
    return await DeadLetterServicer("keeper", log, {stage: [TOPIC]}).ListDeadLetters(asked, None)


async def test_a_page_reads_what_it_shows(log: Noting) -> None:
    first = await page(log, "another")
    assert [one.event_id for one in first.dead_letters] == [f"e{n}" for n in range(1299, 1289, -1)]
    second = await page(log, "another", first.next_page_token)
    assert second.dead_letters[0].event_id == "e1289"
    assert log.read == [10, 10]


async def test_among_others_letters_a_page_ends_after_so_many_and_the_next_goes_on(
    log: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_api, "_MOST_READ", 200)
    first = await page(log, "keeper")
    assert (len(first.dead_letters), sum(log.read)) == (0, 200)
    second = await page(log, "keeper", first.next_page_token)
    assert [one.event_id for one in second.dead_letters] == [f"e{n}" for n in range(999, 989, -1)]
    assert sum(log.read) == 310
