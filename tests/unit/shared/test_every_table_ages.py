"""Retention knows every table: a new one is aged, or it stands here with what else becomes of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import pytest

from services.drift.adapters.aging import aging as of_drift
from services.feedback.adapters.aging import AGING as OF_FEEDBACK
from services.gateway.adapters.link_table import AGING as OF_GATEWAY
from services.interaction.keys.adapters.sql import AGING as OF_KEYS
from services.interaction.turns.adapters.retention import AGING as OF_TURNS
from services.retrain.adapters.forgetting import ROWS as OF_RETRAIN
from services.reward.adapters.aging import aging as of_reward
from shared.privacy.retention import Aging

AGED: dict[str, Iterable[Aging]] = {
    "drift": of_drift(14_400.0, 400),
    "evaluation": (),
    "feedback": OF_FEEDBACK,
    "gateway": OF_GATEWAY,
    "interaction": (*OF_TURNS, *OF_KEYS),
    "registry": (),
    "retrain": OF_RETRAIN,
    "reward": of_reward(),
}
FIGURES, A_TENANT = "figures and names of versions; no one's words or ids", "a row a tenant"
ONE_ROW, WITH_IT = "one row", "goes with what it belongs to"
OTHERWISE: dict[str, dict[str, str]] = {
    "drift": {
        "streams": "IdleStreams",
        "stream_values": "NamelessValues, IdleStreams",
        "reference_vectors": "IdleStreams",
        "stream_buckets": "SummedBuckets",
        "tested_conversations": "TestedConversations",
    },
    "evaluation": {
        "evaluations": f"{FIGURES}; what was asked goes at its end, UnfinishedEvaluations see to it",
        "answers": "go at their evaluation's end",
        "suite_results": FIGURES,
    },
    "feedback": {
        "waiting_explicit": "SqlWaiting: each has its time",
        "head_looks": A_TENANT,
    },
    "gateway": {"link_counts": A_TENANT},
    "interaction": {
        "conversations": "Housekeeping",
        "turns": WITH_IT,
        "archived_parts": "Housekeeping, by archive_days",
        "archived_users": WITH_IT,
        "archive_position": ONE_ROW,
        "searched": ONE_ROW,
        "tenant_quotas": A_TENANT,
        "erasures": "AgedAudits",
        "erasure_reports": WITH_IT,
        "erasure_conversations": "go at their erasure's end",
        "erasure_keys": "go at their erasure's end",
    },
    "registry": {
        "policies": FIGURES,
        "policy_versions": FIGURES,
        "policy_rollouts": "a row a policy",
        "policy_rollout_users": "go at their rollout's end, which has a time",
    },
    "retrain": {"runs": FIGURES, "gate_attempts": FIGURES},
    "reward": {
        "reward_models": "AgedModels",
        "reward_progress": A_TENANT,
        "people_divisions": A_TENANT,
        "people_members": WITH_IT,
        "memberships_due": "goes once it was learnt of",
        "waiting_answers": A_TENANT,
    },
}
KERNEL = {
    "seen_events": "SeenEvents",
    "seen_marks": "SeenEvents",
    "operations": "AgedRows of the kernel",
    "outbox": "published, or RefusedEvents",
    "jobs": "done or given up",
    "erasure_notes": "go at their erasure's end",
    "input_positions": "a row a partition",
    "stage_counts": "a row a reason",
}


@pytest.mark.parametrize("service", AGED)
def test_retention_knows_every_table(service: str) -> None:
    tables = import_module(f"services.{service}.migrations").TABLES
    there = {table.name for metadata in tables for table in metadata.sorted_tables}
    rows = [getattr(one, "rows", one) for one in AGED[service]]
    aged = {one.table.name for one in rows if hasattr(one, "table")}
    assert there == aged | OTHERWISE[service].keys() | KERNEL.keys()
    assert not aged & OTHERWISE[service].keys()
