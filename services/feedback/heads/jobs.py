"""Background work of tenants' own heads: the schedule, the fits, and telling the tracker.

A fit is a durable job. Its version, the verdict, whether it serves, and the job that tells the tracker are
one transaction: a kill leaves all of it or nothing, and a tracker that is unavailable holds up no head.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from services.feedback.heads.app.refit import (
    FIT_JOB,
    PROMOTED,
    STAGE,
    TRACK_JOB,
    WAITS,
    Fitted,
    Refit,
    RefitHead,
)
from services.feedback.heads.domain import OTHER_SHIPPED_HEAD, HeadCard, HeadState, Look
from services.feedback.heads.ports import HeadReads, HeadTracker, HeadWrites
from shared.language.errors import Internal
from shared.language.schedule import following
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue, is_full
from shared.tracking.port import TrackedRun

_log = logging.getLogger(__name__)
Clock = Callable[[], datetime]
WritesOf = Callable[[Transaction], HeadWrites]


@dataclass(frozen=True, slots=True)
class HeadSchedule:
    """Asks for a fit for each tenant with explicit feedback, once after each time of `line` (cron, UTC;
    empty: never). A time that passed while nothing ran is made up for, once."""

    database: Database
    heads: HeadReads
    writes_of: WritesOf
    line: str
    clock: Clock

    def once(self) -> int:
        """How many were asked for."""
        self._retire()
        now = self.clock()
        due = [look for look in self.heads.looks() if self._is_due(look, now)]
        if not due:
            return 0
        with self.database.begin() as transaction:
            return sum(ask_fit(transaction, look) for look in due)

    def _is_due(self, look: Look, now: datetime) -> bool:
        when = following(self.line, look.looked)
        return when is not None and when <= now

    def _retire(self) -> None:
        """Heads that correct another head than the one that ships now: they no longer serve."""
        for tenant, version in self.heads.other_shipped():
            with self.database.begin() as transaction:
                self.writes_of(transaction).retire(tenant, version, OTHER_SHIPPED_HEAD)
                self.writes_of(transaction).ask_to_track(tenant, version)


def ask_fit(transaction: Transaction, look: Look) -> bool:
    """Once for each look; not while another fit of the tenant is under way, which counts as the look."""
    job = f"{FIT_JOB}:{look.tenant}:{look.looked.timestamp()}"
    if is_full(transaction, FIT_JOB, look.tenant, 1):
        return False
    if not enqueue(transaction, FIT_JOB, job, {"tenant": look.tenant}):
        return False
    transaction.count(STAGE, "taken")
    transaction.count(STAGE, "waiting", WAITS)
    return True


@dataclass(frozen=True, slots=True)
class HeadFits:
    """A fit that a person asked for has an operation, and needs only one new label: the person knows why."""

    database: Database
    heads: HeadReads
    writes_of: WritesOf
    refit: RefitHead
    shipped: str
    clock: Clock

    def perform(self, job: Job) -> Finish:
        tenant, operation = str(job.payload["tenant"]), str(job.payload.get("operation", ""))
        labels = self.heads.labels(tenant, self.refit.rules.most_labels)
        stand = self.heads.stand(tenant)
        found = self.refit(tenant, labels, stand, 1 if operation else None)
        return lambda transaction: self._finish(tenant, operation, found, transaction)

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        tenant, operation = str(job.payload["tenant"]), str(job.payload.get("operation", ""))
        _log.error("no head could be fitted for tenant %s: %s", tenant, error)
        writes = self.writes_of(transaction)
        writes.set_look(Look(tenant, self.clock(), "FAILED"))
        if operation:
            writes.fail_operation(operation, Internal(f"the fit failed: {error}"))
        transaction.count(STAGE, "waiting", WAITS, -1)
        transaction.count(STAGE, "dropped", "FAILED")

    def worker(self) -> Worker:
        return Worker(self.database, FIT_JOB, self.perform, self.abandon)

    def _finish(self, tenant: str, operation: str, found: Refit, transaction: Transaction) -> None:
        reason, card, writes = found.reason, None, self.writes_of(transaction)
        if found.fitted is not None:
            reason = found.fitted.reason or PROMOTED
            card = self._keep(tenant, found, found.fitted, transaction)
        counts = (found.labels, found.users, found.held_out_users)
        look = Look(tenant, self.clock(), reason, *counts)
        writes.set_look(look)
        if operation:
            writes.end_operation(operation, look, card)
        transaction.count(STAGE, "waiting", WAITS, -1)
        transaction.count(STAGE, "made" if reason == PROMOTED else "abstained", reason)

    def _keep(
        self, tenant: str, found: Refit, fitted: Fitted, transaction: Transaction
    ) -> HeadCard:
        card = HeadCard(
            tenant=tenant,
            version=0,
            state=HeadState.REFUSED if fitted.reason else HeadState.SERVING,
            reason=fitted.reason,
            shipped=self.shipped,
            against=fitted.against.name,
            strength=fitted.strength,
            attempt=fitted.against.attempts + 1,
            labels=found.labels,
            users=found.users,
            figures=fitted.figures,
            create_time=self.clock(),
        )
        writes = self.writes_of(transaction)
        card = writes.add(card, fitted.correction, fitted.sources, found.seen)
        payload = {"tenant": tenant, "version": card.version}
        enqueue(transaction, TRACK_JOB, f"{TRACK_JOB}:{tenant}:{card.version}", payload)
        return card


@dataclass(frozen=True, slots=True)
class HeadTracking:
    """Tells the tracker of one version, and which version serves by now."""

    database: Database
    heads: HeadReads
    writes_of: WritesOf
    tracker: HeadTracker

    def perform(self, job: Job) -> Finish:
        tenant, version = str(job.payload["tenant"]), int(job.payload["version"])
        card, weights = self.heads.load(tenant, version)
        run_id, number = self.tracker.log(model_name(tenant), tracked(card, weights))
        self._point(card, number)
        return lambda transaction: self.writes_of(transaction).set_tracked(
            tenant, version, run_id, number
        )

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        _log.error("head %s is kept but not tracked: %s", job.payload["version"], error)

    def worker(self) -> Worker:
        return Worker(self.database, TRACK_JOB, self.perform, self.abandon, max_attempts=20)

    def _point(self, card: HeadCard, number: str) -> None:
        """Until what bears the alias is what serves: another may be promoted meanwhile."""
        serving = self.heads.serving_card(card.tenant)
        while True:
            mine = serving is not None and serving.version == card.version
            its = number if mine else serving.mlflow_version if serving else ""
            if serving is None or its:  # otherwise its own job does
                self.tracker.point(model_name(card.tenant), its)
            if (now := self.heads.serving_card(card.tenant)) == serving:
                return
            serving = now


def model_name(tenant: str) -> str:
    """In the tracker, where a name has no colon."""
    return f"dissatisfaction-{tenant.replace(':', '%3A')}"


def tracked(card: HeadCard, weights: bytes) -> TrackedRun:
    """The figures as metrics, the arrays and the card as files. No text of anybody is in either."""
    content = asdict(card) | {"create_time": card.create_time.isoformat(), "name": card.name}
    content["strength"] = card.strength if math.isfinite(card.strength) else None
    return TrackedRun(
        experiment="feedback-heads",
        key=f"{card.tenant}/{card.name}",
        name=f"{card.tenant}-dissatisfaction-v{card.version}",
        params={
            "tenant": card.tenant,
            "shipped": card.shipped,
            "against": card.against,
            "strength": str(card.strength),
        },
        metrics=_metrics(card),
        tags={
            "version": str(card.version),
            "verdict": card.reason if card.state is HeadState.REFUSED else PROMOTED,
        },
        artifacts={
            "head.npz": weights,
            "card.json": json.dumps(content, indent=1).encode(),
        },
    )


def _metrics(card: HeadCard) -> dict[str, float]:
    figures = card.figures
    metrics = {"labels": float(card.labels), "users": float(card.users)}
    metrics |= {"held_out_labels": float(figures.labels), "held_out_users": float(figures.users)}
    for name, value in asdict(figures).items():
        if isinstance(value, dict):
            metrics |= {name: value["value"]}
            metrics |= {f"{name}_{end}": value[end] for end in ("low", "high")}
        elif name not in ("labels", "users"):
            metrics[name] = value
    return metrics
