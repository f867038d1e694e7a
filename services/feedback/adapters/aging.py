"""What is removed when its tenant's retention period is over (shared.privacy.retention).

A head that serves, and the names of the users it learnt from, stay for as long as it serves: an erasure must
be able to name them. So does the newest version of a persona, and a membership, while its user says
anything. What was still waiting ends as dropped AGED:
the counts of every stage still add up. Explicit feedback that waits ends by its own time (EXPLICIT_WAIT_S).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from services.feedback.heads.domain import HeadState
from services.feedback.mining.app.follow_ups import STAGE as TURNS_STAGE
from services.feedback.pairs.domain import PAIRS as PAIRS_STAGE
from services.feedback.pairs.domain import PairState
from services.feedback.tables import (
    BANDS,
    FEEDBACK,
    HEAD_SOURCES,
    HEADS,
    JUDGEMENTS,
    MEMBERSHIPS,
    PAIRS,
    PENDING,
    PERSONA_VERSIONS,
    SAID,
    SPENT,
    TURNS,
    USERS,
)
from shared.language.retention import RetentionPolicy
from shared.privacy.retention import AgedRows, Aging
from shared.state.database import Transaction

_SERVING = HeadState.SERVING.value
_SERVES = sa.exists().where(
    HEADS.c.tenant == HEAD_SOURCES.c.tenant,
    HEADS.c.version == HEAD_SOURCES.c.version,
    HEADS.c.state == _SERVING,
)
_IS_NEWEST = sa.exists().where(
    USERS.c.tenant == PERSONA_VERSIONS.c.tenant,
    USERS.c.user_id == PERSONA_VERSIONS.c.user_id,
    USERS.c.persona_version == PERSONA_VERSIONS.c.version,
)
_SPEAKS = sa.exists().where(
    USERS.c.tenant == MEMBERSHIPS.c.tenant, USERS.c.user_id == MEMBERSHIPS.c.user_id
)
_PROPOSED = PAIRS.c.state == PairState.PROPOSED.value


@dataclass(frozen=True, slots=True)
class AgedWaiting:
    """Rows that a stage counts as waiting."""

    rows: AgedRows
    stage: str
    waits_as: str

    @property
    def place(self) -> str:
        return self.rows.place

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        gone = self.rows.forget(transaction, policy, now, most)
        transaction.count(self.stage, "waiting", self.waits_as, -gone)
        transaction.count(self.stage, "dropped", "AGED", gone)
        return gone


# The index of its age begins with the tenant.
_aged = partial(AgedRows, by_tenant=True)
AGING: tuple[Aging, ...] = (
    AgedWaiting(
        AgedRows("follow_ups", PENDING, PENDING.c.arrived, only=PENDING.c.ready),
        TURNS_STAGE,
        "TO_JUDGE",
    ),
    AgedWaiting(
        AgedRows("follow_ups", PENDING, PENDING.c.arrived, only=~PENDING.c.ready),
        TURNS_STAGE,
        "ANSWER_MISSING",
    ),
    AgedWaiting(_aged("pairs", PAIRS, PAIRS.c.stored, only=_PROPOSED), PAIRS_STAGE, "REWARD"),
    _aged("turns", TURNS, TURNS.c.arrived),
    _aged("feedback", FEEDBACK, FEEDBACK.c.stored),
    _aged("explicit_feedback", SAID, SAID.c.stored),
    _aged("pairs", PAIRS, PAIRS.c.stored, only=~_PROPOSED),
    _aged("pair_bands", BANDS, BANDS.c.stored),
    _aged("persona_versions", PERSONA_VERSIONS, PERSONA_VERSIONS.c.stored, only=~_IS_NEWEST),
    _aged("personas", USERS, USERS.c.seen),
    _aged("memberships", MEMBERSHIPS, MEMBERSHIPS.c.stored, only=~_SPEAKS),
    _aged("limits", SPENT, SPENT.c.stored),
    _aged("judgements", JUDGEMENTS, JUDGEMENTS.c.create_time),
    _aged("head_sources", HEAD_SOURCES, HEAD_SOURCES.c.stored, only=~_SERVES),
    _aged("heads", HEADS, HEADS.c.stored, only=HEADS.c.state != _SERVING),
)
