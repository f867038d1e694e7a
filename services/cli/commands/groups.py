"""trimtab groups list | show | members | history | correct"""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from services.cli.app.platform import listed
from services.cli.commands.named import Named, user_named
from services.cli.commands.session import Session, session_of
from services.cli.domain import Json
from shared.language.groups import UNKNOWN, is_wish
from shared.language.identifiers import membership_name

app = typer.Typer(
    no_args_is_help=True,
    help="Groups of people: learnt from what they prefer, by what they ask for, or declared; who is in which.",
)

User = Annotated[str, typer.Argument(help="The user, as your application calls them, or their id.")]


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the groups that users are in now: learnt ones with what they prefer, then segments.

    `unknown` are those of whom too little is known, or who wish to count as none.

    \b
    Examples:
      trimtab groups list
      trimtab groups list --json | jq '.groups[] | {name, users}'
    """
    session = session_of(context)
    found = session.platform.call("reward", "ListGroups", {})
    rows = [
        (
            one["name"],
            one["users"],
            _origin(one),
            ", ".join(taste["what"] for taste in one["prefers"]) or "-",
            one["reward_model"].rsplit("/", 1)[-1] or "-",
        )
        for one in found["groups"]
    ]
    columns = ("group", ">users", "basis", "prefers", "model")
    empty = "Users are not divided into groups, and no segments are declared."
    session.show(found, lambda: session.table(columns, rows, empty))


def _origin(group: dict[str, Any]) -> str:
    if group["learnt"]:
        return "learnt"
    return "asked for" if is_wish(group["name"]) else "declared"


@app.command()
def show(context: typer.Context, user: User) -> None:
    """Show which groups a user belongs to, how probable it is, and what it rests on.

    \b
    Examples:
      trimtab groups show ada
      trimtab groups show ada --json | jq .probabilities
    """
    session, whose = session_of(context), user_named(user)
    found = session.platform.call("reward", "GetMembership", _name(session, whose))["membership"]
    _show(session, found, whose)


@app.command()
def members(
    context: typer.Context,
    group: Annotated[str, typer.Option("--group", help="Only this one's, such as plan=free.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many.")] = 50,
) -> None:
    """List users and the groups that they belong to.

    \b
    Examples:
      trimtab groups members --group unknown
      trimtab groups members --group plan=free --limit 200 --json
    """
    session = session_of(context)
    request = {"group": group}
    found = listed(session.platform, "reward", "ListMemberships", "memberships", request, limit)
    rows = [
        (
            one["user_id"],
            one["group"] or "-",
            _basis(one),
            _probability(one),
            one["judgements"],
            _segments(one) or "-",
            one.get("update_time"),
        )
        for one in found
    ]
    columns = ("user", "group", "basis", "probability", ">judgements", "segments", "since")
    session.show(
        {"memberships": found}, lambda: session.table(columns, rows, "There are no such users.")
    )


@app.command()
def history(
    context: typer.Context,
    user: User,
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many.")] = 20,
) -> None:
    """List the versions of a user's membership, newest first.

    \b
    Example:
      trimtab groups history ada --limit 5
    """
    session, whose = session_of(context), user_named(user)
    name = _name(session, whose)
    found = listed(session.platform, "reward", "ListMembershipVersions", "memberships", name, limit)
    rows = [
        (
            one["version"],
            one.get("update_time"),
            one["group"] or "-",
            _basis(one),
            _segments(one) or "-",
            one["actor"] or "-",
            one["reason"] or "-",
        )
        for one in found
    ]
    columns = (">version", "since", "group", "basis", "segments", "who", "why")

    def people() -> None:
        session.note(whose.note)
        session.table(columns, rows, "There are no versions.")

    session.show({**whose.document, "memberships": found}, people)


@app.command()
def correct(
    context: typer.Context,
    user: User,
    group: Annotated[str, typer.Option("--group", help="The group that the user is of.")] = "",
    unknown: Annotated[
        bool, typer.Option("--unknown", help="The user wishes to count as none.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Withdraw what was said of the group.")
    ] = False,
    segment: Annotated[
        list[str] | None,
        typer.Option("--segment", help="KEY=VALUE; KEY= withdraws what was said. May be repeated."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.")] = "",
) -> None:
    """Correct a user's groups. A correction goes before what is learnt and declared until it is withdrawn.

    \b
    Examples:
      trimtab groups correct ada --group shorter --reason "She told us so."
      trimtab groups correct ada --unknown
      trimtab groups correct ada --segment plan=free --segment region=
      trimtab groups correct ada --withdraw
    """
    session, whose = session_of(context), user_named(user)
    request: Json = {
        **_name(session, whose),
        **_correction(group, unknown, withdraw),
        "segments": dict(_pair(one) for one in segment or ()),
        "actor": getpass.getuser(),
        "reason": reason,
    }
    found = session.platform.call("reward", "CorrectMembership", request)["membership"]
    _show(session, found, whose)


def _correction(group: str, unknown: bool, withdraw: bool) -> Json:
    said = [one for one in (group, UNKNOWN if unknown else "", withdraw) if one]
    if len(said) > 1:
        raise typer.BadParameter("give only one of --group, --unknown and --withdraw")
    if withdraw:
        return {"group": ""}
    return {"group": said[0]} if said else {}


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise typer.BadParameter(f"--segment is KEY=VALUE, not {text!r}")
    return key, value


def _name(session: Session, whose: Named) -> Json:
    return {"name": membership_name(session.tenant, whose.id)}


def _show(session: Session, found: Json, whose: Named) -> None:
    session.show({**found, **whose.document}, lambda: _membership(session, found, whose.note))


def _membership(session: Session, found: Json, note: str) -> None:
    session.note(note)
    group = found["group"] or "users are not divided into groups"
    session.line(f"{found['user_id']}  version {found['version']}  {group}, {_basis(found)}")
    if found["actor"] or found["reason"]:
        session.line(
            f"said by {found['actor'] or 'somebody'}: {found['reason'] or 'no reason given'}"
        )
    if segments := _segments(found):
        session.line(f"segments: {segments}")
    if not found["probabilities"]:
        return
    session.line("")
    ordered = sorted(found["probabilities"].items(), key=lambda one: (-one[1], one[0]))
    rows = [(name, f"{probability:.2f}") for name, probability in ordered]
    session.table(("group", ">probability"), rows, "")
    model = found["reward_model"].rsplit("/", 1)[-1]
    session.line(
        f"by {model}, on {found['judgements']} preferences and judged answers; the newest:"
    )
    for name in found["evidence"]:
        session.line(f"  {name}")


def _basis(membership: Json) -> str:
    return str(membership["basis"]).removeprefix("MEMBERSHIP_BASIS_").lower()


def _probability(membership: Json) -> str:
    found: dict[str, Any] = membership["probabilities"]
    return f"{max(found.values()):.2f}" if found else "-"


def _segments(membership: Json) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(membership["segments"].items()))
