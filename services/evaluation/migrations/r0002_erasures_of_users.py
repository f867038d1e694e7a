"""What erasing users needs: notes of what was removed, and whose conversations rows quote."""

from __future__ import annotations

from shared.state.migrations import kernel

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kernel.make_erasure_notes()
