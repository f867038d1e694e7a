"""Where the pairs and the praised answers of a conversation are in retrain: in which snapshots and runs, or why
in none, and which versions were trained on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.domain.praise import to_keep
from services.retrain.domain.rules import Reading, Rules, whole_answers
from services.retrain.domain.runs import Run, learnt_until
from services.retrain.domain.selection import choices
from services.retrain.ports import Session, Store
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
        """One or more steps for each pair and each praised answer, whatever turn is asked for."""
        with self._store.read() as session:
            pairs = session.pairs_of(tenant, conversation_id)
            praised = session.praised_of(tenant, conversation_id)
            if not pairs and not praised:
                return []
            keys = {PolicyKey(tenant, one.policy or ASSISTANT) for one in (*pairs, *praised)}
            runs = session.runs(tenant, None, _MOST_RUNS)
            now = {key.policy: self._now(session, key, runs) for key in keys}
        used = self._snapshots.pairs_of(
            lambda owner, _, conversation: owner == tenant and conversation == conversation_id,
            {run.snapshot.digest for run in runs if run.snapshot},
        )
        parts = {(digest, one.pair_id): part for digest, part, one in used}
        steps: list[LineageStep] = []
        for pair in pairs:
            found = list(_in_runs(pair, runs, parts))
            steps += found or [_left_out(pair, now[pair.policy or ASSISTANT])]
        for one in praised:
            found = list(_in_runs(one, runs, parts))
            steps += found or [_not_kept(one, now[one.policy or ASSISTANT])]
        return steps

    def _now(self, session: Session, key: PolicyKey, runs: Sequence[Run]) -> _Now:
        rules = self._rules_of(key)
        pairs = session.pairs(key, rules.pairs_looked_at)
        until = learnt_until(run for run in runs if run.policy == key.policy)
        found = choices(pairs, rules.caps, self._reading(rules), until)
        keeps = rules.caps.praised_answers > 0
        praised = session.praised(key, rules.pairs_looked_at) if keeps else []
        return _Now(
            verdicts={one.pair.pair_id: one.verdict for one in found},
            # With which persona each is told does not matter here.
            praised={one.pair_id for one in to_keep(praised, pairs, {}, rules.caps)},
            keeps_praise=keeps,
            more_came=session.newest_pair(key) > session.pairs_seen(key),
        )


@dataclass(frozen=True, slots=True)
class _Now:
    """What a snapshot of a policy would be if it were made now: by pair its part, or why it is in none; the
    ids of the praised answers. `more_came`: pairs that no snapshot has seen."""

    verdicts: Mapping[str, str]
    praised: Collection[str]
    keeps_praise: bool
    more_came: bool


def _in_runs(
    pair: Pair, runs: Sequence[Run], parts: Mapping[tuple[str, str], str]
) -> Iterator[LineageStep]:
    """Oldest first."""
    for run in reversed(runs):
        part = parts.get((run.snapshot.digest, pair.pair_id)) if run.snapshot else None
        if part is None:
            continue
        of_run = f"snapshot {run.snapshot.digest[:12] if run.snapshot else ''} of {run.run}"
        of_run += f" ({run.verdict or run.state.value})"
        if part == "held_out":
            detail = f"in {of_run}, held out for evaluation, not trained on"
            outcome, reason = ABSTAINED, "HELD_OUT"
        elif run.model_version:
            learnt = "learnt to keep it" if part == "praised" else "was trained on it"
            detail = f"{run.model_version} {learnt}: {of_run}"
            outcome, reason = MADE, ""
        else:
            detail = f"in {of_run}, which produced no version"
            outcome, reason = WAITING, "NO_VERSION"
        yield LineageStep(STAGE, "", outcome, reason, detail, pair.pair_id, run.create_time)


def _left_out(pair: Pair, now: _Now) -> LineageStep:
    verdict = now.verdicts.get(pair.pair_id, "NOT_LOOKED_AT")
    if verdict in ("train", "held_out"):
        detail = f"would be in the {verdict} part of a snapshot made now"
        reason = "NO_RUN_SINCE" if now.more_came else "NO_RUN_TOOK_IT"
        return LineageStep(STAGE, "", WAITING, reason, detail, pair.pair_id, pair.time)
    return LineageStep(
        STAGE, "", ABSTAINED, verdict, "left out of snapshots", pair.pair_id, pair.time
    )


def _not_kept(praised: Pair, now: _Now) -> LineageStep:
    outcome, reason = ABSTAINED, "PRAISE_NOT_KEPT"
    detail = (
        "no praised answers are kept: TRIMTAB_RETRAIN_PRAISED_ANSWERS, or a recipe, says how many"
    )
    if praised.pair_id in now.praised:
        outcome, reason = WAITING, "NO_RUN_TOOK_IT"
        detail = "a praised answer that a snapshot made now would keep"
    elif now.keeps_praise:
        detail = "newer praise comes first, or its user has complained since"
    return LineageStep(STAGE, "", outcome, reason, detail, praised.pair_id, praised.time)
