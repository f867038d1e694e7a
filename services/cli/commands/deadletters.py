"""trimtab deadletters list | replay"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.platform import SERVICES, listed
from services.cli.commands.session import session_of
from shared.language.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help="What a service could not take, and why.")

Service = Annotated[str, typer.Option("--service", help=", ".join(SERVICES))]
Topic = Annotated[str, typer.Option("--topic", help="Such as interaction.logged.v1.")]


@app.command("list")
def list_(
    context: typer.Context,
    service: Service,
    topic: Topic,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List dead letters of a service's topic, newest first.

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
        {"dead_letters": found}, lambda: session.table(columns, rows, "There is no dead letter.")
    )


@app.command()
def replay(context: typer.Context, service: Service, topic: Topic) -> None:
    """Put dead letters back to be taken again; each is replayed once.

    \b
    Example:
      trimtab deadletters replay --service feedback --topic feedback.given.v1
    """
    session = session_of(context)
    request = {"topic": topic}
    answer = session.platform.call(_known(service), "ReplayDeadLetters", request, timeout_s=60.0)
    session.show(answer, lambda: session.line(f"{answer['replayed']} were put back."))


def _known(service: str) -> str:
    if service not in SERVICES:
        raise InvalidArgument(f"--service is one of: {', '.join(SERVICES)}", reason="USAGE")
    return service
