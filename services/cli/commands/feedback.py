"""trimtab feedback list | waiting | personas | pairs | heads [fit | retire] | judge | fit | score"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from services.cli.app.platform import listed, told_of
from services.cli.commands import heads
from services.cli.commands.options import OnePolicy
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import estimate_words, text_of
from services.cli.domain import Json
from shared.language.policies import ASSISTANT, is_same

app = typer.Typer(no_args_is_help=True, help="What was mined from users' follow-ups.")
app.add_typer(heads.app, name="heads")

Filter = Annotated[str, typer.Option("--filter", help="Terms joined by AND; see the examples.")]
Group = Annotated[
    str, typer.Option("--group", help="Only users of this group, such as shorter or team=sales.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]
Input = Annotated[str, typer.Option("--input", help="File of JSON lines; - reads standard input.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Number of threads; 0: one per core.")
]
_OFFLINE = "services.feedback.training.offline"


@app.command("list")
def list_(
    context: typer.Context,
    filter_: Filter = "",
    limit: Limit = 20,
    policy: OnePolicy = "",
    group: Group = "",
) -> None:
    """List judged follow-ups and joined explicit feedback.

    Terms: user_id, conversation_id, model_version, kind, source, abstained, group. Groups are those that
    the user was known to be in when it was judged.

    \b
    Examples:
      trimtab feedback list --filter 'kind = "reattempt_with_feedback"'
      trimtab feedback list --policy support --filter 'source = "explicit"' --json
      trimtab feedback list --group shorter --filter 'kind = "reattempt_with_feedback"'
    """
    session = session_of(context)
    wanted, keep = {"filter": _with_group(filter_, group)}, partial(_is_of, policy)
    found = listed(session.platform, "feedback", "ListFeedback", "feedback", wanted, limit, keep)
    session.show({"feedback": found}, lambda: _labels(session, found))


@app.command()
def waiting(context: typer.Context, limit: Limit = 20) -> None:
    """List explicit feedback that waits for the turn it is about.

    \b
    Example:
      trimtab feedback waiting --limit 5
    """
    session = session_of(context)
    found = listed(session.platform, "feedback", "ListWaitingFeedback", "waiting", {}, limit)
    rows = [
        (
            one["arrive_time"],
            one["feedback"]["completion_id"] or one["feedback"]["conversation_id"],
            one["feedback"]["user_id"],
            _short(one["feedback"]["comment"]),
        )
        for one in found
    ]
    columns = ("since", "about", "user", "comment")
    session.show({"waiting": found}, lambda: session.table(columns, rows, "Nothing is waiting."))


@app.command()
def personas(context: typer.Context, limit: Limit = 20) -> None:
    """List the personas kept of users.

    \b
    Example:
      trimtab feedback personas --limit 5
    """
    session = session_of(context)
    found = listed(session.platform, "feedback", "ListPersonas", "personas", {}, limit)
    rows = [(one["user_id"], one["version"], one["text"]) for one in found]
    session.show(
        {"personas": found},
        lambda: session.table(
            ("user", ">version", "persona"), rows, "No persona has been written yet."
        ),
    )


@app.command()
def pairs(
    context: typer.Context,
    filter_: Filter = "",
    limit: Limit = 20,
    policy: OnePolicy = "",
    group: Group = "",
) -> None:
    """List preference pairs, kept, dropped, filtered and waiting, with reasons.

    Terms: user_id, conversation_id, source, state, group. Filtered: found unfit to learn from before anything
    could; dropped: the reward model preferred the original.

    \b
    Examples:
      trimtab feedback pairs --policy support --filter 'state = "kept"'
      trimtab feedback pairs --filter 'state = "filtered" AND user_id = "ada"' --json
      trimtab feedback pairs --group team=sales --json
    """
    session = session_of(context)
    wanted, keep = {"filter": _with_group(filter_, group)}, partial(_is_of, policy)
    found = listed(session.platform, "feedback", "ListPairs", "pairs", wanted, limit, keep)
    session.show({"pairs": found}, lambda: _pairs(session, found))


@app.command()
def judge(context: typer.Context, limit: Limit = 20) -> None:
    """List what the served model said about follow-ups that the heads were unsure of, newest first.

    Its answers are only recorded (shadow) until it is proven that they agree with users' own thumbs and ratings
    often enough. It is asked only if TRIMTAB_FEEDBACK_JUDGE_UNSURE is on.

    \b
    Examples:
      trimtab feedback judge
      trimtab feedback judge --json | jq '.agreement, .trusted'
    """
    session = session_of(context)
    told = told_of(session.platform, "feedback", "ListJudgements", "judgements", {}, limit)
    session.show(told, lambda: _judgements(session, told))


@app.command()
def fit(
    context: typer.Context,
    input_: Input,
    output: Annotated[str, typer.Option("--output", help="Folder to write the fitted judge to.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same model.")] = 0,
    models: Annotated[
        str,
        typer.Option(
            "--models", help="all; or lexical, which leaves out the encoder and takes seconds."
        ),
    ] = "all",
    threads: Threads = 0,
) -> None:
    """Fit a judge of follow-ups on labelled lines. Needs neither the stack nor a network.

    \b
    A line: {"messages": [{"role": "user", "content": "..."}, ...], "label": "dissatisfied"}
    The last message is the user's follow-up. Labels are free, two or more; instead of one label, the
    shares of raters: {"dissatisfied": 0.67, "fine": 0.33}. Bad lines are reported and left out (exit
    code 1; refused.jsonl in the folder lists them). The figures are those of held-out folds.

    \b
    Examples:
      trimtab feedback fit --input labels.jsonl --output judge
      zcat labels.jsonl.gz | trimtab feedback fit --input - --output judge --json
    """
    given = ["--input", input_, "--output", output, "--seed", str(seed), "--models", models]
    _offline(context, "fit", [*given, "--threads", str(threads)])


@app.command()
def score(
    context: typer.Context,
    model: Annotated[
        str, typer.Option("--model", help="Folder that `trimtab feedback fit` wrote.")
    ],
    input_: Input,
    output: Annotated[
        str, typer.Option("--output", help="File of JSON lines to write; - writes standard output.")
    ],
    threads: Threads = 0,
) -> None:
    """Judge follow-ups with a fitted model: one line out for each line in, in the same order.

    \b
    Out: {"probabilities": {"dissatisfied": 0.91, "fine": 0.09}, "abstained": false}
    and the "reason" where it abstained: LOW_CONFIDENCE, NOTHING_SAID, BAD_LINE (exit code 1).

    \b
    Examples:
      trimtab feedback score --model judge --input x.jsonl --output y.jsonl
      trimtab feedback score --model judge --input - --output - < x.jsonl | head
    """
    given = ["--model", model, "--input", input_, "--output", output]
    _offline(context, "score", [*given, "--threads", str(threads)])


def _offline(context: typer.Context, command: str, given: list[str]) -> None:
    session = session_of(context)
    as_json = ["--json"] if session.as_json else []
    raise typer.Exit(session.run_program(_OFFLINE, [command, *given, *as_json]))


def _with_group(filter_: str, group: str) -> str:
    if not group:
        return filter_
    value = group.replace("\\", "\\\\").replace('"', '\\"')
    return " AND ".join(part for part in (filter_, f'group = "{value}"') if part.strip())


def _is_of(policy: str, one: Json) -> bool:
    """Whether feedback or a pair is of the policy; true of all if none is named."""
    return not policy or is_same((one.get("pair") or one)["policy"], policy)


def _labels(session: Session, found: list[Json]) -> None:
    rows = [
        (
            one["user_id"],
            ", ".join(one["groups"]),
            one["model_version"],
            one["source"].removeprefix("FEEDBACK_SOURCE_").lower(),
            f"abstained: {one['abstain_reason']}" if one["abstained"] else _kind(one["kind"]),
            one["step"].removeprefix("FOLLOW_UP_STEP_").lower().replace("unspecified", ""),
            f"{one['satisfaction']:.2f}",
            f"{one['dissatisfaction']:.2f}",
            _short(one["follow_up"]),
        )
        for one in found
    ]
    columns = (
        "user",
        "groups",
        "version",
        "source",
        "kind",
        "step",
        ">satisfied",
        ">dissatisfied",
        "follow-up",
    )
    session.table(columns, rows, "No feedback matches.")


def _pairs(session: Session, found: list[Json]) -> None:
    rows = [
        (
            one["state"].removeprefix("PAIR_STATE_").lower(),
            one["reason"],
            one["pair"]["source"].removeprefix("PAIR_SOURCE_").lower(),
            one["pair"]["policy"] or ASSISTANT,
            one["pair"]["user_id"],
            ", ".join(one["pair"]["groups"]),
            f"{one['pair']['reward_margin']:.2f}",
            _short(text_of(one["pair"].get("chosen"))),
            _short(text_of(one["pair"].get("rejected"))),
        )
        for one in found
    ]
    columns = ("state", "reason", "source", "policy", "user", "groups", ">margin")
    session.table((*columns, "chosen", "rejected"), rows, "No pair matches.")


def _judgements(session: Session, told: Json) -> None:
    rows = [
        (
            one["state"].removeprefix("JUDGEMENT_STATE_").lower(),
            one["abstain_reason"] or _kind(one["label"]["kind"]),
            f"{one['label']['dissatisfaction']:.2f}",
            one["user_id"],
            one["conversation_id"],
            one["model"],
        )
        for one in told["judgements"]
    ]
    columns = ("state", "says", ">dissatisfied", "user", "conversation", "model")
    session.table(columns, rows, "The served model has not been asked about any follow-up yet.")
    counts = "its labels count" if told["trusted"] else "its labels are kept, but do not count"
    words = estimate_words(told.get("agreement"))
    always = (
        f"; always giving the more common answer: {told['commonest']:.3g}" if words != "-" else ""
    )
    session.line(f"agreement with people: {words}{always}; {counts}")


def _kind(kind: str) -> str:
    return kind.removeprefix("FOLLOW_UP_KIND_").replace("_", " ").lower()


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
