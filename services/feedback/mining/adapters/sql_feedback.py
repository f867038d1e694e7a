"""What is mined, on SQL (contract in mining.ports)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from services.feedback.mining.adapters.sql_turns import SqlTurns, takers_of, turn_of, turns_of
from services.feedback.mining.codec import decode_mined, encode_mined, mined_event
from services.feedback.mining.domain import Mined, Source, Standing, follow_up_id
from services.feedback.people.adapters.sql_people import column_of, groups_of
from services.feedback.tables import FEEDBACK, HEAD_LOOKS, SAID, TURNS
from shared.language.identifiers import user_name
from shared.language.verdicts import DISSATISFIED, SATISFIED, FollowUpKind
from shared.state.database import Transaction


class SqlFeedback:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._turns, self._now = SqlTurns(transaction, now), now

    def add(self, mined: Mined, *, publish: bool = True, replaced: bool = False) -> bool:
        mined = replace(
            mined,
            groups=groups_of(self._connection, mined.tenant, mined.user_id),
            kind_before=self._kind_before(mined.tenant, mined.user_id),
        )
        added = self._added(
            FEEDBACK,
            feedback_id=mined.feedback_id,
            tenant=mined.tenant,
            user_id=mined.user_id,
            conversation_id=mined.conversation_id,
            model_version=mined.model_version,
            kind=mined.label.kind.value,
            source=mined.source.value,
            abstained=mined.label.abstained,
            channel=mined.channel,
            prompt_key=mined.prompt_key,
            answer_turn_id=mined.answer_turn_id,
            groups=column_of(mined.groups),
            replaced=replaced,
            stored=self._now(),
            value=encode_mined(mined).SerializeToString(),
        )
        if added and publish:
            owners = owners_of(self._connection, mined.tenant, mined.user_id, mined.conversation_id)
            self._transaction.emit(mined_event(mined, owners))
        return added

    def alike(self, mined: Mined) -> list[Mined]:
        if not mined.prompt_key or not mined.model_version:
            return []
        same = (
            (FEEDBACK.c.tenant == mined.tenant)
            & (FEEDBACK.c.user_id == mined.user_id)
            & (FEEDBACK.c.prompt_key == mined.prompt_key)
            & (FEEDBACK.c.source != Source.HINDSIGHT.value)
            & FEEDBACK.c.model_version.not_in(("", mined.model_version))
            & FEEDBACK.c.abstained.is_(False)
            & FEEDBACK.c.replaced.is_(False)
        )
        query = sa.select(FEEDBACK).where(same).order_by(FEEDBACK.c.seq.desc()).limit(10)
        rows = self._connection.execute(query).all()
        return [one for one in (decode_mined(r.value, r.channel) for r in rows) if self._own(one)]

    def before(self, mined: Mined, most: int) -> list[Mined]:
        place = self._place(mined)
        return self._judged(mined, TURNS.c.idx < place, TURNS.c.idx.desc(), most)

    def after(self, mined: Mined, most: int) -> list[Mined]:
        place = self._place(mined)
        return self._judged(mined, TURNS.c.idx > place, TURNS.c.idx, most)

    def note_label(self, tenant: str) -> None:
        self._added(HEAD_LOOKS, tenant=tenant, looked=self._now())

    def stand(
        self, tenant: str, feedback_id: str, slot: str, said_at: float, *, replaces: bool
    ) -> Standing | None:
        row = {"feedback_id": feedback_id, "slot": slot, "said_at": said_at, "tenant": tenant}
        if not self._added(SAID, **row, replaces=replaces, replaced=False, stored=self._now()):
            return None
        place = sa.tuple_(SAID.c.said_at, SAID.c.feedback_id)
        here = sa.tuple_(sa.literal(said_at), sa.literal(feedback_id))
        later = (SAID.c.slot == slot) & SAID.c.replaces & (place > here)
        is_replaced = bool(self._connection.execute(sa.select(sa.exists().where(later))).scalar())
        replaced: list[str] = []
        if replaces:
            standing = (SAID.c.slot == slot) & SAID.c.replaced.is_(False) & (place < here)
            former = sa.select(SAID.c.feedback_id).where(standing)
            replaced = list(self._connection.execute(former).scalars())
        gone = [*replaced, *([feedback_id] if is_replaced else [])]
        if gone:
            for table in (SAID, FEEDBACK):
                update = table.update().where(table.c.feedback_id.in_(gone))
                self._connection.execute(update.values(replaced=True))
        return Standing(tuple(sorted(replaced)), is_replaced)

    def _kind_before(self, tenant: str, user_id: str) -> FollowUpKind | None:
        if not user_id:
            return None
        theirs = (FEEDBACK.c.tenant == tenant) & (FEEDBACK.c.user_id == user_id)
        query = sa.select(FEEDBACK.c.kind).where(
            theirs,
            FEEDBACK.c.kind.in_([*DISSATISFIED, *SATISFIED]),
            FEEDBACK.c.source != Source.HINDSIGHT.value,
            FEEDBACK.c.abstained.is_(False),
            FEEDBACK.c.replaced.is_(False),
        )
        kind = self._connection.execute(query.order_by(FEEDBACK.c.seq.desc()).limit(1)).scalar()
        return None if kind is None else FollowUpKind(kind)

    def _own(self, mined: Mined) -> bool:
        turn = self._turns.get(mined.tenant, mined.conversation_id, mined.answer_turn_id)
        return turn is not None and turn.user_id == mined.user_id

    def _place(self, mined: Mined) -> int:
        """Of the follow-up; before all others if it no longer exists."""
        turn = self._turns.get(mined.tenant, mined.conversation_id, mined.follow_up_turn_id)
        return turn.index if turn else -1

    def _judged(self, mined: Mined, where: Any, order: Any, most: int) -> list[Mined]:
        theirs = (TURNS.c.role == "user") & (TURNS.c.user_id == mined.user_id)
        said = turns_of(mined.tenant, mined.conversation_id).where(theirs, where)
        rows = self._connection.execute(said.order_by(order).limit(most)).all()
        ids = [follow_up_id(turn_of(row)) for row in rows]
        query = sa.select(FEEDBACK).where(FEEDBACK.c.feedback_id.in_(ids))
        found = {
            row.feedback_id: decode_mined(row.value, row.channel)
            for row in self._connection.execute(query)
        }
        return [found[one] for one in ids if one in found]

    def _added(self, table: sa.Table, **values: Any) -> bool:
        statement = self._transaction.insert(table).values(**values).on_conflict_do_nothing()
        return bool(self._connection.execute(statement).rowcount)


def owners_of(connection: sa.Connection, tenant: str, user_id: str, conversation_id: str) -> str:
    """Who said it, and whose conversation it quotes: a reviewer judges what others said."""
    users = {user_id, *takers_of(connection, tenant, conversation_id)}
    return " ".join(user_name(tenant, user) for user in sorted(users))
