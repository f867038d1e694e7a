"""interaction.logged.v1 -> the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from services.interaction.app import Shelf, keep
from services.interaction.codec import decode_logged
from services.interaction.domain import Limits, Turn, accept_turn
from services.interaction.redacting import counts_of
from shared.database import Transaction
from shared.events import Record
from shared.identifiers import check_segment

STAGE = "interaction"
# Places taken out of the stored turns, by kind: taken = made.
REDACTION = "redaction"


class TurnKeeper:
    """Handles records, one or many. The rules are checked again: others can write to the topic, too."""

    def __init__(
        self,
        shelf: Callable[[Transaction], Shelf],
        limits: Limits,
        clock: Callable[[], datetime],
    ) -> None:
        self._shelf, self._limits, self._clock = shelf, limits, clock

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take_all((record,), transaction)

    def take_all(self, records: Sequence[Record], transaction: Transaction) -> None:
        """All of them, or the reason why one can not be taken is raised."""
        now = self._clock()
        turns = [self._read(record, now) for record in records]
        made = keep(turns, self._shelf(transaction))
        if made:
            transaction.count(STAGE, "made", n=len(made))
        if len(made) < len(turns):
            transaction.count(STAGE, "abstained", "STORED_ALREADY", len(turns) - len(made))
        for turn in made:
            for kind, n in counts_of(turn).items():
                transaction.count(REDACTION, "taken", n=n)
                transaction.count(REDACTION, "made", kind, n)

    def _read(self, record: Record, now: datetime) -> Turn:
        turn = decode_logged(record.event.value)
        return accept_turn(turn, check_segment(turn.tenant, "tenant"), now, self._limits)
