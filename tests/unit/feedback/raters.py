"""Users who follow up on answers and judge them by thumbs, for heads of a tenant's own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from services.feedback.heads.app.refit import FIT_JOB, TRACK_JOB
from services.feedback.tables import HEAD_LOOKS
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.splits import is_held_out
from shared.language.times import now
from shared.language.topics import FEEDBACK_MINED
from shared.state.database import Database
from shared.state.jobs import Job, Worker
from shared.state.stage import drain
from shared.state.tables import JOBS
from tests.unit.feedback.house import House

TALKS = 2
V1, MODEL = "heads/dissatisfaction-v1", "dissatisfaction-local"
BAD, GOOD = "No, too long, shorter please.", "Perfect, thanks a lot!"
SETTINGS: dict[str, Any] = {
    "heads_schedule": "* * * * *",
    "heads_min_labels": 40,
    "heads_min_users": 10,
    "heads_min_held_out_users": 5,
    "heads_new_labels": 10,
}
# Whether the user's thumb is up, by their number and whether they complained.
Thumb = Callable[[int, bool], bool]


def honest(number: int, complained: bool) -> bool:
    return not complained


def reversed_(number: int, complained: bool) -> bool:
    return complained


def noisy(number: int, complained: bool) -> bool:
    return number * 7919 % 13 < 6


def turned_house(database: Database | None = None, **settings: Any) -> House:
    """A tenant whose users' thumbs say the reverse of the shipped head. It is made once, and then
    again from what was there: a hundred and twenty turns and thumbs take most of a second."""
    stored, records, committed = _turned()
    house = house_of(database, **settings)
    with house.database.engine.connect() as connection:
        _copy(stored, connection.connection.driver_connection)
    with house.database.begin() as transaction:  # looked at now, not when it was made
        looked = HEAD_LOOKS.update().values(looked=now().timestamp())
        transaction.connection.execute(looked)
    house.log._records.update({place: list(own) for place, own in records.items()})
    house.log._committed.update(committed)
    return house


def _copy(stored: bytes, driver: Any) -> None:
    """Into a database in memory or in a file, over what is there."""
    with closing(sqlite3.connect(":memory:")) as source:
        source.deserialize(stored)
        source.backup(driver)


@cache
def _turned() -> tuple[bytes, Any, Any]:
    """The database, and the log with how far it was read."""
    house = house_of()
    rate(house, reversed_, range(40))
    with house.database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        return driver.serialize(), house.log._records, house.log._committed


def house_of(database: Database | None = None, **settings: Any) -> House:
    """With the real classifier on hashed words."""
    made = House(database, **{**SETTINGS, **settings})
    judge_for_real(made)
    return made


def judge_for_real(house: House) -> None:
    object.__setattr__(house.parts.judge.judge, "classifier", house.parts.classifier)


def not_held_out(numbers: range) -> list[int]:
    """Of users whom no gate looks at."""
    return [number for number in numbers if not is_held_out("local", f"u{number}")]


def rate(
    house: House, thumb: Thumb, users: Iterable[int], talks: int = TALKS, batch: str = "c"
) -> None:
    """Each user complains in half of their conversations, and thumbs each first answer."""
    for user in users:
        for talk in range(talks):
            complained, name = talk % 2 == 0, f"{batch}{user}-{talk}"
            said = BAD if complained else GOOD
            house.chat_with(f"u{user}", name, f"What is number {talk}?", "It is 7.", said)
            given = common.ExplicitFeedback(
                feedback_id=f"f-{name}",
                tenant="local",
                completion_id=f"{name}-1",
                thumbs_up=thumb(user * talks + talk, complained),
            )
            house.give(given)
    drain(house.parts.turns)
    drain(house.parts.explicit)
    while house.parts.judge.once() + house.parts.sweep.once():
        continue
    while house.parts.relay.relay_once():
        continue


def look(house: House) -> int:
    """As the schedule does when a minute has passed; how many fits it asked for."""
    schedule = house.parts.head_schedule
    return replace(schedule, clock=lambda: now() + timedelta(minutes=2)).once()


def fits(house: House) -> Worker:
    return house.parts.head_workers[FIT_JOB]


def tracks(house: House) -> Worker:
    return house.parts.head_workers[TRACK_JOB]


def refit(house: House) -> str:
    """Looks, fits, tells the tracker; what the look came to."""
    look(house)
    assert fits(house).run_once()
    while tracks(house).run_once():
        continue
    found = house.parts.heads.look("local")
    assert found is not None
    return found.reason


def mined(house: House) -> list[events.FeedbackMined]:
    """What was published of follow-ups."""
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    return [one for one in found if one.source == events.FEEDBACK_SOURCE_FOLLOW_UP]


def job_of(house: House) -> Job:
    """The fit that waits."""
    with house.database.read() as connection:
        (row,) = connection.execute(sa.select(JOBS).where(JOBS.c.kind == FIT_JOB)).all()
    return Job(row.id, row.kind, json.loads(row.payload), row.attempts)
