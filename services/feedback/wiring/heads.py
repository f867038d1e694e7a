"""Heads of dissatisfaction: the one that ships, and tenants' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.feedback.heads.adapters.sql_heads import SqlHeadReads, SqlHeadWrites
from services.feedback.heads.app.control import ControlHeads
from services.feedback.heads.app.refit import FIT_JOB, TRACK_JOB, RefitHead
from services.feedback.heads.jobs import HeadFits, HeadSchedule, HeadTracking
from services.feedback.heads.ports import HeadTracker
from services.feedback.mining.app.classifier import Classifier, Head, load_head
from services.feedback.mining.app.dissatisfaction import DissatisfactionHead, load_dissatisfaction
from services.feedback.mining.app.own_heads import NoOwnHeads, shipped_name
from services.feedback.mining.ports import Embedder
from services.feedback.tables import HEAD_LOOKS
from services.feedback.wiring.ground import Ground
from shared.serving.process import Background
from shared.state.database import Transaction
from shared.state.jobs import Worker
from shared.state.loop import repeat
from shared.state.sessions import SqlStore

MODELS = Path(__file__).parents[1] / "models"
HEAD, DISSATISFACTION = MODELS / "head.npz", MODELS / "dissatisfaction.npz"
# How often the schedule is looked at, in seconds.
_LOOKS_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Shipped:
    """The heads that come with the service."""

    name: str
    kinds: Head
    dissatisfaction: DissatisfactionHead


@dataclass(frozen=True, slots=True)
class HeadRoom:
    reads: SqlHeadReads
    control: ControlHeads
    schedule: HeadSchedule
    workers: Mapping[str, Worker]

    def background(self, ground: Ground) -> list[Background]:
        wake = ground.database.waker(HEAD_LOOKS)
        looks = repeat("heads", self.schedule.once, idle_s=_LOOKS_EVERY_S, wake=wake)
        return [("heads", looks), *((kind, worker.run) for kind, worker in self.workers.items())]


def load_shipped() -> Shipped:
    kinds, shipped = load_head(HEAD), load_dissatisfaction(DISSATISFACTION)
    name = shipped_name(kinds.weights, kinds.bias, shipped.weights, np.array(shipped.bias))
    return Shipped(name, kinds, shipped)


def classifier_of(
    ground: Ground, shipped: Shipped, heads: SqlHeadReads, embedder: Embedder
) -> Classifier:
    settings = ground.settings
    return Classifier(
        embedder,
        shipped.kinds,
        settings.abstain_below or shipped.kinds.threshold,
        shipped.dissatisfaction,
        heads if settings.heads_serve else NoOwnHeads(),
        shipped.name,
    )


def wire_heads(
    ground: Ground,
    reads: SqlHeadReads,
    shipped: Shipped,
    classifier: Classifier,
    tracker: HeadTracker,
) -> HeadRoom:
    settings, database, clock = ground.settings, ground.database, ground.clock

    def writes_of(transaction: Transaction) -> SqlHeadWrites:
        return SqlHeadWrites(transaction, ground.now)

    refit = RefitHead(classifier, shipped.dissatisfaction, settings.refit_rules())
    fits = HeadFits(database, reads, writes_of, refit, shipped.name, clock)
    return HeadRoom(
        reads,
        ControlHeads(reads, SqlStore(database, writes_of), clock),
        HeadSchedule(database, reads, writes_of, settings.heads_schedule, clock),
        {
            FIT_JOB: fits.worker(),
            TRACK_JOB: HeadTracking(database, reads, writes_of, tracker).worker(),
        },
    )
