"""Ports in memory, for tests; LinkMemory is also the cache of SqlLinks."""

from __future__ import annotations

from services.gateway.domain.link_index import LinkIndex
from services.gateway.domain.linking import Link, Question


class LinkMemory(LinkIndex):
    """The newest links, up to `most`."""

    async def find(self, question: Question) -> list[Link]:
        return self.found(question)
