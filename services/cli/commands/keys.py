"""trimtab keys create | list | rotate | revoke, and trimtab tenants quota"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.session import Session, session_of
from services.cli.domain import Json
from shared.language.errors import InvalidArgument
from shared.language.keys import ROLES

app = typer.Typer(no_args_is_help=True, help="A tenant's API keys.")
tenants = typer.Typer(no_args_is_help=True, help="A tenant's quotas.")

_PREFIX = "KEY_ROLE_"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Name = Annotated[str, typer.Argument(help="The key's id or full name.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for, for people to read.")],
    role: Annotated[list[str], typer.Option("--role", help=f"One or more of: {', '.join(ROLES)}.")],
    lifetime: Annotated[
        str, typer.Option(help="For example 90d or 12h; without it the key does not expire.")
    ] = "",
) -> None:
    """Create a key. Its text is shown once; only its digest is stored.

    \b
    Examples:
      trimtab keys create web-app --role writer --lifetime 90d
      trimtab keys create on-call --role reader --role operator --tenant acme
    """
    request: Json = {"display_name": name, "roles": [_role(one) for one in role]}
    if lifetime:
        request["lifetime"] = _seconds(lifetime, "--lifetime")
    session = session_of(context)
    answer = session.platform.call("interaction", "CreateKey", request)
    session.show(answer, lambda: _shown_once(session, answer))


@app.command("list")
def list_(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Include expired and revoked keys.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 50,
) -> None:
    """List keys, newest first.

    \b
    Example:
      trimtab keys list --all
    """
    session = session_of(context)
    request = {"show_ended": ended}
    found = listed(session.platform, "interaction", "ListKeys", "keys", request, limit)
    rows = [
        (
            one["name"].rsplit("/", 1)[-1],
            one["display_name"],
            f"{one['prefix']}...",
            ", ".join(role.removeprefix(_PREFIX).lower() for role in one["roles"]),
            one.get("create_time"),
            one.get("last_use_time"),
            f"revoked {one['revoke_time']}" if one.get("revoke_time") else one.get("expire_time"),
        )
        for one in found
    ]
    columns = ("id", "name", "key", "roles", "made", "last used", "ends")
    session.show({"keys": found}, lambda: session.table(columns, rows, "There are no keys."))


@app.command()
def rotate(
    context: typer.Context,
    key: Name,
    grace: Annotated[str, typer.Option(help="How long the old key stays valid.")] = "1h",
) -> None:
    """Replace a key by a new one with the same roles and lifetime.

    \b
    Example:
      trimtab keys rotate 1f2e3d4c5b6a7988 --grace 24h
    """
    session = session_of(context)
    request = {"name": _name(session, key), "grace": _seconds(grace, "--grace")}
    answer = session.platform.call("interaction", "RotateKey", request)
    session.show(answer, lambda: _shown_once(session, answer))


@app.command()
def revoke(context: typer.Context, key: Name) -> None:
    """Revoke a key immediately. Services refuse it within a second or two.

    \b
    Example:
      trimtab keys revoke 1f2e3d4c5b6a7988
    """
    session = session_of(context)
    answer = session.platform.call("interaction", "RevokeKey", {"name": _name(session, key)})
    session.show(answer, lambda: session.line(f"{answer['key']['name']} is revoked."))


@tenants.command()
def quota(
    context: typer.Context,
    requests: Annotated[float | None, typer.Option(min=0, help="Per second; 0: no limit.")] = None,
    turns: Annotated[float | None, typer.Option(min=0, help="Per second; 0: no limit.")] = None,
    burst: Annotated[
        float | None, typer.Option(min=0, help="How many seconds' worth may arrive at once.")
    ] = None,
) -> None:
    """Show or set a tenant's quotas. Options that are not given stay as they are.

    \b
    Examples:
      trimtab tenants quota --tenant acme
      trimtab tenants quota --tenant acme --requests 50 --turns 500
    """
    session = session_of(context)
    held = session.platform.call("interaction", "GetQuota", {})["quota"]
    said = {"requests_per_second": requests, "turns_per_second": turns, "burst_seconds": burst}
    changes = {name: figure for name, figure in said.items() if figure is not None}
    if changes:
        request = {"quota": {**held, **changes}}
        held = session.platform.call("interaction", "SetQuota", request)["quota"]
    session.show({"quota": held}, lambda: _quota(session, held))


def _quota(session: Session, held: Json) -> None:
    for name, words in (("requests_per_second", "requests"), ("turns_per_second", "turns")):
        figure = held[name]
        session.line(
            f"{words} per second: {figure:g}" if figure else f"{words} per second: no limit"
        )
    session.line(f"burst: {held['burst_seconds']:g} seconds' worth")


def _shown_once(session: Session, answer: Json) -> None:
    key = answer["key"]
    session.line(f"{answer['secret']}\n\n{key['name']}: save the key now; it is not shown again.")
    if key["rotated_from"]:
        session.line(f"{key['rotated_from']} stays valid until its grace period ends.")


def _name(session: Session, key: str) -> str:
    return key if "/" in key else f"tenants/{session.tenant}/keys/{key}"


def _role(said: str) -> str:
    if said not in ROLES:
        raise InvalidArgument(f"--role is one of: {', '.join(ROLES)}", reason="USAGE")
    return f"{_PREFIX}{said.upper()}"


def _seconds(said: str, option: str) -> str:
    """As JSON of a protobuf Duration."""
    number, unit = said[:-1], said[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise InvalidArgument(
            f"{option} must be a number with s, m, h or d, for example 90d", reason="USAGE"
        )
    return f"{int(timedelta(**{_UNITS[unit]: int(number)}).total_seconds())}s"
