"""Which groups users are known to be in, on SQL (contract in people.ports)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from services.feedback.tables import MEMBERSHIPS
from shared.contracts.people import decode_membership, encode_membership
from shared.gen.trimtab.common.v1 import people_pb2
from shared.language.groups import Membership
from shared.state.database import Transaction


class SqlMemberships:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._now = transaction, now

    def version(self, tenant: str, user_id: str) -> int:
        query = sa.select(MEMBERSHIPS.c.version).where(_of(tenant, user_id))
        return self._transaction.connection.execute(query).scalar() or 0

    def put(self, membership: Membership) -> None:
        values = {
            "version": membership.version,
            "value": encode_membership(membership).SerializeToString(),
            "stored": self._now(),
        }
        whose = {"tenant": membership.tenant, "user_id": membership.user_id}
        insert = self._transaction.insert(MEMBERSHIPS).values(**whose, **values)
        self._transaction.connection.execute(
            insert.on_conflict_do_update(index_elements=["tenant", "user_id"], set_=values)
        )

    def remove(self, tenant: str, user_id: str) -> None:
        self._transaction.connection.execute(MEMBERSHIPS.delete().where(_of(tenant, user_id)))


def groups_of(connection: sa.Connection, tenant: str, user_id: str) -> tuple[str, ...]:
    """The names of the groups that the user is known to be in; none if there is no membership."""
    query = sa.select(MEMBERSHIPS.c.value).where(_of(tenant, user_id))
    value = connection.execute(query).scalar()
    if value is None:
        return ()
    return decode_membership(people_pb2.Membership.FromString(value)).groups


def column_of(groups: Sequence[str]) -> str:
    """How groups are stored to be found by each: no name has a line end in it."""
    return "".join(f"\n{group}\n" for group in groups)


def _of(tenant: str, user_id: str) -> sa.ColumnElement[bool]:
    return (MEMBERSHIPS.c.tenant == tenant) & (MEMBERSHIPS.c.user_id == user_id)
