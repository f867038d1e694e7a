"""trimtab import"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from services.cli.app.importing import Import, Importer
from services.cli.commands.session import ERROR, Session, session_of
from services.cli.domain import Json
from services.cli.domain.formats import FORMATS, Reader
from services.cli.domain.records import Imported, Record
from services.cli.domain.scores import read_scores
from shared.language.errors import InvalidArgument
from shared.language.policies import check_policy_id
from shared.language.visible import visible

_THROUGH = ("grpc", "gateway")


def import_(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="A file, a folder, or - for standard input.")
    ] = None,
    chitchat: Annotated[
        bool, typer.Option("--chitchat", help="The human chats of the package chitchat-dataset.")
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", help=f"auto, or one of {', '.join(FORMATS)}.")
    ] = "auto",
    through: Annotated[
        str, typer.Option(help="grpc or gateway; default: gateway if only its URL is set.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Import at most this many records; 0: all.")
    ] = 0,
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Messages in one call.")] = 500,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, help="How many calls run at the same time.")
    ] = 4,
    refused: Annotated[
        Path, typer.Option(help="File for refused records; correct them in it, then import it.")
    ] = Path("refused.jsonl"),
    state: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the progress, so that an interrupted import can go on; removed at the end."
        ),
    ] = None,
    user: Annotated[
        str,
        typer.Option(help="The user to whom records that name nobody belong, such as ChatGPT's."),
    ] = "",
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=MIN:MAX: people gave this score on this scale; NAME=people; NAME=evaluator."
            " Repeatable."
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="The policy to which all records belong, such as support; default: assistant."
        ),
    ] = "",
) -> None:
    """Import conversations, feedback and preferences from files.

    \b
    PATH is a file, a folder, or - for standard input: JSON lines, a JSON array, JSON objects or
    Parquet; plain, .gz or .zst; UTF-8, UTF-16 or UTF-32. The format of each record is recognised:
      openai             messages; several records of one session or conversation_id are joined
      sharegpt           conversations, with tool roles or with role and content
      wildchat, lmsys    as JSON or Parquet
      arena              two conversations and a vote
      langfuse           observations and scores
      trl-preference     prompt, chosen, rejected; also LlamaFactory's
      hh-rlhf            chosen and rejected as transcripts
      openai-preference  input, preferred_output, non_preferred_output
      trl-unpaired       prompt, completion (or messages) and label
      openai-batch       a folder with the requests and, named after them, the outputs
      chatgpt            conversations.json and message_feedback.json, with all branches
      claude             conversations.json
      open-webui         chats and feedback
      convai2            dialog
    services/cli/README.md says what each field becomes.

    \b
    A score is a user's opinion if a person gave it, and needs a scale: the file's, the one that its
    name says (stars, csat, nps, thumbs), or --score. What evaluators measure is kept beside it.
    A file that is imported twice counts once: ids come from the file, or from the content if it has
    none. After a break the same command continues where it stopped. Refused records are listed with
    file, line, field, reason and the record itself, the rest is imported, and the exit code is 1:
    correct the records in the list, then import the list.
    Conversations and preferences belong to --policy, and only that policy is trained on them. The same
    preferences imported for two policies count as two; a conversation belongs to the first.

    \b
    Examples:
      trimtab import conversations.jsonl.zst
      trimtab import exports/ --refused to-mend.jsonl
      trimtab import to-mend.jsonl --refused still-bad.jsonl
      trimtab import sharegpt.json --format sharegpt --limit 1000 --through gateway
      trimtab import langfuse/ --score quality=1:10 --score tone=evaluator
      trimtab import conversations.json --user ada@example.org
      trimtab import preferences.jsonl --policy support
      zcat chats.jsonl.gz | trimtab import -
      trimtab import --chitchat --limit 500
    """
    session = session_of(context)
    _check(session, path, chitchat, format_name, through, refused)
    check_policy_id(policy, "--policy")
    importer = Importer(session.import_target(through), session.wait, batch, in_flight=in_flight)
    options: Json = {"format": format_name, "limit": limit, "tenant": session.tenant, "user": user}
    options |= {"scores": sorted(score or ()), "policy": policy}
    progress = session.files.progress(path or Path("chitchat"), options, state)
    reader = Reader(format_name, read_scores(score or ()), user)
    run = Import(session.files, importer, reader, refused, progress, policy=policy)
    done = _shown(session, run, path, limit)
    document = {**asdict(done), "report": str(refused) if done.refused else ""}
    session.show(document, lambda: _people(session, done, refused))
    if done.refused or done.unread:
        raise typer.Exit(ERROR)


def _shown(session: Session, run: Import, path: Path | None, limit: int) -> Imported:
    """With a line that shows the progress."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=session.err, disable=session.as_json) as shown:
        task, began = shown.add_task("importing"), time.monotonic()

        def told(last: Record, done: Imported) -> None:
            seconds = max(time.monotonic() - began, 1e-9)
            rate = round((done.read - run.resumed) / seconds)
            shown.update(task, description=visible(_progress(last, done, rate)))

        return run.all(path, limit, told)


def _check(
    session: Session,
    path: Path | None,
    chitchat: bool,
    format_name: str,
    through: str,
    refused: Path,
) -> None:
    if (path is None) != chitchat:
        raise InvalidArgument("give a PATH, or --chitchat", reason="USAGE")
    if format_name not in ("auto", *FORMATS):
        raise InvalidArgument(f"--format is auto, or one of {', '.join(FORMATS)}", reason="USAGE")
    if through not in ("", *_THROUGH):
        raise InvalidArgument("--through is grpc or gateway", reason="USAGE")
    if path is not None:
        session.files.files_of(path)
        if path.absolute() == refused.absolute():
            raise InvalidArgument(
                "a list of refused records cannot be imported into itself; give --refused another file",
                reason="USAGE",
            )


def _progress(record: Record, done: Imported, rate: int) -> str:
    bad = f", {done.refused} refused" if done.refused else ""
    return f"{record.file}:{record.line}  {done.read} records, {done.turns} turns{bad}, {rate}/s"


def _people(session: Session, done: Imported, report: Path) -> None:
    session.line(
        f"{done.records} of {done.read} records imported: {done.conversations} conversations with"
        f" {done.turns} turns, {done.feedback} pieces of feedback, {done.preferences} preferences,"
        f" {done.assessments} scores by evaluators."
    )
    if done.ignored:
        fields = ", ".join(f"{name} in {count}" for name, count in sorted(done.ignored.items()))
        session.line(f"Fields that were not read: {fields}.")
    for name, reason in sorted(done.unread.items()):
        session.line(f"{name}: {reason}.")
    if done.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.reasons.items()))
        session.line(
            f"{done.refused} refused ({reasons}). Correct them in {report} and import that file."
        )
