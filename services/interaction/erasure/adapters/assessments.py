"""Assessments that name only a completion, found by the turns of its user."""

from __future__ import annotations

from collections.abc import Iterable, Set

import sqlalchemy as sa

from services.interaction.tables import ASSESSMENTS
from shared.gen.trimtab.common.v1 import common_pb2


def completions_in(turns: Iterable[bytes]) -> set[str]:
    """The completions' ids in serialised turns."""
    return {common_pb2.Turn.FromString(turn).completion_id for turn in turns} - {""}


def of_completions(tenant: str, completion_ids: Set[str]) -> sa.ColumnElement[bool]:
    return (ASSESSMENTS.c.tenant == tenant) & ASSESSMENTS.c.completion_id.in_(completion_ids)
