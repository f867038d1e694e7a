"""trimtab drift list | streams"""

from __future__ import annotations

from functools import partial
from math import exp
from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.options import OnePolicy
from services.cli.commands.session import session_of
from services.cli.commands.words import estimate_words
from services.cli.domain import Json
from shared.language.policies import policy_of_version

# How the stream of no group in particular is called.
EVERYONE = "everyone"

app = typer.Typer(no_args_is_help=True, help="Watched streams and the alarms they raised.")


@app.command("list")
def list_(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Option("--filter", help="Terms joined by AND: stream, model_version, group.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to list at most.")] = 20,
    policy: OnePolicy = "",
) -> None:
    """List alarms, newest first. With --json each states its guarantee and names example conversations.

    \b
    Examples:
      trimtab drift list --policy support
      trimtab drift list --filter 'stream = "reward"' --json | jq -r '.alarms[].guarantee'
      trimtab drift list --filter 'group = "longer"'
    """
    session = session_of(context)
    wanted = {"filter": filter_}
    keep = partial(_is_of, policy)
    found = listed(session.platform, "drift", "ListAlarms", "alarms", wanted, limit, keep)
    rows = [
        (
            one["name"],
            f"{one['stream']} {one['direction']}",
            one["group"] or EVERYONE,
            one["model_version"],
            f"{one['reference_mean']:.3g}",
            estimate_words(one.get("current")),
            one.get("change_time"),
            one.get("create_time"),
        )
        for one in found
    ]
    columns = ("alarm", "stream", "of", "version", ">before", "after", "changed at", "raised at")
    session.show({"alarms": found}, lambda: session.table(columns, rows, "No alarms."))


@app.command()
def streams(context: typer.Context, policy: OnePolicy = "") -> None:
    """List the watched streams: what each has learnt, and how strong its evidence of a change is.

    Dissatisfaction and reward are watched for everyone and for each group of people, under one budget of false
    alarms, of which everyone's stream has half.

    \b
    Examples:
      trimtab drift streams
      trimtab drift streams --policy support
    """
    session = session_of(context)
    told = session.platform.call("drift", "ListStreams", {})["streams"]
    found = [one for one in told if _is_of(policy, one)]
    rows = [
        (
            one["stream"],
            one["group"] or EVERYONE,
            one["model_version"],
            one["state"],
            one["observations"],
            one["reference_observations"],
            f"{one['reference_mean']:.3g}",
            f"{exp(min(one['log_e'], 700)):.3g} of {exp(min(one['log_threshold'], 700)):.3g}",
        )
        for one in found
    ]
    columns = ("stream", "of", "version", "state", ">values", ">reference", ">mean", "evidence")
    session.show(
        {"streams": found},
        lambda: session.table(columns, rows, "No stream has received a value yet."),
    )


def _is_of(policy: str, one: Json) -> bool:
    """Whether it is about a version of the policy; true of all if none is named."""
    return not policy or policy_of_version(one["model_version"]) == policy
