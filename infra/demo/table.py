"""The demo's final tables: what came in, where it went, whether it helped, who serves now."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from infra.demo.counts import OUTCOMES
from infra.demo.report import Report
from shared.commandline.terminal import Terminal


def show(report: Report, console: Terminal) -> None:
    for draw in (
        _people,
        _came_in,
        _went,
        _adds_up,
        _trained_on,
        _gate,
        _rollout,
        _helped,
        _compared,
    ):
        for table in draw(report):
            console.print(table)
            console.print()
    _last_words(report, console)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for column in columns:
        number = column.startswith("#")
        table.add_column(column.lstrip("#"), justify="right" if number else "left", overflow="fold")
    return table


def _people(report: Report) -> list[Table]:
    """Before all else: whom it helped and whom it hurt."""
    if not report.effects:
        return []
    title = f"Whom it helped and whom it hurt ({report.two.champion} serves now): answers that broke a taste"
    table = _table(
        title, "people who are", "", "before, after their taste shifted", "now", "#users"
    )
    for one in report.effects:
        style = "bold red" if one.words == "hurt" else None
        users = f"{one.before.users} / {one.now.users}"
        table.add_row(one.taste, one.words, one.before.words, one.now.words, users, style=style)
    said = (
        [f"the run's gate: {words}" for words in report.two.run.effects] if report.two.run else []
    )
    table.caption, table.caption_justify = "\n".join(said) or None, "left"
    return [table]


def _came_in(report: Report) -> list[Table]:
    table = _table("What came in", "what", "#sent", "#reported by the services")
    one, book = report.one, report.two.book
    if one:
        sent = one.sent
        users = f"human chats of {sent.users} users (chitchat-dataset)"
        table.add_row(users, str(sent.conversations), str(one.stored_conversations))
        table.add_row("  their follow-ups, judged", str(sent.follow_ups), str(one.mined))
        table.add_row("  ratings, joined", str(sent.ratings), str(one.ratings_joined))
        table.add_row("  personas, by the end of act one", "", str(one.personas))
    live = len(book.conversations)
    table.add_row("live conversations (simulated users)", str(live), "")
    calls = f"{book.answered} and {len(book.failures)} failed"
    table.add_row("  calls answered", calls, "")
    for (phase, version), n in sorted(book.calls.items()):
        table.add_row(f"    {phase}: {version}", str(n), "")
    stored = str(report.audit.checks[0].right)
    table.add_row("conversations in total", str(report.sent.conversations), stored)
    turns = str(report.tally.total("interaction", "interaction", "made"))
    table.add_row("turns in total", str(report.sent.turns), turns)
    return [table]


def _went(report: Report) -> list[Table]:
    table = _table("Where it went", "stage", *(f"#{one}" for one in OUTCOMES), "reasons")
    for service, stage in report.tally.stages:
        totals = [str(report.tally.total(service, stage, one)) for one in OUTCOMES]
        table.add_row(stage, *totals, _reasons(report, service, stage))
    return [table]


def _reasons(report: Report, service: str, stage: str) -> str:
    named = [
        f"{outcome} {reason} {n}"
        for outcome in OUTCOMES[1:]
        for reason, n in report.tally.reasons(service, stage, outcome).items()
        if reason and n
    ]
    return ", ".join(named)


def _adds_up(report: Report) -> list[Table]:
    table = _table("Whether it adds up", "check", "#left", "#right", "")
    for check in report.audit.checks:
        verdict = "OK" if check.holds else "MISMATCH"
        style = None if check.holds else "bold red"
        table.add_row(check.words, str(check.left), str(check.right), verdict, style=style)
    return [table]


def _trained_on(report: Report) -> list[Table]:
    run = report.two.run
    if run is None:
        return []
    table = _table("What was trained on", "what", "figure")
    snapshot = run.snapshot
    alarm = report.two.alarm
    table.add_row("alarm", _alarm(alarm) if alarm else "none")
    table.add_row("run", f"{run.name}: {run.verdict}; trigger: {run.trigger.detail}")
    table.add_row("snapshot (sha256)", snapshot.digest)
    trained = f"{snapshot.train_pairs} pairs of {snapshot.train_users} users"
    held_out = f"{snapshot.held_out_pairs} pairs of {snapshot.held_out_users} users"
    table.add_row("trained on", trained)
    table.add_row("held out of training", held_out)
    sources = ", ".join(f"{name} {n}" for name, n in sorted(snapshot.pairs_by_source.items()))
    table.add_row("pairs by source", sources)
    control = f"; control (SFT on the same): {run.control_version}" if run.control_version else ""
    table.add_row("result", f"{run.model_version} from {run.champion_version}{control}")
    return [table]


def _alarm(alarm: Any) -> str:
    now = alarm.current
    return (
        f"{alarm.stream} of {alarm.model_version} {alarm.direction}: {alarm.reference_mean:.1%} ->"
        f" {now.value:.1%} [{now.low:.1%}, {now.high:.1%}], {now.count} follow-ups of {now.users}"
        f" users; log evidence {alarm.log_e:.1f}, threshold {alarm.log_threshold:.1f}"
    )


def _gate(report: Report) -> list[Table]:
    run = report.two.run
    if run is None or not run.gate:
        return []
    table = _table("The gate", "figure", "#value", "interval", "rule", "verdict", "n (users)")
    for line in run.gate:
        figure = line.estimate
        table.add_row(
            f"{figure.name} of {figure.group}" if figure.group else figure.name,
            f"{figure.value:.3f}",
            f"[{figure.low:.3f}, {figure.high:.3f}]",
            line.rule,
            line.verdict,
            f"{figure.count} ({figure.users})",
        )
    return [table]


def _rollout(report: Report) -> list[Table]:
    if not report.two.verdict:
        return []
    table = _table("The rollout", "what", "figure")
    table.add_row("verdict", report.two.verdict)
    table.add_row("evidence", report.two.evidence)
    table.add_row("live requests that failed during it", str(report.two.failed_in_rollout))
    changes = report.two.canary.changes if report.two.canary else []
    hands = sorted({change.actor for change in changes})
    table.add_row("who made the changes", ", ".join(hands))
    for one in report.two.followers:
        wish = one.run.wish if one.run else ""
        table.add_row(f"then, for {wish} alone", f"{one.verdict or 'undecided'}: {one.evidence}")
    return [table]


def _helped(report: Report) -> list[Table]:
    title = "Whether it helped: live users, rate [95% interval]"
    columns = (
        "when",
        "version",
        "taste broken (what users saw)",
        "dissatisfied (as mined)",
        "#users",
    )
    table = _table(title, *columns)
    for one in report.satisfaction:
        users = str(one.broken.users)
        table.add_row(one.words, one.version, one.broken.words, one.mined.words, users)
    return [table]


def _compared(report: Report) -> list[Table]:
    if not report.compared:
        return []
    count = report.compared[0].broken.count
    title = f"The same {count} requests, which no user sent, asked of each version"
    columns = (
        "role",
        "version",
        "judged by people who are",
        "taste broken",
        "under five words",
        "#words",
        "first answer",
    )
    table = _table(title, *columns)
    for one in report.compared:
        short, words = one.too_short.words, f"{one.mean_words:.0f}"
        judged = (one.taste, one.broken.words, short, words, one.example[:160])
        table.add_row(one.role, one.version, *judged)
    return [table]


def _last_words(report: Report, console: Terminal) -> None:
    console.print(f"Serving now: {report.two.champion}", style="bold")
    console.print(
        f"Dashboard: {report.dashboard_url} (the stack keeps running; `make down` stops it)"
    )
    minutes = report.elapsed_s / 60
    for problem in report.problems:
        console.print(f"FAILED: {problem}", style="bold red")
    if not report.problems:
        closed = f"The loop completed by itself in {minutes:.1f} minutes: {report.two.verdict}."
        console.print(closed, style="bold green")
