"""Book on SQL: one transaction of shared.state.database (contract in app.ports)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.feedback import codec
from services.feedback.adapters.sql_rows import (
    every_turn,
    turn_of,
    turns_before,
    turns_of,
    user_at,
)
from services.feedback.adapters.sql_tables import (
    BANDS,
    FEEDBACK,
    HEAD_LOOKS,
    PAIRS,
    PENDING,
    PERSONA_VERSIONS,
    SAID,
    SPENT,
    TURNS,
    USERS,
)
from services.feedback.domain import (
    Explicit,
    Mined,
    Pair,
    PairState,
    Persona,
    Source,
    Standing,
    StoredPair,
    Turn,
    User,
    follow_up_id,
)
from shared.contracts.messages import encode_message
from shared.language.identifiers import user_name
from shared.state.database import Transaction
from shared.state.jobs import enqueue


class SqlBook:
    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._sql = transaction.connection

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None:
        self._tx.count(stage, outcome, reason, n)

    def enqueue(self, kind: str, job_id: str, payload: Mapping[str, Any]) -> bool:
        return enqueue(self._tx, kind, job_id, payload)

    def add_turn(self, turn: Turn) -> bool:
        if self.turn_at(turn.tenant, turn.conversation_id, turn.index) is not None:
            return False
        return self._added(
            TURNS,
            tenant=turn.tenant,
            conversation_id=turn.conversation_id,
            idx=turn.index,
            turn_id=turn.turn_id,
            role=turn.role,
            message=encode_message(turn.message).SerializeToString(),
            user_id=turn.user_id,
            create_time=turn.create_time.timestamp(),
            model_version=turn.model_version,
            completion_id=turn.completion_id,
            channel=turn.channel,
            arrived=time.time(),
            signal=turn.signal,
            replaces=turn.replaces,
        )

    def cut(self, turn: Turn) -> tuple[int, int]:
        known = every_turn(turn.tenant, turn.conversation_id).where(TURNS.c.turn_id == turn.turn_id)
        if self._sql.execute(known).first() is not None:
            return 0, 0
        of_turns, of_pending = (
            (table.c.tenant == turn.tenant)
            & (table.c.conversation_id == turn.conversation_id)
            & (table.c.idx >= turn.index)
            for table in (TURNS, PENDING)
        )
        self._sql.execute(TURNS.update().where(of_turns).values(replaced=True))
        waited = list(self._sql.execute(sa.select(PENDING.c.ready).where(of_pending)).scalars())
        self._sql.execute(PENDING.delete().where(of_pending))
        return waited.count(True), waited.count(False)

    def turn_at(self, tenant: str, conversation_id: str, index: int) -> Turn | None:
        query = turns_of(tenant, conversation_id).where(TURNS.c.idx == index)
        row = self._sql.execute(query).first()
        return turn_of(row) if row else None

    def turn(self, tenant: str, conversation_id: str, turn_id: str) -> Turn | None:
        query = every_turn(tenant, conversation_id).where(TURNS.c.turn_id == turn_id)
        row = self._sql.execute(query).first()
        return turn_of(row) if row else None

    def judged_alike(self, mined: Mined) -> list[Mined]:
        if not mined.prompt_key or not mined.model_version:
            return []
        gone = sa.select(SAID.c.feedback_id).where(SAID.c.replaced)
        alike = (
            (FEEDBACK.c.tenant == mined.tenant)
            & (FEEDBACK.c.user_id == mined.user_id)
            & (FEEDBACK.c.prompt_key == mined.prompt_key)
            & (FEEDBACK.c.source != Source.HINDSIGHT.value)
            & FEEDBACK.c.model_version.not_in(("", mined.model_version))
            & FEEDBACK.c.abstained.is_(False)
            & FEEDBACK.c.feedback_id.not_in(gone)
        )
        query = sa.select(FEEDBACK).where(alike).order_by(FEEDBACK.c.seq.desc()).limit(10)
        found = [codec.decode_mined(r.value, r.channel) for r in self._sql.execute(query).all()]
        return [one for one in found if self._is_own(one)]

    def judged_before(self, mined: Mined, most: int) -> list[Mined]:
        place = self._place(mined)
        return self._judged(mined, TURNS.c.idx < place, TURNS.c.idx.desc(), most)

    def judged_after(self, mined: Mined, most: int) -> list[Mined]:
        place = self._place(mined)
        return self._judged(mined, TURNS.c.idx > place, TURNS.c.idx, most)

    def turns_before(self, tenant: str, conversation_id: str, index: int, most: int) -> list[Turn]:
        return turns_before(self._sql, tenant, conversation_id, index, most)

    def find_answer(self, explicit: Explicit) -> Turn | None:
        query = sa.select(TURNS).where(
            TURNS.c.tenant == explicit.tenant, TURNS.c.role == "assistant"
        )
        if explicit.completion_id:
            query = query.where(TURNS.c.completion_id == explicit.completion_id)
        else:
            query = query.where(TURNS.c.conversation_id == explicit.conversation_id)
        if explicit.turn_id:
            query = query.where(TURNS.c.turn_id == explicit.turn_id)
        if explicit.index is not None:
            query = query.where(TURNS.c.idx == explicit.index)
        newest = (TURNS.c.replaced, TURNS.c.idx.desc())
        row = self._sql.execute(query.order_by(*newest).limit(1)).first()
        return turn_of(row) if row else None

    def last_arrival(self, tenant: str, conversation_id: str) -> float:
        query = sa.select(sa.func.max(TURNS.c.arrived)).where(
            TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id
        )
        return float(self._sql.execute(query).scalar() or 0.0)

    def add_pending(self, feedback_id: str, turn: Turn, *, ready: bool) -> None:
        self._added(
            PENDING,
            feedback_id=feedback_id,
            tenant=turn.tenant,
            conversation_id=turn.conversation_id,
            idx=turn.index,
            ready=ready,
            arrived=time.time(),
        )

    def wake_pending(self, turn: Turn, *, is_answer: bool) -> bool:
        waits = (
            (PENDING.c.tenant == turn.tenant)
            & (PENDING.c.conversation_id == turn.conversation_id)
            & (PENDING.c.idx == turn.index + 1)
            & PENDING.c.ready.is_(False)
        )
        if is_answer:
            return bool(
                self._sql.execute(PENDING.update().where(waits).values(ready=True)).rowcount
            )
        return bool(self._sql.execute(PENDING.delete().where(waits)).rowcount)

    def take_pending(self, feedback_id: str) -> bool:
        delete = PENDING.delete().where(PENDING.c.feedback_id == feedback_id)
        return bool(self._sql.execute(delete).rowcount)

    def note_turn(self, turn: Turn) -> User:
        return self._note(turn.tenant, turn.user_id, "turns")

    def note_complaint(self, tenant: str, user_id: str) -> User:
        return self._note(tenant, user_id, "complaints")

    def user(self, tenant: str, user_id: str) -> User:
        return user_at(self._sql, tenant, user_id)

    def spend(self, tenant: str, user_id: str, what: str, day: str, most: int) -> bool:
        if most <= 0:
            return False
        insert = self._tx.insert(SPENT).values(
            tenant=tenant, user_id=user_id, what=what, day=day, count=1
        )
        statement = insert.on_conflict_do_update(
            index_elements=["tenant", "user_id", "what", "day"],
            set_={"count": SPENT.c.count + 1},
            where=SPENT.c.count < most,
        )
        return bool(self._sql.execute(statement).rowcount)

    def stand(
        self, feedback_id: str, slot: str, said_at: float, *, replaces: bool
    ) -> Standing | None:
        row = {"feedback_id": feedback_id, "slot": slot, "said_at": said_at}
        if not self._added(SAID, **row, replaces=replaces, replaced=False):
            return None
        place = sa.tuple_(SAID.c.said_at, SAID.c.feedback_id)
        here = sa.tuple_(sa.literal(said_at), sa.literal(feedback_id))
        later = (SAID.c.slot == slot) & SAID.c.replaces & (place > here)
        is_replaced = bool(self._sql.execute(sa.select(sa.exists().where(later))).scalar())
        gone = [feedback_id] if is_replaced else []
        replaced: list[str] = []
        if replaces:
            standing = (SAID.c.slot == slot) & SAID.c.replaced.is_(False) & (place < here)
            replaced = list(
                self._sql.execute(sa.select(SAID.c.feedback_id).where(standing)).scalars()
            )
        if gone + replaced:
            ids = SAID.c.feedback_id.in_(gone + replaced)
            self._sql.execute(SAID.update().where(ids).values(replaced=True))
        return Standing(tuple(sorted(replaced)), is_replaced)

    def add_mined(self, mined: Mined, *, publish: bool = True) -> bool:
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
            value=codec.encode_mined(mined).SerializeToString(),
        )
        if added and publish:
            self._tx.emit(codec.mined_event(mined, self._owners(mined)))
        return added

    def note_label(self, tenant: str) -> None:
        self._added(HEAD_LOOKS, tenant=tenant, looked=time.time())

    def put_persona(self, persona: Persona, *, publish: bool = True) -> None:
        value = codec.encode_persona(persona).SerializeToString()
        self._set_persona(
            (persona.tenant, persona.user_id),
            persona=value,
            has_persona=persona.is_there,
            persona_version=persona.version,
        )
        if persona.version > 0:
            insert = self._tx.insert(PERSONA_VERSIONS).values(
                tenant=persona.tenant,
                user_id=persona.user_id,
                version=persona.version,
                value=value,
            )
            self._sql.execute(
                insert.on_conflict_do_update(
                    index_elements=["tenant", "user_id", "version"], set_={"value": value}
                )
            )
        if publish:
            self._tx.emit(codec.persona_event(persona))

    def delete_persona(self, persona: Persona) -> int:
        frozen = codec.encode_persona(persona).SerializeToString() if persona.is_frozen else None
        self._set_persona(
            (persona.tenant, persona.user_id),
            persona=frozen,
            has_persona=persona.is_there,
            persona_version=persona.version,
            persona_since=persona.update_time.timestamp(),
        )
        theirs = (PERSONA_VERSIONS.c.tenant == persona.tenant) & (
            PERSONA_VERSIONS.c.user_id == persona.user_id
        )
        gone = self._sql.execute(PERSONA_VERSIONS.delete().where(theirs)).rowcount
        self._tx.emit(codec.persona_event(persona))
        return gone

    def add_pair(self, stored: StoredPair, keys: Sequence[str] = ()) -> bool:
        pair = stored.pair
        added = self._added(
            PAIRS,
            pair_id=pair.pair_id,
            tenant=pair.tenant,
            user_id=pair.user_id,
            conversation_id=pair.conversation_id,
            source=pair.source.value,
            state=stored.state.value,
            reason=stored.reason,
            value=codec.encode_pair(pair).SerializeToString(),
        )
        if added and keys:
            whose = {"tenant": pair.tenant, "user_id": pair.user_id}
            of_pair = {**whose, "conversation_id": pair.conversation_id, "pair_id": pair.pair_id}
            self._sql.execute(BANDS.insert(), [{**of_pair, "band": key} for key in keys])
        if added and stored.state is PairState.PROPOSED:
            self._tx.emit(codec.proposed_event(pair, self._owners(pair)))
        elif added and stored.state is PairState.KEPT:
            self._tx.emit(codec.kept_event(pair, self._owners(pair)))
        return added

    def pairs_alike(self, pair: Pair, keys: Sequence[str]) -> list[Pair]:
        theirs = (BANDS.c.tenant == pair.tenant) & (BANDS.c.user_id == pair.user_id)
        alike = sa.select(BANDS.c.pair_id).where(theirs, BANDS.c.band.in_(keys))
        others = PAIRS.c.pair_id.in_(alike) & (PAIRS.c.pair_id != pair.pair_id)
        rows = self._sql.execute(sa.select(PAIRS.c.value).where(others).order_by(PAIRS.c.seq))
        return [codec.decode_pair(value) for value in rows.scalars()]

    def drop_proposed(self, pair_ids: Sequence[str], reason: str) -> int:
        waits = PAIRS.c.pair_id.in_(pair_ids) & (PAIRS.c.state == PairState.PROPOSED.value)
        update = PAIRS.update().where(waits).values(state=PairState.DROPPED.value, reason=reason)
        return self._sql.execute(update).rowcount

    def settle_pair(self, pair: Pair, state: PairState, reason: str) -> bool:
        waits = (PAIRS.c.pair_id == pair.pair_id) & (PAIRS.c.state == PairState.PROPOSED.value)
        value = codec.encode_pair(pair).SerializeToString()
        update = PAIRS.update().where(waits).values(state=state.value, reason=reason, value=value)
        changed = bool(self._sql.execute(update).rowcount)
        if changed and state is PairState.KEPT:
            self._tx.emit(codec.kept_event(pair, self._owners(pair)))
        return changed

    def _is_own(self, mined: Mined) -> bool:
        turn = self.turn(mined.tenant, mined.conversation_id, mined.answer_turn_id)
        return turn is not None and turn.user_id == mined.user_id

    def _owners(self, said: Mined | Pair) -> str:
        """Who said it, and whose conversation it quotes: a reviewer judges what others talked of."""
        query = sa.select(TURNS.c.user_id).where(
            TURNS.c.tenant == said.tenant, TURNS.c.conversation_id == said.conversation_id
        )
        users = {said.user_id, *self._sql.execute(query.distinct()).scalars()}
        return " ".join(user_name(said.tenant, user) for user in sorted(users))

    def _place(self, mined: Mined) -> int:
        """Of the follow-up; before all others if it is not there any more."""
        turn = self.turn(mined.tenant, mined.conversation_id, mined.follow_up_turn_id)
        return turn.index if turn else -1

    def _judged(self, mined: Mined, where: Any, order: Any, most: int) -> list[Mined]:
        theirs = (TURNS.c.role == "user") & (TURNS.c.user_id == mined.user_id)
        said = turns_of(mined.tenant, mined.conversation_id).where(theirs, where)
        rows = self._sql.execute(said.order_by(order).limit(most)).all()
        ids = [follow_up_id(turn_of(row)) for row in rows]
        found = self._sql.execute(sa.select(FEEDBACK).where(FEEDBACK.c.feedback_id.in_(ids))).all()
        by_id = {row.feedback_id: codec.decode_mined(row.value, row.channel) for row in found}
        return [by_id[one] for one in ids if one in by_id]

    def _added(self, table: sa.Table, **values: Any) -> bool:
        statement = self._tx.insert(table).values(**values).on_conflict_do_nothing()
        return bool(self._sql.execute(statement).rowcount)

    def _set_persona(self, whose: tuple[str, str], **values: Any) -> None:
        tenant, user_id = whose
        insert = self._tx.insert(USERS).values(
            tenant=tenant, user_id=user_id, turns=0, complaints=0, **values
        )
        self._sql.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "user_id"], set_=values)
        )

    def _note(self, tenant: str, user_id: str, column: str) -> User:
        first = {"turns": 0, "complaints": 0, column: 1}
        insert = self._tx.insert(USERS).values(tenant=tenant, user_id=user_id, **first)
        self._sql.execute(
            insert.on_conflict_do_update(
                index_elements=["tenant", "user_id"], set_={column: USERS.c[column] + 1}
            )
        )
        return self.user(tenant, user_id)
