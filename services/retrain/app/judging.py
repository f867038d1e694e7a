"""From a trained adapter to a verdict: register it, measure it beside its champion and cheaper arms, ask the
gate, and hand over what passes.

Each step is idempotent, as the runner's are. A run may judge several strengths of its adapter:
see domain/strengths.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.retrain.domain.effects import gaps
from services.retrain.domain.gate import check
from services.retrain.domain.in_context import IN_CONTEXT
from services.retrain.domain.runs import Run, State
from services.retrain.domain.snapshots import Snapshot
from services.retrain.domain.strengths import at_next_strength, is_worth_another
from services.retrain.domain.training import Trained
from services.retrain.ports import (
    Candidate,
    Contest,
    Evaluator,
    Snapshots,
    Store,
    VersionRegistry,
    Waiting,
)
from shared.language.errors import FailedPrecondition, TrimtabError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judging:
    store: Store
    snapshots: Snapshots
    evaluator: Evaluator
    registry: VersionRegistry
    clock: Callable[[], datetime]

    def register(self, run: Run, trained: Mapping[str, Trained]) -> Run:
        """Stays in EVALUATE. The versions are stored with the run before the evaluation begins. The control is
        registered once, whatever strengths follow."""
        objective, control = run.rules.plan.objective, run.control_version
        path = trained[objective].adapter_at(run.strength)
        version = self.registry.register(run.part(objective), path, run, control=False)
        if run.rules.train_control and not control:
            path = trained["sft"].adapter_path
            control = self.registry.register(f"{run.run}/sft", path, run, control=True).version
        return replace(
            run,
            model_version=version.version,
            control_version=control,
            progress_words="evaluates",
        )

    def evaluate(self, run: Run) -> Run:
        """Raises Waiting while it is evaluated."""
        if not run.attempt:
            return self._counted(run)
        found = self.evaluator.evaluate(self._contest(run))
        measured = replace(run, estimates=found.estimates, examples=found.examples)
        return measured.entered(State.GATE, self.clock())

    def judge(self, run: Run) -> Run:
        """By the gate. What does not pass is followed by the next strength, if that may do better."""
        rules, champion = run.rules, run.champion_version
        lines, verdict, reach = check(
            run.estimates,
            champion,
            rules.thresholds,
            run.confidence,
            rules.suites,
            rules.interests,
            run.first_version,
            rules.caps.wish,
        )
        judged = replace(run, gate=lines, verdict=verdict).reaching(reach)
        if is_worth_another(judged):
            words = f"{run.run}: at a strength of {run.strength:g} the gate said {verdict}"
            self.registry.reject(run.tenant, run.model_version, words)
            return at_next_strength(judged).entered(State.EVALUATE, self.clock())
        for gap in gaps(run.estimates, rules.interests, reach):
            _log.warning("%s leaves to people: %s", run.run, gap)
        return judged.entered(State.HAND_OVER, self.clock())

    def hand_over(self, run: Run) -> Run:
        passed = run.verdict == "passed"
        reason = f"{run.run}: the gate said {run.verdict}"
        if passed:
            self._start_rollout(run, reason)
        else:
            self.registry.reject(run.tenant, run.model_version, reason)
        if run.control_version:
            words = f"{run.run}: a control, for figures only"
            self.registry.reject(run.tenant, run.control_version, words)
        return run.entered(State.SUCCEEDED if passed else State.REJECTED, self.clock())

    def withdraw(self, run: Run, state: State) -> None:
        """The versions of a run that failed or was cancelled must never serve."""
        for version in filter(None, (run.model_version, run.control_version)):
            try:
                self.registry.reject(run.tenant, version, f"{run.run} was {state.value}")
            except TrimtabError as refused:
                _log.warning("%s could not be rejected: %s", version, refused)

    def _counted(self, run: Run) -> Run:
        """Stays in EVALUATE. The attempt is counted before anything is measured, whatever the result will
        be: each strength is one."""
        with self.store.begin() as session:
            attempt = session.attempt(run.tenant, run.champion_version, run.part())
        return replace(run, attempt=attempt)

    def _contest(self, run: Run) -> Contest:
        def version(name: str) -> Candidate:
            return self.registry.version(run.tenant, name)

        champion = version(run.champion_version)
        controls = [version(run.control_version)] if run.control_version else []
        if run.instruction:
            controls.append(
                Candidate(IN_CONTEXT, champion.served_name, instruction=run.instruction)
            )
        if run.first_version:
            controls.append(replace(version(run.first_version), is_probed=True))
        return Contest(
            tenant=run.tenant,
            # A failed evaluation is not asked for again: it would only report the same failure.
            request_id=f"{run.part()}/{run.failures}" if run.failures else run.part(),
            candidate=version(run.model_version),
            champion=champion,
            controls=tuple(controls),
            held_out=tuple(self.snapshots.held_out(_required(run.snapshot))),
            confidence=run.confidence,
            suites=run.rules.suites,
        )

    def _start_rollout(self, run: Run, reason: str) -> None:
        try:
            self.registry.start_rollout(run, reason)
        except FailedPrecondition as error:
            if error.reason != "ROLLOUT_UNDER_WAY":
                raise
            raise Waiting(0.0, f"waits: {error.message}", 5.0) from error


def _required(snapshot: Snapshot | None) -> Snapshot:
    if snapshot is None:
        raise FailedPrecondition("the run has no snapshot yet")
    return snapshot
