"""Preference pairs on SQL (contracts in pairs.ports)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from services.feedback.mining.adapters.sql_feedback import owners_of
from services.feedback.mining.adapters.sql_lanes import place_of, tenants_with
from services.feedback.mining.adapters.sql_pages import conditions, page
from services.feedback.mining.ports import Page
from services.feedback.pairs.codec import decode_pair, encode_pair, kept_event, proposed_event
from services.feedback.pairs.domain import PairState, StoredPair
from services.feedback.people.adapters.sql_people import column_of, groups_of
from services.feedback.tables import BANDS, PAIRS
from shared.language.paging import Term
from shared.language.pairs import Pair
from shared.state.database import Database, Transaction

_PROPOSED = PAIRS.c.state == PairState.PROPOSED.value


class SqlPairs:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._now = now

    def add(self, stored: StoredPair, keys: Sequence[str] = ()) -> bool:
        groups = groups_of(self._connection, stored.pair.tenant, stored.pair.user_id)
        pair = replace(stored.pair, groups=groups)
        statement = self._transaction.insert(PAIRS).values(
            pair_id=pair.pair_id,
            tenant=pair.tenant,
            user_id=pair.user_id,
            conversation_id=pair.conversation_id,
            source=str(pair.source),
            state=stored.state.value,
            reason=stored.reason,
            groups=column_of(groups),
            stored=self._now(),
            value=encode_pair(pair).SerializeToString(),
        )
        if not self._connection.execute(statement.on_conflict_do_nothing()).rowcount:
            return False
        if keys:
            whose = {"tenant": pair.tenant, "user_id": pair.user_id, "stored": self._now()}
            of_pair = {**whose, "conversation_id": pair.conversation_id, "pair_id": pair.pair_id}
            self._connection.execute(BANDS.insert(), [{**of_pair, "band": key} for key in keys])
        if stored.state is PairState.PROPOSED:
            self._transaction.emit(proposed_event(pair, self._owners(pair)))
        elif stored.state is PairState.KEPT:
            self._transaction.emit(kept_event(pair, self._owners(pair)))
        return True

    def alike(self, pair: Pair, keys: Sequence[str]) -> list[Pair]:
        theirs = (BANDS.c.tenant == pair.tenant) & (BANDS.c.user_id == pair.user_id)
        same = sa.select(BANDS.c.pair_id).where(theirs, BANDS.c.band.in_(keys))
        others = PAIRS.c.pair_id.in_(same) & (PAIRS.c.pair_id != pair.pair_id)
        rows = self._connection.execute(
            sa.select(PAIRS.c.value).where(others).order_by(PAIRS.c.seq)
        )
        return [decode_pair(value) for value in rows.scalars()]

    def drop_proposed(self, pair_ids: Sequence[str], reason: str) -> int:
        waits = PAIRS.c.pair_id.in_(pair_ids) & _PROPOSED
        update = PAIRS.update().where(waits).values(state=PairState.DROPPED.value, reason=reason)
        return self._connection.execute(update).rowcount

    def drop_up_to(self, tenant: str, place: int, most: int, reason: str) -> int:
        theirs = _PROPOSED & (PAIRS.c.tenant == tenant) & (PAIRS.c.seq <= place)
        oldest = sa.select(PAIRS.c.seq).where(theirs).order_by(PAIRS.c.seq).limit(most)
        update = PAIRS.update().where(PAIRS.c.seq.in_(oldest))
        values = {"state": PairState.DROPPED.value, "reason": reason}
        return self._connection.execute(update.values(values)).rowcount

    def settle(self, pair: Pair, state: PairState, reason: str) -> bool:
        waits = (PAIRS.c.pair_id == pair.pair_id) & _PROPOSED
        value = encode_pair(pair).SerializeToString()
        update = PAIRS.update().where(waits).values(state=state.value, reason=reason, value=value)
        changed = bool(self._connection.execute(update).rowcount)
        if changed and state is PairState.KEPT:
            self._transaction.emit(kept_event(pair, self._owners(pair)))
        return changed

    def _owners(self, pair: Pair) -> str:
        return owners_of(self._connection, pair.tenant, pair.user_id, pair.conversation_id)


class SqlPairReads:
    """PairReads. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            return tenants_with(connection, PAIRS, _PROPOSED)

    def proposed(self, tenant: str, most: int) -> list[Pair]:
        theirs = _PROPOSED & (PAIRS.c.tenant == tenant)
        query = sa.select(PAIRS.c.value).where(theirs).order_by(PAIRS.c.seq).limit(most)
        with self._database.read() as connection:
            return [decode_pair(row.value) for row in connection.execute(query).all()]

    def overfull(self, tenant: str, most: int) -> int | None:
        with self._database.read() as connection:
            return place_of(connection, PAIRS, _PROPOSED & (PAIRS.c.tenant == tenant), most)

    def page(
        self, tenant: str, terms: Sequence[Term], after: int | None, size: int
    ) -> Page[StoredPair]:
        wanted = [PAIRS.c.tenant == tenant, *conditions(PAIRS, terms)]
        return page(self._database, PAIRS, wanted, after, size, _stored)


def _stored(row: Any) -> StoredPair:
    return StoredPair(decode_pair(row.value), PairState(row.state), row.reason)
