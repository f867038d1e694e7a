"""Stores what arrives from the log: the first record of a turn wins."""

from __future__ import annotations

from collections.abc import Sequence

from services.interaction.turns.ports import TurnWriter
from shared.language.errors import AlreadyExists, InvalidArgument
from shared.language.turns import Turn


def keep(turns: Sequence[Turn], writer: TurnWriter) -> list[Turn]:
    """Stores turns and returns those that were new. The first record of a name wins, so that a repeat with less
    (no version, no completion id) removes nothing. If an id is taken by other content, stores nothing and
    raises InvalidArgument."""
    if writer.add(turns):
        return list(turns)
    stored, fresh = writer.digests_of(turns), list[Turn]()
    for turn in turns:
        digest = stored.get(turn.name)
        if digest is None:
            stored[turn.name] = turn.digest
            fresh.append(turn)
        elif digest != turn.digest:
            raise InvalidArgument(
                f"{turn.name} is stored with other content",
                reason="DUPLICATE_ID_OTHER_CONTENT",
                field="turn_id",
            )
    if fresh and not writer.add(fresh):
        raise AlreadyExists("another stage stored one of these turns meanwhile", field="turn_id")
    return fresh
