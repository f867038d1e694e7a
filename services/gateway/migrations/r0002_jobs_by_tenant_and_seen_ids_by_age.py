"""Jobs and operations by tenant; seen ids that can be pruned by age."""

from __future__ import annotations

from shared.state.migrations import kernel

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kernel.serve_by_tenant_and_age()
