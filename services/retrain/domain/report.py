"""The report of a run: one page that says whether it helped, and from what; figures and words, no markup.

Whose words it may hold. It is made anew each time it is asked for, from the run's row and its snapshot, and
once more when the run ends, for the tracker. Nobody is named in it: users are counts and shares. The only
words that come from pairs are phrases that at least three users' pairs have (ngrams.py); examples are answers
to prompts of our own. So an erasure has nothing to remove from a report that was written: what it may have of
a user, two others say, too. A report that is made after it is made from the snapshot without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from services.retrain.domain.effects import effects, gaps, people
from services.retrain.domain.ngrams import Phrases
from services.retrain.domain.report_words import (
    LOWER,
    MEANINGS,
    REASONS,
    Meaning,
    attempt_words,
    control_words,
    did_it_help,
    gate_words,
    in_context_words,
    strength_words,
    trigger_words,
)
from services.retrain.domain.roles import (
    CANDIDATE,
    CHAMPION,
    CONTROL,
    FIRST,
    TOLD,
    Versions,
    versions_of,
)
from services.retrain.domain.runs import GateCheck, Run
from shared.language.estimates import Estimate
from shared.language.examples import CHOSEN_BY, Example
from shared.statistics.intervals import difference

_ROLES = (CHAMPION, CANDIDATE, CONTROL, TOLD, FIRST)
_JOB = "python -m services.retrain.train --job FOLDER/job.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Did it help? `sentence` says it in one; `effects` whom, group by group, those who lost first."""

    sentence: str
    effects: tuple[str, ...]
    gate: str
    attempt: str
    gate_verdict: str
    gaps: tuple[str, ...]
    rule: str
    limits: str
    lines: tuple[GateCheck, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Of what was trained on: pairs of one source or one group. `users` is None where it was not counted."""

    name: str
    pairs: int
    users: int | None


@dataclass(frozen=True, slots=True)
class Reason:
    code: str
    words: str
    pairs: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """From whose words it learnt."""

    train_pairs: int
    train_users: int
    held_out_pairs: int
    held_out_users: int
    largest_user_share: float
    smallest_user_share: float
    replayed_pairs: int
    praised_answers: int
    praising_users: int
    # What all of them ask for, if the run took no other pairs; how many users ask for what.
    wish: str
    users_by_wish: Mapping[str, int]
    by_source: tuple[Part, ...]
    by_group: tuple[Part, ...]
    left_out: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of one of the versions; `role` is champion, candidate, control, in context (the champion, told
    what users wish for), first (what served before any training), or the name that was measured."""

    role: str
    value: float
    low: float
    high: float
    confidence: float
    count: int
    users: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of all versions. `change`: how the candidate differs from the champion, where that can be
    told: "better", "worse" or "no measurable difference"."""

    suite: str
    name: str
    words: str
    group: str
    better: str
    is_share: bool
    measured: tuple[Measured, ...]
    change: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    objective: str
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """`seconds` is None for one that has not ended."""

    state: str
    attempts: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    seconds: float
    trainings: tuple[Training, ...]
    cut: tuple[Reason, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What makes the same adapter again. `recipe`: by name and version; empty for the policy's own settings.
    `held_to`: the champions that the objective looks at, in words. `job` is what job.json must say; its
    base_model, WEIGHTS, is to be the folder of the weights that have `base_digest`."""

    snapshot_digest: str
    snapshot_uri: str
    base_model: str
    base_digest: str
    recipe: str
    seed: int
    held_to: tuple[str, ...]
    software: str
    command: str
    job: Mapping[str, Any]
    mlflow_run_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """`is_final` once the run has ended; before that it says what is known so far. `phrases` is None if the
    snapshot is not kept any more, or if there was none."""

    run: str
    tenant: str
    policy: str
    state: str
    is_final: bool
    started: datetime
    updated: datetime
    versions: Versions
    verdict: Verdict
    trigger_kind: str
    trigger: str
    provenance: Provenance | None
    figures: tuple[Row, ...]
    worse: str
    control: str
    in_context: str
    strength: str
    examples_rule: str
    examples: tuple[Example, ...]
    phrases: Phrases | None
    cost: Cost
    reproduce: Reproduction | None
    format: str = field(default="trimtab-report/1")


def report_of(run: Run, phrases: Phrases | None) -> Report:
    figures = _figures(run)
    return Report(
        run=run.run,
        tenant=run.tenant,
        policy=run.policy,
        state=run.state.value,
        is_final=run.has_ended,
        started=run.create_time,
        updated=run.update_time,
        versions=versions_of(run),
        verdict=_verdict(run),
        trigger_kind=run.trigger.kind.value,
        trigger=trigger_words(run),
        provenance=_provenance(run),
        figures=figures,
        worse=_worse(figures),
        control=control_words(run),
        in_context=in_context_words(run),
        strength=strength_words(run),
        examples_rule=CHOSEN_BY if run.examples else "",
        examples=run.examples,
        phrases=phrases,
        cost=_cost(run),
        reproduce=_reproduction(run),
    )


def document(report: Report) -> dict[str, Any]:
    """As JSON has it: times in RFC 3339."""
    times = {name: getattr(report, name).isoformat() for name in ("started", "updated")}
    return {**asdict(report), **times}


def _verdict(run: Run) -> Verdict:
    interests = run.rules.interests
    return Verdict(
        sentence=did_it_help(run),
        effects=effects(run.estimates, interests, run.reach),
        gate=gate_words(run),
        attempt=attempt_words(run),
        gate_verdict=run.verdict,
        gaps=gaps(run.estimates, interests, run.reach),
        rule=interests.words,
        limits=interests.limits,
        lines=run.gate,
        error=run.error,
    )


def _provenance(run: Run) -> Provenance | None:
    found = run.snapshot
    if found is None:
        return None
    return Provenance(
        train_pairs=found.train_pairs,
        train_users=found.train_users,
        held_out_pairs=found.held_out_pairs,
        held_out_users=found.held_out_users,
        largest_user_share=found.largest_user_share,
        smallest_user_share=found.smallest_user_share,
        replayed_pairs=found.replayed_pairs,
        praised_answers=found.praised_answers,
        praising_users=found.praising_users,
        wish=run.rules.caps.wish,
        users_by_wish=found.users_by_wish,
        by_source=_parts(found.pairs_by_source, found.users_by_source),
        by_group=_parts(found.pairs_by_group, found.users_by_group),
        left_out=_reasons(found.left_out),
    )


def _parts(pairs: Mapping[str, int], users: Mapping[str, int]) -> tuple[Part, ...]:
    """Most pairs first."""
    order = sorted(pairs, key=lambda name: (-pairs[name], name))
    return tuple(Part(name, pairs[name], users.get(name)) for name in order)


def _reasons(counts: Mapping[str, int]) -> tuple[Reason, ...]:
    order = sorted(counts, key=lambda code: (-counts[code], code))
    return tuple(Reason(code, REASONS.get(code, code), counts[code]) for code in order)


def _figures(run: Run) -> tuple[Row, ...]:
    """Figures that are known first, in the order of MEANINGS; everyone's before groups'. What could not be
    measured is no figure."""
    found: dict[tuple[str, str], list[tuple[str, Estimate]]] = {}
    versions = versions_of(run)
    for one in run.estimates:
        name, _, version = one.name.partition("@")
        if one.count:
            role = (
                versions.role(version) if version else CANDIDATE
            )  # its figures have the plain name
            found.setdefault((name, one.group), []).append((role, one))
    known = list(MEANINGS)
    order = sorted(
        found, key=lambda key: (known.index(key[0]) if key[0] in known else len(known), key)
    )
    return tuple(_row(name, group, found[name, group]) for name, group in order)


def _row(name: str, group: str, estimates: Sequence[tuple[str, Estimate]]) -> Row:
    meaning = MEANINGS.get(name, Meaning(name.replace("_", " "), "", False))
    by_role = dict(estimates)
    order = sorted(
        by_role, key=lambda role: (_ROLES.index(role) if role in _ROLES else len(_ROLES), role)
    )
    measured = tuple(_measured(role, by_role[role]) for role in order)
    change = _change(meaning, by_role.get(CANDIDATE), by_role.get(CHAMPION))
    return Row(
        suite=estimates[0][1].suite,
        name=name,
        words=(group and meaning.of_group) or meaning.words,
        group=people(group) if group else "",
        better=meaning.better,
        is_share=meaning.is_share,
        measured=measured,
        change=change,
    )


def _measured(role: str, one: Estimate) -> Measured:
    return Measured(role, one.value, one.low, one.high, one.confidence, one.count, one.users)


def _change(meaning: Meaning, ours: Estimate | None, theirs: Estimate | None) -> str:
    """By the interval of the difference, of shares. Empty where neither way is better as such."""
    if ours is None or theirs is None or not meaning.better or not meaning.is_share:
        return ""
    low, high = difference(ours, theirs)
    if low <= 0 <= high:
        return "no measurable difference"
    return "worse" if (low > 0) == (meaning.better == LOWER) else "better"


def _worse(figures: Sequence[Row]) -> str:
    """Which figures got worse, in words; empty if none could be compared."""
    compared = [row for row in figures if row.change]
    lost = [
        f"{row.words} ({row.group})" if row.group else row.words
        for row in compared
        if row.change == "worse"
    ]
    if lost:
        return f"Measurably worse than the champion: {'; '.join(lost)}."
    return "None of these figures is measurably worse than the champion's." if compared else ""


def _cost(run: Run) -> Cost:
    trainings = tuple(
        Training(objective, cost.steps, cost.seconds) for objective, cost in run.costs.items()
    )
    stages = tuple(
        Stage(
            step.state.value,
            step.attempts,
            (step.end_time - step.start_time).total_seconds() if step.end_time else None,
        )
        for step in run.steps
    )
    return Cost(
        sum(one.seconds for one in trainings), trainings, _reasons(run.training_counts), stages
    )


def _reproduction(run: Run) -> Reproduction | None:
    if run.snapshot is None:
        return None
    rules = run.rules
    return Reproduction(
        snapshot_digest=run.snapshot.digest,
        snapshot_uri=run.snapshot.uri,
        base_model=rules.base_model,
        base_digest=run.base_digest,
        recipe=f"{rules.recipe} v{rules.recipe_version}" if rules.recipe else "",
        seed=rules.plan.seed,
        held_to=tuple(one.words for one in run.history),
        software=run.software,
        command=_JOB,
        job=_job(run, run.snapshot.uri),
        mlflow_run_id=run.mlflow_run_id,
    )


def _job(run: Run, snapshot: str) -> dict[str, Any]:
    history = [asdict(one) for one in run.history]
    job = {
        "plan": asdict(run.rules.plan),
        "snapshot": snapshot,
        "base_model": "WEIGHTS",
        "threads": 1,
        "strengths": [one for one in run.rules.thresholds.strengths if one != 1.0],
    }
    return job | ({"history": history} if history else {})
