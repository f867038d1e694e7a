"""An erasure from the request to the audit record, over interaction's own state and the sealed log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.interaction.erasure.adapters.holdings import SqlHoldings
from services.interaction.erasure.adapters.remover import InteractionRemover
from services.interaction.erasure.jobs import JOB
from services.interaction.tables import CONVERSATIONS, ERASURE_CONVERSATIONS, ERASURE_KEYS, ERASURES
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import accept_feedback, accept_turn
from shared.language.errors import InvalidArgument, NotFound
from shared.language.opinions import ExplicitFeedback
from shared.language.topics import FEEDBACK_GIVEN
from shared.language.topics import USER_ERASURE_REQUESTED as TOPIC
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasing, Erasure, Requested, decode_requested, requested_event
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.stage import drain
from shared.state.tables import ERASURE_NOTES, JOBS
from tests.unit.interaction.house import LIMITS, NOW, House, said


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.say("zanzibar", "a", "my marmalade recipe", "boil the kumquats")
    made.say("ben", "b", "my umbrella broke", "mend it with tape")
    made.take()
    yield made
    made.database.close()


def test_the_words_of_the_erased_are_nowhere_and_the_others_stay(house: House) -> None:
    before = house.content()
    assert b"marmalade" in before and b"umbrella" in before
    found = house.erase("zanzibar")
    after = house.content()
    assert all(word not in after for word in (b"marmalade", b"kumquats", b"zanzibar"))
    assert b"umbrella" in after
    conversations = Conversations(SqlConversationReads(house.database))
    assert [one.user_id for one in conversations.list("local", "", 10, "").conversations] == ["ben"]
    assert conversations.list("local", 'user_id = "zanzibar"', 10, "").total == 0
    assert [report.service for report in found.reports] == ["interaction", "interaction"]
    assert found.reports[0].removals == {"turns": 2, "conversations": 1}
    assert found.reports[1].removals == {}


def test_the_audit_tells_who_and_when_and_no_user(house: House) -> None:
    found = house.erase("zanzibar")
    assert (found.actor, found.waiting_for, found.keys_destroyed) == ("ops@example.org", [], 1)
    assert found.ended >= found.created > 0
    assert found.user_id == ""
    asked = house.keys.subject("local", "zanzibar")
    assert [one.erasure for one in house.state.page("local", asked, None, 10)] == [found.erasure]
    assert house.state.page("local", house.keys.subject("local", "ben"), None, 10) == []
    with pytest.raises(NotFound):
        house.state.get("another", found.erasure)
    operation = operations.get(house.database, f"operations/erase-{found.erasure}")
    assert operation.done and operation.HasField("response")


def test_a_stage_that_comes_later_counts_what_it_can_not_read(house: House) -> None:
    house.erase("zanzibar")
    late = replace(house.stage, name="late")
    drain(late)
    counts = {(o, r): n for stage, o, r, n in house.database.counts() if stage == "late"}
    assert counts[("taken", "")] == 4
    assert counts[("dropped", "ERASED")] == 2


def test_what_comes_in_while_it_goes_on_is_erased_with_the_rest(house: House) -> None:
    house.conductor.start("local", "zanzibar", "", "")
    house.step()
    house.say("zanzibar", "c", "one more marmalade")
    house.take()
    house.run()
    assert b"marmalade" not in house.content()
    assert ("dropped", "ERASED", 1) in [(o, r, n) for _, o, r, n in house.database.counts()]


def test_what_is_said_afterwards_is_new_data_under_a_new_key(house: House) -> None:
    house.erase("zanzibar")
    house.say("zanzibar", "d", "hello again")
    house.take()
    conversations = Conversations(SqlConversationReads(house.database))
    _, turns = conversations.get("local", "tenants/local/conversations/d")
    assert [turn.message.text for turn in turns] == ["hello again"]
    assert house.erase("zanzibar").reports[0].removals == {"turns": 1, "conversations": 1}


def test_asking_again_is_harmless_and_reports_again(house: House) -> None:
    first = house.erase("zanzibar", "r1")
    assert house.erase("zanzibar", "r1") == first
    again = house.erase("zanzibar", "r2")
    assert again.erasure != first.erasure
    assert [report.removals for report in again.reports] == [{}, {}]
    with pytest.raises(InvalidArgument, match="another user"):
        house.erase("ben", "r1")


def test_asking_while_it_goes_on_gives_the_same_one(house: House) -> None:
    first = house.conductor.start("local", "zanzibar", "", "r1")
    assert house.conductor.start("local", "zanzibar", "", "r2") == first
    assert house.conductor.start("local", "ben", "", "r3") != first


def test_a_service_that_is_stopped_in_the_middle_goes_on_and_counts_once(house: House) -> None:
    house.remover.breaks = 2
    found = house.erase("zanzibar")
    assert found.reports[0].removals == {"turns": 2, "conversations": 1}
    assert b"marmalade" not in house.content()


def test_it_is_not_complete_before_everybody_has_reported(tmp_path: Path) -> None:
    house = House(tmp_path, ("interaction", "reward"))
    house.say("zanzibar", "a", "my marmalade recipe")
    house.take()
    found = house.erase("zanzibar")
    assert (found.waiting_for, found.ended, found.user_id) == (["reward"], 0.0, "zanzibar")
    reward = Database("sqlite://")
    other = Erasing("reward", reward, house.log, Nothing())
    for _ in range(2):
        drain(other.stage())
        assert other.worker().run_once()
        drain(other.stage())
        house.run()
    found = house.state.get("local", found.erasure)
    assert (found.waiting_for, found.ended > 0) == ([], True)
    assert house.inner.records("user.erasure_requested.v1")[0].event.value.find(b"zanzibar") == -1
    house.database.close()


class Nothing(InteractionRemover):
    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        return {}


def test_feedback_that_names_nobody_goes_with_whom_it_is_about(house: House) -> None:
    given = ExplicitFeedback(
        "", True, completion_id="chatcmpl-a-1", comment="the marmalade was bad"
    )
    house.log.publish([event_of(accept_feedback(given, "local", NOW, LIMITS))])
    found = house.erase("zanzibar")
    assert found.keys_destroyed == 2
    (record,) = house.log.consume("late", [FEEDBACK_GIVEN]).poll(0.0)
    assert record.unreadable == "ERASED"


def test_others_keep_what_they_said_in_a_shared_conversation(house: House) -> None:
    turns = [said("zanzibar", "s", 0, "marmalade?"), said("ben", "s", 2, "no, umbrella")]
    house.log.publish([event_of(accept_turn(turn, "local", NOW, LIMITS)) for turn in turns])
    house.take()
    house.erase("zanzibar")
    conversations = Conversations(SqlConversationReads(house.database))
    conversation, left = conversations.get("local", "tenants/local/conversations/s")
    assert [turn.message.text for turn in left] == ["no, umbrella"]
    assert (conversation.turn_count, conversation.user_id) == (1, "ben")


def test_an_export_gives_all_turns_of_the_user(house: House) -> None:
    held = list(SqlHoldings(house.database)("local", "zanzibar"))
    assert [kind for kind, _ in held] == ["turn", "turn"]
    assert "marmalade" in str(held[0][1])
    assert list(SqlHoldings(house.database)("another", "zanzibar")) == []


def test_nothing_of_a_job_is_left(house: House) -> None:
    house.erase("zanzibar")
    with house.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(JOBS)).scalar() == 0
        assert connection.execute(sa.select(ERASURES.c.user_id)).scalars().all() == [""]
        for table in (ERASURE_CONVERSATIONS, ERASURE_KEYS, ERASURE_NOTES):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
    assert JOB not in str(house.database.counts())


def test_the_archive_is_swept_rewritten_counted_and_exported(tmp_path: Path) -> None:
    house = House(tmp_path / "house")
    archive = Archive(house.database, str(tmp_path / "archive"))
    house.remover._archive = archive
    house.say("zanzibar", "a", "my marmalade recipe", "boil the kumquats")
    house.say("ben", "b", "my umbrella broke")
    house.take()
    assert archive.archive_once() == 3
    stray = tmp_path / "archive" / "tenant=local" / "stray.parquet.tmp"
    stray.write_bytes(b"marmalade, half written")
    held = [kind for kind, _ in SqlHoldings(house.database, archive)("local", "zanzibar")]
    assert held == ["turn", "turn", "archived_turn", "archived_turn"]
    found = house.erase("zanzibar")
    assert found.reports[0].removals == {"turns": 2, "conversations": 1, "archive": 2}
    assert not stray.exists()
    assert list(archive.rows_of("local", "zanzibar")) == []
    assert [row["text"] for row in archive.rows_of("local", "ben")] == ["my umbrella broke"]
    house.database.close()


def test_a_user_of_many_conversations_is_asked_for_in_parts(tmp_path: Path) -> None:
    """Each event stays small, and a service begins once it has heard all of them."""
    house = House(tmp_path, ("interaction", "reward"))
    names = [f"conversation-{number:06d}" for number in range(12_000)]
    with house.database.begin() as transaction:
        row = {"tenant": "local", "user_id": "zanzibar", "channel": "grpc", "turn_count": 1}
        times = {"created_us": 1, "updated_us": 1, "listed_us": 1, "added_us": 1}
        rows = [{"conversation_id": name, **row, **times} for name in names]
        transaction.connection.execute(CONVERSATIONS.insert(), rows)
    found = house.erase("zanzibar")
    assert found.reports[0].removals == {"conversations": 12_000}
    events = [record.event for record in house.inner.records("user.erasure_requested.v1")]
    assert len(events) == 3
    assert max(len(event.value) for event in events) < 200_000
    asked = [
        decode_requested(one.event.value) for one in house.log.consume("late", [TOPIC]).poll(0.0)
    ]
    assert [(one.part, one.parts) for one in asked] == [(0, 3), (1, 3), (2, 3)]
    assert [name for one in asked for name in one.erasure.conversation_ids] == names
    seen = Listening()
    other = Erasing("reward", Database("sqlite://"), house.log, seen)
    drain(other.stage())
    assert other.worker().run_once() and not other.worker().run_once()
    assert seen.heard == [tuple(names)]
    house.database.close()


def test_a_service_waits_for_all_parts() -> None:
    log, database, seen = MemoryEventLog(), Database("sqlite://"), Listening()
    erasing = Erasing("reward", database, log, seen)
    parts = [Requested(Erasure("e1", "local", "u", (f"c{n}",)), n, 2) for n in range(2)]
    first, second = (requested_event(one, "erasures/e1") for one in parts)
    log.publish([first, first])
    drain(erasing.stage())
    assert not erasing.worker().run_once()
    log.publish([second])
    drain(erasing.stage())
    assert erasing.worker().run_once()
    assert seen.heard == [("c0", "c1")]
    drain(erasing.stage())
    with database.read() as connection:
        assert (
            connection.execute(sa.select(sa.func.count()).select_from(ERASURE_NOTES)).scalar() == 0
        )


class Listening(Nothing):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, ...]] = []

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        self.heard.append(erasure.conversation_ids)
        return {}
