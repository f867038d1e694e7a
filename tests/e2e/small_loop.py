"""The small loop of the tests: greedy users, fixed wordings, a few steps of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.demo.act_two import ActTwo, Director, Limits
from infra.demo.audit import Audit, Sendings, audit, holdings
from infra.demo.clients import Clients
from infra.demo.population import load
from infra.demo.stage import Stage
from infra.demo.watch import Watch

SETTINGS = {
    "TRIMTAB_DRIFT_REFERENCE_OBSERVATIONS": "12",
    "TRIMTAB_DRIFT_MEAN_ROWS_BETWEEN_FALSE_ALARMS": "200",
    "TRIMTAB_GATEWAY_UPSTREAM_TIMEOUT_S": "300",
    "TRIMTAB_REWARD_MIN_PAIRS": "6",
    "TRIMTAB_FEEDBACK_REWRITE_SAMPLES": "2",
    "TRIMTAB_FEEDBACK_CANDIDATE_MAX_TOKENS": "40",
    "TRIMTAB_FEEDBACK_UBR_SHARE": "0",
    "TRIMTAB_FEEDBACK_FILTER_EVERY_S": "0.5",
    "TRIMTAB_FEEDBACK_REWARD_MIN_PAIRS": "4",
    "TRIMTAB_RETRAIN_MIN_PAIRS": "6",
    "TRIMTAB_RETRAIN_LEAST_PAIRS": "4",
    "TRIMTAB_RETRAIN_PAIRS_WAIT_S": "400",
    "TRIMTAB_RETRAIN_MAX_PAIRS": "16",
    "TRIMTAB_RETRAIN_MAX_STEPS": "6",
    "TRIMTAB_RETRAIN_TRAIN_CONTROL": "false",
    "TRIMTAB_RETRAIN_IN_CONTEXT_ARM": "false",
    "TRIMTAB_EVALUATION_PROMPTS": "16",
    "TRIMTAB_EVALUATION_PAIRS": "8",
    "TRIMTAB_EVALUATION_ANSWER_TOKENS": "60",
    "TRIMTAB_EVALUATION_REFUSAL_TOKENS": "12",
    "TRIMTAB_REGISTRY_MIN_USERS": "4",
    "TRIMTAB_REGISTRY_ROLLOUT_MAX_S": "40",
}
# Far above what a machine takes that does nothing else: where two cores serve all of it, and are busy with
# other tests, the first pair was seen after two minutes.
LIMITS = Limits(
    calm_s=300, alarm_s=300, run_starts_s=450, run_ends_s=900, rollout_s=240, measure_s=180
)
VERDICTS = ("promoted", "rolled back", "rejected by the gate")


@dataclass(frozen=True, slots=True)
class Played:
    """What the act saw, what the services counted, and what was mined."""

    act: ActTwo
    audited: Audit
    mined: list[Any]

    @property
    def trigger(self) -> int:
        """Of the run that the alarm started; why there is none, if there is none."""
        assert self.act.run is not None, self.act.problem
        return self.act.run.trigger.kind

    @property
    def unknown_versions(self) -> set[str]:
        """Versions that answered and were neither there before nor made by the run."""
        run = self.act.run
        known = {self.act.first_champion, run.model_version if run else ""}
        return {version for _, version in self.act.book.calls} - known

    @property
    def wrong_counts(self) -> list[tuple[str, int, int]]:
        return [(one.words, one.left, one.right) for one in self.audited.wrong]


async def play(clients: Clients, stage: Stage) -> Played:
    before = await holdings(clients)
    population = load(Path(__file__).with_name("population.toml"))
    act = await Director(stage, population, LIMITS).play()
    sent = Sendings(len(act.book.conversations), act.book.turns, 0)
    audited = await audit(clients, stage.progress, sent, before, limit_s=60.0)
    return Played(act, audited, await Watch(clients).mined(set(act.book.conversations)))
