"""Links between calls in SQL: found by their digests, limited by age, in total, and by tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from services.gateway.domain.link_index import Key
from services.gateway.domain.linking import Link
from shared.language.batches import batches
from shared.language.times import from_microseconds, microseconds
from shared.privacy.retention import AgedRows
from shared.state.database import Transaction

TABLES = sa.MetaData()
LINKS = sa.Table(
    "links",
    TABLES,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    # Empty if an older version wrote it.
    sa.Column("tenant", sa.String, nullable=False, server_default=""),
    sa.Column("history", sa.String, nullable=False),
    sa.Column("answered", sa.String, nullable=False),
    sa.Column("parent", sa.String, nullable=False),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("asked_turn_id", sa.String, nullable=False),
    sa.Column("answer_turn_id", sa.String, nullable=False),
    sa.Column("made_us", sa.BigInteger, nullable=False),
    # As an older version wrote it, a link has none of these.
    sa.Column("thread", sa.String, nullable=False, server_default=""),
    sa.Column("asked", sa.String, nullable=False, server_default=""),
    sa.Column("said", sa.String, nullable=False, server_default=""),
    sa.Column("before", sa.String, nullable=False, server_default=""),
    sa.Column("place", sa.Integer, nullable=False, server_default="-1"),
    sa.Column("carried", sa.Integer, nullable=False, server_default="0"),
    sa.Column("voice", sa.String, nullable=False, server_default=""),
    sa.Column("model_version", sa.String, nullable=False, server_default=""),
    sa.Column("completion_id", sa.String, nullable=False, server_default=""),
    sa.Column("request_id", sa.String, nullable=False, server_default=""),
    sa.Column("aside", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("links_by_history", "history", "seq"),
    sa.Index("links_by_answered", "answered", "seq"),
    sa.Index("links_by_parent", "parent", "seq"),
    sa.Index("links_of_conversation", "tenant", "conversation_id", "seq"),
    sa.Index("links_by_thread", "thread", "seq"),
    sa.Index("links_by_exchange", "asked", "said", "seq"),
    sa.Index("links_by_tenant", "tenant", "seq"),
    sa.Index("links_by_age", "made_us"),
    sa.Index("links_by_tenants_age", "tenant", "made_us"),
    sqlite_autoincrement=True,
)
_BY = {
    "history": (LINKS.c.history,),
    "answered": (LINKS.c.answered,),
    "parent": (LINKS.c.parent,),
    "thread": (LINKS.c.thread,),
    "exchange": (LINKS.c.asked, LINKS.c.said),
    "conversation": (LINKS.c.tenant, LINKS.c.conversation_id),
}
# How many links each tenant has; counting them would read them all.
LINK_COUNTS = sa.Table(
    "link_counts",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("links", sa.BigInteger, nullable=False),
)
_AS_THEY_ARE = tuple(one.name for one in fields(Link) if one.name != "made")
# How many SELECTs are joined into one statement; SQLite's limit is 500.
_TOGETHER = 100
# How many links are removed in one transaction.
_A_BATCH = 2_000


def add(transaction: Transaction, links: Sequence[Link]) -> None:
    rows = [
        {**{name: getattr(link, name) for name in _AS_THEY_ARE}, "made_us": microseconds(link.made)}
        for link in links
    ]
    transaction.connection.execute(LINKS.insert(), rows)
    for tenant, count in sorted(Counter(link.tenant for link in links).items()):
        insert = transaction.insert(LINK_COUNTS).values(tenant=tenant, links=count)
        more = {"links": LINK_COUNTS.c.links + count}
        transaction.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant"], set_=more)
        )


def find(connection: sa.Connection, wanted: Iterable[tuple[Key, int]]) -> list[Link]:
    """By the keys of domain.link_index; the newest links of each, up to as many as it says, so that a frequent
    digest does not hide another. Each once, oldest first."""
    found = dict[int, Link]()
    for some in batches(sorted(set(wanted)), _TOGETHER):
        newest = [
            sa.select(LINKS).where(*_meant(key)).order_by(LINKS.c.seq.desc()).limit(most).subquery()
            for key, most in some
        ]
        rows = connection.execute(sa.union_all(*[sa.select(one) for one in newest])).all()
        found |= {row.seq: _link(row) for row in rows}
    return [link for _, link in sorted(found.items(), key=itemgetter(0))]


def _meant(key: Key) -> list[sa.ColumnElement[bool]]:
    kind, *values = key
    return [column == value for column, value in zip(_BY[kind], values, strict=True)]


def forget_conversations(transaction: Transaction, tenant: str, ids: Sequence[str]) -> int:
    """How many links were removed."""
    condition = LINKS.c.tenant.in_((tenant, "")) & LINKS.c.conversation_id.in_(ids)
    return _delete(transaction, condition)


def forget_older(transaction: Transaction, than: datetime) -> int:
    """Removes a batch of the oldest links; how many."""
    oldest = sa.select(LINKS.c.seq).where(LINKS.c.made_us < microseconds(than))
    oldest = oldest.order_by(LINKS.c.made_us).limit(_A_BATCH)
    return _delete(transaction, LINKS.c.seq.in_(oldest))


def forget_beyond(transaction: Transaction, most: int) -> int:
    """If there are more than `most` links, removes the oldest of the tenant with the most; how many, a batch at
    most."""
    by_tenant = sa.select(LINK_COUNTS).order_by(LINK_COUNTS.c.links.desc())
    counts: Sequence[Any] = transaction.connection.execute(by_tenant).all()
    over = sum(row.links for row in counts) - most
    if over <= 0:
        return 0
    # Until it has as many as the tenant with the second most; from then on both lose some.
    lead = counts[0].links - (counts[1].links if len(counts) > 1 else 0)
    many = min(over, max(lead, -(-over // len(counts))), _A_BATCH)
    theirs = LINKS.c.tenant == counts[0].tenant
    oldest = sa.select(LINKS.c.seq).where(theirs).order_by(LINKS.c.seq).limit(many)
    return _delete(transaction, LINKS.c.seq.in_(oldest))


def _delete(transaction: Transaction, condition: sa.ColumnElement[bool]) -> int:
    delete = LINKS.delete().where(condition).returning(LINKS.c.tenant)
    rows = transaction.connection.execute(delete).all()
    _uncount(transaction, rows)
    return len(rows)


def _uncount(transaction: Transaction, rows: Sequence[Any]) -> None:
    for tenant, count in sorted(Counter(row.tenant for row in rows).items()):
        this = LINK_COUNTS.c.tenant == tenant
        less = LINK_COUNTS.update().where(this).values(links=LINK_COUNTS.c.links - count)
        transaction.connection.execute(less)
        none = LINK_COUNTS.delete().where(this & (LINK_COUNTS.c.links <= 0))
        transaction.connection.execute(none)


# By the tenants' retention.
AGING = (AgedRows("links", LINKS, LINKS.c.made_us, in_microseconds=True, after=_uncount),)


def _link(row: Any) -> Link:
    held = {name: getattr(row, name) for name in _AS_THEY_ARE}
    return Link(**held, made=from_microseconds(row.made_us))
