"""The evaluation service's SQL state."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("evaluation", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("model_version", sa.String, nullable=False),
    sa.Column("champion_version", sa.String, nullable=False),
    # The EvaluateRequest, for an evaluation that is resumed. It holds people's words, so it is emptied at
    # the end.
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("reward_model", sa.String, nullable=False, default=""),
    sa.Column("mlflow_run_id", sa.String, nullable=False, default=""),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
    sa.Index("evaluations_by_time", "tenant", "create_time", "evaluation"),
    sa.Index("evaluations_under_way", "done", "tenant"),
)
SUITE_RESULTS = sa.Table(
    "suite_results",
    METADATA,
    sa.Column("evaluation", sa.String, primary_key=True),
    sa.Column("suite", sa.String, primary_key=True),
    sa.Column("figures", sa.JSON, nullable=False),
    # Answers to the suite's own prompts, never to a user's; null in results of before they were kept.
    sa.Column("examples", sa.JSON),
)
# Answers of running evaluations; deleted when the evaluation ends.
ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("evaluation", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("prompt_key", sa.String, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
