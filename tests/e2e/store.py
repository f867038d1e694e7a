"""What was said, read back from interaction's API as any client reads it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import grpc

from shared.calls.client import channel, metadata, translated
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from shared.language.errors import NotFound


class Store:
    """A reader of one tenant's conversations; to be closed."""

    def __init__(self, address: str, tenant: str) -> None:
        self.channel: grpc.Channel = channel(address)
        self._stub, self._tenant = InteractionServiceStub(self.channel), tenant

    def turns(self, conversation: str, at_least: int, within_s: float = 20.0) -> list[common.Turn]:
        """The turns of a conversation, once there are that many. Only that it is not there yet is
        waited for: every other error is raised."""
        return self._once(conversation, "turns", at_least, within_s)

    def assessments(
        self, conversation: str, at_least: int, within_s: float = 20.0
    ) -> list[common.Assessment]:
        """As `turns`, of what evaluators said."""
        return self._once(conversation, "assessments", at_least, within_s)

    def _once(self, conversation: str, what: str, at_least: int, within_s: float) -> list[Any]:
        deadline, found = time.monotonic() + within_s, self._now(conversation, what)
        while len(found) < at_least:
            told = f"{len(found)} of {at_least} {what} in {conversation}"
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
            found = self._now(conversation, what)
        return list(found)

    def close(self) -> None:
        self.channel.close()

    def _now(self, conversation: str, what: str) -> Sequence[Any]:
        name = f"tenants/{self._tenant}/conversations/{conversation}"
        request = pb.GetConversationRequest(name=name)
        try:
            with translated("interaction"):
                answer = self._stub.GetConversation(request, metadata=tuple(metadata(self._tenant)))
        except NotFound:
            return []
        found: Sequence[Any] = getattr(answer, what)
        return found
