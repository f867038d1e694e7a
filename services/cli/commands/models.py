"""trimtab models list | show | lineage | compare | verify | advance | promote | rollback | retire | restore"""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.app.versions import compare, lineage, version_of
from services.cli.commands.options import PolicyName
from services.cli.commands.session import Session, session_of
from services.cli.commands.status import show_rollout
from services.cli.commands.words import estimate_words
from services.cli.domain import Json

app = typer.Typer(
    no_args_is_help=True, help="List versions, promote one, roll back, retire what is not needed."
)

Reason = Annotated[str, typer.Option("--reason", help="Required: recorded with the change.")]
RequestId = Annotated[str, typer.Option("--request-id", help="Repeating the same id does nothing.")]
Revision = Annotated[
    int,
    typer.Option(
        "--revision",
        min=0,
        help="Only if this revision is still served (see `trimtab models list`). 0: whatever is served.",
    ),
]


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 20,
    policy: Annotated[
        str,
        typer.Option(
            "--policy", help="Only versions of this policy, and its rollout; default: all versions."
        ),
    ] = "",
) -> None:
    """List versions, newest first, and show which one serves for a policy (default: assistant).

    \b
    Examples:
      trimtab models list
      trimtab models list --policy support
    """
    session = session_of(context)
    of = {"policy": policy}
    found = listed(session.platform, "registry", "ListVersions", "versions", of, limit)
    served = session.platform.call("registry", "GetRollout", of).get("rollout")
    document = {"versions": found, "rollout": served}
    session.show(document, lambda: _table(session, found, served))


@app.command()
def show(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
) -> None:
    """Show one version and every change of its state.

    \b
    Example:
      trimtab models show assistant-v3
    """
    session = session_of(context)
    found = version_of(session.platform, version)
    session.show(found, lambda: _version(session, found))


@app.command("lineage")
def lineage_(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
) -> None:
    """Show what a version was trained from, back to the base model: runs, verdicts, whom each helped and hurt.

    \b
    Example:
      trimtab models lineage assistant-v3
    """
    session = session_of(context)
    line = lineage(session.platform, version)
    session.show({"lineage": line}, lambda: _lineage(session, line))


@app.command("compare")
def compare_(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
    other: Annotated[str, typer.Argument(help="What it is compared with, such as assistant-v1.")],
) -> None:
    """Ask both versions the same questions and compare: whose answers people's rewards prefer, and their form.

    Takes minutes: both answer some sixty requests, on the replicas that serve users. Nothing changes for users.

    \b
    Examples:
      trimtab models compare assistant-v3 assistant-v1
      trimtab models compare assistant-v3 assistant-v0 --json | jq .estimates
    """
    session = session_of(context)

    def progress(words: str) -> None:
        if not session.as_json:
            session.err.print(words)

    found = compare(session.platform, version, other, progress, session.wait)
    session.show(found, lambda: _comparison(session, found))


@app.command()
def verify(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
) -> None:
    """Ask each replica for what the version answered when it was trained, and compare.

    The exit code is 1 if a replica serves something else under the version's name: the base model, another
    adapter, a stale one, or nothing.

    \b
    Example:
      trimtab models verify assistant-v3
    """
    session = session_of(context)
    request = {"version": version}
    found = session.platform.call("registry", "VerifyVersion", request, timeout_s=60.0)
    session.show(found, lambda: _proofs(session, found["proofs"]))
    if any(_serves(one) in ("base model", "something else", "nothing") for one in found["proofs"]):
        raise typer.Exit(1)


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
    reason: Reason,
    request_id: RequestId = "",
    revision: Revision = 0,
) -> None:
    """Make a version the champion of its policy now, whatever the evidence says.

    Any version may be promoted, also one that was rolled back, except rejected versions and controls.

    \b
    Example:
      trimtab models promote assistant-v3 --reason "reviewed by hand"
    """
    request = {
        "version": version,
        "reason": reason,
        "request_id": request_id,
        "revision": revision,
    }
    _change(session_of(context), "PromoteVersion", request)


@app.command()
def rollback(
    context: typer.Context,
    reason: Reason,
    policy: PolicyName = "",
    request_id: RequestId = "",
    revision: Revision = 0,
) -> None:
    """End a policy's current rollout. If there is none, go back to the champion before this one.

    \b
    Examples:
      trimtab models rollback --reason "users complain about tone"
      trimtab models rollback --policy support --reason "users complain about tone"
    """
    request = {
        "reason": reason,
        "policy": policy,
        "request_id": request_id,
        "revision": revision,
    }
    _change(session_of(context), "RollbackVersion", request)


@app.command()
def advance(
    context: typer.Context,
    reason: Reason,
    policy: PolicyName = "",
    revision: Revision = 0,
) -> None:
    """Let a policy's canary go on to its next step now, without the evidence that the step asks for.

    \b
    Example:
      trimtab models advance --reason "few users this week; the answers were read"
    """
    session = session_of(context)
    request = {"reason": reason, "policy": policy, "revision": revision}
    told = session.platform.call("registry", "AdvanceRollout", _by_me(request), timeout_s=60.0)
    session.show(told, lambda: session.line(f"revision {told['revision']}: {told['words']}"))


@app.command()
def retire(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
    reason: Reason,
) -> None:
    """Take a version that serves nobody off the replicas now. No rollback goes back to it.

    MLflow keeps it: `promote` and `restore` bring it back.

    \b
    Example:
      trimtab models retire assistant-v3 --reason "it was rude"
    """
    session = session_of(context)
    request = {"version": version, "reason": reason}
    told = session.platform.call("registry", "RetireVersion", _by_me(request), timeout_s=60.0)
    session.show(told, lambda: session.line(told["words"]))


@app.command()
def restore(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Such as assistant-v3.")],
    reason: Reason,
    override_gate: Annotated[
        bool,
        typer.Option(
            "--override-gate",
            help="A rejected version, too, which may then be promoted. Recorded with your name and reason.",
        ),
    ] = False,
) -> None:
    """Put a version that was withdrawn on the replicas again, to compare it or to ask it by name.

    \b
    Example:
      trimtab models restore assistant-v3 --reason "to compare it with v9"
      trimtab models restore assistant-v4 --override-gate --reason "the suite was wrong: we read the answers"
    """
    session = session_of(context)
    request = {"version": version, "reason": reason, "override_gate": override_gate}
    found = session.platform.call("registry", "RestoreVersion", _by_me(request), timeout_s=60.0)
    session.show(found, lambda: _proofs(session, found["proofs"]))


def _by_me(request: Json) -> Json:
    return {**request, "actor": getpass.getuser()}


def _change(session: Session, method: str, request: Json) -> None:
    answer = session.platform.call("registry", method, _by_me(request), timeout_s=60.0)
    session.show(answer, lambda: show_rollout(session, answer.get("rollout")))


def _table(session: Session, found: list[Json], served: Json | None) -> None:
    rows = [
        (
            one["version"],
            _state(one),
            one["served_name"],
            one["parent"],
            one["run"],
            one.get("create_time"),
        )
        for one in found
    ]
    columns = ("version", "state", "served as", "parent", "run", "created")
    session.table(columns, rows, "No version is registered yet.")
    session.line("")
    show_rollout(session, served)


def _version(session: Session, found: Json) -> None:
    session.line(f"{found['version']}  {_state(found)}  served as {found['served_name']}")
    rows = [(one.get("time"), _state(one), one["actor"], one["reason"]) for one in found["changes"]]
    session.table(("time", "state", "by", "reason"), rows, "Its state has never changed.")


def _lineage(session: Session, line: list[Json]) -> None:
    for place, one in enumerate(line):
        run = one["trained_by"]
        by = f"trained by {one['run']}" if one["run"] else "not trained here"
        verdict = (
            f", whose verdict was {run['verdict'].replace('_', ' ')}"
            if run and run["verdict"]
            else ""
        )
        session.line(f"{one['version']}  {_state(one)}, {by}{verdict}")
        for words in run["effects"] if run else ():
            session.line(f"  {words}")
        if one["run"] and not run:
            session.line("  the run is no longer kept")
        if place + 1 < len(line):
            session.line("  from")


def _comparison(session: Session, found: Json) -> None:
    """A row a figure, with the other version's beside it; first, whose answers are preferred, and by whom."""
    ours, theirs = found["model_version"], found["champion_version"]
    figures = {(one["name"], one["group"]): one for one in found["estimates"]}
    rows = []
    for (name, group), one in figures.items():
        if "@" not in name:
            label = f"{name} of {group}" if group else name
            beside = figures.get((f"{name}@{theirs}", group))
            rows.append((label, estimate_words(one), estimate_words(beside)))
    rows.sort(key=lambda row: not row[0].startswith("win_rate"))
    session.table(("figure", ours, theirs), rows, "Nothing could be measured.")
    everyone = figures.get(("win_rate", ""))
    if everyone and int(everyone["count"]):
        session.line(f"{_preferred(ours, theirs, everyone)} over all requests.")


def _preferred(ours: str, theirs: str, one: Json) -> str:
    if one["low"] > 0.5:
        return f"The answers of {ours} are preferred"
    if one["high"] < 0.5:
        return f"The answers of {theirs} are preferred"
    return "No difference is shown"


def _proofs(session: Session, proofs: list[Json]) -> None:
    rows = [(one["replica"], _serves(one), one["words"]) for one in proofs]
    session.table(("replica", "serves", "what was seen"), rows, "There are no replicas.")


def _serves(proof: Json) -> str:
    return str(proof["serves"]).removeprefix("SERVES_").replace("_", " ").lower()


def _state(one: Json) -> str:
    state = str(one["state"]).removeprefix("VERSION_STATE_").replace("_", " ").lower()
    return f"{state}, withdrawn" if one.get("withdrawn") else state
