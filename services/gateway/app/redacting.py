"""What is taken out of turns before they are spooled; nobody's answer is changed by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.language.messages import Message
from shared.language.turns import Turn
from shared.redaction.redactor import Redaction, Redactor, noted


def redacted(turn: Turn, redactor: Redactor) -> Turn:
    """The turn without what its tenant's policy wants out; the same object if there is nothing."""

    def gone_through(redaction: Redaction) -> tuple[Message, Mapping[str, str]]:
        return redaction.message(turn.message), redaction.metadata(turn.metadata)

    (message, metadata), counts = redactor.run(turn.tenant, gone_through)
    return replace(turn, message=message, metadata=noted(metadata, counts)) if counts else turn
