"""trimtab feedback heads [fit | retire]"""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.app.platform import told_of
from services.cli.commands.session import Session, session_of
from services.cli.commands.words import estimate_words
from services.cli.domain import Json
from shared.language.errors import Internal

app = typer.Typer()

Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]


@app.callback(invoke_without_command=True)
def heads(context: typer.Context, limit: Limit = 20) -> None:
    """List the dissatisfaction heads fitted on your own users' thumbs and ratings, newest first.

    Each was compared on held-out users with the head that was serving; "saves" is log loss in nats per label.
    Heads that did not pass the gate are listed with the reason: NOT_BETTER, CAN_NOT_TELL, RANKS_WORSE. Heads
    are fitted on a schedule; `fit` fits one now, and `retire` takes the serving one out of service.

    \b
    Examples:
      trimtab feedback heads
      trimtab feedback heads --json | jq '.heads[] | {version, state, reason, log_loss_gain}'
      trimtab feedback heads fit --wait
    """
    if context.invoked_subcommand:
        return
    session = session_of(context)
    told = told_of(session.platform, "feedback", "ListHeads", "heads", {}, limit)
    session.show(told, lambda: _show(session, told))


@app.command("fit")
def fit_head(
    context: typer.Context,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the fit has ended, and show the result.")
    ] = False,
    request_id: Annotated[
        str, typer.Option(help="Repeating a request with the same id starts no second fit.")
    ] = "",
) -> None:
    """Fit a head on your users' labels now, without waiting for the schedule.

    The new head serves only if it passes the gate: on held-out users it must save log loss, rank better than
    chance, and rank no worse than the head before it. Each attempt makes the gate stricter. With --wait the
    exit code is 0 if the head was promoted; otherwise it is 1, and the reason is shown: NOT_BETTER,
    CAN_NOT_TELL, RANKS_WORSE, or why nothing was fitted, such as TOO_FEW_LABELS.

    \b
    Examples:
      trimtab feedback heads fit --wait
      trimtab feedback heads fit --wait --json | jq '.reason, .head.log_loss_gain'
      trimtab feedback heads fit --request-id after-the-campaign
    """
    session = session_of(context)
    operation = session.platform.call("feedback", "FitHead", {"request_id": request_id})
    if not wait:
        name = operation["name"]
        session.show(operation, lambda: session.line(f"{name} has started."))
        return
    while not operation.get("done"):
        request = {"name": operation["name"], "timeout": "5s"}
        operation = session.platform.call("feedback", "WaitOperation", request)
    if error := operation.get("error"):
        raise Internal(str(error.get("message", "the fit failed")), reason="FIT_FAILED")
    found = operation["response"]
    session.show(found, lambda: _fitted(session, found))
    raise typer.Exit(0 if found["reason"] == "promoted" else 1)


@app.command("retire")
def retire_head(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="Such as heads/dissatisfaction-v3; without it, the head that is serving."
        ),
    ] = "",
) -> None:
    """Take the serving head out of service: the shipped head judges until another passes the gate.

    What it has judged stays. The next fit needs new labels, so the same head does not return the same night.

    \b
    Examples:
      trimtab feedback heads retire
      trimtab feedback heads retire heads/dissatisfaction-v3 --json
    """
    session = session_of(context)
    told = session.platform.call("feedback", "RetireHead", {"name": name})
    words = f"{told['head']['name']} is retired; serving: {told['serving']}"
    session.show(told, lambda: session.line(words))


def _show(session: Session, told: Json) -> None:
    rows = [
        (
            one["name"].rsplit("/", 1)[-1],
            one["state"].removeprefix("HEAD_STATE_").lower(),
            one["reason"],
            "refitted" if one["refitted"] else "recalibrated",
            f"{one['labels']} of {one['users']}",
            estimate_words(one["log_loss_gain"]),
            f"{one['auroc_before']['value']:.3f} to {one['auroc_after']['value']:.3f}",
            one["against"].rsplit("/", 1)[-1],
            one.get("create_time", ""),
        )
        for one in told["heads"]
    ]
    columns = (
        "head",
        "state",
        "reason",
        "how",
        "labels of users",
        "saves",
        "AUROC",
        "against",
        "made",
    )
    session.table(columns, rows, "No head has been fitted on your users' labels yet.")
    session.line(f"serving: {told['serving']}")
    if look := told.get("look"):
        counts = f"{look['labels']} labels of {look['users']} users to fit on"
        held_out = f"{look['held_out_users']} held-out users to judge by"
        when = f"; next look {look['next_time']}" if look.get("next_time") else ""
        session.line(f"last look: {look['reason'] or 'none yet'}, {counts}, {held_out}{when}")


def _fitted(session: Session, found: Json) -> None:
    counts = f"{found['labels']} labels of {found['users']} users to fit on"
    held_out = f"{found['held_out_users']} held-out users to judge by"
    session.line(f"{found['reason']}: {counts}, {held_out}")
    if head := found.get("head"):
        gain = estimate_words(head["log_loss_gain"])
        session.line(f"{head['name']} against {head['against']}: saves {gain} nats per label")
