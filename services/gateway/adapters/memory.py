"""Ports in memory, for tests; LinkMemory is also the cache of SqlLinks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Set

from services.gateway.domain.linking import Link, Question

# Many calls begin and continue with the same words only if their callers are unnamed; the newest are enough.
ALIKE = 64


class LinkMemory:
    """The newest links, up to `most`. Used on one event loop."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._links: OrderedDict[Link, None] = OrderedDict()
        self._by: dict[str, list[Link]] = {}

    async def find(self, question: Question) -> list[Link]:
        return self.found(question)

    def found(self, question: Question) -> list[Link]:
        first = self._of("history", [question.history])
        went_on = [] if question.answers else [link.answered for link in first]
        found = {
            *first,
            *self._of("answered", question.prefixes),
            *self._of("parent", [key for key in (question.parent, *went_on) if key]),
        }
        return sorted(found, key=lambda link: link.made)

    def remember(self, link: Link) -> None:
        if link in self._links:
            return
        self._links[link] = None
        for key in _keys(link):
            alike = self._by.setdefault(key, [])
            alike.append(link)
            del alike[:-ALIKE]
        if len(self._links) > self._most:
            self._forget(self._links.popitem(last=False)[0])

    def forget(self, tenant: str, conversation_ids: Set[str]) -> None:
        """Calls that continue from these conversations of a tenant begin new ones."""
        theirs = [one for one in self._links if one.conversation_id in conversation_ids]
        for link in [one for one in theirs if one.tenant in (tenant, "")]:
            del self._links[link]
            self._forget(link)

    def _of(self, column: str, digests: Iterable[str]) -> list[Link]:
        return [link for digest in digests for link in self._by.get(f"{column}:{digest}", ())]

    def _forget(self, old: Link) -> None:
        for key in _keys(old):
            left = [link for link in self._by.get(key, ()) if link is not old]
            if left:
                self._by[key] = left
            else:
                self._by.pop(key, None)


def _keys(link: Link) -> tuple[str, ...]:
    named = (("history", link.history), ("answered", link.answered), ("parent", link.parent))
    return tuple(f"{column}:{digest}" for column, digest in named if digest)
