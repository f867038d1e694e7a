"""What retrain holds about a user, how it is erased, and which versions were trained on it. Training
folders and the tracker hold weights, steps and figures, but no pairs; reports name nobody and repeat only
what three users or more have said (domain/report.py). A version cannot unlearn: the audit names the versions,
and later trainings will not have seen the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.tables import PAIRS, PERSONAS, PRAISED
from services.retrain.app.retrain import Retrain
from services.retrain.domain.snapshots import row_of
from shared.gen.trimtab.events.v1 import events_pb2
from shared.privacy.erasure import Erasure, Rows, Survey, delete_rows, of_user_or_conversation
from shared.privacy.holdings import Held
from shared.state.database import Database, Transaction
from shared.state.jobs import Postpone

_CANCELLING_S = 0.5
_ROWS = (
    Rows("pairs", PAIRS, of_user_or_conversation(PAIRS)),
    Rows("praised", PRAISED, of_user_or_conversation(PRAISED)),
    Rows("personas", PERSONAS, lambda one: PERSONAS.c.user == f"{one.tenant}/{one.user_id}"),
)


class RetrainRemover:
    """shared.privacy.erasure.Remover. Cancels a running run whose snapshot holds the user: it must not
    produce a version trained on a user who has been erased."""

    def __init__(self, database: Database, snapshots: ParquetSnapshots, app: Retrain) -> None:
        self._database, self._snapshots, self._app = database, snapshots, app

    def survey(self, erasure: Erasure) -> Survey:
        found = self._snapshots.rows_of(_theirs(erasure))
        rows = sum(sum(counts.values()) for counts in found.values())
        taught = {digest for digest, of in found.items() if of["train"] or of.get("praised")}
        with self._app.store.read() as session:
            runs = session.runs_of(taught)
        versions = {
            version
            for run in runs
            for version in (run.model_version, run.control_version)
            if version
        }
        return Survey({"snapshots": rows}, sorted(versions))

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        return delete_rows(_ROWS, erasure, transaction)

    def remove_files(self, erasure: Erasure) -> None:
        found = self._snapshots.rows_of(_theirs(erasure))
        with self._app.store.read() as session:
            under_way = session.under_way()
        for run in under_way:
            if run.snapshot and run.snapshot.digest in found:
                self._app.cancel(run.tenant, run.run)
                raise Postpone(_CANCELLING_S, f"{run.run} is being cancelled")
        for digest in found:
            self._snapshots.redact(digest, _theirs(erasure))

    def holdings(self, tenant: str, user_id: str) -> Iterator[Held]:
        """For an export of personal data."""
        erasure = Erasure("", tenant, user_id)
        with self._database.read() as connection:
            for kind, table in (("training_pair", PAIRS), ("praised_answer", PRAISED)):
                query = sa.select(table.c.body).where(of_user_or_conversation(table)(erasure))
                for row in connection.execute(query).all():
                    yield kind, events_pb2.PreferencePair.FromString(row.body)
            user = f"{tenant}/{user_id}"
            for row in connection.execute(sa.select(PERSONAS).where(PERSONAS.c.user == user)):
                yield "training_persona", {"text": row.text, "version": row.version}
        for digest, part, taught in self._snapshots.pairs_of(_theirs(erasure)):
            content: dict[str, Any] = {**row_of(taught), "snapshot": digest, "part": part}
            yield "snapshot_pair", content


def _theirs(erasure: Erasure) -> Callable[[str, str, str], bool]:
    conversations = set(erasure.conversation_ids)

    def theirs(tenant: str, user_id: str, conversation_id: str) -> bool:
        return tenant == erasure.tenant and (
            user_id == erasure.user_id or conversation_id in conversations
        )

    return theirs
