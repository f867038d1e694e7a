"""trimtab deadletters list | replay"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.platform import SERVICES, listed
from services.cli.commands.session import session_of
from shared.language.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help="Events that a service could not process, and why.")

Service = Annotated[str, typer.Option("--service", help=", ".join(SERVICES))]
Topic = Annotated[str, typer.Option("--topic", help="For example interaction.logged.v1.")]


@app.command("list")
def list_(
    context: typer.Context,
    service: Service,
    topic: Topic,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List the dead letters of a service's topic, newest first.

    \b
    Example:
      trimtab deadletters list --service feedback --topic feedback.given.v1
    """
    session = session_of(context)
    found = listed(
        session.platform,
        _known(service),
        "ListDeadLetters",
        "dead_letters",
        {"topic": topic},
        limit,
    )
    rows = [
        (f"{one['partition']}/{one['offset']}", one["event_id"], one["reason"], one["detail"])
        for one in found
    ]
    columns = ("place", "event", "reason", "detail")
    session.show(
        {"dead_letters": found}, lambda: session.table(columns, rows, "There are no dead letters.")
    )


@app.command()
def replay(context: typer.Context, service: Service, topic: Topic) -> None:
    """Replay dead letters, so that the service processes them again; each is replayed once.

    \b
    Example:
      trimtab deadletters replay --service feedback --topic feedback.given.v1
    """
    session = session_of(context)
    request = {"topic": topic}
    answer = session.platform.call(_known(service), "ReplayDeadLetters", request, timeout_s=60.0)
    session.show(answer, lambda: session.line(f"{answer['replayed']} replayed."))


def _known(service: str) -> str:
    if service not in SERVICES:
        raise InvalidArgument(f"--service is one of: {', '.join(SERVICES)}", reason="USAGE")
    return service
