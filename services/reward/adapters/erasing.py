"""What the reward service holds about a user, how it is erased, and which models were trained on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.reward.adapters.sql_waiting import change_waiting
from services.reward.app.taking import ANSWERS, WAITS
from services.reward.app.training import TRAIN_JOB
from services.reward.domain import model_name
from services.reward.people.codec import held, read_membership
from services.reward.tables import (
    DUE,
    JUDGEMENTS,
    MEMBERS,
    MEMBERSHIP_VERSIONS,
    MEMBERSHIPS,
    MODELS,
    PAIRS,
    PROGRESS,
    RATINGS,
    REQUESTS,
    UNSCORED,
)
from shared.language.splits import is_held_out
from shared.log.events import ERASED
from shared.privacy.erasure import (
    Erasure,
    Rows,
    Survey,
    delete_rows,
    of_user,
    of_user_or_conversation,
    parts,
)
from shared.privacy.holdings import Held
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue
from shared.state.tables import JOBS

_ROWS = (
    Rows("pairs", PAIRS, of_user_or_conversation(PAIRS)),
    Rows("ratings", RATINGS, of_user_or_conversation(RATINGS)),
    Rows("judgements", JUDGEMENTS, of_user_or_conversation(JUDGEMENTS)),
    Rows("memberships", MEMBERSHIPS, of_user(MEMBERSHIPS)),
    Rows("membership_versions", MEMBERSHIP_VERSIONS, of_user(MEMBERSHIP_VERSIONS)),
    Rows("members", MEMBERS, of_user(MEMBERS)),
    Rows("memberships_due", DUE, of_user(DUE)),
    Rows("requests", REQUESTS, of_user_or_conversation(REQUESTS)),
    Rows("unscored_answers", UNSCORED, of_user_or_conversation(UNSCORED)),
)
# What counts towards the next training. Judged answers do not, but groups of people are learnt from them.
_COUNTED = (PAIRS, RATINGS)
_HELD = (
    ("pair", PAIRS),
    ("rating", RATINGS),
    ("judgement", JUDGEMENTS),
    ("unscored_answer", UNSCORED),
)


class RewardRemover:
    """shared.privacy.erasure.Remover: everything is in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def survey(self, erasure: Erasure) -> Survey:
        """Names every model trained since the oldest erased item was said. A model's card does not list whose
        data it saw, so this names one model too many rather than one too few."""
        with self._database.read() as connection:
            learnt_from = _training_rows(connection, erasure, (*_COUNTED, JUDGEMENTS))
            oldest = min((row.said_at for row in learnt_from), default=None)
            query = sa.select(MODELS.c.version, MODELS.c.card).where(
                MODELS.c.tenant == erasure.tenant
            )
            models = connection.execute(query.order_by(MODELS.c.version)).all()
        if oldest is None:
            return Survey()
        since = datetime.fromtimestamp(oldest, UTC).isoformat()
        learnt = [model_name(row.version) for row in models if row.card["create_time"] >= since]
        return Survey(model_versions=learnt)

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        learnt_from = _training_rows(transaction.connection, erasure, (*_COUNTED, JUDGEMENTS))
        if learnt_from:
            counted = _training_rows(transaction.connection, erasure, _COUNTED)
            _shrink(transaction, erasure.tenant, counted)
            _train_again(transaction, erasure)
        removed = delete_rows(_ROWS, erasure, transaction)
        if count := removed["unscored_answers"]:
            change_waiting(transaction, erasure.tenant, -count)
            transaction.count(ANSWERS, "waiting", WAITS, -count)
            transaction.count(ANSWERS, "dropped", ERASED, count)
        return removed

    def remove_files(self, erasure: Erasure) -> None:
        """There are none: the tracker holds only weights and figures."""

    def holdings(self, tenant: str, user_id: str) -> Iterator[Held]:
        """Everything held about a user, for an export."""
        user = Erasure("", tenant, user_id)
        for kind, table in _HELD:
            with self._database.read() as connection:
                rows = connection.execute(sa.select(table).where(of_user(table)(user))).mappings()
                for row in rows.all():
                    yield f"reward_{kind}", {k: v for k, v in row.items() if k != "seq"}
        with self._database.read() as connection:
            query = sa.select(MEMBERSHIP_VERSIONS.c.value).where(of_user(MEMBERSHIP_VERSIONS)(user))
            values = connection.execute(query.order_by(MEMBERSHIP_VERSIONS.c.version)).scalars()
            for value in values.all():
                yield "membership_version", held(read_membership(value))


def _training_rows(
    connection: sa.Connection, erasure: Erasure, tables: Sequence[sa.Table]
) -> list[Any]:
    """(seq, said_at, is_pair) of training data; held-out data is not included."""
    found: dict[tuple[int, str], Any] = {}
    for table in tables:
        for part in parts(erasure):
            columns = (table.c.seq, table.c.user_id, table.c.said_at)
            is_pair = sa.literal(table is PAIRS).label("is_pair")
            query = sa.select(*columns, is_pair).where(of_user_or_conversation(table)(part))
            for row in connection.execute(query):
                if not is_held_out(erasure.tenant, row.user_id):
                    found[row.seq, table.name] = row
    return list(found.values())


def _shrink(transaction: Transaction, tenant: str, gone: list[Any]) -> None:
    """Lowers the amount of training data."""
    pairs = sum(bool(row.is_pair) for row in gone)
    less = {"data": PROGRESS.c.data - len(gone), "pairs": PROGRESS.c.pairs - pairs}
    transaction.connection.execute(
        PROGRESS.update().where(PROGRESS.c.tenant == tenant).values(less)
    )


def _train_again(transaction: Transaction, erasure: Erasure) -> None:
    """A training under way may have read what is erased: its job is withdrawn, so that its model is not kept,
    and a new one is enqueued."""
    rows = transaction.connection.execute(sa.select(JOBS).where(JOBS.c.kind == TRAIN_JOB)).all()
    for row in rows:
        payload = json.loads(row.payload)
        if payload["tenant"] == erasure.tenant:
            transaction.connection.execute(JOBS.delete().where(JOBS.c.id == row.id))
            enqueue(transaction, TRAIN_JOB, f"{row.id}:{erasure.erasure}", payload)
