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

from infra.local.paths import REPO
from services.interaction.turns.adapters.archive import Archive
from services.interaction.turns.adapters.conversations import SqlConversationReads
from services.interaction.turns.adapters.retention import SqlAgedTurns
from services.interaction.turns.adapters.turn_writer import SqlTurnWriter
from services.interaction.turns.app.conversations import Conversations
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.domain.retention import Keep, Policy
from services.interaction.turns.jobs import Housekeeping
from shared.language.messages import text_message
from shared.language.turns import Turn
from shared.state.database import Database

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Archived:
    def __init__(self, url: str, folder: Path) -> None:
        revisions = REPO / "services" / "interaction" / "migrations"
        self.database, self.folder = Database(url, revisions=revisions), folder
        self.archive = Archive(self.database, str(folder))

    def store(self, *turns: Turn) -> None:
        accepted = [accept_turn(turn, turn.tenant, NOW, Limits()) for turn in turns]
        with self.database.begin() as transaction:
            SqlTurnWriter(transaction).add(accepted)

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
        policy = Policy({name.replace("everybody", "*"): rule for name, rule in rules.items()})
        Housekeeping(self.archive, SqlAgedTurns(self.database), policy, lambda: NOW, 60).once()


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
    }
    assert archived.counts() == {("archive", "taken", ""): 3, ("archive", "made", ""): 3}


@pytest.mark.parametrize("step", ["_write", "_record", "_remove"])
def test_a_kill_anywhere_leaves_each_turn_once(
    archived: Archived, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first call, or its second, the step ends as a kill would end it."""
    wanted = Counter[str]()
    for number in range(9):
        turns = [said("a", f"c{number}", 0), said("b", f"c{number}", 0)]
        archived.store(*turns)
        wanted.update(turn.message.text for turn in turns)
        calls = 0
        whole = getattr(Archive, step)

        def killed(*given: object, whole=whole) -> None:  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == 2 or step == "_remove":
                raise KeyboardInterrupt
            whole(*given)
            if step == "_record":
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Archive, step, killed)
            with suppress(KeyboardInterrupt):
                archived.keep()
        archived.archive = Archive(archived.database, str(archived.folder))  # a new process
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


def test_what_is_old_leaves_the_store_once_archived_and_the_archive_later(
    archived: Archived,
) -> None:
    archived.store(
        said("a", "old", 0, days_ago=40),
        said("a", "ends-now", 0, days_ago=40),
        said("a", "ends-now", 1),
        said("kept", "old", 0, days_ago=40),
        said("a", "ancient", 0, days_ago=400),
    )
    conversations = Conversations(SqlConversationReads(archived.database))
    archived.keep(everybody=Keep(store_days=30, archive_days=365), kept=Keep())
    listed = conversations.list("a", "", 10, "").conversations
    assert [one.conversation_id for one in listed] == ["ends-now"]
    assert conversations.list("kept", "", 10, "").total == 1
    assert sorted(archived.texts()) == ["a ends-now 0", "a ends-now 1", "a old 0", "kept old 0"]
    counts = archived.counts()
    assert counts["retention", "made", "STORE_AGE"] == 2
    assert counts["retention", "made", "ARCHIVE_AGE"] == 1
    archived.keep(everybody=Keep(store_days=30, archive_days=365), kept=Keep())
    assert archived.counts() == counts


def test_what_is_not_archived_yet_stays(archived: Archived) -> None:
    archived.store(said("a", "old", 0, days_ago=40))
    archived.archive.archive_once()
    archived.store(replace(said("a", "old", 1, days_ago=40), user_id="bob"))
    rules = Policy({"*": Keep(store_days=30)})
    house = Housekeeping(archived.archive, SqlAgedTurns(archived.database), rules, lambda: NOW, 60)
    assert house._shorten_store() == 0
    archived.archive.archive_once()
    assert house._shorten_store() == 1
