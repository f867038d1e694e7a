"""Whom a run left without what they asked for, to be trained for on their own.

A run trains one adapter for all that its users ask for. Where that does not give some of them what they want,
the gate or the rollout sees it, and they keep the answers that they had. Then each of these wishes gets a run
of its own pairs, whose version is for those who ask for it. So a version becomes a set of adapters where one
was measured not to do.
"""

from __future__ import annotations

from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, TriggerKind
from services.retrain.domain.snapshots import Selection
from shared.language.groups import Composition
from shared.language.interests import ConflictRule

_JUDGED = ("passed", "failed", "not_enough_evidence")


def may_be_followed(run: Run) -> bool:
    """Whether some of its users may have got nothing beside the others, and versions may be for some people
    alone."""
    is_mixed = run.trigger.kind is not TriggerKind.WISH and not run.rules.caps.wish
    is_parted = run.rules.interests.rule is not ConflictRule.MEAN
    is_judged = run.has_ended and run.verdict in _JUDGED
    return is_mixed and is_parted and is_judged and bool(_crowded(run)) and not run.is_followed


def left_without(run: Run, serving: Composition, served_name: str) -> list[str]:
    """The wishes of its pairs that are not answered by `served_name`, its version; what most users ask for
    comes first."""
    found = _crowded(run)
    left = [wish for wish in found if serving.answering((wish,)) != served_name]
    return sorted(left, key=lambda wish: (-found[wish], wish))


def is_enough(selection: Selection, rules: Rules) -> bool:
    """Whether the pairs of one wish make a run."""
    users = len({pair.user for pair in selection.train})
    least = max(rules.wish_users, rules.least_users)
    return users >= least and len(selection.train) >= rules.least_pairs


def _crowded(run: Run) -> dict[str, int]:
    """The wishes beside which so many users asked for something else as make a run, and how many users have
    each. Without such others the run was for this wish as it was."""
    found = run.snapshot.users_by_wish if run.snapshot else {}
    least = max(run.rules.wish_users, run.rules.least_users)
    everyone = sum(found.values())
    is_on = run.rules.wish_users > 0
    return {wish: users for wish, users in found.items() if is_on and everyone - users >= least}
