"""Requested trainings: a durable job, and an operation that callers can wait for."""

from __future__ import annotations

import uuid

from services.reward.app.training import TRAIN_JOB
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.identifiers import stable_id
from shared.state import operations
from shared.state.database import Database
from shared.state.jobs import enqueue


class SqlTrainingRequests:
    """The TrainingRequests port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, tenant: str, request_id: str) -> str:
        digest = stable_id(tenant, request_id or uuid.uuid4().hex)
        name = f"operations/train-reward-{digest}"
        queued = pb.TrainRewardModelMetadata(step="queued")
        with self._database.begin() as transaction:
            if operations.begin(transaction, name, queued, tenant=tenant):
                payload = {"tenant": tenant, "operation": name}
                enqueue(transaction, TRAIN_JOB, f"{TRAIN_JOB}:{digest}", payload)
        return name
