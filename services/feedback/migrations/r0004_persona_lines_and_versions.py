"""Every version of a persona is kept; what was there becomes the first that is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.gen.trimtab.events.v1 import events_pb2

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    versions = op.create_table(
        "persona_versions",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "user_id", "version"),
    )
    with op.batch_alter_table("users", schema=None) as users:
        users.add_column(
            sa.Column("has_persona", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        users.add_column(
            sa.Column("persona_version", sa.Integer(), server_default="0", nullable=False)
        )
        users.add_column(sa.Column("persona_since", sa.Float(), server_default="0", nullable=False))
    _take_over(versions)


def _take_over(versions: sa.Table) -> None:
    users = sa.table(
        "users",
        sa.column("tenant", sa.String()),
        sa.column("user_id", sa.String()),
        sa.column("persona", sa.LargeBinary()),
        sa.column("has_persona", sa.Boolean()),
        sa.column("persona_version", sa.Integer()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(users).where(users.c.persona.is_not(None))).all():
        version = events_pb2.Persona.FromString(row.persona).version
        whose = {"tenant": row.tenant, "user_id": row.user_id}
        connection.execute(
            users.update()
            .where(users.c.tenant == row.tenant, users.c.user_id == row.user_id)
            .values(has_persona=True, persona_version=version)
        )
        connection.execute(versions.insert().values(**whose, version=version, value=row.persona))
