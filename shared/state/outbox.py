"""The outbox: what was emitted in a transaction is published after it, in order."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.language.errors import Unavailable
from shared.language.topics import dead_letters
from shared.log.events import Event, EventLog
from shared.state.database import LOOKS_S, Database
from shared.state.tables import OUTBOX

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxRelay:
    """Publishes the outbox in order, and forgets what Kafka holds."""

    database: Database
    log: EventLog
    batch: int = 500

    def run(self, stop: threading.Event) -> None:
        wake = threading.Event()
        self.database.after_commit(wake.set, OUTBOX)
        made: set[str] = set()
        while not stop.is_set():
            try:
                if not self.relay_once(made):
                    wake.wait(LOOKS_S)
                    wake.clear()
            except Unavailable as error:
                _log.warning("the outbox waits: %s", error)
                stop.wait(error.retry_after_s or 1.0)

    def relay_once(self, made: set[str] | None = None) -> int:
        """How many were published. Topics that are not in `made` are made first: some have no
        reader that would have made them."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(OUTBOX).order_by(OUTBOX.c.seq).limit(self.batch)
            ).all()
        if not rows:
            return 0
        made = set() if made is None else made
        missing = {row.topic.removesuffix(dead_letters("")) for row in rows} - made
        if missing:
            self.log.ensure_topics(sorted(missing))
            made |= missing
        self.log.publish([outbox_event(row) for row in rows])
        with self.database.begin() as transaction:
            transaction.connection.execute(
                OUTBOX.delete().where(OUTBOX.c.seq.in_([r.seq for r in rows]))
            )
        return len(rows)


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
