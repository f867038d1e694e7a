"""The archive on both databases: each turn in one part, whatever is killed; what is old goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from services.interaction.tables import ARCHIVED_USERS
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.parquet import Files
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.jobs import Housekeeping
from shared.language.messages import text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.language.turns import Turn
from shared.state.database import Database

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Archived:
    def __init__(self, url: str, folder: Path) -> None:
        revisions = REPO / "services" / "interaction" / "migrations"
        self.database, self.folder = Database(url, revisions=revisions), folder
        self.now = NOW
        self.restart()

    def restart(self) -> None:
        self.archive = Archive(self.database, str(self.folder), lambda: self.now)

    def store(self, *turns: Turn) -> None:
        accepted = [accept_turn(turn, turn.tenant, NOW, Limits()) for turn in turns]
        with self.database.begin() as transaction:
            SqlTurnWriter(transaction, lambda: self.now).add(accepted)

    def files(self) -> list[str]:
        return sorted(str(one.relative_to(self.folder)) for one in self.folder.rglob("*.parquet"))

    def texts(self) -> Counter[str]:
        """As any tool reads them, by file."""
        return Counter(
            text
            for file in self.folder.rglob("*.parquet")
            for text in pq.read_table(file, partitioning=None)["text"].to_pylist()
        )

    def counts(self) -> dict[tuple[str, str, str], int]:
        return {(stage, outcome, reason): n for stage, outcome, reason, n in self.database.counts()}

    def keep(self, **rules: Keep) -> None:
        named = {name.replace("everybody", "*"): rule for name, rule in rules.items()}
        aged, policy = SqlAgedTurns(self.database), RetentionPolicy(named)
        Housekeeping(self.archive, aged, policy, lambda: self.now).once()


@pytest.fixture
def archived(database_url: str, tmp_path: Path) -> Iterator[Archived]:
    opened = Archived(database_url, tmp_path / "archive")
    yield opened
    opened.database.close()


def said(tenant: str, conversation: str, index: int, days_ago: int = 0, user: str = "ada") -> Turn:
    return Turn(
        tenant=tenant,
        conversation_id=conversation,
        index=index,
        message=text_message("user", f"{tenant} {conversation} {index}"),
        user_id=user,
        create_time=NOW - timedelta(days=days_ago),
        metadata={"client": "test"},
    )


def test_turns_lie_by_tenant_and_day_with_all_that_they_are(archived: Archived) -> None:
    archived.store(said("a", "c", 0, 1), said("a", "c", 1), said("b", "c", 0))
    assert archived.archive.archive_once() == 3
    assert archived.archive.archive_once() == 0
    assert archived.files() == [
        "tenant=a/day=2026-03-09/part-000000000001-000000000003.parquet",
        "tenant=a/day=2026-03-10/part-000000000001-000000000003.parquet",
        "tenant=b/day=2026-03-10/part-000000000001-000000000003.parquet",
    ]
    (row,) = pq.read_table(archived.folder / archived.files()[1], partitioning=None).to_pylist()
    assert row == {
        "conversation_id": "c",
        "turn_id": row["turn_id"],
        "position": 1,
        "role": "user",
        "text": "a c 1",
        "message": row["message"],
        "user_id": "ada",
        "model_version": "",
        "completion_id": "",
        "channel": "",
        "create_time": NOW,
        "metadata": [("client", "test")],
        "signal": "",
        "replaces_turn_id": "",
        "policy": "",
    }
    assert archived.counts() == {("archive", "taken", ""): 3, ("archive", "made", ""): 3}


@pytest.mark.parametrize(
    ("owner", "step"), [(Archive, "_write"), (Archive, "_record"), (Files, "remove")]
)
def test_a_kill_anywhere_leaves_each_turn_once(
    archived: Archived, owner: type, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first call, or its second, the step ends as a kill would end it."""
    wanted = Counter[str]()
    for number in range(9):
        turns = [said("a", f"c{number}", 0), said("b", f"c{number}", 0)]
        archived.store(*turns)
        wanted.update(turn.message.text for turn in turns)
        calls = 0
        whole = getattr(owner, step)

        def killed(*given: object, whole=whole) -> object:
            nonlocal calls
            calls += 1
            if calls == 2 or step == "remove":
                raise KeyboardInterrupt
            made = whole(*given)
            if step == "_record":
                raise KeyboardInterrupt
            return made

        with monkeypatch.context() as patched:
            patched.setattr(owner, step, killed)
            with suppress(KeyboardInterrupt):
                archived.keep()
        archived.restart()
        archived.archive.sweep()
        archived.keep()
        assert archived.texts() == wanted
    assert archived.counts()["archive", "made", ""] == 18


def test_many_parts_of_a_day_become_one(archived: Archived) -> None:
    for number in range(9):
        archived.store(said("a", f"c{number}", 0))
        archived.archive.archive_once()
    archived.store(said("a", "old", 0, days_ago=3))
    archived.archive.archive_once()
    assert len(archived.files()) == 10
    assert archived.archive.compact_once() == 9
    assert archived.archive.compact_once() == 0
    assert archived.files() == [
        "tenant=a/day=2026-03-07/part-000000000010-000000000010.parquet",
        "tenant=a/day=2026-03-10/part-000000000001-000000000009.parquet",
    ]
    assert sorted(archived.texts().values()) == [1] * 10
    # Never all of it in memory.
    assert pq.read_metadata(archived.folder / archived.files()[1]).num_row_groups == 9


def test_parts_of_before_there_were_policies_are_merged_with_others(archived: Archived) -> None:
    for number in range(8):
        archived.store(replace(said("a", f"c{number}", 0), policy="support" if number else ""))
        archived.archive.archive_once()
    first = archived.folder / archived.files()[0]
    older = pq.read_table(first, partitioning=None).drop_columns(["policy"])
    pq.write_table(older, first)
    assert archived.archive.compact_once() == 8
    (whole,) = archived.files()
    rows = pq.read_table(archived.folder / whole, partitioning=None).to_pylist()
    assert [row["policy"] for row in rows] == ["", *["support"] * 7]


def test_a_user_is_taken_out_of_every_part(archived: Archived) -> None:
    archived.store(said("a", "c", 0), said("a", "c", 1, user="bob"), said("a", "d", 0, 1))
    archived.store(said("b", "c", 0))
    archived.archive.archive_once()
    assert archived.archive.count_of("a", "ada") == 2
    assert archived.archive.rewrite_without("a", "ada") == 2
    assert archived.archive.rewrite_without("a", "ada") == 0
    assert archived.texts() == {"a c 1": 1, "b c 0": 1}
    assert len(archived.files()) == 2
    assert archived.archive.sweep() == 0


def test_what_came_long_ago_leaves_the_store_once_archived_and_the_archive_later(
    archived: Archived,
) -> None:
    rules = {"everybody": Keep(store_days=30, archive_days=365), "kept": Keep(0, 0)}
    archived.now = NOW - timedelta(days=400)
    archived.store(said("a", "ancient", 0), said("kept", "old", 0))
    archived.keep(**rules)
    archived.now = NOW - timedelta(days=40)
    archived.store(said("a", "old", 0), said("a", "ends-now", 0))
    archived.keep(**rules)
    archived.now = NOW
    # What is imported now stays for its time, however old it is.
    archived.store(said("a", "ends-now", 1), said("a", "imported", 0, days_ago=4000))
    conversations = Conversations(SqlConversationReads(archived.database))
    archived.keep(**rules)
    listed = conversations.list("a", "", 10, "").conversations
    assert [one.conversation_id for one in listed] == ["ends-now", "imported"]
    assert conversations.list("kept", "", 10, "").total == 1
    assert sorted(archived.texts()) == [
        "a ends-now 0",
        "a ends-now 1",
        "a imported 0",
        "a old 0",
        "kept old 0",
    ]
    counts = archived.counts()
    assert counts["retention", "made", "STORE_AGE"] == 2
    assert counts["retention", "made", "ARCHIVE_AGE"] == 1
    archived.keep(**rules)
    assert archived.counts() == counts


def test_what_is_not_archived_yet_stays(archived: Archived) -> None:
    archived.store(said("a", "old", 0))
    archived.archive.archive_once()
    archived.store(replace(said("a", "old", 1), user_id="bob"))
    aged = SqlAgedTurns(archived.database)
    later = NOW + timedelta(days=1)
    assert aged.shorten("a", later) == 0
    archived.archive.archive_once()
    assert aged.shorten("a", NOW) == 0
    assert aged.shorten("a", later) == 1


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from now on, each time."""
    names: list[str] = []
    whole = Files.batches

    def noted(self: Files, name: str, *more: object) -> object:
        names.append(name)
        return whole(self, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Files, "batches", noted)
    return names


def test_an_erasure_and_an_export_read_the_files_that_hold_the_user(
    archived: Archived, read: list[str]
) -> None:
    for day in range(40):
        users = [f"user-{day}-{number}" for number in range(20)] + ["ada"] * (day in (7, 8))
        turns = [said("a", f"c{day}-{user}", 0, day, user) for user in users]
        archived.store(*turns)
    archived.archive.archive_once()
    assert len(archived.files()) == 40
    assert len(list(archived.archive.rows_of("a", "ada"))) == 2
    theirs = [name for name in archived.files() if "03-02" in name or "03-03" in name]
    # The filter is wrong about one in a hundred.
    assert set(theirs) <= set(read) and len(read) <= 4
    read.clear()
    assert archived.archive.rewrite_without("a", "ada") == 2
    assert set(theirs) <= set(read) and len(read) <= 8
    read.clear()
    assert archived.archive.count_of("a", "ada") == 0
    assert len(read) <= 2
    read.clear()
    assert archived.archive.count_of("a", "user-7-3") == 1
    assert 1 <= len(read) <= 3


def test_a_file_of_which_nobody_noted_the_users_is_read_once(
    archived: Archived, read: list[str]
) -> None:
    for day in range(9):
        archived.store(said("a", f"c{day}", 0, day, f"user-{day}"))
    archived.archive.archive_once()
    with archived.database.begin() as transaction:
        transaction.connection.execute(sa.delete(ARCHIVED_USERS))
    assert archived.archive.rewrite_without("a", "user-3") == 1
    assert set(read) == set(archived.files()) | {one for one in read if "03-07" in one}
    read.clear()
    assert archived.archive.rewrite_without("a", "user-3") == 0
    assert archived.archive.rewrite_without("a", "user-4") == 1
    assert len(read) <= 2
    assert sum(archived.texts().values()) == 7
