"""Users' keys, in the keyring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import sqlalchemy as sa

from services.interaction.erasure.adapters.audit import conversations_of
from services.interaction.erasure.domain import Audit, erasure_name
from services.interaction.tables import ERASURE_KEYS, TURNS
from shared.gen.trimtab.common.v1 import common_pb2
from shared.language.identifiers import target_name, user_name
from shared.state.database import Database
from shared.vault.keyring import CachedKeyring

# How many owners or keys are handled together.
_AT_A_TIME = 5_000


class KeyringUserKeys:
    """UserKeys on the keyring. `close` and `destroy` raise Unavailable while the keyring is;
    repeat them then."""

    def __init__(
        self, keyring: CachedKeyring, database: Database, clock: Callable[[], float]
    ) -> None:
        self._keyring, self._database, self._clock = keyring, database, clock

    @property
    def settles_s(self) -> float:
        return self._keyring.ttl_s

    def subject(self, tenant: str, user_id: str) -> str:
        return self._keyring.keyring.pseudonym(f"audit/{user_name(tenant, user_id)}")

    def close(self, audit: Audit) -> set[str]:
        """Makes the user's own key if there is none, so that data in transit is sealed with it."""
        user = user_name(audit.tenant, audit.user_id)
        self._keyring.keyring.of_owners([user], self._clock())
        closed = self._keyring.keyring.close([user])
        targets = self._targets(audit)
        while chunk := list(islice(targets, _AT_A_TIME)):
            closed |= self._keyring.keyring.close(chunk)
        return closed

    def destroy(self, audit: Audit) -> int:
        ring, now, destroyed = self._keyring.keyring, self._clock(), 0
        query = sa.select(ERASURE_KEYS.c.key_id).where(ERASURE_KEYS.c.erasure == audit.erasure)
        with self._database.read() as connection:
            for ids in connection.execute(query).scalars().partitions(_AT_A_TIME):
                ring.destroy(ids, now)
                destroyed += len(ids)
        request_key = ring.of_owners([erasure_name(audit.erasure)], now)
        ring.destroy([key.id for key in request_key.values()], now)
        self._keyring.forget()
        return destroyed

    def _targets(self, audit: Audit) -> Iterator[str]:
        """The possible targets of feedback without a user, which was sealed with their keys."""
        theirs = (TURNS.c.tenant == audit.tenant) & (TURNS.c.user_id == audit.user_id)
        with self._database.read() as connection:
            for conversation_id in connection.execute(conversations_of(audit)).scalars():
                yield target_name(audit.tenant, conversation_id, "")
            for body in connection.execute(sa.select(TURNS.c.body).where(theirs)).scalars():
                if completion := common_pb2.Turn.FromString(body).completion_id:
                    yield target_name(audit.tenant, "", completion)
