"""What Alembic runs: `upgrade` and `write` give it the connection, with a transaction begun."""

from __future__ import annotations

from alembic import context

from shared.state.migrations import described

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("tables"),
    include_name=described,
    render_as_batch=True,  # SQLite alters a table by creating it again
)
with context.begin_transaction():
    context.run_migrations()
