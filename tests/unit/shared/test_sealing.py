"""Sealed events: no words in what is published, opened until the owner is erased, ERASED afterwards."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.language.errors import InvalidArgument
from shared.log.events import Event, Record
from shared.log.memory import MemoryEventLog
from shared.serving.stage_api import DeadLetterServicer
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage, drain
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import SEALED_WITH, SealedEventLog
from shared.vault.sql_keyring import SqlKeyring

TIME = datetime(2026, 1, 1, tzinfo=UTC)
ANN, BEN = "tenants/a/users/ann", "tenants/a/users/ben"
WORDS = b"the marmalade is in the cupboard"


def event(number: int, owner: str = ANN, value: bytes = WORDS, **changes: object) -> Event:
    made = Event("in.v1", f"e{number}", "tenants/a/conversations/c", value, "test", TIME, {}, owner)
    return replace(made, **changes)  # type: ignore[arg-type]


class House:
    """A log with its seals, and a stage that keeps what it can read."""

    def __init__(self) -> None:
        self.inner, self.keyring = MemoryEventLog(), SqlKeyring("sqlite://")
        self.cache = CachedKeyring(self.keyring, ttl_s=1e-9)
        self.log = SealedEventLog(self.inner, self.cache)
        self.database = Database("sqlite://")
        self.kept: list[Event] = []
        self.stage = SqlStage("keep", self.database, self.log, ["in.v1"], self._keep)

    def _keep(self, record: Record, transaction: Transaction) -> None:
        if record.event.value == b"bad":
            raise InvalidArgument(f"cannot take {WORDS.decode()!r}", reason="BAD")
        transaction.count("keep", "made")
        self.kept.append(record.event)

    def erase(self, owner: str) -> None:
        self.keyring.destroy(self.keyring.close([owner]), time.time())

    def counts(self) -> dict[tuple[str, str], int]:
        return {(outcome, reason): n for _, outcome, reason, n in self.database.counts()}


@pytest.fixture
def house() -> House:
    return House()


def test_what_is_published_holds_no_words_and_comes_back_whole(house: House) -> None:
    sent = event(1, headers={"traceparent": "00-a-b-01", "note": "marmalade"})
    house.log.publish([sent])
    (raw,) = house.inner.records("in.v1")
    assert b"marmalade" not in raw.event.value
    assert raw.event.headers.keys() == {"traceparent", SEALED_WITH}
    assert "ann" not in str(raw.event)
    (back,) = house.log.consume("g", ["in.v1"]).poll(0.0)
    assert back.event == sent
    assert back.key_id == raw.event.headers[SEALED_WITH]
    assert back.unreadable == ""


def test_events_of_nobody_pass_as_they_are(house: House) -> None:
    house.log.publish([event(1, owner="")])
    assert house.inner.records("in.v1")[0].event == event(1, owner="")


def test_what_belongs_to_two_goes_with_either(house: House) -> None:
    house.log.publish([event(1, f"{ANN} {BEN}"), event(2, BEN)])
    drain(house.stage)
    assert [one.owner for one in house.kept] == [f"{ANN} {BEN}", BEN]
    house.erase(ANN)
    again = SqlStage("again", house.database, house.log, ["in.v1"], house._keep)
    drain(again)
    assert [one.id for one in house.kept[2:]] == ["e2"]


def test_the_same_words_are_sealed_differently_each_time(house: House) -> None:
    for _ in range(2):
        house.log.publish([event(1), event(2, owner=""), event(3, BEN), event(4)])
    values = [record.event.value for record in house.inner.records("in.v1")]
    nonces = {value[:12] for value in values if value != WORDS}
    assert (len(nonces), {len(nonce) for nonce in nonces}) == (6, {12})


def test_what_was_erased_counts_as_dropped_and_the_rest_goes_on(house: House) -> None:
    house.log.publish([event(1), event(2, BEN), event(3)])
    house.erase(ANN)
    drain(house.stage)
    assert [one.id for one in house.kept] == ["e2"]
    assert house.counts() == {("taken", ""): 3, ("made", ""): 1, ("dropped", "ERASED"): 2}
    assert house.inner.records("in.v1.dlq") == []


def test_an_owner_under_erasure_is_not_read_any_more(house: House) -> None:
    house.log.publish([event(1)])
    house.keyring.close([ANN])
    house.log.publish([event(2)])
    drain(house.stage)
    assert house.counts() == {("taken", ""): 2, ("dropped", "ERASED"): 2}


def test_what_was_read_before_the_erasure_is_not_kept_after_it(house: House) -> None:
    house.log.publish([event(1), event(2, BEN)])
    consumer = house.log.consume("keep", ["in.v1"])
    records = consumer.poll(0.0)
    assert [record.event.value for record in records] == [WORDS, WORDS]
    house.keyring.close([ANN])
    house.stage._take(records, Counter())
    assert [one.id for one in house.kept] == ["e2"]
    assert house.counts()["dropped", "ERASED"] == 1


def test_what_was_made_before_the_erasure_is_published_empty(house: House) -> None:
    early = event(1)
    house.log.publish([event(0)])
    house.erase(ANN)
    late = event(2)
    house.log.publish([early, late])
    values = {record.event.id: record.event.value for record in house.inner.records("in.v1")}
    assert values["e1"] == b""
    drain(house.stage)
    assert [one.id for one in house.kept] == ["e2"]
    assert house.counts() == {("taken", ""): 3, ("made", ""): 1, ("dropped", "ERASED"): 2}


def test_a_key_that_is_not_there_and_a_broken_seal_go_to_the_dead_letters(house: House) -> None:
    house.log.publish([event(1), event(2)])
    one, two = (record.event for record in house.inner.records("in.v1"))
    inner = MemoryEventLog()
    inner.publish([replace(one, headers={SEALED_WITH: "unknown"})])
    inner.publish([replace(two, value=two.value[:-1] + bytes([two.value[-1] ^ 1]))])
    log = SealedEventLog(inner, house.cache)
    stage = SqlStage("keep", house.database, log, ["in.v1"], house._keep)
    drain(stage)
    assert house.counts() == {
        ("taken", ""): 2,
        ("dropped", "UNKNOWN_KEY"): 1,
        ("dropped", "BROKEN_SEAL"): 1,
    }
    assert len(inner.records("in.v1.dlq")) == 2


def test_dead_letters_are_sealed_detail_and_all_and_die_with_their_owner(house: House) -> None:
    house.log.publish([event(1, value=b"bad")])
    drain(house.stage)
    (raw,) = house.inner.records("in.v1.dlq")
    assert raw.event.headers["dlq_reason"] == "BAD"
    assert "marmalade" not in str(raw.event.headers)
    (letter,) = house.log.read_back("in.v1.dlq").records
    assert WORDS.decode() in letter.event.headers["dlq_detail"]
    assert (letter.event.value, letter.event.owner) == (b"bad", ANN)
    house.erase(ANN)
    (letter,) = house.log.read_back("in.v1.dlq").records
    assert letter.unreadable == "ERASED"
    assert _replayed(house) == 0
    assert len(house.inner.records("in.v1")) == 1


def test_a_replayed_dead_letter_stays_sealed(house: House) -> None:
    house.log.publish([event(1, value=b"bad")])
    drain(house.stage)
    assert _replayed(house) == 1
    again = [r.event for r in house.inner.records("in.v1") if ".replay." in r.event.id]
    assert [SEALED_WITH in one.headers for one in again] == [True]


def _replayed(house: House) -> int:
    stage = house.stage.name
    servicer = DeadLetterServicer("s", house.log, {stage: ["in.v1"]})
    return servicer._replay("in.v1", frozenset({stage}))
