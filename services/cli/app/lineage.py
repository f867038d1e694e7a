"""Where the turns of a conversation are in the loop; every service is asked for its part."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from services.cli.domain import Json
from services.cli.ports import Platform, Spooled
from shared.language.errors import InvalidArgument, NotFound, TrimtabError, Unavailable
from shared.language.identifiers import completion_id_of, conversation_id_of, id_of, parse_name

# In the order of the loop.
PARTS = ("interaction", "feedback", "reward", "drift", "retrain")


@dataclass(frozen=True, slots=True)
class Traced:
    """`away`: services that could not be asked, whose steps are missing, and why."""

    conversation_id: str
    turn_id: str
    steps: list[Json]
    away: dict[str, str]


def trace(
    platform: Platform,
    spooled: Spooled,
    said: str,
    turn_id: str = "",
) -> Traced:
    """`said`: what an application calls a conversation or a completion, or its id; or the full name of a
    conversation or a turn. `spooled`: what the
    gateway has not forwarded. NotFound if no service that could be asked knows anything about it."""
    conversation_id, turn = _place(platform, said)
    turn = id_of(turn_id, "turn") or turn
    steps: list[Json] = []
    away: dict[str, str] = {}
    try:
        steps += [one for one in spooled(conversation_id) if turn in ("", one["turn_id"])]
    except TrimtabError as error:
        away["gateway"] = str(error)
    request = {"conversation_id": conversation_id, "turn_id": turn}
    for part in PARTS:
        try:
            steps += platform.call(part, "TraceConversation", request, 30.0)["steps"]
        except Unavailable as error:
            away[part] = str(error)
    steps = _of_turn(steps) if turn else steps
    if not steps and not away:
        raise NotFound(
            f"no service knows {said!r}: it may have been logged just now, or by another tenant",
            reason="NOT_TRACED",
        )
    return Traced(conversation_id, turn, steps, away)


def endings(steps: list[Json]) -> dict[str, Json]:
    """The last step of each turn: where it is now, or why it was left out."""
    return {step["turn_id"]: step for step in steps if step["turn_id"]}


def place_in(said: str) -> tuple[str, str, str]:
    """(tenant, conversation, turn) of a resource name, empty if it does not say; anything else is what an
    application calls a conversation."""
    for pattern in ("tenants/*/conversations/**/turns/**", "tenants/*/conversations/**"):
        with suppress(InvalidArgument):
            tenant, conversation, *turn = parse_name(said, pattern)
            return tenant, conversation, "".join(turn)
    return "", said, ""


def _place(platform: Platform, said: str) -> tuple[str, str]:
    tenant, conversation, turn = place_in(said)
    if not tenant:
        asked = {"completion_id": completion_id_of(said)}
        with suppress(NotFound, Unavailable, InvalidArgument):
            found = platform.call("feedback", "TraceConversation", asked)
            return found["conversation_id"], found["turn_id"]
    return conversation_id_of(conversation), id_of(turn, "turn")


def _of_turn(steps: list[Json]) -> list[Json]:
    """Steps of a pair or a rating belong to a turn if the turn's own steps name it."""
    names = {step["name"] for step in steps if step["turn_id"] and step["name"]}
    return [step for step in steps if step["turn_id"] or step["name"] in names]
