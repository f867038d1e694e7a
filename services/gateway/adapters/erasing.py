"""A user's data in the gateway: links between calls, and turns in the spool until they are forwarded."""

from __future__ import annotations

from collections.abc import Callable, Set

from services.gateway.adapters.link_table import forget_conversations
from services.gateway.adapters.spool import FileSpool
from shared.privacy.erasure import Erasure, Survey, parts
from shared.state.database import Transaction
from shared.state.jobs import Postpone

_AGAIN_S = 0.3


class GatewayRemover:
    """shared.privacy.erasure.Remover. A spooled turn is not removed from its file, which another thread writes.
    It is forwarded in order, becomes unreadable there as its user's key is closed, and leaves the disk with
    the file. `forget` drops links of a tenant's conversations from memory, `forget_user` what is known of a
    user (tenant, user id)."""

    def __init__(
        self,
        spool: FileSpool,
        forget: Callable[[str, Set[str]], object],
        forget_user: Callable[[str, str], object] = lambda tenant, user_id: None,
    ) -> None:
        self._spool, self._forget, self._forget_user = spool, forget, forget_user

    def survey(self, erasure: Erasure) -> Survey:
        return Survey({"spool": self._spooled(erasure)})

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        self._forget(erasure.tenant, set(erasure.conversation_ids))
        self._forget_user(erasure.tenant, erasure.user_id)
        gone = (
            forget_conversations(transaction, part.tenant, part.conversation_ids)
            for part in parts(erasure)
        )
        return {"links": sum(gone)}

    def remove_files(self, erasure: Erasure) -> None:
        if left := self._spooled(erasure):
            raise Postpone(_AGAIN_S, f"{left} turns of the user are still in the spool")

    def _spooled(self, erasure: Erasure) -> int:
        """Turns of the user in the spool's files, forwarded or not."""
        return self._spool.count_of(erasure.tenant, erasure.user_id)
