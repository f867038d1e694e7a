"""Conversations and their turns, found in SQL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.interaction.tables import ASSESSMENTS, CONVERSATIONS, LABELS, SCORES, TURNS
from services.interaction.turns.adapters.search import matching
from services.interaction.turns.domain.conversations import (
    Conversation,
    ConversationQuery,
    PagePosition,
)
from shared.contracts.assessments import decode_assessment
from shared.contracts.turns import decode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument
from shared.language.paging import Term
from shared.language.policies import check_policy_id
from shared.language.times import from_microseconds, microseconds
from shared.language.turns import Turn
from shared.state.database import Database


class SqlConversationReads:
    """The stored conversations, read. `page` raises InvalidArgument for a term that it does not support. Every
    method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant: str, conversation_id: str) -> tuple[Conversation, list[Turn]] | None:
        mine = (CONVERSATIONS.c.tenant == tenant) & (
            CONVERSATIONS.c.conversation_id == conversation_id
        )
        turns = (
            sa.select(TURNS.c.body, TURNS.c.model_version)
            .where(TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id)
            .order_by(TURNS.c.position, TURNS.c.created_us, TURNS.c.turn_id)
        )
        with self._database.read() as connection:
            row = connection.execute(sa.select(CONVERSATIONS).where(mine)).first()
            if row is None:
                return None
            bodies = connection.execute(turns).all()
        versions = {body.model_version for body in bodies if body.model_version}
        read = [decode_turn(pb.Turn.FromString(body.body)) for body in bodies]
        return _conversation(row, versions), read

    def assessments(
        self, tenant: str, conversation_id: str, completion_ids: Sequence[str]
    ) -> list[Assessment]:
        of_it = ASSESSMENTS.c.conversation_id == conversation_id
        of_its_answers = ASSESSMENTS.c.completion_id.in_(completion_ids)
        query = sa.select(ASSESSMENTS.c.body).where(
            ASSESSMENTS.c.tenant == tenant, of_it | of_its_answers
        )
        ordered = query.order_by(ASSESSMENTS.c.assessed_us, ASSESSMENTS.c.assessment_id)
        with self._database.read() as connection:
            bodies = connection.execute(ordered).scalars().all()
        return [decode_assessment(pb.Assessment.FromString(body)) for body in bodies]

    def page(
        self, tenant: str, wanted: ConversationQuery, after: PagePosition | None, size: int
    ) -> list[tuple[Conversation, PagePosition]]:
        listed = (CONVERSATIONS.c.listed_us, CONVERSATIONS.c.conversation_id)
        query = sa.select(CONVERSATIONS).where(*self._conditions(tenant, wanted))
        if after is not None:
            query = query.where(sa.tuple_(*listed) < (after.listed_us, after.conversation_id))
        query = query.order_by(*(column.desc() for column in listed)).limit(size)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            versions = _versions(connection, tenant, [row.conversation_id for row in rows])
        return [
            (
                _conversation(row, versions.get(row.conversation_id, set())),
                PagePosition(row.listed_us, row.conversation_id),
            )
            for row in rows
        ]

    def count(self, tenant: str, wanted: ConversationQuery, most: int) -> int:
        found = sa.select(sa.literal(1)).select_from(CONVERSATIONS)
        found = found.where(*self._conditions(tenant, wanted)).limit(most)
        query = sa.select(sa.func.count()).select_from(found.subquery())
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def _conditions(self, tenant: str, wanted: ConversationQuery) -> list[sa.ColumnElement[bool]]:
        conditions = [CONVERSATIONS.c.tenant == tenant, *map(_condition, wanted.terms)]
        if wanted.phrases:
            said = sa.select(TURNS.c.conversation_id).where(
                TURNS.c.tenant == tenant,
                matching(wanted.phrases, self._database.engine.dialect.name),
            )
            conditions.append(CONVERSATIONS.c.conversation_id.in_(said))
        return conditions


def _versions(connection: sa.Connection, tenant: str, ids: list[str]) -> dict[str, set[str]]:
    query = sa.select(TURNS.c.conversation_id, TURNS.c.model_version).where(
        TURNS.c.tenant == tenant, TURNS.c.conversation_id.in_(ids), TURNS.c.model_version != ""
    )
    found: dict[str, set[str]] = {}
    for row in connection.execute(query.distinct()):
        found.setdefault(row.conversation_id, set()).add(row.model_version)
    return found


def _condition(term: Term) -> sa.ColumnElement[bool]:
    if term.field == "create_time":
        return _compare(CONVERSATIONS.c.created_us, term.operator, microseconds(_time(term.value)))
    if term.field == "score":
        return _compare(_mean_score(), term.operator, _number(term.value))
    if term.operator not in ("=", "!="):
        raise InvalidArgument(
            f"{term.field} supports only = and !=",
            reason="INVALID_FILTER",
            field="filter",
        )
    if term.field in ("model_version", "policy"):
        by = TURNS.c.model_version
        answered = sa.exists().where(
            TURNS.c.tenant == CONVERSATIONS.c.tenant,
            TURNS.c.conversation_id == CONVERSATIONS.c.conversation_id,
            _is_version_of(term.value) if term.field == "policy" else by == term.value,
        )
        return answered if term.operator == "=" else ~answered
    if term.field == "label":
        labelled = sa.exists().where(
            LABELS.c.tenant == CONVERSATIONS.c.tenant,
            LABELS.c.conversation_id == CONVERSATIONS.c.conversation_id,
            LABELS.c.label == term.value,
        )
        return labelled if term.operator == "=" else ~labelled
    return _compare(CONVERSATIONS.c[term.field], term.operator, term.value)


def _is_version_of(policy: str) -> sa.ColumnElement[bool]:
    """Whether the turn's version is called P-v and a number: of support-v1 and support-vip-v1, only the first
    is a version of support."""
    first = f"{check_policy_id(policy, 'filter')}-v"
    rest = sa.func.substr(TURNS.c.model_version, len(first) + 1)
    numbered = (sa.func.ltrim(rest, "0123456789") == "") & (rest != "")
    return TURNS.c.model_version.startswith(first, autoescape=True) & numbered


def _mean_score() -> sa.ScalarSelect[Any]:
    """Over the conversation's scored answers; a conversation without any matches no comparison."""
    mine = (SCORES.c.tenant == CONVERSATIONS.c.tenant) & (
        SCORES.c.conversation_id == CONVERSATIONS.c.conversation_id
    )
    mean = sa.select(sa.func.avg(SCORES.c.score)).where(mine)
    return mean.correlate(CONVERSATIONS).scalar_subquery()


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgument(
            f"{text[:40]!r} is not a number", reason="INVALID_FILTER", field="filter"
        )
    return number


def _compare(column: sa.ColumnElement[Any], operator: str, value: object) -> sa.ColumnElement[bool]:
    words = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__"}
    words |= {">": "__gt__", ">=": "__ge__"}
    compared: sa.ColumnElement[bool] = getattr(column, words[operator])(value)
    return compared


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{text[:40]!r} is not an RFC 3339 time", reason="INVALID_FILTER", field="filter"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _conversation(row: Any, versions: set[str]) -> Conversation:
    return Conversation(
        tenant=row.tenant,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        channel=row.channel,
        turn_count=row.turn_count,
        create_time=from_microseconds(row.created_us),
        update_time=from_microseconds(row.updated_us),
        model_versions=tuple(sorted(versions)),
    )
