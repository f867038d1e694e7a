"""The outbox: events emitted in a transaction are published after its commit, in order."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from shared.language.errors import InvalidArgument
from shared.language.times import now
from shared.language.topics import dead_letters
from shared.log.events import Event, EventLog
from shared.state.database import Database, Transaction
from shared.state.loop import repeat
from shared.state.tables import OUTBOX

_log = logging.getLogger(__name__)
# The stage name under which refused events are counted.
STAGE = "outbox"
# Any number, the same everywhere: the holder of this advisory lock may publish a PostgreSQL outbox.
_RELAYS_LOCK = 7_236_004


@dataclass(frozen=True, slots=True)
class OutboxRelay:
    """Publishes the outbox in order and deletes what Kafka holds. An event that Kafka will never accept (it is
    too large) is set aside with the reason, counted as waiting and logged as an error; the others go on. From
    then on its `time` says when that was: it is removed as long after that as a topic would have kept it."""

    database: Database
    log: EventLog
    batch: int = 500
    _made: set[str] = field(default_factory=set, repr=False, compare=False)

    def run(self, stop: threading.Event) -> None:
        repeat("outbox", self.relay_once, wake=self.database.waker(OUTBOX))(stop)

    def relay_once(self) -> int:
        """Publishes one batch; returns how many rows it dealt with. Creates missing topics first: some have no
        reader that would have created them. Raises Unavailable while Kafka or the database is unavailable."""
        with self.database.alone(_RELAYS_LOCK):
            rows = self._rows()
            if rows:
                self._make_topics(rows)
                self._settle(self._publish(rows), rows)
        return len(rows)

    def _rows(self) -> Sequence[Any]:
        query = sa.select(OUTBOX).where(OUTBOX.c.refused == "").order_by(OUTBOX.c.seq)
        with self.database.read() as connection:
            return connection.execute(query.limit(self.batch)).all()

    def _make_topics(self, rows: Sequence[Any]) -> None:
        missing = {row.topic.removesuffix(dead_letters("")) for row in rows} - self._made
        if missing:
            self.log.ensure_topics(sorted(missing))
            self._made.update(missing)

    def _publish(self, rows: Sequence[Any]) -> dict[int, InvalidArgument]:
        """Publishes the rows; returns those that Kafka will never accept, by number. One event can make Kafka
        refuse a batch, so halves are tried until the refused event stands alone."""
        try:
            self.log.publish([outbox_event(row) for row in rows])
        except InvalidArgument as error:
            if len(rows) == 1:
                return {rows[0].seq: error}
            middle = len(rows) // 2
            return self._publish(rows[:middle]) | self._publish(rows[middle:])
        return {}

    def _settle(self, refused: Mapping[int, InvalidArgument], rows: Sequence[Any]) -> None:
        published = [row.seq for row in rows if row.seq not in refused]
        with self.database.begin() as transaction:
            transaction.connection.execute(OUTBOX.delete().where(OUTBOX.c.seq.in_(published)))
            for row in rows:
                if (error := refused.get(row.seq)) is not None:
                    _log.error("set aside event %s for %s: %s", row.event_id, row.topic, error)
                    mine = OUTBOX.update().where(OUTBOX.c.seq == row.seq)
                    aside = {"refused": error.reason, "time": _text_of(now())}
                    transaction.connection.execute(mine.values(aside))
                    transaction.count(STAGE, "taken")
                    transaction.count(STAGE, "waiting", error.reason)


def drop_refused(transaction: Transaction, which: sa.ColumnElement[bool], reason: str) -> int:
    """Removes events that were set aside, and counts them as dropped for `reason`; returns how many."""
    delete = OUTBOX.delete().where(which, OUTBOX.c.refused != "").returning(OUTBOX.c.refused)
    gone = Counter(transaction.connection.execute(delete).scalars())
    for refused, count in sorted(gone.items()):
        transaction.count(STAGE, "waiting", refused, -count)
    if gone:
        transaction.count(STAGE, "dropped", reason, gone.total())
    return gone.total()


def drop_refused_before(transaction: Transaction, before: datetime, most: int) -> int:
    """Removes up to `most` events that were set aside earlier, the oldest first; returns how many."""
    old = (OUTBOX.c.refused != "") & (OUTBOX.c.time < _text_of(before))
    oldest = sa.select(OUTBOX.c.seq).where(old).order_by(OUTBOX.c.seq).limit(most)
    return drop_refused(transaction, OUTBOX.c.seq.in_(oldest), "AGED")


def _text_of(time: datetime) -> str:
    """In UTC with all its digits, so that texts are ordered as the times are."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def outbox_event(row: Any) -> Event:
    return Event(
        topic=row.topic,
        id=row.event_id,
        key=row.key,
        value=row.value,
        source=row.source,
        time=datetime.fromisoformat(row.time),
        headers=row.headers,
        owner=row.owner,
    )
