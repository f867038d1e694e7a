"""Where the turns of a conversation are in feedback: judged, waiting, or made into pairs and personas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from services.feedback.mining import codec
from services.feedback.mining.app import explicit, hindsight
from services.feedback.mining.app import follow_ups as mining
from services.feedback.mining.domain import Mined, Source
from services.feedback.pairs.codec import decode_pair
from services.feedback.pairs.domain import PAIRS as PAIRS_COUNTED
from services.feedback.pairs.domain import PairState
from services.feedback.personas.codec import decode_persona
from services.feedback.personas.domain import PERSONAS
from services.feedback.tables import (
    EXPLICIT,
    FEEDBACK,
    PAIRS,
    PENDING,
    SAID,
    TURNS,
    USERS,
)
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.identifiers import conversation_name
from shared.serving.lineage import ABSTAINED, DROPPED, MADE, WAITING, Lineage, LineageStep
from shared.state.database import Database

_PAIR_OUTCOMES = {
    PairState.PROPOSED.value: WAITING,
    PairState.KEPT.value: MADE,
    PairState.DROPPED.value: DROPPED,
    PairState.FILTERED.value: DROPPED,
}


class FeedbackLineage(Lineage):
    """shared.serving.lineage.Lineage of feedback. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        with self._database.read() as connection:
            found_in = _Conversation(connection, tenant, conversation_id)
            found = [
                *found_in.judged(),
                *found_in.not_judged(),
                *found_in.waiting_explicit(),
                *found_in.personas(),
                *found_in.pairs(),
            ]
        return [step for step in found if turn_id in ("", step.turn_id)]

    def turn_of(self, tenant: str, completion_id: str) -> tuple[str, str] | None:
        query = sa.select(TURNS.c.conversation_id, TURNS.c.turn_id).where(
            TURNS.c.tenant == tenant, TURNS.c.completion_id == completion_id
        )
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).first()
        return (row.conversation_id, row.turn_id) if row else None


_STAGES = {
    Source.FOLLOW_UP: mining.STAGE,
    Source.EXPLICIT: explicit.STAGE,
    Source.HINDSIGHT: hindsight.STAGE,
}


class _Conversation:
    """One conversation, as the tables have it."""

    def __init__(self, connection: sa.Connection, tenant: str, conversation_id: str) -> None:
        self._connection, self._tenant, self._conversation_id = connection, tenant, conversation_id
        self._name = conversation_name(tenant, conversation_id)
        self._turns = self._rows(TURNS, TURNS.c.idx)
        self._mined = self._rows(FEEDBACK, FEEDBACK.c.seq)

    def judged(self) -> Iterator[LineageStep]:
        ids = [row.feedback_id for row in self._mined]
        gone = sa.select(SAID.c.feedback_id).where(SAID.c.replaced, SAID.c.feedback_id.in_(ids))
        replaced = set(self._connection.execute(gone).scalars())
        for row in self._mined:
            yield _judged(codec.decode_mined(row.value, row.channel), row.feedback_id in replaced)

    def not_judged(self) -> Iterator[LineageStep]:
        """Answers about which nothing was said that has been judged."""
        judged = {codec.decode_mined(row.value, row.channel).answer_turn_id for row in self._mined}
        pending = {row.idx: row for row in self._rows(PENDING, PENDING.c.seq)}
        followed = {row.idx for row in self._turns if row.role == "user"}
        for row in self._turns:
            if row.role != "assistant" or row.turn_id in judged:
                continue
            waiting = pending.get(row.idx + 1)
            if waiting is not None:
                reason = "TO_JUDGE" if waiting.ready else "CONTEXT_MISSING"
                yield LineageStep(
                    mining.STAGE, row.turn_id, WAITING, reason, "its follow-up has arrived"
                )
            elif row.idx + 1 not in followed:
                yield LineageStep(mining.STAGE, row.turn_id, WAITING, "NO_FOLLOW_UP")

    def waiting_explicit(self) -> Iterator[LineageStep]:
        query = sa.select(EXPLICIT).where(
            EXPLICIT.c.tenant == self._tenant, EXPLICIT.c.conversation_id == self._conversation_id
        )
        for row in self._connection.execute(query.order_by(EXPLICIT.c.seq)):
            given = events_pb2.FeedbackGiven.FromString(row.value).feedback
            detail = "explicit feedback waits for its turn"
            time = datetime.fromtimestamp(row.arrived, UTC)
            yield LineageStep(
                explicit.STAGE,
                given.turn_id,
                WAITING,
                "TURN_MISSING",
                detail,
                given.feedback_id,
                time,
            )

    def personas(self) -> Iterator[LineageStep]:
        """Those that rest on what was said here."""
        users = {row.user_id for row in self._turns}
        query = sa.select(USERS.c.persona).where(
            USERS.c.tenant == self._tenant, USERS.c.user_id.in_(users), USERS.c.persona.is_not(None)
        )
        for row in self._connection.execute(query):
            persona = decode_persona(row.persona)
            name = f"tenants/{self._tenant}/users/{persona.user_id}/persona"
            detail = f"version {persona.version} of the user's persona rests on it"
            for turn_id in self._turns_among(persona.evidence):
                yield LineageStep(PERSONAS, turn_id, MADE, "", detail, name, persona.update_time)

    def pairs(self) -> Iterator[LineageStep]:
        for row in self._rows(PAIRS, PAIRS.c.seq):
            pair = decode_pair(row.value)
            outcome, time = _PAIR_OUTCOMES[row.state], pair.time
            reason = row.reason or ("REWARD" if outcome == WAITING else "")
            for turn_id in self._turns_among(pair.evidence) or [""]:
                yield LineageStep(
                    PAIRS_COUNTED, turn_id, outcome, reason, str(pair.source), pair.pair_id, time
                )

    def _turns_among(self, names: Sequence[str]) -> list[str]:
        """Ids of this conversation's turns: also those that feedback among `names` is about."""
        begun = f"{self._name}/turns/"
        found = [name.removeprefix(begun) for name in names if name.startswith(begun)]
        return list(dict.fromkeys(found))

    def _rows(self, table: sa.Table, order: sa.Column[int]) -> Sequence[sa.Row[tuple[object]]]:
        """Sorted here: with ORDER BY, SQLite would walk through all of the tenant's rows in that order."""
        query = sa.select(table).where(
            table.c.tenant == self._tenant, table.c.conversation_id == self._conversation_id
        )
        rows = self._connection.execute(query).all()
        return sorted(rows, key=lambda row: getattr(row, order.name))


def _judged(mined: Mined, replaced: bool) -> LineageStep:
    stage = _STAGES[mined.source]
    label = mined.label
    outcome = DROPPED if replaced else ABSTAINED if label.abstained else MADE
    return LineageStep(
        stage,
        mined.answer_turn_id,
        outcome,
        "REPLACED" if replaced else label.abstain_reason,
        f"{label.kind.value}, dissatisfaction {label.dissatisfaction:.2f}",
        mined.feedback_id,
        mined.create_time,
    )
