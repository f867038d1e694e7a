"""Retention: rows that hold people's words, and snapshots, which are files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.tables import PAIRS, PERSONAS, PRAISED
from shared.language.retention import EVERYBODY, RetentionPolicy
from shared.privacy.retention import STAGE, AgedRows
from shared.state.database import Database

_log = logging.getLogger(__name__)
PLACE = "snapshots"

ROWS = (
    AgedRows("pairs", PAIRS, PAIRS.c.create_time, by_tenant=True),
    AgedRows("praised", PRAISED, PRAISED.c.create_time, by_tenant=True),
    AgedRows("personas", PERSONAS, PERSONAS.c.update_time, by_tenant=True),
)


@dataclass(frozen=True, slots=True)
class AgedSnapshots:
    """Removes a snapshot `archive_days` after its newest pair was made. Of a snapshot with pairs of several
    tenants, as they were made before there were policies, it removes each tenant's rows at that time. Its run
    still says how much the version was trained on."""

    database: Database
    snapshots: ParquetSnapshots
    policy: RetentionPolicy
    clock: Callable[[], datetime]

    def once(self) -> None:
        """Raises the first error of a snapshot once all were tried: a damaged one keeps no other."""
        gone, errors = 0, []
        for digest in self.snapshots.digests():
            try:
                gone += self._forget(digest)
            except Exception as error:  # noqa: BLE001 - raised below
                _log.exception("it is unknown whether snapshot %s is past its time", digest)
                errors.append(error)
        self._count(gone)
        if errors:
            raise errors[0]

    def _count(self, gone: int) -> None:
        if gone:
            with self.database.begin() as transaction:
                transaction.count(STAGE, "taken", n=gone)
                transaction.count(STAGE, "made", PLACE, gone)

    def _forget(self, digest: str) -> int:
        sheet = self.snapshots.sheet(digest)
        newest = sheet.get("newest")
        made = datetime.fromisoformat(newest) if newest else self.snapshots.written(digest)
        over = self._over((self.clock() - _aware(made)).total_seconds() / 86_400)
        if over <= set(sheet.get("forgotten", [])):
            return 0
        if {self._rule(tenant) for tenant in self.snapshots.tenants(digest)} <= over:
            self.snapshots.remove(digest)
            _log.info("snapshot %s is past its retention time and was removed", digest)
            return 1
        self.snapshots.redact(digest, lambda tenant, *_: self._rule(tenant) in over)
        self.snapshots.note(digest, forgotten=sorted(over))
        return 1

    def _over(self, days: float) -> set[str]:
        """The tenants whose time is over; EVERYBODY stands for those without a rule of their own."""
        rules = {EVERYBODY: self.policy.everybody.archive_days} | {
            tenant: self.policy.of(tenant).archive_days for tenant in self.policy.tenants
        }
        return {name for name, most in rules.items() if most and days > most}

    def _rule(self, tenant: str) -> str:
        return tenant if tenant in self.policy.tenants else EVERYBODY


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
