"""The evaluation service's SQL state."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("evaluation", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False, index=True),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("champion_version", sa.String, nullable=False),
    # EvaluateRequest as it came: what a resumed evaluation reads.
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("reward_model", sa.String, nullable=False, default=""),
    sa.Column("mlflow_run_id", sa.String, nullable=False, default=""),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
)
SUITE_RESULTS = sa.Table(
    "suite_results",
    METADATA,
    sa.Column("evaluation", sa.String, primary_key=True),
    sa.Column("suite", sa.String, primary_key=True),
    sa.Column("figures", sa.JSON, nullable=False),
)
ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("prompt_key", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
