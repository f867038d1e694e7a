"""What the evaluation service holds about a user: held-out pairs of running evaluations, and answers to
their prompts. Both are deleted when the evaluation ends. An answer's key does not say whose prompt it
answers, so an erasure deletes all answers of an evaluation that holds pairs of the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from services.evaluation.adapters.sql_session import job_id
from services.evaluation.adapters.tables import ANSWERS, EVALUATIONS
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.privacy.erasure import Erasure, Survey
from shared.privacy.holdings import Held
from shared.state.database import Database, Transaction
from shared.state.jobs import Postpone
from shared.state.tables import JOBS

_UNDER_WAY_S = 1.0


class EvaluationRemover:
    """shared.privacy.erasure.Remover. Waits for a running evaluation that holds the user's pairs, because
    it still stores answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def survey(self, erasure: Erasure) -> Survey:
        with self._database.read() as connection:
            for row, _, _ in _quoting(connection, erasure):
                job = sa.select(JOBS.c.id).where(JOBS.c.id == job_id(row.evaluation))
                if connection.execute(job).first():
                    raise Postpone(_UNDER_WAY_S, f"evaluation {row.evaluation} is under way")
        return Survey()

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        connection, pairs, answers = transaction.connection, 0, 0
        for row, request, theirs in _quoting(connection, erasure):
            pairs += len(theirs)
            rest = [pair for pair in request.held_out_pairs if pair not in theirs]
            del request.held_out_pairs[:]
            request.held_out_pairs.extend(rest)
            update = EVALUATIONS.update().where(EVALUATIONS.c.evaluation == row.evaluation)
            connection.execute(update.values(request=request.SerializeToString()))
            forget = ANSWERS.delete().where(ANSWERS.c.evaluation == row.evaluation)
            answers += int(connection.execute(forget).rowcount)
        return {"held_out_pairs": pairs, "answers": answers}

    def remove_files(self, erasure: Erasure) -> None:
        """Nothing to do: there are no files, and the tracker only gets figures."""

    def holdings(self, tenant: str, user_id: str) -> Iterator[Held]:
        """For an export."""
        with self._database.read() as connection:
            for _, _, pairs in _quoting(connection, Erasure("", tenant, user_id)):
                for pair in pairs:
                    yield "held_out_pair", pair


def _quoting(
    connection: sa.Connection, erasure: Erasure
) -> Iterator[tuple[Any, pb.EvaluateRequest, list[events.PreferencePair]]]:
    """The running evaluations whose request holds pairs of the user, or pairs from the user's
    conversations."""
    conversations = set(erasure.conversation_ids)
    under_way = (EVALUATIONS.c.tenant == erasure.tenant) & EVALUATIONS.c.done.is_(False)
    query = sa.select(EVALUATIONS).where(under_way)
    for row in connection.execute(query).all():
        request = pb.EvaluateRequest.FromString(row.request)
        theirs = [
            pair
            for pair in request.held_out_pairs
            if pair.user_id == erasure.user_id or pair.conversation_id in conversations
        ]
        if theirs:
            yield row, request, theirs
