"""The keys of users, in the keyring."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from services.interaction.erasure.adapters.audit import conversations_of
from services.interaction.erasure.domain import Audit, erasure_name
from services.interaction.tables import TURNS
from shared.gen.trimtab.common.v1 import common_pb2
from shared.language.identifiers import conversation_name, user_name
from shared.state.database import Database
from shared.vault.keyring import CachedKeyring


class KeyringUserKeys:
    def __init__(
        self, keyring: CachedKeyring, database: Database, clock: Callable[[], float]
    ) -> None:
        self._keyring, self._database, self._clock = keyring, database, clock

    @property
    def settles_s(self) -> float:
        return self._keyring.ttl_s

    def subject(self, tenant: str, user_id: str) -> str:
        return self._keyring.keyring.pseudonym(f"audit/{user_name(tenant, user_id)}")

    def close(self, audit: Audit) -> list[str]:
        """The user's own key is made if there is none: what is still on its way is sealed with it."""
        user = user_name(audit.tenant, audit.user_id)
        self._keyring.keyring.of_owners([user], self._clock())
        with self._database.read() as connection:
            owners = [user, *_targets(connection, audit)]
        return sorted(self._keyring.keyring.close(owners))

    def destroy(self, audit: Audit) -> None:
        ring, now = self._keyring.keyring, self._clock()
        ring.destroy(audit.key_ids, now)
        request_key = ring.of_owners([erasure_name(audit.erasure)], now)
        ring.destroy([key.id for key in request_key.values()], now)
        self._keyring.forget()


def _targets(connection: sa.Connection, audit: Audit) -> set[str]:
    """What feedback that names no user may be about: it was sealed with a key of these."""
    targets = {conversation_name(audit.tenant, one) for one in conversations_of(connection, audit)}
    theirs = (TURNS.c.tenant == audit.tenant) & (TURNS.c.user_id == audit.user_id)
    for body in connection.execute(sa.select(TURNS.c.body).where(theirs)).scalars():
        if completion := common_pb2.Turn.FromString(body).completion_id:
            targets.add(f"tenants/{audit.tenant}/completions/{completion}")
    return targets
