"""Where the turns of a conversation are in the loop; every service is asked for its part."""

from __future__ import annotations

from dataclasses import dataclass

from services.cli.domain import Json
from services.cli.ports import Platform, Spooled
from shared.language.errors import InvalidArgument, NotFound, TrimtabError, Unavailable
from shared.language.identifiers import parse_name

# In the order of the loop.
PARTS = ("interaction", "feedback", "reward", "drift", "retrain")


@dataclass(frozen=True, slots=True)
class Traced:
    """`away`: services that could not be asked, whose steps are missing."""

    conversation_id: str
    turn_id: str
    steps: list[Json]
    away: list[str]


def trace(
    platform: Platform,
    spooled: Spooled,
    said: str,
    turn_id: str = "",
) -> Traced:
    """`said`: a conversation's id or name, a turn's name, or a completion's id. `spooled`: what the
    gateway has not forwarded. NotFound if no service that could be asked knows anything about it."""
    conversation_id, turn = _place(platform, said)
    turn = turn_id or turn
    steps: list[Json] = []
    away: list[str] = []
    try:
        steps += [one for one in spooled(conversation_id) if turn in ("", one["turn_id"])]
    except TrimtabError:
        away.append("gateway")
    request = {"conversation_id": conversation_id, "turn_id": turn}
    for part in PARTS:
        try:
            steps += platform.call(part, "TraceConversation", request, 30.0)["steps"]
        except Unavailable:
            away.append(part)
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


def _place(platform: Platform, said: str) -> tuple[str, str]:
    if "/turns/" in said:
        _, conversation_id, turn_id = parse_name(said, "tenants/*/conversations/*/turns/*")
        return conversation_id, turn_id
    if "/" in said:
        return parse_name(said, "tenants/*/conversations/*")[1], ""
    try:
        found = platform.call("feedback", "TraceConversation", {"completion_id": said})
    except (NotFound, Unavailable, InvalidArgument):
        return said, ""
    return found["conversation_id"], found["turn_id"]


def _of_turn(steps: list[Json]) -> list[Json]:
    """Steps of a pair or a rating belong to a turn if the turn's own steps name it."""
    names = {step["name"] for step in steps if step["turn_id"] and step["name"]}
    return [step for step in steps if step["turn_id"] or step["name"] in names]
