"""AIP-158 page tokens and the small AIP-160 filter that list calls take."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from shared.language.errors import InvalidArgument
from shared.language.identifiers import conversation_id_of, model_id_of, stable_id, user_id_of

_TERM = re.compile(
    r'\s*([a-z_]+)\s*(=|!=|>=|<=|>|<)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))\s*(AND\b|$)'
)
# Fields that compare with what an application calls somebody or something.
_IDS: dict[str, Callable[[object], str]] = {
    "user_id": user_id_of,
    "conversation_id": conversation_id_of,
    "model_version": model_id_of,
}


@dataclass(frozen=True, slots=True)
class Term:
    field: str
    operator: str
    value: str


def parse_filter(text: str, fields: tuple[str, ...]) -> tuple[Term, ...]:
    """The terms of `a = "x" AND b >= "y"`, with the ids of users, conversations and models in place of what an
    application calls them. Raises InvalidArgument naming what is wrong and the known fields."""
    terms: list[Term] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TERM.match(text, position)
        if not match:
            raise InvalidArgument(
                f'filter is not of the form `field = "value" AND ...` at: {text[position : position + 40]!r}',
                reason="INVALID_FILTER",
                field="filter",
            )
        name = match.group(1)
        if name not in fields:
            raise InvalidArgument(
                f"filter names {name!r}; it can name: {', '.join(fields)}",
                reason="INVALID_FILTER",
                field="filter",
            )
        quoted = match.group(3)
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match.group(4)
        terms.append(Term(name, match.group(2), _IDS.get(name, str)(value)))
        position = match.end()
    return tuple(terms)


def page_size(asked: int, default: int = 50, most: int = 1000) -> int:
    """How many items to return: `default` if 0 are asked for, `most` at most. Raises InvalidArgument if
    negative."""
    if asked < 0:
        raise InvalidArgument("page_size must not be negative", field="page_size")
    return min(asked, most) or default


def encode_token(position: object, request: str) -> str:
    """The next page starts after `position` (JSON); `request` is the filter it belongs to."""
    payload = json.dumps([position, stable_id(request, length=8)])
    return base64.urlsafe_b64encode(payload.encode()).decode()


def decode_token(token: str, request: str) -> object:
    """The position, or None for the first page. Raises InvalidArgument if the token is of another request."""
    if not token:
        return None
    try:
        position, digest = json.loads(base64.urlsafe_b64decode(token.encode()))
    except ValueError as error:
        raise InvalidArgument(
            "page_token is not one that this service returned", field="page_token"
        ) from error
    if digest != stable_id(request, length=8):
        raise InvalidArgument(
            "page_token belongs to a request with a different filter", field="page_token"
        )
    return position
