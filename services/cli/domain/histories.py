"""Records that name no conversation, as logs of stateless calls: each carries the history so far. A record that
goes on where a known one of the same user ends, or repeats how it begins, is of the same conversation. One
that departs from it midway is a conversation of its own: other people may have begun with the same words."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from services.cli.domain.records import Conversation, user_of
from shared.language.identifiers import stable_id
from shared.language.messages import content_of

# How many histories are known, the newest ones.
MOST = 100_000


class Histories:
    """The records of an import, in order."""

    def __init__(self) -> None:
        # Conversations by the digest of all that is known of them, and of each of their beginnings.
        self._ends: OrderedDict[str, str] = OrderedDict()
        self._beginnings: OrderedDict[str, str] = OrderedDict()

    def joined(self, said: Conversation) -> str:
        """The id of the conversation that it belongs to; its own if none is known."""
        named = "" if said.user == user_of("", said.id) else said.user
        chain = list(_chain(said, named))
        found = self._beginnings.get(chain[-1])
        if found is None:
            found = next((self._ends[one] for one in reversed(chain) if one in self._ends), said.id)
            for one in chain:
                self._ends.pop(one, None)
            self._ends[chain[-1]] = found
        self._beginnings.update(dict.fromkeys(chain, found))
        for known in (self._ends, self._beginnings):
            while len(known) > MOST:
                known.popitem(last=False)
        return found


def _chain(said: Conversation, user: str) -> Iterator[str]:
    """A digest for each beginning that ends with an answer, and for the whole."""
    digest, last = stable_id(user), len(said.lines) - 1
    for number, line in enumerate(said.lines):
        digest = stable_id(digest, line.message.role, content_of(line.message))
        if line.message.role == "assistant" or number == last:
            yield digest
