"""What the feedback service holds about a user, and how it is removed.

What others said about the user's conversations quotes them, so it goes too. Whatever of it was still
waiting ends as dropped ERASED: the counts of every stage still add up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import sqlalchemy as sa

from services.feedback.heads.app.refit import FIT_JOB
from services.feedback.heads.domain import head_name
from services.feedback.mining.app import explicit as explicit_app
from services.feedback.mining.app import follow_ups as mining
from services.feedback.mining.app import unsure
from services.feedback.pairs.domain import PAIRS as PAIRS_STAGE
from services.feedback.pairs.domain import REWRITE_BACKLOG, REWRITE_LIVE, SAMPLE, PairState
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS, PERSONAS
from services.feedback.tables import (
    BANDS,
    EXPLICIT,
    FEEDBACK,
    HEAD_SOURCES,
    JUDGEMENTS,
    MEMBERSHIPS,
    PAIRS,
    PENDING,
    PERSONA_VERSIONS,
    SAID,
    SPENT,
    TURNS,
    USERS,
)
from shared.gen.trimtab.common.v1 import people_pb2
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.batches import batches
from shared.log.events import ERASED
from shared.privacy.erasure import (
    Erasure,
    Rows,
    Survey,
    delete_rows,
    of_conversation,
    of_user,
    parts,
)
from shared.privacy.holdings import Held
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue
from shared.state.tables import JOBS

# Kinds of jobs, the stage that counts them, and what they wait as.
_PERSONA_JOBS = dict.fromkeys((PERSONA_OF_COMPLAINT, PERSONA_OF_TURNS), (PERSONAS, "TO_WRITE"))
_PAIR_JOBS = dict.fromkeys((REWRITE_LIVE, REWRITE_BACKLOG), (PAIRS_STAGE, "CANDIDATES"))
_JOBS = _PERSONA_JOBS | _PAIR_JOBS
_JOBS |= {SAMPLE: (PAIRS_STAGE, "SAMPLES"), unsure.JOB: (unsure.STAGE, unsure.WAITS)}


def _of_both(place: str, table: sa.Table) -> tuple[Rows, Rows]:
    """Rows that quote a conversation, whichever user they belong to. One query for each condition: for both
    in one, a database would read all of the tenant's rows."""
    return Rows(place, table, of_user(table)), Rows(place, table, of_conversation(table))


_ROWS = (
    Rows("follow_ups", PENDING, of_conversation(PENDING)),
    *_of_both("feedback", FEEDBACK),
    *_of_both("pairs", PAIRS),
    *_of_both("pair_bands", BANDS),
    Rows("personas", USERS, of_user(USERS)),
    Rows("persona_versions", PERSONA_VERSIONS, of_user(PERSONA_VERSIONS)),
    Rows("memberships", MEMBERSHIPS, of_user(MEMBERSHIPS)),
    Rows("limits", SPENT, of_user(SPENT)),
    *_of_both("judgements", JUDGEMENTS),
    *_of_both("head_sources", HEAD_SOURCES),
    Rows("turns", TURNS, of_user(TURNS)),
)
_WAITING = _of_both("waiting_feedback", EXPLICIT)


class FeedbackRemover:
    """shared.privacy.erasure.Remover: everything is in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def survey(self, erasure: Erasure) -> Survey:
        """The heads that were fitted on what the user said, or on conversations that they took part in."""
        versions: set[int] = set()
        with self._database.read() as connection:
            whole = _with_own_conversations(erasure, connection)
            for theirs in _theirs(HEAD_SOURCES, whole):
                query = sa.select(HEAD_SOURCES.c.version).where(theirs)
                versions |= set(connection.execute(query).scalars())
        return Survey(model_versions=[head_name(version) for version in sorted(versions)])

    def remove_files(self, erasure: Erasure) -> None:
        """There are none."""

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        whole = _with_own_conversations(erasure, transaction.connection)
        feedback_ids = _feedback_ids(whole, transaction)
        removed = {
            "waiting_feedback": _remove_waiting(whole, transaction),
            "jobs": _withdraw_jobs(whole, feedback_ids, transaction),
        }
        if feedback_ids:
            _fit_again(whole, transaction)
        _settle_follow_ups(whole, transaction)
        _settle_pairs(whole, transaction)
        for some in batches(sorted(feedback_ids)):
            transaction.connection.execute(SAID.delete().where(SAID.c.feedback_id.in_(some)))
        return removed | delete_rows(_ROWS, whole, transaction)


class SqlHoldings:
    """What is held of a user, for an export."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, tenant: str, user_id: str) -> Iterator[Held]:
        user = Erasure("", tenant, user_id)
        with self._database.read() as connection:
            for kind, table, message in (
                ("feedback", FEEDBACK, events.FeedbackMined),
                ("pair", PAIRS, events.PreferencePair),
            ):
                rows = connection.execute(sa.select(table.c.value).where(of_user(table)(user)))
                for row in rows.all():
                    yield kind, message.FromString(row.value)
            for row in connection.execute(sa.select(USERS.c.persona).where(of_user(USERS)(user))):
                if row.persona is not None:
                    yield "persona", events.Persona.FromString(row.persona)
            versions = sa.select(PERSONA_VERSIONS.c.value).where(of_user(PERSONA_VERSIONS)(user))
            for row in connection.execute(versions.order_by(PERSONA_VERSIONS.c.version)):
                yield "persona_version", events.Persona.FromString(row.value)
            found = sa.select(MEMBERSHIPS.c.value).where(of_user(MEMBERSHIPS)(user))
            for row in connection.execute(found):
                yield "membership", people_pb2.Membership.FromString(row.value)
            judged = sa.select(JUDGEMENTS).where(of_user(JUDGEMENTS)(user))
            for one in connection.execute(judged.order_by(JUDGEMENTS.c.seq)).mappings():
                yield "judgement", {name: value for name, value in one.items() if name != "seq"}
            waits = sa.select(EXPLICIT.c.value).where(of_user(EXPLICIT)(user))
            for row in connection.execute(waits).all():
                yield "waiting_feedback", events.FeedbackGiven.FromString(row.value).feedback


def _with_own_conversations(erasure: Erasure, connection: sa.Connection) -> Erasure:
    """Also those that only this service knows of yet."""
    query = sa.select(TURNS.c.conversation_id).where(of_user(TURNS)(erasure))
    own = set(connection.execute(query).scalars())
    return replace(erasure, conversation_ids=tuple(sorted(own | set(erasure.conversation_ids))))


def _feedback_ids(erasure: Erasure, transaction: Transaction) -> set[str]:
    ids: set[str] = set()
    for theirs in _theirs(FEEDBACK, erasure):
        query = sa.select(FEEDBACK.c.feedback_id).where(theirs)
        ids |= set(transaction.connection.execute(query).scalars())
    return ids


def _remove_waiting(erasure: Erasure, transaction: Transaction) -> int:
    """Explicit feedback of the user, or on the user's answers, that waits for its turn."""
    answered = sa.select(TURNS.c.completion_id).where(of_user(TURNS)(erasure))
    completions = set(transaction.connection.execute(answered).scalars()) - {""}
    gone = delete_rows(_WAITING, erasure, transaction)["waiting_feedback"]
    for some in batches(sorted(completions)):
        theirs = (EXPLICIT.c.tenant == erasure.tenant) & EXPLICIT.c.completion_id.in_(some)
        gone += transaction.connection.execute(EXPLICIT.delete().where(theirs)).rowcount
    _drop(transaction, explicit_app.STAGE, "TURN_NOT_LOGGED", gone)
    return gone


def _withdraw_jobs(erasure: Erasure, feedback_ids: set[str], transaction: Transaction) -> int:
    """A worker that is doing one finds it gone and stores nothing."""
    theirs = JOBS.c.kind.in_(_JOBS) & JOBS.c.tenant.in_(("", erasure.tenant))
    query = sa.select(JOBS.c.id, JOBS.c.kind, JOBS.c.payload).where(theirs)
    of_them = {"tenant": erasure.tenant, "user_id": erasure.user_id}
    withdrawn = 0
    for row in transaction.connection.execute(query).all():
        payload = json.loads(row.payload)
        if payload.get("feedback_id") not in feedback_ids and payload != of_them:
            continue
        transaction.connection.execute(JOBS.delete().where(JOBS.c.id == row.id))
        _drop(transaction, *_JOBS[row.kind], 1)
        withdrawn += 1
    return withdrawn


def _fit_again(erasure: Erasure, transaction: Transaction) -> None:
    """A head that is being fitted has read what is removed: its job is withdrawn, so that its result is not
    kept, and requested again."""
    query = sa.select(JOBS.c.id, JOBS.c.payload).where(
        JOBS.c.kind == FIT_JOB, JOBS.c.tenant.in_(("", erasure.tenant))
    )
    for row in transaction.connection.execute(query).all():
        payload = json.loads(row.payload)
        if payload["tenant"] == erasure.tenant:
            transaction.connection.execute(JOBS.delete().where(JOBS.c.id == row.id))
            enqueue(transaction, FIT_JOB, f"{row.id}:{erasure.name}", payload)


def _settle_follow_ups(erasure: Erasure, transaction: Transaction) -> None:
    for part in parts(erasure):
        query = sa.select(PENDING.c.ready, sa.func.count()).where(of_conversation(PENDING)(part))
        for ready, count in transaction.connection.execute(query.group_by(PENDING.c.ready)).all():
            _drop(transaction, mining.STAGE, "TO_JUDGE" if ready else "ANSWER_MISSING", count)


def _settle_pairs(erasure: Erasure, transaction: Transaction) -> None:
    """Pairs that wait for the reward model's judgement. `parts` would count the user's own again for
    each part, so places are gathered first."""
    waiting: set[int] = set()
    for theirs in _theirs(PAIRS, erasure):
        proposed = theirs & (PAIRS.c.state == PairState.PROPOSED.value)
        query = sa.select(PAIRS.c.seq).where(proposed)
        waiting |= set(transaction.connection.execute(query).scalars())
    _drop(transaction, PAIRS_STAGE, "REWARD", len(waiting))


def _theirs(table: sa.Table, erasure: Erasure) -> Iterator[sa.ColumnElement[bool]]:
    """Which rows quote the user, by the user and by conversations: a row may be among both."""
    yield of_user(table)(erasure)
    for part in parts(erasure):
        yield of_conversation(table)(part)


def _drop(transaction: Transaction, stage: str, waited_as: str, n: int) -> None:
    if n:
        transaction.count(stage, "waiting", waited_as, -n)
        transaction.count(stage, "dropped", ERASED, n)
