"""Use case: the report of a run, made anew from its row and its snapshot."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from services.retrain.app.retrain import Retrain
from services.retrain.domain.ngrams import Phrases, phrases_of
from services.retrain.domain.report import Report, report_of
from services.retrain.domain.runs import Run
from services.retrain.ports import Snapshots

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reports:
    app: Retrain
    snapshots: Snapshots

    def get(self, tenant: str, run: str) -> Report:
        """Of a run that has not ended: what is known so far. Raises NotFound, also for another tenant's."""
        return reported(self.app.get(tenant, run), self.snapshots)


def reported(run: Run, snapshots: Snapshots) -> Report:
    """Never raises: a snapshot that cannot be read takes its phrases from the report, and nothing else."""
    return report_of(run, _phrases(run, snapshots))


def _phrases(run: Run, snapshots: Snapshots) -> Phrases | None:
    if run.snapshot is None:
        return None
    try:
        return phrases_of(snapshots.taught(run.snapshot))
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being read, the run has ended
        _log.warning("the report of %s is without phrases: %s", run.run, error)
        return None
