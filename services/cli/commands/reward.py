"""trimtab reward models | fit | score"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import estimate_words
from services.cli.domain import Json

app = typer.Typer(no_args_is_help=True, help="What people prefer, learnt from pairs of answers.")

Input = Annotated[str, typer.Option("--input", help="JSON lines; - is standard input.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0: one for each core.")]
_OFFLINE = "services.reward.offline"


@app.command()
def models(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """List the service's reward models, newest first, and the groups of people behind the newest.

    \b
    Examples:
      trimtab reward models
      trimtab reward models --limit 1 --json | jq '.reward_models[0].people.groups[].name'
    """
    session = session_of(context)
    found = listed(session.platform, "reward", "ListRewardModels", "reward_models", {}, limit)
    session.show({"reward_models": found}, lambda: _table(session, found))


@app.command()
def fit(
    context: typer.Context,
    input_: Input,
    output: Annotated[str, typer.Option("--output", help="Folder for what is fitted.")],
    groups: Annotated[
        str, typer.Option("--groups", help="auto, or how many groups of people to keep apart.")
    ] = "auto",
    features: Annotated[
        str,
        typer.Option(
            "--features",
            help="accurate: encoder, policy and surface; tuned: and the policy tuned by LoRA, in tens of"
            " minutes; fast: without the policy; surface: no network at all, in seconds.",
        ),
    ] = "accurate",
    length: Annotated[
        str, typer.Option("--length", help="keep, or remove what the reward says of length.")
    ] = "keep",
    members: Annotated[int, typer.Option("--members", min=2, help="Of the ensemble.")] = 8,
    most_per_user: Annotated[
        int, typer.Option("--most-per-user", min=1, help="The newest pairs of a user that count.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, the same model.")] = 0,
    threads: Threads = 0,
) -> None:
    """Fit a reward model on preferences. Needs neither the stack nor a network.

    \b
    A line: {"prompt": [...], "chosen": [...], "rejected": [...], "user": "u1", "confidence": 0.9}
    prompt, chosen and rejected are lists of messages or strings, as in TRL; user and confidence may
    be left out. Bad lines are told and left out (exit code 1; listed in refused.jsonl of the
    folder). The figures are those of prompts that the judging model had not seen.

    \b
    Examples:
      trimtab reward fit --input pairs.jsonl --output reward
      zcat pairs.jsonl.gz | trimtab reward fit --input - --output reward --groups 2 --json
    """
    given = ["--input", input_, "--output", output, "--groups", groups, "--features", features]
    given += ["--length", length, "--members", str(members)]
    given += ["--most-per-user", str(most_per_user), "--seed", str(seed)]
    _offline(context, "fit", [*given, "--threads", str(threads)])


@app.command()
def score(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", help="Folder that a fit wrote.")],
    input_: Input,
    output: Annotated[str, typer.Option("--output", help="JSON lines; - is standard output.")],
    threads: Threads = 0,
) -> None:
    """Score answers by a fitted model: a line out for each line in, in the same order.

    \b
    In: {"messages": [...]}, the last one the assistant's answer.
    Out: {"reward": 0.81, "std": 0.12, "groups": {"shorter": 1.2, "longer": -0.9}}
    A line that cannot be scored keeps its place: nulls, and an "error" (exit code 1).

    \b
    Examples:
      trimtab reward score --model reward --input x.jsonl --output y.jsonl
      trimtab reward score --model reward --input - --output - < x.jsonl | head
    """
    given = ["--model", model, "--input", input_, "--output", output]
    _offline(context, "score", [*given, "--threads", str(threads)])


def _table(session: Session, found: list[Json]) -> None:
    rows = [
        (
            one["name"].rsplit("/", 1)[-1],
            one["pairs"],
            one["ratings"],
            one["users"],
            estimate_words(one.get("held_out_accuracy")),
            len((one.get("people") or {}).get("groups", [])) or "-",
            one.get("create_time"),
        )
        for one in found
    ]
    columns = ("model", "pairs", "ratings", "users", "right of held-out", "groups", "made")
    session.table(columns, rows, "No reward model is trained yet.")
    if found and (people := found[0].get("people")):
        session.line("")
        _people(session, people)


def _people(session: Session, people: Json) -> None:
    rows = [
        (
            one["name"],
            one["users"],
            ", ".join(taste["what"] for taste in one["prefers"]) or "nothing clear",
            estimate_words(one["accuracy_by_one_model"]),
            estimate_words(one["accuracy_by_own_model"]),
        )
        for one in people["groups"]
    ]
    columns = ("group", "users", "prefers", "right by one reward for all", "right by its own")
    session.table(columns, rows, "")
    one, own = people["by_one_model"], people["by_group_models"]
    for words, key in (("mean", "mean"), ("worst group", "worst_group"), ("Gini", "gini")):
        session.line(f"{words} over users: {one[key]:.2f} by one, {own[key]:.2f} by their groups'")
    if people["down_weighted_users"]:
        session.line(
            f"{people['down_weighted_users']} users count less, {people['suspects']} of them nothing:"
            " their labels contradict their own group"
        )


def _offline(context: typer.Context, command: str, given: list[str]) -> None:
    session = session_of(context)
    as_json = ["--json"] if session.as_json else []
    raise typer.Exit(session.run_program(_OFFLINE, [command, *given, *as_json]))
