"""Fields of documents in which an application names somebody or something. Each becomes the id: any text and
any number will do; null names nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    id_of,
    model_id_of,
    user_id_of,
)


def _text(said: object) -> object:
    """Numbers and truth values as JSON writes them; pydantic refuses the rest."""
    return json.dumps(said) if isinstance(said, int | float) else said


def _by(rule: Callable[[object], str]) -> BeforeValidator:
    def read(said: object) -> str:
        if isinstance(said, bool) or not isinstance(said, str | int | float | None):
            raise ValueError("must be text or a number")
        return rule(said)

    return BeforeValidator(read)


def _somebody(user_id: str) -> str:
    if not user_id:
        raise ValueError("names nobody")
    return user_id


MetadataValue = Annotated[str, BeforeValidator(_text)]
User = Annotated[str, _by(user_id_of)]
RequiredUser = Annotated[str, _by(user_id_of), AfterValidator(_somebody)]
Conversation = Annotated[str, _by(conversation_id_of)]
Completion = Annotated[str, _by(completion_id_of)]
TurnName = Annotated[str, _by(partial(id_of, kind="turn"))]
FeedbackName = Annotated[str, _by(partial(id_of, kind="feedback"))]
AssessmentName = Annotated[str, _by(partial(id_of, kind="assessment"))]
PairName = Annotated[str, _by(partial(id_of, kind="pair"))]
Model = Annotated[str, _by(model_id_of)]
