"""Runs from before there were policies: a deployment had one tenant, which its settings name."""

from __future__ import annotations

import json
from dataclasses import replace

import sqlalchemy as sa

from services.retrain.adapters.sql_session import SqlSession
from services.retrain.adapters.tables import GATE_ATTEMPTS, RUNS
from services.retrain.domain.rules import Rules
from services.retrain.stages import ALARM_JOB
from shared.state.database import Database
from shared.state.tables import JOBS, OPERATIONS


def adopt(database: Database, tenant: str, rules: Rules) -> None:
    """Gives `tenant` the runs that name none, with their operations, attempts and waiting alarms. Those that
    have not ended go on by `rules`, except for the thresholds and the plan that they began with. Once that is
    done, doing it again changes nothing."""
    with database.begin() as transaction:
        connection, session = transaction.connection, SqlSession(transaction)
        nobodys = sa.select(RUNS.c.run).where(RUNS.c.tenant == "", RUNS.c.has_ended.is_(False))
        under_way = list(connection.execute(nobodys).scalars())
        for table in (RUNS, GATE_ATTEMPTS, OPERATIONS):
            connection.execute(table.update().where(table.c.tenant == "").values(tenant=tenant))
        for name in under_way:
            if run := session.run(name):
                kept = replace(rules, thresholds=run.rules.thresholds, plan=run.rules.plan)
                session.put(replace(run, rules=kept))
        alarms = sa.select(JOBS.c.id, JOBS.c.payload).where(
            JOBS.c.kind == ALARM_JOB, JOBS.c.tenant == ""
        )
        for row in connection.execute(alarms).all():
            payload = json.dumps({**json.loads(row.payload), "tenant": tenant})
            job = JOBS.update().where(JOBS.c.id == row.id)
            connection.execute(job.values(tenant=tenant, payload=payload))
