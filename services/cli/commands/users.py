"""trimtab users erase | erasures | export"""

from __future__ import annotations

import getpass
import json
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.named import Named, user_named
from services.cli.commands.session import Session, session_of
from services.cli.domain import Json
from shared.language.visible import visible_json

app = typer.Typer(no_args_is_help=True, help="Erase or export a user's data.")

COMPLETE = "ERASURE_STATE_COMPLETE"
User = Annotated[str, typer.Argument(help="The user, as your application calls them, or their id.")]


@app.command()
def erase(
    context: typer.Context,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended.")] = True,
    request_id: Annotated[
        str, typer.Option(help="Repeating a request with the same id starts no second erasure.")
    ] = "",
) -> None:
    """Remove all data of a user from every store, file and topic.

    This cannot be undone. It continues over restarts of any service; asking again is harmless.

    \b
    Examples:
      trimtab users erase ada
      trimtab users erase 'auth0|5f7c' --yes
      trimtab users erase ada --tenant acme --yes --no-wait
    """
    session, whose = session_of(context), user_named(user)
    if not yes:
        _confirm(session, whose)
    request = {
        "user_id": whose.id,
        "actor": getpass.getuser(),
        "request_id": request_id or uuid.uuid4().hex,
    }
    operation = session.platform.call("interaction", "EraseUser", request)
    found: Json = (operation.get("metadata") or {}).get("erasure") or {}
    if wait:
        found = _follow(session, found["name"])
    session.show({**found, **whose.document}, lambda: _erasure(session, found, whose.note))


@app.command()
def erasures(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="Only erasures of this user, by name or id.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List the audit records of erasures, newest first; --user shows whether a user was erased.

    \b
    Examples:
      trimtab users erasures
      trimtab users erasures --user ada --json
    """
    session, whose = session_of(context), user_named(user) if user else None
    request = {"user_id": whose.id if whose else ""}
    found = listed(session.platform, "interaction", "ListErasures", "erasures", request, limit)
    rows = [
        (
            one["name"],
            _state(one),
            one["actor"],
            one.get("create_time"),
            one.get("end_time"),
            ", ".join(one["waiting_for"]),
            ", ".join(one["model_versions"]),
        )
        for one in found
    ]
    columns = ("erasure", "state", "asked by", "asked", "complete", "waits for", "had learnt")
    document = {"erasures": found} | (whose.document if whose else {})

    def people() -> None:
        session.note(whose.note if whose else "")
        session.table(columns, rows, "There are no erasures.")

    session.show(document, people)


@app.command()
def show(
    context: typer.Context,
    erasure: Annotated[
        str, typer.Argument(help="The erasure's name or id, for example erasures/4f2a or 4f2a.")
    ],
) -> None:
    """Show one erasure: what was removed where, and which models had learnt from it.

    \b
    Example:
      trimtab users show erasures/4f2a
    """
    session = session_of(context)
    found = _get(session, erasure if "/" in erasure else f"erasures/{erasure}")
    session.show(found, lambda: _erasure(session, found))


@app.command()
def export(
    context: typer.Context,
    user: User,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The file to write; a .zip holds one file for each kind."
        ),
    ],
) -> None:
    """Write all data of a user to a file: JSON lines, or a zip of them.

    The file is kept only if the export is complete.

    \b
    Examples:
      trimtab users export ada -o ada.jsonl
      trimtab users export 'auth0|5f7c' -o ada.jsonl
      trimtab users export ada -o ada.zip
    """
    session, whose = session_of(context), user_named(user)
    answers = session.platform.stream("interaction", "ExportUser", {"user_id": whose.id})
    counts = write_export(output, (answer["record"] for answer in answers))
    document = {**whose.document, "file": str(output), "records": dict(counts)}
    rows = sorted(counts.items())

    def people() -> None:
        session.note(whose.note)
        session.table(("what", ">records"), rows, "There is no data about this user.")

    session.show(document, people)


def _confirm(session: Session, whose: Named) -> None:
    kept = f" (kept as {whose.id})" if whose.note else ""
    asked = f"Erase all data of user {whose.said!r}{kept} of tenant {session.tenant!r}?"
    typer.confirm(asked, abort=True, err=True)


def write_export(path: Path, records: Iterable[Json]) -> Counter[str]:
    """How many records of each kind ("service kind")."""
    counts: Counter[str] = Counter()
    staging = path.with_name(f".{path.name}.partial")
    try:
        with staging.open("w", encoding="utf-8") as out:
            for record in records:
                counts[f"{record['service']} {record['kind']}"] += 1
                out.write(visible_json(record) + "\n")
        if path.suffix == ".zip":
            _zipped(staging, path)
        else:
            staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
    return counts


def _zipped(lines: Path, path: Path) -> None:
    """One file of JSON lines for each kind, in constant memory."""
    kinds: dict[str, Path] = {}
    try:
        with lines.open(encoding="utf-8") as source:
            for line in source:
                record = json.loads(line)
                name = f"{record['service']}/{record['kind']}.jsonl"
                part = lines.with_name(f"{lines.name}.{name.replace('/', '.')}")
                with kinds.setdefault(name, part).open("a", encoding="utf-8") as out:
                    out.write(visible_json(record["content"]) + "\n")
        whole = lines.with_name(f"{lines.name}.zip")
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, part in sorted(kinds.items()):
                packed.write(part, name)
        whole.replace(path)
    finally:
        for part in kinds.values():
            part.unlink(missing_ok=True)


def _follow(session: Session, name: str) -> Json:
    said = ""
    while True:
        found = _get(session, name)
        waiting = ", ".join(found["waiting_for"])
        words = f"{name} is waiting for: {waiting}" if waiting else ""
        if words and words != said and not session.as_json:
            session.line(words)
        said = words
        if found["state"] == COMPLETE:
            return found
        session.wait(0.5)


def _get(session: Session, name: str) -> Json:
    found: Json = session.platform.call("interaction", "GetErasure", {"name": name})["erasure"]
    return found


def _erasure(session: Session, found: Json, note: str = "") -> None:
    session.note(note)
    session.line(f"{found['name']}  {_state(found)}  requested by {found['actor'] or '-'}")
    if found["waiting_for"]:
        session.line(f"waiting for: {', '.join(found['waiting_for'])}")
    rows = [
        (report["service"], removal["place"], removal["count"])
        for report in found["reports"]
        for removal in report["removals"]
    ]
    session.table(("service", "where", ">removed"), rows, "There was nothing to remove.")
    if found["model_versions"]:
        session.line(
            f"model versions that had learnt from the user: {', '.join(found['model_versions'])}"
        )
    if found["state"] == COMPLETE:
        session.line(
            f"{found['keys_destroyed']} keys destroyed: the topics hold only ciphertext about the user."
        )


def _state(erasure: Json) -> str:
    return str(erasure["state"]).removeprefix("ERASURE_STATE_").lower()
