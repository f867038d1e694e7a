"""trimtab conversations list | show | trace"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.lineage import Traced, endings, place_in
from services.cli.app.lineage import trace as trace_
from services.cli.app.platform import listed
from services.cli.commands.named import conversation_named, user_named
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import text_of
from services.cli.domain import Json
from shared.language.identifiers import conversation_name

app = typer.Typer(no_args_is_help=True, help="Stored conversations.")


@app.command("list")
def list_(
    context: typer.Context,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            help='Conditions joined by AND: user_id = "u", channel, model_version, policy, label, score < 0.2,'
            ' create_time >= "..."',
        ),
    ] = "",
    query: Annotated[
        str,
        typer.Option(
            "--query", help='Words that all occur in one turn; wor* and "two words" also work.'
        ),
    ] = "",
    user: Annotated[
        str,
        typer.Option(help="Only of this user, as your application calls them, or their id."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List conversations.

    \b
    Examples:
      trimtab conversations list --limit 5
      trimtab conversations list --user 'auth0|5f7c'
      trimtab conversations list --filter 'model_version = "assistant-v1"'
      trimtab conversations list --query 'too long' --filter 'label = "dissatisfied"'
    """
    session, whose = session_of(context), user_named(user) if user else None
    terms = [f'user_id = "{whose.id}"'] if whose else []
    request = {"filter": " AND ".join([*terms, *filter(None, [filter_])]), "query": query}
    found = listed(
        session.platform, "interaction", "ListConversations", "conversations", request, limit
    )
    document = {"conversations": found} | (whose.document if whose else {})

    def people() -> None:
        session.note(whose.note if whose else "")
        _table(session, found)

    session.show(document, people)


@app.command()
def show(
    context: typer.Context,
    conversation: Annotated[
        str,
        typer.Argument(
            help="The conversation, as your application calls it, or its id or full name."
        ),
    ],
) -> None:
    """Show one conversation, turn by turn.

    \b
    Example:
      trimtab conversations show c-17
      trimtab conversations show thread/42
    """
    session = session_of(context)
    tenant, said, _ = place_in(conversation)
    which = conversation_named(said)
    name = conversation_name(tenant or session.tenant, which.id)
    found = session.platform.call("interaction", "GetConversation", {"name": name})

    def people() -> None:
        session.note(which.note)
        _turns(session, found)

    session.show({**which.document, **found}, people)


@app.command()
def trace(
    context: typer.Context,
    said: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A conversation or a completion, as your application calls it or by its id, or a"
            " turn's full name.",
        ),
    ],
    turn: Annotated[str, typer.Option("--turn", help="Only this turn, by its id.")] = "",
) -> None:
    """Show how far each turn has come in the loop, or why it was left out.

    \b
    Examples:
      trimtab conversations trace c-17
      trimtab conversations trace chatcmpl-9f2 --json
    """
    session = session_of(context)
    found = trace_(session.platform, session.spooled, said, turn)
    document = {
        "said": said,
        "conversation_id": found.conversation_id,
        "turn_id": found.turn_id,
        "steps": found.steps,
        "away": found.away,
    }
    which = conversation_named(place_in(said)[1])

    def people() -> None:
        session.note(which.note if which.id == found.conversation_id else "")
        _traced(session, found)

    session.show(document, people)


def _traced(session: Session, found: Traced) -> None:
    rows = [
        (
            step["turn_id"],
            step["stage"],
            step["outcome"],
            step["reason"],
            step["detail"],
            step["name"].rsplit("/", 1)[-1],
            step.get("time"),
        )
        for step in found.steps
    ]
    columns = ("turn", "stage", "outcome", "reason", "detail", "name", "time")
    session.table(columns, rows, "Nothing is known about it.")
    session.line("")
    for turn_id, step in sorted(endings(found.steps).items()):
        why = f" {step['reason']}" if step["reason"] else ""
        session.line(f"{turn_id}: {step['stage']} {step['outcome']}{why}")
    for part, why in found.away.items():
        session.line(f"The steps of {part} are missing: {why}")


def _table(session: Session, found: list[Json]) -> None:
    rows = [
        (
            one["conversation_id"],
            one["user_id"],
            one["channel"],
            one["turn_count"],
            ", ".join(one["model_versions"]),
            one.get("update_time"),
        )
        for one in found
    ]
    columns = ("conversation", "user", "channel", ">turns", "versions", "updated")
    session.table(columns, rows, "No stored conversation matches.")


def _turns(session: Session, found: Json) -> None:
    conversation = found["conversation"]
    session.line(f"{conversation['name']}  user {conversation['user_id']}")
    for turn in found["turns"]:
        role = turn["message"]["role"].removeprefix("ROLE_").lower()
        version = f" ({turn['model_version']})" if turn["model_version"] else ""
        session.line(f"\n{turn['index']} {role}{version}\n{text_of(turn['message'])}")
    for one in found.get("assessments", ()):
        session.line(f"\n{_assessed(one)}")


def _assessed(one: Json) -> str:
    """What an evaluator said, and of what."""
    target = one["turn_id"] or one["completion_id"] or "the conversation"
    said = [f"{one['value']:g}" if "value" in one else "", one["label"], one["explanation"]]
    who = f" by {one['evaluator']}" if one["evaluator"] else ""
    return f"evaluator{who}: {one['name']} of {target}: {' '.join(filter(None, said))}"
