"""The reward service's ports over SQL. SQLite in memory is the twin for unit tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from services.reward.adapters.model_folder import pack, unpack
from services.reward.adapters.tables import (
    MODELS,
    PAIRS,
    PROGRESS,
    RATINGS,
    REQUESTS,
    UNSCORED,
)
from services.reward.app import ANSWERS
from services.reward.domain import (
    Accuracy,
    Answer,
    Group,
    LoggedAnswer,
    ModelCard,
    Pair,
    People,
    Progress,
    Rating,
    WellBeing,
)
from services.reward.ensemble import Ensemble
from services.reward.learning.fitting import Model
from services.reward.ports import RewardModel
from shared.language.errors import NotFound
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue

TRAIN_JOB = "reward.train"
_TASTES = "tastes_"


class SqlIntake:
    """Intake within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction

    def add_pair(self, tenant: str, pair: Pair) -> bool:
        row = {
            "tenant": tenant,
            "pair_id": pair.pair_id,
            "user_id": pair.user_id,
            "request": pair.better.request,
            "better": pair.better.text,
            "worse": pair.worse.text,
            "said_at": pair.said_at.timestamp(),
            "conversation_id": pair.conversation_id,
        }
        return self._insert_new(PAIRS, row)

    def add_rating(self, tenant: str, rating: Rating) -> bool:
        row = {
            "tenant": tenant,
            "rating_id": rating.rating_id,
            "user_id": rating.user_id,
            "request": rating.answer.request,
            "answer": rating.answer.text,
            "satisfaction": rating.satisfaction,
            "said_at": rating.said_at.timestamp(),
            "conversation_id": rating.conversation_id,
        }
        return self._insert_new(RATINGS, row)

    def drop_ratings(self, tenant: str, rating_ids: Sequence[str]) -> None:
        if rating_ids:
            theirs = (RATINGS.c.tenant == tenant) & RATINGS.c.rating_id.in_(rating_ids)
            self._tx.connection.execute(RATINGS.delete().where(theirs))

    def count_data(self, tenant: str, *, is_pair: bool) -> Progress:
        one = int(is_pair)
        insert = self._tx.insert(PROGRESS).values(
            tenant=tenant, data=1, due=0, pairs=one, pairs_due=0
        )
        grown = {"data": PROGRESS.c.data + 1, "pairs": PROGRESS.c.pairs + one}
        self._tx.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant"], set_=grown)
        )
        row = self._tx.connection.execute(
            sa.select(PROGRESS).where(PROGRESS.c.tenant == tenant)
        ).one()
        return Progress(row.data, row.due, row.pairs, row.pairs_due)

    def schedule_training(self, tenant: str, then: Progress) -> None:
        enqueue(self._tx, TRAIN_JOB, f"{TRAIN_JOB}:{tenant}:{then.data}", {"tenant": tenant})
        due = {"due": then.due, "pairs_due": then.pairs_due}
        self._tx.connection.execute(
            PROGRESS.update().where(PROGRESS.c.tenant == tenant).values(**due)
        )

    def keep_request(self, said: LoggedAnswer) -> None:
        values = {"text": said.answer.text, "user_id": said.user_id}
        insert = self._tx.insert(REQUESTS).values(
            tenant=said.tenant, conversation_id=said.conversation_id, **values
        )
        self._tx.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "conversation_id"], set_=values)
        )

    def last_request(self, tenant: str, conversation_id: str) -> str:
        query = sa.select(REQUESTS.c.text).where(
            (REQUESTS.c.tenant == tenant) & (REQUESTS.c.conversation_id == conversation_id)
        )
        return self._tx.connection.execute(query).scalar() or ""

    def add_answer(self, answer: LoggedAnswer) -> None:
        self._tx.connection.execute(
            UNSCORED.insert().values(
                tenant=answer.tenant,
                user_id=answer.user_id,
                conversation_id=answer.conversation_id,
                turn_id=answer.turn_id,
                model_version=answer.model_version,
                request=answer.answer.request,
                answer=answer.answer.text,
                create_time=answer.create_time.timestamp(),
            )
        )

    def backlog(self) -> int:
        # The durable count, not COUNT(*): it is asked for every answer.
        return self._tx.counted(ANSWERS, "waiting")

    def count(self, stage: str, outcome: str, reason: str, n: int = 1) -> None:
        self._tx.count(stage, outcome, reason, n)

    def _insert_new(self, table: sa.Table, row: dict[str, Any]) -> bool:
        statement = self._tx.insert(table).values(row).on_conflict_do_nothing()
        return bool(self._tx.connection.execute(statement).rowcount)


class SqlRewardModels:
    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_version(self, tenant: str) -> int:
        with self._database.read() as connection:
            return _newest(connection, tenant)

    def load(self, tenant: str, version: int) -> RewardModel:
        with self._database.read() as connection:
            row = connection.execute(sa.select(MODELS).where(_is(tenant, version))).first()
        if row is None:
            raise NotFound(f"there is no reward model of version {version}", field="reward_model")
        return RewardModel(_card(row), *_weights(row.weights))

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        """Newest first, below version `before`."""
        query = sa.select(MODELS).where(MODELS.c.tenant == tenant)
        if before is not None:
            query = query.where(MODELS.c.version < before)
        query = query.order_by(MODELS.c.version.desc()).limit(size)
        with self._database.read() as connection:
            return [_card(row) for row in connection.execute(query)]

    def data(self, tenant: str) -> tuple[list[Pair], list[Rating]]:
        pairs = sa.select(PAIRS).where(PAIRS.c.tenant == tenant).order_by(PAIRS.c.seq)
        ratings = sa.select(RATINGS).where(RATINGS.c.tenant == tenant).order_by(RATINGS.c.seq)
        with self._database.read() as connection:
            return (
                [_pair(row) for row in connection.execute(pairs)],
                [_rating(row) for row in connection.execute(ratings)],
            )


def add_model(transaction: Transaction, tenant: str, model: RewardModel) -> ModelCard:
    """Stores the model under the tenant's next version."""
    card = replace(model.card, version=_newest(transaction.connection, tenant) + 1)
    content = asdict(card) | {"create_time": card.create_time.isoformat()}
    transaction.connection.execute(
        MODELS.insert().values(
            tenant=tenant,
            version=card.version,
            card=content,
            weights=weights_file(model),
            mlflow_run_id="",
        )
    )
    return card


def set_run(transaction: Transaction, tenant: str, version: int, run_id: str) -> None:
    transaction.connection.execute(
        MODELS.update().where(_is(tenant, version)).values(mlflow_run_id=run_id)
    )


def unscored(database: Database, most: int) -> list[tuple[int, LoggedAnswer]]:
    """The next answers to score, of one tenant that has a model and one version.

    The version that answered last goes first, so that an import does not hold up live answers;
    within a version they go in order, since drift's streams are by version.
    """
    trained = sa.select(MODELS.c.tenant)
    newest = (
        sa.select(UNSCORED.c.tenant, UNSCORED.c.model_version)
        .where(UNSCORED.c.tenant.in_(trained))
        .order_by(UNSCORED.c.seq.desc())
        .limit(1)
    )
    with database.read() as connection:
        stream = connection.execute(newest).first()
        if stream is None:
            return []
        of_stream = (UNSCORED.c.tenant == stream.tenant) & (
            UNSCORED.c.model_version == stream.model_version
        )
        query = sa.select(UNSCORED).where(of_stream).order_by(UNSCORED.c.seq).limit(most)
        return [(row.seq, _logged(row)) for row in connection.execute(query)]


def take_scored(transaction: Transaction, seqs: Sequence[int]) -> set[int]:
    """Those that were still waiting; they no longer are. Another replica may have scored the
    rest."""
    deleted = UNSCORED.delete().where(UNSCORED.c.seq.in_(seqs)).returning(UNSCORED.c.seq)
    return set(transaction.connection.execute(deleted).scalars())


def weights_file(model: RewardModel) -> bytes:
    """An .npz of plain arrays; those of the groups' rewards begin with _TASTES."""
    arrays: dict[str, Any] = {
        "coefficients": model.ensemble.coefficients,
        "intercepts": model.ensemble.intercepts,
        "left_out": model.ensemble.left_out,
    }
    if model.tastes is not None:
        about, numbers = pack(model.tastes)
        arrays |= {_TASTES + name: value for name, value in numbers.items()}
        arrays[_TASTES + "about"] = np.array(json.dumps(about))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _weights(content: bytes) -> tuple[Ensemble, Model | None]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        ensemble = Ensemble(arrays["coefficients"], arrays["intercepts"], arrays["left_out"])
        tastes = {
            name.removeprefix(_TASTES): arrays[name]
            for name in arrays.files
            if name.startswith(_TASTES)
        }
    if not tastes:
        return ensemble, None
    return ensemble, unpack(json.loads(str(tastes.pop("about"))), tastes)


def _newest(connection: sa.Connection, tenant: str) -> int:
    query = sa.select(sa.func.max(MODELS.c.version)).where(MODELS.c.tenant == tenant)
    return connection.execute(query).scalar() or 0


def _is(tenant: str, version: int) -> sa.ColumnElement[bool]:
    return (MODELS.c.tenant == tenant) & (MODELS.c.version == version)


def _card(row: Any) -> ModelCard:
    content = dict(row.card)
    content["held_out"] = Accuracy(**content["held_out"])
    content["cross_fitted"] = Accuracy(**content["cross_fitted"])
    content["create_time"] = datetime.fromisoformat(content["create_time"])
    content["people"] = _people(content.get("people"))
    return ModelCard(**content | {"mlflow_run_id": row.mlflow_run_id})


def _people(content: dict[str, Any] | None) -> People | None:
    if content is None:
        return None
    groups = [
        Group(
            **one
            | {
                "prefers": tuple((words, z) for words, z in one["prefers"]),
                "by_one_model": Accuracy(**one["by_one_model"]),
                "by_own_model": Accuracy(**one["by_own_model"]),
            }
        )
        for one in content["groups"]
    ]
    welfare = {name: WellBeing(**content[name]) for name in ("by_one_model", "by_group_models")}
    return People(**content | welfare | {"groups": tuple(groups)})


def _pair(row: Any) -> Pair:
    better, worse = Answer(row.request, row.better), Answer(row.request, row.worse)
    return Pair(row.pair_id, row.user_id, better, worse, datetime.fromtimestamp(row.said_at, UTC))


def _rating(row: Any) -> Rating:
    answer, said_at = Answer(row.request, row.answer), datetime.fromtimestamp(row.said_at, UTC)
    return Rating(row.rating_id, row.user_id, answer, row.satisfaction, said_at)


def _logged(row: Any) -> LoggedAnswer:
    return LoggedAnswer(
        row.tenant,
        row.user_id,
        row.conversation_id,
        row.turn_id,
        row.model_version,
        Answer(row.request, row.answer),
        datetime.fromtimestamp(row.create_time, UTC),
    )
