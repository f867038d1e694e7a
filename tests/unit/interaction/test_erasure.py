"""An erasure from the request to the audit record, over interaction's own state and the sealed log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.interaction.erasure.adapters.audit import SqlErasureState, SqlErasureWriter
from services.interaction.erasure.adapters.holdings import SqlHoldings
from services.interaction.erasure.adapters.remover import InteractionRemover
from services.interaction.erasure.adapters.user_keys import KeyringUserKeys
from services.interaction.erasure.app import Conductor
from services.interaction.erasure.domain import Audit
from services.interaction.erasure.jobs import JOB, steps
from services.interaction.erasure.stages import reports
from services.interaction.tables import ERASURES, TABLES
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.search import SqlSearchIndex
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.codec import event_of
from services.interaction.turns.domain.acceptance import Limits, accept_feedback, accept_turn
from services.interaction.turns.stages import STAGE, TurnKeeper
from shared.language.errors import InvalidArgument, NotFound
from shared.language.messages import text_message
from shared.language.opinions import ExplicitFeedback
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasing, Erasure, Scrubbed
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import Worker
from shared.state.stage import SqlStage, drain
from shared.state.tables import JOBS
from shared.vault.keyring import CachedKeyring
from shared.vault.sealing import SealedEventLog
from shared.vault.sql_keyring import SqlKeyring

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits()


class Failing(InteractionRemover):
    """Breaks in the middle as often as it is told to: like a kill, all that is kept is in SQL."""

    breaks = 0

    def remove_files(self, erasure: Erasure) -> None:
        if self.breaks:
            self.breaks -= 1
            raise OSError("killed in the middle")
        super().remove_files(erasure)


class House:
    def __init__(self, folder: Path, services: tuple[str, ...] = ("interaction",)) -> None:
        self.folder = folder
        self.database = Database(f"sqlite:///{folder / 'state.db'}", TABLES)
        self.inner = MemoryEventLog()
        self.keyring = CachedKeyring(SqlKeyring(f"sqlite:///{folder / 'keys.db'}"), ttl_s=1e-6)
        self.log = SealedEventLog(self.inner, self.keyring)
        keeper = TurnKeeper(SqlTurnWriter, LIMITS, lambda: NOW)
        self.stage = SqlStage(
            STAGE,
            self.database,
            self.log,
            (INTERACTION_LOGGED,),
            keeper,
            handle_all=keeper.take_all,
        )
        self.remover = Failing()
        self.state = SqlErasureState(self.database)
        self.keys = KeyringUserKeys(self.keyring, self.database, time.time)
        self.conductor = Conductor(self.state, self.keys, services, time.time)
        self.erasing = Erasing("interaction", self.database, self.log, self.remover)

    def say(self, user: str, conversation: str, *texts: str) -> None:
        turns = [said(user, conversation, index, text) for index, text in enumerate(texts)]
        accepted = [accept_turn(turn, "local", NOW, LIMITS) for turn in turns]
        self.log.publish([event_of(turn) for turn in accepted])

    def take(self) -> None:
        drain(self.stage)
        while SqlSearchIndex(self.database).index_once():
            pass

    def step(self) -> bool:
        """All that can be done now; False if it was nothing."""
        stages = (self.erasing.stage(), self._reports())
        workers = (self._steps(), self.erasing.worker())
        worked = [Scrubbed(self.database, worker).once() for worker in workers]
        with self.database.begin() as transaction:  # nobody waits in a test
            transaction.connection.execute(JOBS.update().values(run_after=0.0))
        return any([*worked, *[drain(stage) for stage in stages]])

    def _reports(self) -> SqlStage:
        return reports(self.conductor, self.database, self.log, SqlErasureWriter)

    def _steps(self) -> Worker:
        return steps(self.conductor, self.database, SqlErasureWriter)

    def run(self) -> None:
        while self.step():
            pass

    def erase(self, user: str, request_id: str = "") -> Audit:
        name = self.conductor.start("local", user, "ops@example.org", request_id)
        self.run()
        return self.state.get("local", name.removeprefix("operations/erase-"))

    def content(self) -> bytes:
        """Of every file, and of all that was published."""
        files = b"".join(p.read_bytes() for p in self.folder.rglob("*") if p.is_file())
        records = [r for rs in self.inner._records.values() for r in rs]
        return files + b"".join(str(record).encode() + record.event.value for record in records)


def said(user: str, conversation: str, index: int, text: str) -> Turn:
    return Turn(
        tenant="",
        conversation_id=conversation,
        index=index,
        message=text_message("assistant" if index % 2 else "user", text),
        user_id=user,
        completion_id=f"chatcmpl-{conversation}-{index}" if index % 2 else "",
        create_time=NOW - timedelta(days=1) + timedelta(minutes=index),
        channel="grpc",
    )


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
    assert (found.user_id, found.conversation_ids, found.key_ids) == ("", (), ())
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
