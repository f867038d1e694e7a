"""Labels and scores of conversations, a place in lists that stays, the search index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WORDS = {
    "sqlite": (
        "CREATE VIRTUAL TABLE turn_words USING fts5("
        "words, content='', tokenize='unicode61 remove_diacritics 0')",
    ),
    "postgresql": (
        "CREATE TABLE turn_words (seq BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX turn_words_by_word ON turn_words USING gin (words)",
    ),
}


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "feedback_id", "label"),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index(
            "labels_by_conversation", ["tenant", "conversation_id", "label"], unique=False
        )
        batch_op.create_index(
            "labels_by_label", ["tenant", "label", "conversation_id"], unique=False
        )
        batch_op.create_index("labels_by_user", ["tenant", "user_id"], unique=False)

    op.create_table(
        "scores",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("scored_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "conversation_id", "turn_id"),
    )
    with op.batch_alter_table("scores", schema=None) as batch_op:
        batch_op.create_index("scores_by_user", ["tenant", "user_id"], unique=False)

    op.create_table(
        "searched",
        sa.Column("only", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("listed_us", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.drop_index(batch_op.f("conversations_by_time"))
        batch_op.create_index(
            "conversations_by_time", ["tenant", "listed_us", "conversation_id"], unique=False
        )

    op.execute("UPDATE conversations SET listed_us = created_us")
    for statement in WORDS[op.get_bind().dialect.name]:
        op.execute(statement)
