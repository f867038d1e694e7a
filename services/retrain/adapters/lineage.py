"""Where the pairs of a conversation are in retrain: in which snapshots and runs, or why in none, and which
versions were trained on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.domain.rules import Reading, Rules, whole_answers
from services.retrain.domain.runs import Run, learnt_until
from services.retrain.domain.selection import choices
from services.retrain.ports import Store
from shared.language.pairs import Pair
from shared.language.policies import ASSISTANT, PolicyKey
from shared.serving.lineage import ABSTAINED, MADE, WAITING, Lineage, LineageStep

STAGE = "retrain.runs"
_MOST_RUNS = 200


class RetrainLineage(Lineage):
    """Reads all pairs that a snapshot of their policy would look at, and the id columns of the snapshots of the
    tenant's last _MOST_RUNS runs. Meant for a person who asks, not for a loop. `rules_of`: what a run of a
    policy would follow now."""

    def __init__(
        self,
        store: Store,
        snapshots: ParquetSnapshots,
        rules_of: Callable[[PolicyKey], Rules],
        reading: Reading = whole_answers,
    ) -> None:
        self._store, self._snapshots = store, snapshots
        self._rules_of, self._reading = rules_of, reading

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        """One or more steps per pair, whatever turn is asked for."""
        with self._store.read() as session:
            asked = session.pairs_of(tenant, conversation_id)
            if not asked:
                return []
            keys = {PolicyKey(tenant, pair.policy or ASSISTANT) for pair in asked}
            rules = {key: self._rules_of(key) for key in keys}
            looked_at = {key: session.pairs(key, rules[key].pairs_looked_at) for key in keys}
            more_came = {
                key.policy: session.newest_pair(key) > session.pairs_seen(key) for key in keys
            }
            runs = session.runs(tenant, None, _MOST_RUNS)
        used = self._snapshots.pairs_of(
            lambda owner, _, conversation: owner == tenant and conversation == conversation_id,
            {run.snapshot.digest for run in runs if run.snapshot},
        )
        parts = {(digest, pair.pair_id): part for digest, part, pair in used}
        reasons = {
            choice.pair.pair_id: choice.verdict
            for key, pairs in looked_at.items()
            for choice in choices(
                pairs,
                rules[key].caps,
                self._reading(rules[key]),
                learnt_until(run for run in runs if run.policy == key.policy),
            )
        }
        steps: list[LineageStep] = []
        for pair in asked:
            found = list(_in_runs(pair, runs, parts))
            reason = reasons.get(pair.pair_id, "NOT_LOOKED_AT")
            came = more_came[pair.policy or ASSISTANT]
            steps += found or [_left_out(pair, reason, came)]
        return steps


def _in_runs(
    pair: Pair, runs: Sequence[Run], parts: dict[tuple[str, str], str]
) -> Iterator[LineageStep]:
    """Oldest first."""
    for run in reversed(runs):
        part = parts.get((run.snapshot.digest, pair.pair_id)) if run.snapshot else None
        if part is None:
            continue
        snapshot = run.snapshot.digest[:12] if run.snapshot else ""
        verdict = run.verdict or run.state.value
        if part == "held_out":
            detail = f"in snapshot {snapshot} of {run.run} ({verdict}), held out for evaluation, not trained on"
            yield LineageStep(
                STAGE, "", ABSTAINED, "HELD_OUT", detail, pair.pair_id, run.create_time
            )
        elif run.model_version:
            detail = f"{run.model_version} was trained on it: snapshot {snapshot} of {run.run} ({verdict})"
            yield LineageStep(STAGE, "", MADE, "", detail, pair.pair_id, run.create_time)
        else:
            detail = f"in snapshot {snapshot} of {run.run} ({verdict}), which produced no version"
            yield LineageStep(
                STAGE, "", WAITING, "NO_VERSION", detail, pair.pair_id, run.create_time
            )


def _left_out(pair: Pair, verdict: str, more_came: bool) -> LineageStep:
    if verdict in ("train", "held_out"):
        detail = f"would be in the {verdict} part of a snapshot made now"
        reason = "NO_RUN_SINCE" if more_came else "NO_RUN_TOOK_IT"
        return LineageStep(STAGE, "", WAITING, reason, detail, pair.pair_id, pair.time)
    return LineageStep(
        STAGE, "", ABSTAINED, verdict, "left out of snapshots", pair.pair_id, pair.time
    )
