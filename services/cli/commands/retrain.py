"""trimtab retrain start | list | preview | recipes | show | report | watch | cancel"""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from services.cli.app.platform import listed, run_name, run_of
from services.cli.commands.options import OnePolicy, PolicyName
from services.cli.commands.session import ERROR, Session, session_of
from services.cli.commands.words import interests_words
from services.cli.domain import Json
from shared.language.errors import InvalidArgument
from shared.language.policies import ASSISTANT

app = typer.Typer(
    no_args_is_help=True,
    help="Start and follow training runs: snapshot, train, evaluate, gate, hand over.",
)

ENDED = ("SUCCEEDED", "REJECTED", "FAILED", "CANCELLED")
RecipeName = Annotated[
    str, typer.Option("--recipe", help="What to train by: see `trimtab retrain recipes`.")
]
Wish = Annotated[
    str,
    typer.Option(
        "--wish", help="Take pairs of those alone who ask for this, such as wants.form=list."
    ),
]
RunName = Annotated[str, typer.Argument(help="The run, such as runs/4f2a or 4f2a.")]


@app.command()
def start(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Recorded with the run.")] = "started by hand",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    request_id: Annotated[str, typer.Option(help="Repeating the same id gives the same run.")] = "",
    policy: PolicyName = "",
    recipe: RecipeName = "",
    wish: Wish = "",
) -> None:
    """Start a run of a policy by hand.

    What a recipe sets takes precedence over the policy's settings. A version that was trained for one wish is
    for those alone who ask for it. With --wait the exit code is 0 if the run succeeded, otherwise 1.

    \b
    Examples:
      trimtab retrain start --reason "new guideline" --wait
      trimtab retrain start --policy support --request-id nightly-2026-11-20
      trimtab retrain start --recipe robust_dpo --wait
      trimtab retrain start --wish wants.form=list
    """
    session = session_of(context)
    why = f"{getpass.getuser()}: {reason}"
    request = {
        "request_id": request_id,
        "reason": why,
        "policy": policy,
        "recipe": recipe,
        "wish": wish,
    }
    operation = session.platform.call("retrain", "StartRetrain", request)
    run = (operation.get("metadata") or {}).get("run", {})
    if wait:
        _follow(session, run["name"])
        return
    session.show(operation, lambda: session.line(f"{run.get('name', operation['name'])} started."))


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 20,
    policy: OnePolicy = "",
    under_way: Annotated[
        bool, typer.Option("--under-way", help="Only runs that have not ended.")
    ] = False,
) -> None:
    """List runs, newest first.

    \b
    Examples:
      trimtab retrain list --json | jq '.runs[0].verdict'
      trimtab retrain list --policy support --under-way
    """
    session = session_of(context)
    wanted = {"policy": policy, "under_way": under_way}
    found = listed(session.platform, "retrain", "ListRuns", "runs", wanted, limit)
    rows = [
        (
            one["name"],
            one["policy"] or ASSISTANT,
            _state(one),
            one["verdict"],
            _trigger(one),
            one["champion_version"],
            one["model_version"],
            one.get("create_time"),
        )
        for one in found
    ]
    columns = ("run", "policy", "state", "verdict", "trigger", "from", "made", "created")
    session.show({"runs": found}, lambda: session.table(columns, rows, "There are no runs yet."))


@app.command()
def preview(
    context: typer.Context, policy: PolicyName = "", recipe: RecipeName = "", wish: Wish = ""
) -> None:
    """Show which pairs a run of a policy would train on now, and what is left out. Starts nothing.

    \b
    Examples:
      trimtab retrain preview --policy support
      trimtab retrain preview --recipe cut
    """
    session = session_of(context)
    request = {"policy": policy, "recipe": recipe, "wish": wish}
    found = session.platform.call("retrain", "PreviewSnapshot", request, timeout_s=60.0)
    session.show(found, lambda: _snapshot(session, found["snapshot"]))


@app.command()
def recipes(context: typer.Context) -> None:
    """List what runs can be trained by: when to take which recipe, and what data it needs.

    \b
    Example:
      trimtab retrain recipes --json | jq '.recipes[] | {name, version, training}'
    """
    session = session_of(context)
    found = session.platform.call("retrain", "ListRecipes", {})
    rows = [
        (f"{one['name']} v{one['version']}", one["when"], _data(one)) for one in found["recipes"]
    ]
    columns = ("recipe", "take it if", "data")
    session.show(found, lambda: session.table(columns, rows, "There are no recipes."))


@app.command()
def show(context: typer.Context, run: RunName) -> None:
    """Show a run: whom it helped and whom it hurt, its snapshot, and the gate line by line.

    \b
    Example:
      trimtab retrain show runs/4f2a
    """
    session = session_of(context)
    found = run_of(session.platform, run)
    session.show(found, lambda: _run(session, found))


@app.command()
def report(
    context: typer.Context,
    run: RunName,
    out: Annotated[
        Path | None, typer.Option(help="Write the page to this file; with --json, the JSON.")
    ] = None,
) -> None:
    """Write the report of a run: did it help, whom, from whose words, at what cost, how to reproduce it.

    It is one HTML file that needs no other. Without --out the answer is printed, with --json the whole report.
    Of a run that has not ended it says what is known so far.

    \b
    Examples:
      trimtab retrain report runs/4f2a --out report.html
      trimtab retrain report runs/4f2a --json | jq -r .verdict.sentence
    """
    session = session_of(context)
    found = session.platform.call("retrain", "GetReport", {"name": run_name(run)}, timeout_s=60.0)
    told = json.loads(found["json"])
    if out is None:
        session.show(told, lambda: _report(session, told))
        return
    _write(out, found["json"] if session.as_json else found["html"])
    written = {"file": str(out), "is_final": found["is_final"]}
    session.show(written, lambda: session.line(f"The report of {run_name(run)} is in {out}."))


@app.command()
def watch(context: typer.Context, run: RunName) -> None:
    """Follow a run to its end. The exit code is 0 if it succeeded, otherwise 1.

    \b
    Example:
      trimtab retrain watch runs/4f2a
    """
    _follow(session_of(context), run)


@app.command()
def cancel(context: typer.Context, run: RunName) -> None:
    """Cancel a run. A queued run ends immediately, a running one within seconds.

    \b
    Example:
      trimtab retrain cancel runs/4f2a
    """
    session = session_of(context)
    found = session.platform.call("retrain", "CancelRun", {"name": run_name(run)})["run"]
    session.show(found, lambda: session.line(f"{found['name']} is {_state(found)}."))


def _follow(session: Session, run: str) -> None:
    said = ""
    while True:
        found = run_of(session.platform, run)
        words = f"{_state(found)} {found['progress']:.0%} {found['progress_words']}".strip()
        if words != said and not session.as_json:
            session.line(words)
        said = words
        if _state(found).upper() in ENDED:
            break
        session.wait(1.0)
    session.show(found, lambda: _run(session, found))
    if _state(found) != "succeeded":
        raise typer.Exit(ERROR)


def _run(session: Session, found: Json) -> None:
    # Whom it helped and whom it hurt comes before all else.
    for words in found.get("effects") or ():
        session.line(words)
    session.line(f"{found['name']}  {_state(found)}  {found['verdict'].replace('_', ' ')}")
    session.line(f"policy {found['policy'] or ASSISTANT}; trigger: {_trigger(found)}")
    _origin(session, found)
    session.line(f"from {found['champion_version'] or '-'} to {found['model_version'] or '-'}")
    if found["strength"] not in (0, 1) or found["tried"]:
        session.line(f"strength of the adapter: {found['strength']:g}")
    for one in found["tried"]:
        tried = f"at a strength of {one['strength']:g} ({one['version']}, attempt {one['gate_attempt']})"
        session.line(f"{tried}: {one['verdict'].replace('_', ' ')} {one['win_rate']}".rstrip())
    if found["instruction"]:
        session.line(f"in_context is {found['champion_version']}, told: {found['instruction']}")
    for words in interests_words(found.get("interests")):
        session.line(words)
    for words in found.get("gaps") or ():
        session.line(f"for people to decide: {words}")
    snapshot = found.get("snapshot")
    if snapshot:
        _snapshot(session, snapshot)
    _counts(session, "in training", found["training_counts"])
    if margins := found.get("group_margins"):
        told = [f"{group} {margin:.2f}" for group, margin in sorted(margins.items())]
        session.line(f"margin at the end, by group: {', '.join(told)}")
    if preference := found.get("preference"):
        told = [f"{group} {share:.0%}" for group, share in sorted(preference.items())]
        session.line(f"groups are weighed: {', '.join(told)}")
    if found["error"]:
        session.line(f"error: {found['error']}")
    if found["gate_attempt"]:
        session.line(
            f"attempt {found['gate_attempt']} against {found['champion_version']}:"
            f" the gate requires intervals at a confidence of {found['gate_confidence']:.4g}"
        )
    rows = [_gate_row(line) for line in found["gate"]]
    session.line("")
    columns = ("figure", ">value", "interval", ">cases", "rule", "verdict", "in words")
    session.table(columns, rows, "The run has not reached the gate.")


def _origin(session: Session, found: Json) -> None:
    """For whom it was trained, by what, and held to what."""
    if found["wish"]:
        session.line(f"for those alone who are of {found['wish']}")
    if followers := found["followed_by"]:
        who = "those whom it left without what they ask for"
        session.line(f"followed, for {who}, by {', '.join(followers)}")
    session.line(f"recipe: {_recipe(found)}")
    if past := found.get("history"):
        session.line(f"held to: {', '.join(map(_past, past))}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        words = f"{path} cannot be written: {error.strerror}"
        raise InvalidArgument(words, reason="CANNOT_WRITE", field="out") from error


def _report(session: Session, told: Json) -> None:
    verdict = told["verdict"]
    session.line(verdict["sentence"])
    cheaper = (told["control"], told["in_context"])
    for words in (*verdict["effects"], verdict["gate"], told["strength"], *cheaper, told["worse"]):
        if words:
            session.note(words)
    for words in verdict["gaps"]:
        session.line(f"for people to decide: {words}")
    session.line(f"the page: trimtab retrain report {told['run']} --out report.html")
    tracked = (told["reproduce"] or {}).get("mlflow_run_id")
    if tracked and told["is_final"]:
        session.line(f"in MLflow: run {tracked}, artifact report/report.html")


def _snapshot(session: Session, snapshot: Json) -> None:
    session.line(
        f"snapshot {snapshot['digest'][:12]}: {snapshot['train_pairs']} pairs of"
        f" {snapshot['train_users']} users to train on, {snapshot['held_out_pairs']} held out;"
        f" the largest user's share is {snapshot['largest_user_share']:.0%}{_smallest(snapshot)}"
    )
    if int(snapshot["replayed_pairs"]):
        session.line(f"replayed: {snapshot['replayed_pairs']} pairs of before the last snapshot")
    if int(snapshot["praised_answers"]):
        praised, users = snapshot["praised_answers"], snapshot["praising_users"]
        session.line(f"to be kept: {praised} answers that {users} users praised")
    _parts(session, "by source", snapshot["pairs_by_source"], snapshot["users_by_source"])
    _parts(session, "by group", snapshot["pairs_by_group"], snapshot["users_by_group"])
    if asked := snapshot["users_by_wish"]:
        told = ", ".join(f"{wish} {users} users" for wish, users in sorted(asked.items()))
        session.line(f"they ask for: {told}")
    _counts(session, "left out", snapshot["left_out"])


def _smallest(snapshot: Json) -> str:
    """Nothing of runs of before it was counted."""
    share = snapshot["smallest_user_share"]
    return f", the smallest's {share:.1%}" if share else ""


def _parts(session: Session, what: str, pairs: Json, users: Json) -> None:
    """Pairs and users of each; users only where they were counted."""
    if pairs:
        told = [
            f"{name} {count} pairs" + (f" of {users[name]} users" if name in users else "")
            for name, count in pairs.items()
        ]
        session.line(f"{what}: {', '.join(sorted(told))}")


def _counts(session: Session, what: str, counts: Json) -> None:
    if counts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        session.line(f"{what}: {reasons}")


def _gate_row(line: Json) -> tuple[object, ...]:
    figure = line.get("estimate") or {}
    group = f" of {figure['group']}" if figure.get("group") else ""
    return (
        f"{figure.get('name')}{group}",
        f"{figure.get('value', 0):.3g}",
        f"{figure.get('low', 0):.3g} to {figure.get('high', 0):.3g}",
        figure.get("count"),
        line["rule"],
        line["verdict"].replace("_", " "),
        line["words"],
    )


def _recipe(run: Json) -> str:
    named = f"{run['recipe']} v{run['recipe_version']}" if run["recipe"] else "the policy's own"
    return f"{named} (objective {run['objective']})"


def _past(policy: Json) -> str:
    """A champion that the training is held to."""
    version = str(policy["version"])
    return version if policy["adapter_path"] else f"{version} (the base model)"


def _data(recipe: Json) -> str:
    sources = recipe["sources"]
    return f"{recipe['data']}; of {', '.join(sources)}" if sources else str(recipe["data"])


def _state(run: Json) -> str:
    return str(run["state"]).removeprefix("RUN_STATE_").replace("_", " ").lower()


def _trigger(run: Json) -> str:
    trigger = run.get("trigger") or {}
    kind = str(trigger.get("kind", "")).removeprefix("TRIGGER_KIND_").lower()
    return f"{kind}: {trigger['detail']}" if trigger.get("detail") else kind
