"""The newest links in memory, found by what a question asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set

from services.gateway.domain.linking import Link, Question

# Many calls begin and continue with the same words only if their callers are unnamed; the newest are enough.
ALIKE = 64
# How many of a conversation's or a caller's newest links are looked at.
LATEST = 16
# The same of a user, who is looked up only to see what they did last.
_LAST = 4
# What kind of digest or id, and the digests or ids.
Key = tuple[str, ...]


class LinkIndex:
    """Up to `most` links; beyond it the oldest are forgotten. Used on one event loop."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        # With the order in which they came.
        self._links: OrderedDict[Link, int] = OrderedDict()
        self._by: dict[Key, list[tuple[int, Link]]] = {}
        self._count = 0

    def found(self, question: Question) -> list[Link]:
        """Oldest first, each once."""
        found = dict(self._of(direct(question)))
        found |= dict(self._of(of_conversations(question, found.values())))
        order = sorted((link.made, number) for number, link in found.items())
        return [found[number] for _, number in order]

    def remember(self, link: Link) -> None:
        if link in self._links:
            return
        self._count += 1
        self._links[link] = self._count
        for key in _keys(link):
            alike = self._by.setdefault(key, [])
            alike.append((self._count, link))
            del alike[:-ALIKE]
        if len(self._links) > self._most:
            self._forget(*self._links.popitem(last=False))

    def forget(self, tenant: str, conversation_ids: Set[str]) -> None:
        """Calls that continue from these conversations of a tenant begin new ones."""
        theirs = [one for one in self._links if one.conversation_id in conversation_ids]
        for link in [one for one in theirs if one.tenant in (tenant, "")]:
            self._forget(link, self._links.pop(link))

    def _of(self, keys: Iterable[tuple[Key, int]]) -> Iterator[tuple[int, Link]]:
        for key, most in keys:
            yield from self._by.get(key, ())[-most:]

    def _forget(self, old: Link, number: int) -> None:
        for key in _keys(old):
            left = [one for one in self._by.get(key, ()) if one[0] != number]
            if left:
                self._by[key] = left
            else:
                self._by.pop(key, None)


def direct(question: Question) -> Iterator[tuple[Key, int]]:
    """What a question asks for directly, and how many of each at most."""
    yield ("history", question.history), ALIKE
    for digest in question.prefixes:
        yield ("answered", digest), ALIKE
    if question.unfinished:
        yield ("answered", question.history), ALIKE
    if question.answered:
        yield ("answered", question.answered), ALIKE
        yield ("parent", question.answered), ALIKE
    if question.known:
        yield ("thread", question.thread), LATEST if question.name else _LAST
    if question.led:
        yield ("exchange", question.led, question.said), ALIKE
    if question.name:
        yield ("conversation", question.tenant, question.name), LATEST


def of_conversations(question: Question, links: Iterable[Link]) -> Iterator[tuple[Key, int]]:
    """The keys of the conversations that the question may continue, each once; `links` are what was found
    directly. Their links belong to the answer, too."""
    prefixes = set(question.prefixes)
    keys = {
        ("conversation", link.tenant, link.conversation_id): LATEST
        for link in links
        if link.history == question.history
        or link.answered in prefixes
        or (question.led and (link.asked, link.said) == (question.led, question.said))
    }
    yield from keys.items()


def _keys(link: Link) -> Iterator[Key]:
    yield "history", link.history
    yield "answered", link.answered
    yield "conversation", link.tenant, link.conversation_id
    if link.parent:
        yield "parent", link.parent
    if link.thread:
        yield "thread", link.thread
        yield "exchange", link.asked, link.said
