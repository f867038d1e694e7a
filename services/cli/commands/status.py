"""trimtab status"""

from __future__ import annotations

import typer

from services.cli.app.platform import SERVICES, Health, health, policies, rollout, stage_counts
from services.cli.commands.policies import policy_table
from services.cli.commands.session import UNAVAILABLE, Session, session_of
from services.cli.commands.words import estimate_words
from services.cli.domain import Json
from shared.language.policies import ASSISTANT

_OUTCOMES = ("taken", "made", "abstained", "dropped", "waiting")


def status(context: typer.Context) -> None:
    """Show the health of every part, the counts and lag of every stage, and which versions serve for
    each policy.

    Exits with 4 if a part is unavailable.

    \b
    Examples:
      trimtab status
      trimtab status --json | jq '.stages[] | select(.outcome == "dropped")'
    """
    session = session_of(context)
    parts = health(session.platform, session.probe)
    up = [one.name for one in parts if one.up and one.name in SERVICES]
    counts, lags = stage_counts(session.platform, up)
    served, named = rollout(session.platform), policies(session.platform)
    document = {
        "parts": [{"name": one.name, "up": one.up, "detail": one.detail} for one in parts],
        "stages": counts,
        "lag": lags,
        "rollout": served,
        "policies": named,
    }

    def people() -> None:
        _people(session, parts, counts, lags, served)
        if len(named) > 1:
            session.line("")
            policy_table(session, named)

    session.show(document, people)
    if not all(one.up for one in parts):
        raise typer.Exit(UNAVAILABLE)


def _people(
    session: Session, parts: list[Health], counts: list[Json], lags: list[Json], served: Json | None
) -> None:
    rows = [(one.name, "up" if one.up else "DOWN", one.detail) for one in parts]
    session.table(("part", "state", "detail"), rows, "")
    session.line("")
    columns = ("service", "stage", *(f">{outcome}" for outcome in _OUTCOMES), "adds up")
    session.table(columns, _stage_rows(counts), "No stage has taken anything yet.")
    reasons = [
        (one["stage"], one["outcome"], one["reason"], one["count"])
        for one in counts
        if one["reason"] and int(one["count"])
    ]
    if reasons:
        session.line("")
        session.table(("stage", "outcome", "reason", ">count"), reasons, "")
    session.line("")
    behind = [(one["service"], one["topic"], one["lag"]) for one in lags if int(one["lag"])]
    session.table(("service", "topic", ">lag"), behind, "Nothing lags.")
    session.line("")
    show_rollout(session, served)


def _stage_rows(counts: list[Json]) -> list[tuple[object, ...]]:
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for one in counts:
        of = totals.setdefault((one["service"], one["stage"]), dict.fromkeys(_OUTCOMES, 0))
        of[one["outcome"]] = of.get(one["outcome"], 0) + int(one["count"])
    return [
        (service, stage, *(of[outcome] for outcome in _OUTCOMES), _adds_up(of))
        for (service, stage), of in totals.items()
    ]


def _adds_up(of: dict[str, int]) -> str:
    rest = of["made"] + of["abstained"] + of["dropped"] + of["waiting"]
    return "yes" if of["taken"] == rest else f"no: {of['taken']} taken, {rest} accounted for"


def show_rollout(session: Session, served: Json | None) -> None:
    """Which versions serve, for people to read."""
    if not served or not served.get("champion"):
        session.line("No version is serving: the registry has none, or is unavailable.")
        return
    rows = []
    canary = served.get("canary")
    share = float(served["canary_share"]) if canary else 0.0
    for role, version, of in (
        ("champion", served["champion"], 1 - share),
        ("canary", canary, share),
    ):
        if version:
            estimate = served.get(f"{role}_dissatisfaction")
            rows.append((role, version["version"], f"{of:.0%}", estimate_words(estimate)))
    session.table(("role", "version", ">share", "dissatisfied"), rows, "")
    _show_groups(session, served)
    for one in served.get("answers") or ():
        if int(one["canary"]["count"]) or int(one["champion"]["count"]):
            session.line(f"{one['measure']}: {one['words']}")
    whose = f"{served['policy'] or ASSISTANT}, revision {served['revision']}"
    session.line(f"{whose}: {served['words']}".rstrip(": "))
    for one in served.get("left_out") or ():
        session.line(f"not as trained: {one['words']}")


def _show_groups(session: Session, served: Json) -> None:
    """Whom the canary helps and whom it hurts, those who lose first."""
    order = ("worse", "untold", "not_worse")
    groups = sorted(served.get("groups") or (), key=lambda one: order.index(one["verdict"]))
    rows = [
        (
            one["group"],
            one["verdict"].replace("_", " "),
            estimate_words(one["canary_dissatisfaction"]),
            estimate_words(one["champion_dissatisfaction"]),
        )
        for one in groups
    ]
    if rows:
        session.table(("group", "verdict", "on the canary", "on the champion"), rows, "")
