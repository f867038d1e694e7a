"""No query that runs on a schedule or on a live path reads a whole table that grows: the plans say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.feedback.adapters.aging import AGING, AgedWaiting
from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from services.feedback.adapters.lineage import FeedbackLineage
from services.feedback.tables import HEAD_LOOKS, HEADS, METADATA
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.paging import Term
from shared.language.retention import Keep, RetentionPolicy
from shared.language.times import now
from shared.privacy.erasure import Erasure
from shared.privacy.retention import AgedRows, _Tenants
from shared.state.database import Database
from shared.state.stage import drain
from tests.contract.state import opened
from tests.integration.feedback.test_unsure import RULES, reads
from tests.unit.feedback import raters
from tests.unit.feedback.house import LONG, House

# One row a tenant.
GROWING = sorted(table.name for table in METADATA.sorted_tables if table is not HEAD_LOOKS)
# PostgreSQL reads small tables whole, and these are small: what it would do with large ones.
AS_IF_LARGE = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
# All of a tenant's rows: no more than what is cut off by a limit, or the first of an index, may be read so.
OF_TENANT = re.compile(r"SEARCH .*\(tenant=\?\)$")
CUT_OFF = re.compile(r"LIMIT|SELECT min\(")
Statement = tuple[str, Any]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("feedback", database_url) as made:
        yield made


def recorded(database: Database, lives: Any) -> dict[str, Statement]:
    """Each statement that `lives` makes, with the values of one time."""
    found: dict[str, Statement] = {}

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        words = statement.split(None, 1)[0].upper()
        if words in ("SELECT", "UPDATE", "DELETE", "WITH"):
            found.setdefault(statement, (statement, parameters[0] if many else parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        lives()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    return found


def whole_reads(database: Database, statement: str, parameters: Any) -> list[str]:
    """The lines of the plan in which a table that grows is read from end to end."""
    if database.engine.dialect.name == "sqlite":
        with database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        steps = [str(row[3]) for row in rows]
        # A limit cuts off nothing of what must be sorted first.
        is_cut = CUT_OFF.search(statement) and "USE TEMP B-TREE FOR ORDER BY" not in steps
        return [one for one in steps if _is_whole(one, bool(is_cut))]
    with database.engine.connect() as connection:
        for setting in AS_IF_LARGE:
            connection.exec_driver_sql(f"SET {setting} = off")
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    lines = [str(row[0]) for row in rows]
    found = []
    for number, line in enumerate(lines):
        scan = re.search(r"(Seq|Index|Index Only) Scan (?:Backward )?(?:using \S+ )?on (\S+)", line)
        if scan and scan[2].strip('"') in GROWING:
            under = "".join(lines[number + 1 : number + 3])
            if scan[1] == "Seq" or "Index Cond" not in under:
                found.append(line)
    return found


def _is_whole(step: str, is_cut: bool) -> bool:
    word, _, rest = step.partition(" ")
    table = rest.partition(" ")[0]
    if word not in ("SCAN", "SEARCH") or table not in GROWING:
        return False
    of_tenant = OF_TENANT.match(step) and table != HEADS.name  # one a night
    return word == "SCAN" or bool(of_tenant and not is_cut)


def check(database: Database, lives: Any) -> None:
    statements = recorded(database, lives)
    assert statements
    bad = {
        statement: lines
        for statement, parameters in statements.values()
        if (lines := whole_reads(database, statement, parameters))
    }
    told = (f"{lines}\n    {statement[:300]}" for statement, lines in bad.items())
    assert not bad, "\n".join(told)


def test_what_runs_by_itself(database: Database) -> None:
    house = raters.house_of(database, judge_unsure=True, ubr_share=1.0, **RULES)
    house.chat._script = reads

    def lives() -> None:
        for version, gone in ((1, False), (2, False), (2, True), (3, False)):
            house.belongs("ada", "shorter", version=version, removed=gone)
            drain(house.parts.people)
        house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please", LONG, "thanks")
        house.chat_with("ada", "c2", "what is a river?", LONG, "maybe it could be better")
        targets: tuple[dict[str, Any], ...] = ({"completion_id": "c1-1"}, {"conversation_id": "c9"})
        for number, target in enumerate(targets):
            for mode in (common.FEEDBACK_MODE_ADD, common.FEEDBACK_MODE_REPLACE):
                house.give(
                    common.ExplicitFeedback(
                        feedback_id=f"f{number}{mode}",
                        tenant="local",
                        thumbs_up=False,
                        mode=mode,
                        **target,
                    )
                )
        house.settle()
        house.parts.late.once()
        house.parts.sweep.rest_s()
        raters.look(house)
        for worker in house.parts.head_workers.values():
            while worker.run_once():
                continue

    check(database, lives)


def test_what_people_ask_for(database: Database) -> None:
    house = House(database)
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    parts = house.parts

    def lives() -> None:
        for after in (None, 1):
            parts.feedback.page("local", (Term("kind", "=", "positive"),), after, 10)
            parts.feedback.waiting("local", after, 10)
            parts.pairs.page("local", (Term("state", "=", "kept"),), after, 10)
            for listed in (parts.feedback, parts.pairs):
                listed.page("local", (Term("group", "=", "shorter"),), after, 10)
            parts.judgements.page("local", after, 10)
            parts.heads.page("local", after, 10)
        parts.personas.personas("local", "", 10)
        parts.personas.versions("local", "ada", None, 10)
        parts.trust.agreement("local")
        lineage = FeedbackLineage(database)
        lineage.steps("local", "c1", "")
        lineage.turn_of("local", "c1-1")
        list(SqlHoldings(database)("local", "ada"))

    check(database, lives)


def test_what_forgets(database: Database) -> None:
    house = House(database)
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    drain(house.parts.turns)
    remover, ada = FeedbackRemover(database), Erasure("e1", "local", "ada", ("c1", "c2"))
    policy = RetentionPolicy({"*": Keep(store_days=30), "short": Keep(store_days=7)})

    def lives() -> None:
        remover.survey(ada)
        with database.begin() as transaction:
            remover.remove_rows(ada, transaction)
            for one in AGING:
                one.forget(transaction, policy, now() - timedelta(days=1), 100)
                rows = one.rows if isinstance(one, AgedWaiting) else one
                assert isinstance(rows, AgedRows)
                # Also of a table that has none of the tenant's yet.
                rows._delete(transaction, rows._condition(_Tenants(only="short"), 0.0), 100)

    check(database, lives)
