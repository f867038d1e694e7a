"""Models and their training data over SQL."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, astuple, replace
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from services.reward.adapters.model_folder import pack, unpack
from services.reward.domain import (
    Accuracy,
    Group,
    Judgement,
    ModelCard,
    Pair,
    People,
    Rating,
    WellBeing,
)
from services.reward.learning.belonging import Belonging
from services.reward.learning.changes import Discriminants
from services.reward.learning.ensemble import Ensemble
from services.reward.learning.fitting import Model
from services.reward.learning.patience import Patience
from services.reward.people.adapters.sql_evidence import judgement_of, pair_of, rating_of
from services.reward.ports import RewardModel
from services.reward.tables import (
    JUDGEMENTS,
    MODELS,
    PAIRS,
    RATINGS,
)
from shared.language.errors import NotFound
from shared.state.database import Database, Transaction

_TASTES, _SEGMENTS, _BELONGING = "tastes_", "segments_", "belonging_"
_CHANGES = _BELONGING + "changes_"
_OF_CHANGES = ("coefficients", "offsets", "shares")


class SqlRewardModels:
    """The RewardModels port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_version(self, tenant: str) -> int:
        with self._database.read() as connection:
            return _newest(connection, tenant)

    def load(self, tenant: str, version: int) -> RewardModel:
        with self._database.read() as connection:
            row = connection.execute(sa.select(MODELS).where(_is(tenant, version))).first()
        if row is None:
            raise NotFound(f"there is no reward model version {version}", field="reward_model")
        return RewardModel(
            _card(row),
            _ensemble(row.weights),
            tastes=_model(row.weights, _TASTES),
            belonging=_belonging(row.weights),
            segments=_model(row.weights, _SEGMENTS),
        )

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        query = sa.select(MODELS).where(MODELS.c.tenant == tenant)
        if before is not None:
            query = query.where(MODELS.c.version < before)
        query = query.order_by(MODELS.c.version.desc()).limit(size)
        with self._database.read() as connection:
            return [_card(row) for row in connection.execute(query)]

    def data(self, tenant: str, most: int, most_per_user: int) -> tuple[list[Pair], list[Rating]]:
        with self._database.read() as connection:
            pairs = connection.execute(_newest_rows(PAIRS, tenant, most, most_per_user)).all()
            ratings = connection.execute(_newest_rows(RATINGS, tenant, most, most_per_user)).all()
        return [pair_of(row) for row in pairs[::-1]], [rating_of(row) for row in ratings[::-1]]

    def judgements(self, tenant: str, most: int, most_per_user: int) -> list[Judgement]:
        with self._database.read() as connection:
            rows = connection.execute(_newest_rows(JUDGEMENTS, tenant, most, most_per_user)).all()
        return [judgement_of(row) for row in rows[::-1]]


def _newest_rows(
    table: sa.Table, tenant: str, most: int, most_per_user: int
) -> sa.Select[tuple[Any, ...]]:
    """Newest first. The choice is made from an index alone; texts are read only of the chosen rows."""
    by_user = sa.func.row_number().over(partition_by=table.c.user_id, order_by=table.c.seq.desc())
    ranked = sa.select(table.c.seq, by_user.label("place")).where(table.c.tenant == tenant)
    ranks = ranked.subquery()
    chosen = sa.select(ranks.c.seq).where(ranks.c.place <= most_per_user)
    newest = chosen.order_by(ranks.c.seq.desc()).limit(most)
    return sa.select(table).where(table.c.seq.in_(newest)).order_by(table.c.seq.desc())


class SqlModelWriter:
    """Within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection

    def add(self, tenant: str, model: RewardModel) -> ModelCard:
        card = replace(model.card, version=_newest(self._connection, tenant) + 1)
        content = asdict(card) | {"create_time": card.create_time.isoformat()}
        self._connection.execute(
            MODELS.insert().values(
                tenant=tenant,
                version=card.version,
                card=content,
                weights=weights_file(model),
                mlflow_run_id="",
                created=card.create_time.timestamp(),
            )
        )
        return card

    def set_run(self, tenant: str, version: int, run_id: str) -> None:
        mine = _is(tenant, version)
        self._connection.execute(MODELS.update().where(mine).values(mlflow_run_id=run_id))


def weights_file(model: RewardModel) -> bytes:
    """An .npz file of plain arrays; the names of the groups' arrays start with _TASTES or _SEGMENTS."""
    arrays: dict[str, Any] = {
        "coefficients": model.ensemble.coefficients,
        "intercepts": model.ensemble.intercepts,
        "left_out": model.ensemble.left_out,
    }
    if model.belonging is not None:
        arrays |= {
            f"{_BELONGING}coefficients": model.belonging.coefficients,
            f"{_BELONGING}shares": model.belonging.shares,
            f"{_BELONGING}patience": np.array(astuple(model.belonging.patience)),
            f"{_BELONGING}bounds": model.belonging.bounds,
            f"{_BELONGING}statements": np.array(model.belonging.statements, dtype=np.str_),
            f"{_BELONGING}words": model.belonging.words,
        }
        for name in _OF_CHANGES:
            arrays[f"{_CHANGES}{name}"] = np.array(
                [getattr(one, name) for one in model.belonging.changes]
            )
    for prefix, rewards in ((_TASTES, model.tastes), (_SEGMENTS, model.segments)):
        if rewards is not None:
            about, numbers = pack(rewards)
            arrays |= {prefix + name: value for name, value in numbers.items()}
            arrays[prefix + "about"] = np.array(json.dumps(about))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _ensemble(content: bytes) -> Ensemble:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Ensemble(arrays["coefficients"], arrays["intercepts"], arrays["left_out"])


def _model(content: bytes, prefix: str) -> Model | None:
    """None if there is none under that prefix."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = {
            name.removeprefix(prefix): arrays[name]
            for name in arrays.files
            if name.startswith(prefix)
        }
    return unpack(json.loads(str(found.pop("about"))), found) if found else None


def _belonging(content: bytes) -> Belonging | None:
    """None of models that were made before it was learnt."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if f"{_BELONGING}shares" not in arrays.files:
            return None
        found = Belonging(
            arrays[f"{_BELONGING}coefficients"],
            arrays[f"{_BELONGING}shares"],
            Patience(*map(float, arrays[f"{_BELONGING}patience"])),
            arrays[f"{_BELONGING}bounds"],
        )
        if f"{_BELONGING}words" not in arrays.files:
            return found  # made before words were evidence
        statements = tuple(map(str, arrays[f"{_BELONGING}statements"]))
        found = replace(found, statements=statements, words=arrays[f"{_BELONGING}words"])
        if f"{_CHANGES}{_OF_CHANGES[0]}" not in arrays.files:
            return found  # made before changes were evidence
        by_fold = zip(*(arrays[f"{_CHANGES}{name}"] for name in _OF_CHANGES), strict=True)
        return replace(found, changes=tuple(Discriminants(*one) for one in by_fold))


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
