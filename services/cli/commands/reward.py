"""trimtab reward models | fit | score"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.platform import listed
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import estimate_words
from services.cli.domain import Json

app = typer.Typer(
    no_args_is_help=True, help="Reward models: what people prefer, learnt from pairs of answers."
)

Input = Annotated[str, typer.Option("--input", help="JSON lines; - is standard input.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Threads to compute with; 0: one per core.")
]
_OFFLINE = "services.reward.offline"


@app.command()
def models(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many to list at most.")] = 20,
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
    output: Annotated[str, typer.Option("--output", help="Folder to write the model to.")],
    groups: Annotated[
        str, typer.Option("--groups", help="How many groups of people to tell apart; auto: choose.")
    ] = "auto",
    features: Annotated[
        str,
        typer.Option(
            "--features",
            help="accurate: encoder, policy and surface; tuned: accurate plus the policy tuned by LoRA (tens"
            " of minutes); fast: accurate without the policy; surface: no network at all (seconds).",
        ),
    ] = "accurate",
    length: Annotated[
        str,
        typer.Option(
            "--length", help="keep; or remove: take the effect of length out of the reward."
        ),
    ] = "keep",
    members: Annotated[int, typer.Option("--members", min=2, help="Members of the ensemble.")] = 8,
    most_per_user: Annotated[
        int, typer.Option("--most-per-user", min=1, help="How many of a user's newest pairs count.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same model.")] = 0,
    threads: Threads = 0,
) -> None:
    """Fit a reward model on preferences. Needs neither the stack nor a network.

    \b
    A line: {"prompt": [...], "chosen": [...], "rejected": [...], "user": "u1", "confidence": 0.9}
    prompt, chosen and rejected are lists of messages or strings, as in TRL; user and confidence are
    optional. Bad lines are reported and skipped (exit code 1; refused.jsonl in the folder lists them).
    All figures are from prompts that the judging model had not seen.

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
    model: Annotated[str, typer.Option("--model", help="Folder that `fit` wrote.")],
    input_: Input,
    output: Annotated[str, typer.Option("--output", help="JSON lines; - is standard output.")],
    threads: Threads = 0,
) -> None:
    """Score answers with a fitted model: one line out for each line in, in the same order.

    \b
    In: {"messages": [...]}, ending with the assistant's answer.
    Out: {"reward": 0.81, "std": 0.12, "groups": {"shorter": 1.2, "longer": -0.9}}
    A line that cannot be scored keeps its place, with nulls and an "error" (exit code 1).

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
    columns = ("model", "pairs", "ratings", "users", "held-out accuracy", "groups", "created")
    session.table(columns, rows, "No reward model has been trained yet.")
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
    columns = ("group", "users", "prefers", "accuracy, one reward for all", "accuracy, its own")
    session.table(columns, rows, "")
    one, own = people["by_one_model"], people["by_group_models"]
    for words, key in (("mean", "mean"), ("worst group", "worst_group"), ("Gini", "gini")):
        session.line(
            f"{words} over users: {one[key]:.2f} by one reward, {own[key]:.2f} by their groups'"
        )
    if people["down_weighted_users"]:
        session.line(
            f"{people['down_weighted_users']} users are weighted down because their labels contradict their own"
            f" group; {people['suspects']} of them do not count at all"
        )


def _offline(context: typer.Context, command: str, given: list[str]) -> None:
    session = session_of(context)
    as_json = ["--json"] if session.as_json else []
    raise typer.Exit(session.run_program(_OFFLINE, [command, *given, *as_json]))
