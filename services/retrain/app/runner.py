"""The runner walks a run through its states.

A run's row is all of its state. Every step is idempotent, so the runner may be killed anywhere: the next
one repeats the step. One run at a time; the others are queued, and tenants and policies take turns
(domain/queue.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from services.retrain.app.judging import Judging
from services.retrain.app.queue import Line, WaitForPairs, line_of
from services.retrain.app.reporting import reported
from services.retrain.app.retrain import selected
from services.retrain.domain.in_context import instruction_of
from services.retrain.domain.objectives import past_policies
from services.retrain.domain.rules import Reading, Rules, whole_answers
from services.retrain.domain.runs import Run, State, TrainingCost
from services.retrain.domain.snapshots import Selection
from services.retrain.domain.training import PastPolicy, Trained
from services.retrain.ports import (
    Aside,
    Candidate,
    Evaluator,
    PolicyTrainer,
    RunRecorder,
    Snapshots,
    Store,
    VersionRegistry,
    Waiting,
)
from shared.language.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TrimtabError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from shared.language.policies import PolicyKey

_log = logging.getLogger(__name__)
# What the run waits for, because somebody else must fix it: a service that is unavailable, full or too old, or
# that refuses the credentials.
PASSING = (
    Unavailable,
    ResourceExhausted,
    DeadlineExceeded,
    Unauthenticated,
    PermissionDenied,
    Unimplemented,
)
_GONE = "POLICY_NOT_FOUND"
# Reasons of FailedPrecondition and NotFound that retrying does not change.
FINAL = (
    "TOO_FEW_PAIRS",
    "TOO_FEW_USERS",
    "WRONG_STATE",
    "NO_SUCH_VERSION",
    "NO_SUCH_BASE",
    "NO_SUCH_KIND",
    "NO_SUCH_ADAPTER",
    "FOREIGN_BASE",
    "TRAINING_DIVERGED",
    "UNSUITABLE_PAIRS",
    _GONE,
)
_CANCELLED_S = 0.2
# How often runs are looked at that all wait for pairs, in seconds.
_QUEUE_S = 1.0
# The training folders of this many runs are kept, to look into failures.
_RUNS_KEPT = 5


@dataclass(frozen=True, slots=True)
class Runner:
    """Advances the current run. `is_stopping` is true once the process is ending."""

    store: Store
    snapshots: Snapshots
    trainer: PolicyTrainer
    evaluator: Evaluator
    registry: VersionRegistry
    recorder: RunRecorder
    clock: Callable[[], datetime]
    reading: Reading = whole_answers
    # Our own version, which a run's report names.
    software: str = ""
    # The step this process has begun: an attempt is counted once per process and failure.
    taken_up: set[tuple[str, State, int]] = field(default_factory=set)
    # Until when runs are not looked at that wait for the cluster.
    aside: dict[str, datetime] = field(default_factory=dict)
    counted: dict[PolicyKey, tuple[int, int]] = field(default_factory=dict)

    def advance(self, is_stopping: Callable[[], bool]) -> float | None:
        """Takes one step. Returns the seconds until the next one, or None if no run is under way."""
        line = self._line()
        chosen = line.current or line.next
        if chosen is None:
            return _QUEUE_S if line.words or self._aside() else None
        run = self._taken_up(chosen)
        if run.has_ended:  # cancelled at this moment
            return 0.0
        if run.is_cancelling:
            return self._ended(run, State.CANCELLED, "cancelled", "")
        try:
            self._save(self._take(run, is_stopping))
            return 0.0
        except Aside as wait:
            self.aside[run.run] = self.clock() + timedelta(seconds=wait.delay_s)
            self._show(run, wait.progress, wait.words)
            return 0.0
        except Waiting as wait:
            self._show(run, wait.progress, wait.words)
            return wait.delay_s
        except Cancelled:
            # Either a person cancelled, which the next step sees, or the process is ending.
            return _CANCELLED_S
        except PASSING as error:
            return self._waits(run, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run says so
            return self._failed(run, error)

    def _line(self) -> Line:
        """Who is next; the queued runs say what they wait for."""
        line = self._line_without(self._aside())
        for run, (progress, words) in line.words.values():
            if (run.progress, run.progress_words) != (progress, words):
                self._show(run, progress, words)
        return line

    def _line_without(self, aside: Collection[str]) -> Line:
        with self.store.read() as session:
            return line_of(session, WaitForPairs(self.clock, self.counted, self.reading), aside)

    def _aside(self) -> set[str]:
        now = self.clock()
        return {run for run, until in self.aside.items() if until > now}

    def _gives_way(self, run: Run) -> bool:
        """Whether another run could go on or begin while this one waits for the cluster."""
        line = self._line_without({run.run, *self._aside()})
        return bool(line.current or line.next)

    def _cancel_others(self, training: Run) -> None:
        """A run that was set aside is cancelled within seconds, also while another one trains."""
        with self.store.read() as session:
            found = [run for run in session.under_way() if run.is_cancelling]
        for run in (one for one in found if one.run != training.run):
            self._ended(run, State.CANCELLED, "cancelled", "")

    def _taken_up(self, run: Run) -> Run:
        """This process's first look at a step counts as an attempt at it."""
        if _step(run) in self.taken_up:
            return run
        with self.store.begin() as session:
            run = session.run(run.run) or run
            if not run.has_ended:
                former = {one for one in self.taken_up if one[0] == run.run}
                self.taken_up.difference_update(former)
                self.taken_up.add(_step(run))
                run = run.attempted(self.clock())
                session.put(run)
        return run

    def _take(self, run: Run, is_stopping: Callable[[], bool]) -> Run:
        match run.state:
            case State.QUEUED:
                return run.entered(State.SNAPSHOT, self.clock())
            case State.SNAPSHOT:
                return self._snapshot(run)
            case State.TRAIN:
                return self._train(run, is_stopping)
            case State.EVALUATE:
                return self._evaluate(run)
            case State.GATE:
                return self._judging.judge(run)
        return self._hand_over(run)

    def _snapshot(self, run: Run) -> Run:
        wanted = past_policies(run.rules.plan)
        champions = self.registry.champions(run.key, max(wanted, 1))
        with self.store.read() as session:
            seen = session.newest_pair(run.key)
            selection = selected(session, run.key, run.rules, self.reading)
        _check(selection, run.rules)
        return replace(
            run,
            snapshot=self.snapshots.keep(selection),
            # Of those who ask for something else it has seen nothing.
            pairs_seen=0 if run.rules.caps.wish else seen,
            instruction=instruction_of(selection.train) if run.rules.in_context_arm else "",
            champion_version=champions[0].version,
            history=tuple(map(_past, champions[:wanted])),
        ).entered(State.TRAIN, self.clock())

    def _train(self, run: Run, is_stopping: Callable[[], bool]) -> Run:
        trained = self._trained(run, is_stopping)
        made = trained[run.rules.plan.objective]
        run = replace(
            run,
            training_counts=made.counts,
            group_margins=made.group_margins,
            preference=made.preference,
        )
        run = _with_costs(run, trained)
        run = replace(run, software=self.software)
        run = replace(run, mlflow_run_id=self.recorder.record(run, trained))
        return run.entered(State.EVALUATE, self.clock())

    def _trained(self, run: Run, is_stopping: Callable[[], bool]) -> dict[str, Trained]:
        """By objective: the candidate, and the control "sft" if there is one. A training that was finished
        before is only looked up."""
        stopped, rules = self._stopped(run, is_stopping), run.rules
        shares = (0.0, 0.65) if rules.train_control else (0.0, 1.0)

        def show(share: float, words: str) -> None:
            self._line()  # those that wait meanwhile say so
            self._cancel_others(run)
            self._show(run, shares[0] + share * (shares[1] - shares[0]), words)

        waits = partial(self._gives_way, run)
        candidate = self.trainer.train(run, rules.plan, show, stopped, waits)
        trained = {rules.plan.objective: candidate}
        if rules.train_control:
            shares = (0.65, 1.0)
            steps = len(candidate.steps)
            plan = replace(rules.plan, objective="sft", max_steps=steps, before=())
            trained["sft"] = self.trainer.train(run, plan, show, stopped, waits)
        return trained

    def _evaluate(self, run: Run) -> Run:
        if run.model_version:
            return self._judging.evaluate(run)
        self._show(run, 0.0, "registering the adapters")
        return self._judging.register(run, self._trained(run, lambda: False))

    def _hand_over(self, run: Run) -> Run:
        ended = self._judging.hand_over(run)
        self._close(ended)
        return ended

    @property
    def _judging(self) -> Judging:
        return Judging(self.store, self.snapshots, self.evaluator, self.registry, self.clock)

    def _failed(self, run: Run, error: Exception) -> float:
        words = _said(error, run)
        _log.exception("%s failed in %s", run.run, run.state)
        failures = run.failures + 1
        if is_final(error) or failures >= run.rules.max_failures:
            return self._ended(run, State.FAILED, "error", words)
        self._save(replace(run, failures=failures, error=words))
        return min(2.0**failures, 30.0)

    def _waits(self, run: Run, error: TrimtabError) -> float:
        self._show(run, run.progress, f"waits: {error.message}")
        return error.retry_after_s or 2.0

    def _ended(self, run: Run, state: State, verdict: str, error: str) -> float:
        """A run has not ended as long as something may still train for it."""
        try:
            if run.state == State.TRAIN:
                self.trainer.cancel(run.run)
        except PASSING as away:
            return self._waits(run, away)
        self._end(run, state, verdict, error)
        return 0.0

    def _end(self, run: Run, state: State, verdict: str, error: str) -> None:
        self._judging.withdraw(run, state)
        ended = replace(run.entered(state, self.clock()), verdict=verdict, error=error)
        self._close(ended)
        self._save(ended)

    def _close(self, ended: Run) -> None:
        self.recorder.close(ended, reported(ended, self.snapshots))

    def _stopped(self, run: Run, is_stopping: Callable[[], bool]) -> Callable[[], bool]:
        def stopped() -> bool:
            if is_stopping():
                return True
            with self.store.read() as session:
                found = session.run(run.run)
            return found is None or found.is_cancelling

        return stopped

    def _show(self, run: Run, progress: float, words: str) -> None:
        self._save(replace(run, progress=progress, progress_words=words))

    def _save(self, run: Run) -> None:
        """Keeps a cancellation that came in the meantime; a run that has ended stays as it is."""
        with self.store.begin() as session:
            now = session.run(run.run)
            if now is not None and now.has_ended:
                return
            is_cancelling = run.is_cancelling or (now is not None and now.is_cancelling)
            session.put(replace(run, is_cancelling=is_cancelling and not run.has_ended))
            kept = [*session.ended(_RUNS_KEPT), *session.under_way()] if run.has_ended else []
        if kept:
            self.aside.pop(run.run, None)
            self.trainer.keep_only({one.run for one in kept})


def is_final(error: Exception) -> bool:
    """Whether retrying would only give the same error."""
    return isinstance(error, InvalidArgument | AlreadyExists) or (
        isinstance(error, FailedPrecondition | NotFound) and error.reason in FINAL
    )


def _said(error: Exception, run: Run) -> str:
    if isinstance(error, NotFound) and error.reason == _GONE:
        return f"the policy {run.key.name} no longer exists: it was deleted during the run"
    return f"{type(error).__name__}: {error}"


def _check(selection: Selection, rules: Rules) -> None:
    pairs, users = len(selection.train), len({pair.user for pair in selection.train})
    if pairs < rules.least_pairs:
        raise FailedPrecondition(
            f"there are {pairs} pairs to train on, at least {rules.least_pairs} are needed"
            f"{_left_out(selection)}",
            reason="TOO_FEW_PAIRS",
        )
    if users < rules.least_users:
        raise FailedPrecondition(
            f"the pairs to train on come from {users} users; at least {rules.least_users} are"
            " needed, so that a few do not speak for all",
            reason="TOO_FEW_USERS",
        )


def _left_out(selection: Selection) -> str:
    """Why there are no more pairs, in words; empty if none was left out."""
    found = ", ".join(f"{count} {reason}" for reason, count in selection.left_out.items())
    return f" (left out: {found})" if found else ""


def _past(version: Candidate) -> PastPolicy:
    return PastPolicy(version.version, version.adapter_path, version.adapter_digest)


def _with_costs(run: Run, trained: Mapping[str, Trained]) -> Run:
    costs = {name: TrainingCost(len(one.steps), one.seconds) for name, one in trained.items()}
    digests = [one.base_digest for one in trained.values() if one.base_digest]
    return replace(run, costs=costs, base_digest=next(iter(digests), ""))


def _step(run: Run) -> tuple[str, State, int]:
    return run.run, run.state, run.failures
