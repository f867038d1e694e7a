"""What ages is found by tenant, then by age: a tenant with a rule of its own is not read whole."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_AGES = (
    ("turns_by_age", "turns", "arrived"),
    ("feedback_by_age", "feedback", "stored"),
    ("said_by_age", "explicit_feedback", "stored"),
    ("users_by_age", "users", "seen"),
    ("persona_versions_by_age", "persona_versions", "stored"),
    ("spent_by_age", "spent", "stored"),
    ("pairs_by_age", "pairs", "stored"),
    ("bands_by_age", "pair_bands", "stored"),
    ("heads_by_age", "heads", "stored"),
    ("head_sources_by_age", "head_sources", "stored"),
    ("judgements_by_age", "judgements", "create_time"),
)


def upgrade() -> None:
    for name, table, age in _AGES:
        op.drop_index(name, table)
        op.create_index(name, table, ["tenant", age])
