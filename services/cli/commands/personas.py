"""trimtab personas show | history | correct | freeze | unfreeze | delete"""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.named import Named, user_named
from services.cli.commands.session import Session, session_of
from services.cli.domain import Json
from shared.language.identifiers import persona_name

app = typer.Typer(
    no_args_is_help=True,
    help="A user's persona: their wishes, line by line. `trimtab feedback personas` lists all personas.",
)

User = Annotated[str, typer.Argument(help="The user, as your application calls them, or their id.")]


@app.command()
def show(context: typer.Context, user: User) -> None:
    """Show a user's persona: each line, where it comes from, and the turns that support it.

    A line with too little evidence is not used. `trimtab conversations trace TURN` shows what became
    of a turn.

    \b
    Examples:
      trimtab personas show ada
      trimtab personas show ada --json | jq '.lines[] | {line_id, text, evidence}'
    """
    session, whose = session_of(context), user_named(user)
    found = session.platform.call("feedback", "GetPersona", _name(session, whose))["persona"]
    _show(session, found, whose)


@app.command()
def history(
    context: typer.Context,
    user: User,
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many.")] = 20,
) -> None:
    """List the versions of a user's persona, newest first, and what changed each.

    \b
    Example:
      trimtab personas history ada --limit 5
    """
    session, whose = session_of(context), user_named(user)
    name = _name(session, whose)
    found = listed(session.platform, "feedback", "ListPersonaVersions", "personas", name, limit)
    rows = [
        (one["version"], one.get("update_time"), _change(one), one["actor"], one["text"])
        for one in found
    ]
    columns = (">version", "since", "made by", "who", "persona")

    def people() -> None:
        session.note(whose.note)
        session.table(columns, rows, "There are no versions.")

    session.show({**whose.document, "personas": found}, people)


@app.command()
def correct(
    context: typer.Context,
    user: User,
    text: Annotated[
        str, typer.Option("--text", help="The correct text; if empty, the line is removed.")
    ] = "",
    line: Annotated[str, typer.Option("--line", help="The id of the line to correct.")] = "",
) -> None:
    """Correct a user's persona. A correction takes precedence over whatever is inferred later.

    --text alone adds a line. --line alone removes that line, and nothing that says the same is
    written again. `trimtab personas show` shows the ids of lines.

    \b
    Examples:
      trimtab personas correct ada --text "I like long answers with sources."
      trimtab personas correct ada --line 4f2a90c1 --text "I like short answers, except for code."
      trimtab personas correct ada --line 4f2a90c1
    """
    session, whose = session_of(context), user_named(user)
    request = {**_name(session, whose), **_actor(), "text": text, "line_id": line}
    found = session.platform.call("feedback", "CorrectPersona", request)["persona"]
    _show(session, found, whose)


@app.command()
def freeze(context: typer.Context, user: User) -> None:
    """Stop inferring a user's wishes. If there is no persona yet, none will be written.

    \b
    Example:
      trimtab personas freeze ada
    """
    _change_state(context, "FreezePersona", user)


@app.command()
def unfreeze(context: typer.Context, user: User) -> None:
    """Resume inferring a user's wishes.

    \b
    Example:
      trimtab personas unfreeze ada
    """
    _change_state(context, "UnfreezePersona", user)


@app.command()
def delete(
    context: typer.Context,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a user's persona and its history. This cannot be undone.

    What the user said until now is not used for a persona again. To have no persona at all, freeze it
    as well. The user's other data stays: see `trimtab users erase`.

    \b
    Examples:
      trimtab personas delete ada
      trimtab personas freeze ada && trimtab personas delete ada --yes
    """
    session, whose = session_of(context), user_named(user)
    if not yes:
        typer.confirm(
            f"Delete the persona of user {user!r} of tenant {session.tenant!r}?",
            abort=True,
            err=True,
        )
    request = {**_name(session, whose), **_actor()}
    gone = session.platform.call("feedback", "DeletePersona", request)

    def people() -> None:
        session.note(whose.note)
        session.line(f"{gone['versions']} versions deleted.")

    session.show({**whose.document, **gone}, people)


def _change_state(context: typer.Context, method: str, user: str) -> None:
    session, whose = session_of(context), user_named(user)
    request = {**_name(session, whose), **_actor()}
    found = session.platform.call("feedback", method, request)["persona"]
    _show(session, found, whose)


def _name(session: Session, whose: Named) -> Json:
    return {"name": persona_name(session.tenant, whose.id)}


def _actor() -> Json:
    return {"actor": getpass.getuser()}


def _show(session: Session, found: Json, whose: Named) -> None:
    session.show({**found, **whose.document}, lambda: _persona(session, found, whose.note))


def _persona(session: Session, found: Json, note: str) -> None:
    session.note(note)
    state = "  frozen" if found["frozen"] else ""
    session.line(f"{found['user_id']}  version {found['version']} by {_change(found)}{state}")
    session.line(found["text"] or "(no line is used)")
    rows = [
        (
            line["line_id"],
            line["basis"].removeprefix("PERSONA_BASIS_").lower(),
            "yes" if line["used"] else "too little evidence",
            line["text"],
            "\n".join(line["evidence"]),
        )
        for line in found["lines"]
    ]
    session.line("")
    columns = ("line", "basis", "used", "text", "rests on")
    session.table(columns, rows, "The persona has no lines.")
    if found["struck"]:
        session.line("removed by correction: " + "; ".join(found["struck"]))


def _change(persona: Json) -> str:
    return str(persona["change"]).removeprefix("PERSONA_CHANGE_").lower()
