"""The search index: FTS5 in SQLite, tsvector with GIN in PostgreSQL.

Both hold the words as `domain.words.words_of` cuts them, so that they give the same answers. The table
`turn_words` is made by a migration, as no metadata can describe it. SQLite's keeps no text of its own, so a row
is deleted by giving its words again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.interaction.tables import SEARCHED, TABLES, TURNS
from services.interaction.turns.adapters.sequence import newest_settled
from services.interaction.turns.domain.words import Phrase, words_of
from shared.contracts.messages import decode_message
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.messages import content_of
from shared.state.database import Database, Transaction

_BATCH = 500
_FURTHEST = 16_383  # tsvector's last position


class SqlSearchIndex:
    """Owns the index; used by one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def index_once(self) -> int:
        """Indexes a batch; how many turns."""
        with self._database.read() as connection:
            position = _position(connection)
            if not connection.execute(sa.select(TURNS.c.seq).where(TURNS.c.seq > position)).first():
                return 0
        with self._database.begin() as transaction:
            newest = newest_settled(transaction)
        with self._database.read() as connection:
            query = sa.select(TURNS.c.seq, TURNS.c.body).where(
                TURNS.c.seq > position, TURNS.c.seq <= newest
            )
            rows = connection.execute(query.order_by(TURNS.c.seq).limit(_BATCH)).all()
        words = {row.seq: turn_words(row.body) for row in rows}
        if not words:
            return 0
        with self._database.begin() as transaction:
            if _position(transaction.connection) != position:
                return 0  # another replica was here first
            there = sa.select(TURNS.c.seq).where(TURNS.c.seq.in_(words))
            left = set(transaction.connection.execute(there).scalars())
            _add(transaction, {seq: said for seq, said in words.items() if seq in left})
            _advance(transaction, max(words))
        return len(words)


def forget_words(transaction: Transaction, turns: Sequence[tuple[int, bytes]]) -> None:
    """Removes turns (seq, body) from the index; call it in the transaction that deletes them."""
    connection = transaction.connection
    if connection.dialect.name == "postgresql":
        gone = sa.text("DELETE FROM turn_words WHERE seq = ANY(:seqs)")
        connection.execute(gone, {"seqs": [seq for seq, _ in turns]})
        return
    position = _position(connection)
    rows = [
        {"seq": seq, "words": " ".join(turn_words(body))} for seq, body in turns if seq <= position
    ]
    if rows:
        delete = "INSERT INTO turn_words (turn_words, rowid, words) VALUES ('delete', :seq, :words)"
        connection.execute(sa.text(delete), rows)


def purge_words(transaction: Transaction) -> None:
    """Rewrites SQLite's index without what was removed; until then the words are still in older segments.
    PostgreSQL vacuums by itself."""
    if transaction.connection.dialect.name == "sqlite":
        transaction.connection.execute(
            sa.text("INSERT INTO turn_words (turn_words) VALUES ('optimize')")
        )


def matching(phrases: Sequence[Phrase], dialect: str) -> sa.ColumnElement[bool]:
    """The turns in which every phrase occurs."""
    if dialect == "postgresql":
        found = sa.text("SELECT seq FROM turn_words WHERE words @@ CAST(:asked AS tsquery)")
        asked = " & ".join(_tsquery(phrase) for phrase in phrases)
    else:
        found = sa.text("SELECT rowid AS seq FROM turn_words WHERE turn_words MATCH :asked")
        asked = " ".join(_fts5(phrase) for phrase in phrases)
    seqs = found.bindparams(asked=asked).columns(sa.column("seq", sa.BigInteger))
    return TURNS.c.seq.in_(sa.select(seqs.subquery().c.seq))


DDL = {
    "sqlite": (
        "CREATE VIRTUAL TABLE turn_words USING fts5("
        "words, content='', tokenize='unicode61 remove_diacritics 0')",
    ),
    "postgresql": (
        "CREATE TABLE turn_words (seq BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX turn_words_by_word ON turn_words USING gin (words)",
    ),
}


# For databases whose tables are made without migrations.
for _dialect, _statements in DDL.items():
    for _statement in _statements:
        _ddl: Any = sa.DDL(_statement)  # type: ignore[no-untyped-call]
        sa.event.listen(TABLES, "after_create", _ddl.execute_if(dialect=_dialect))


def turn_words(body: bytes) -> list[str]:
    return words_of(content_of(decode_message(pb.Turn.FromString(body).message)))


def _add(transaction: Transaction, words: dict[int, list[str]]) -> None:
    if not words:
        return
    if transaction.connection.dialect.name == "postgresql":
        insert = "INSERT INTO turn_words (seq, words) VALUES (:seq, CAST(:words AS tsvector))"
        rows = [{"seq": seq, "words": _tsvector(said)} for seq, said in words.items()]
    else:
        insert = "INSERT INTO turn_words (rowid, words) VALUES (:seq, :words)"
        rows = [{"seq": seq, "words": " ".join(said)} for seq, said in words.items()]
    transaction.connection.execute(sa.text(insert), rows)


def _position(connection: sa.Connection) -> int:
    return connection.execute(sa.select(SEARCHED.c.seq)).scalar_one_or_none() or 0


def _advance(transaction: Transaction, seq: int) -> None:
    insert = transaction.insert(SEARCHED).values(only=1, seq=seq)
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["only"], set_={"seq": seq})
    )


def _tsvector(words: Sequence[str]) -> str:
    places: dict[str, list[str]] = {}
    for place, word in enumerate(words, start=1):
        places.setdefault(word, []).append(str(min(place, _FURTHEST)))
    return " ".join(f"'{word}':{','.join(at[:255])}" for word, at in places.items())


def _tsquery(phrase: Phrase) -> str:
    said: list[Any] = [f"'{word}'" for word in phrase.words]
    if phrase.prefix:
        said[-1] += ":*"
    return "(" + " <-> ".join(said) + ")"


def _fts5(phrase: Phrase) -> str:
    """Quoted, so that no character in it is syntax."""
    said = '"' + " ".join(phrase.words) + '"'
    return f"{said} *" if phrase.prefix else said
