"""interaction.logged.v1 -> the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.interaction.app import Shelf, keep
from services.interaction.codec import decode_logged
from services.interaction.domain import Limits, accept_turn
from shared.database import Transaction
from shared.events import Record
from shared.identifiers import check_segment

STAGE = "interaction"


class TurnKeeper:
    """Handles one record. The rules are checked again: others can write to the topic, too."""

    def __init__(
        self,
        shelf: Callable[[Transaction], Shelf],
        limits: Limits,
        clock: Callable[[], datetime],
    ) -> None:
        self._shelf, self._limits, self._clock = shelf, limits, clock

    def __call__(self, record: Record, transaction: Transaction) -> None:
        turn = decode_logged(record.event.value)
        tenant = check_segment(turn.tenant, "tenant")
        accepted = accept_turn(turn, tenant, self._clock(), self._limits)
        if keep(accepted, self._shelf(transaction)):
            transaction.count(STAGE, "made")
        else:
            transaction.count(STAGE, "abstained", "STORED_ALREADY")
