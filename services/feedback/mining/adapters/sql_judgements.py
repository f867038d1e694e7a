"""What the served model said about unsure follow-ups, and what people said about the same answers, on SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.feedback.mining import codec
from services.feedback.mining.adapters.sql_pages import counted
from services.feedback.mining.adapters.sql_reads import STANDS
from services.feedback.mining.domain import Compared, Judgement, JudgementState, Label, Source
from services.feedback.mining.ports import Page
from services.feedback.tables import FEEDBACK, JUDGEMENTS
from shared.language.verdicts import FollowUpKind
from shared.state.database import Database, Transaction


class SqlJudgementReads:
    """JudgementReads. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def compared(self, tenant: str, model: str, most: int) -> list[Compared]:
        said = FEEDBACK
        same = [
            said.c[name] == JUDGEMENTS.c[name]
            for name in ("tenant", "conversation_id", "answer_turn_id", "user_id")
        ]
        wanted = (
            (JUDGEMENTS.c.tenant == tenant)
            & (JUDGEMENTS.c.model == model)
            & (JUDGEMENTS.c.state != JudgementState.ABSTAINED.value)
            & (said.c.source == Source.EXPLICIT.value)
            & said.c.abstained.is_(False)
            & (said.c.answer_turn_id != "")
            & STANDS
        )
        columns = (JUDGEMENTS.c.seq, JUDGEMENTS.c.user_id, JUDGEMENTS.c.dissatisfaction)
        times = (JUDGEMENTS.c.create_time, said.c.stored)
        query = sa.select(*columns, *times, said.c.value).join(said, sa.and_(*same)).where(wanted)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(JUDGEMENTS.c.seq).limit(most)).all()
        return _compared(rows)

    def page(self, tenant: str, before: int | None, size: int) -> Page[Judgement]:
        """Newest first, below place `before`."""
        theirs = JUDGEMENTS.c.tenant == tenant
        query = sa.select(JUDGEMENTS).where(theirs).order_by(JUDGEMENTS.c.seq.desc())
        if before is not None:
            query = query.where(JUDGEMENTS.c.seq < before)
        with self._database.read() as connection:
            total = counted(connection, JUDGEMENTS, theirs)
            rows = connection.execute(query.limit(size + 1)).all()
        after = rows[size - 1].seq if len(rows) > size else None
        return Page([_judgement(row) for row in rows[:size]], after, total)


class SqlJudgementWrites:
    """JudgementWrites within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection

    def add(self, judgement: Judgement) -> None:
        label = judgement.label
        row = {
            "feedback_id": judgement.feedback_id,
            "tenant": judgement.tenant,
            "user_id": judgement.user_id,
            "conversation_id": judgement.conversation_id,
            "answer_turn_id": judgement.answer_turn_id,
            "kind": label.kind.value,
            "probabilities": label.probabilities,
            "dissatisfaction": label.dissatisfaction,
            "reason": label.abstain_reason,
            "model": judgement.model,
            "state": judgement.state.value,
            "create_time": judgement.create_time.timestamp(),
        }
        self._connection.execute(JUDGEMENTS.insert().values(row))


def _compared(rows: Any) -> list[Compared]:
    """Several values of one answer are worth their mean, from the first on; a half says nothing."""
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.seq, []).append(row)
    known = sorted(found.values(), key=lambda of: max(of[0].create_time, min(r.stored for r in of)))
    compared = []
    for of in known:
        values = [codec.decode_mined(row.value, "").label.dissatisfaction for row in of]
        said = sum(values) / len(values)
        if said != 0.5:
            compared.append(Compared(of[0].user_id, of[0].dissatisfaction >= 0.5, said > 0.5))
    return compared


def _judgement(row: Any) -> Judgement:
    head = f"judge/{row.model}"
    return Judgement(
        row.feedback_id,
        row.tenant,
        row.user_id,
        row.conversation_id,
        row.answer_turn_id,
        Label(FollowUpKind(row.kind), row.probabilities, row.dissatisfaction, row.reason, head),
        row.model,
        JudgementState(row.state),
        datetime.fromtimestamp(row.create_time, UTC),
    )
