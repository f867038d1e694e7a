"""Held-out pairs: does the policy order the answers of users it never learnt from?

The implicit reward of DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 5) is
β (log π(y|x) - log π_ref(y|x)); a pair counts as right if chosen minus rejected is above zero, so β
does not matter. The reference is the base model. `chosen_logp_change` is the change of the chosen
answers' log-probability per token: a policy that makes both unlikely (the failure that DPO is known
for) has a good accuracy and a large negative change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.evaluation.domain import Measured, Request, Version, sampled
from services.evaluation.ports import Bench
from shared.language.estimates import Estimate
from shared.language.groups import has_room
from shared.language.pairs import Pair

SUITE = "held_out_pairs"
ACCURACY = "held_out_pair_accuracy"
Logprobs = Sequence[tuple[float, int]]


def measure(request: Request, bench: Bench) -> Measured:
    """No estimates for a version without an adapter, which is the reference itself."""
    pairs = sampled(request.pairs, bench.limits.at(request.confidence).pairs)
    versions = [version for version in request.all_versions if version.adapter_path]
    if not pairs or not versions:
        return Measured()
    cases = [(p.prompt, p.chosen.text) for p in pairs] + [
        (p.prompt, p.rejected.text) for p in pairs
    ]
    paths = ["", *(version.adapter_path for version in versions)]
    reference, *policies = bench.logprobs.logprobs(paths, cases)
    return Measured(
        tuple(
            estimate
            for version, policy in zip(versions, policies, strict=True)
            for estimate in _of_version(request, version, pairs, policy, reference)
        )
    )


def _of_version(
    request: Request,
    version: Version,
    pairs: Sequence[Pair],
    policy: Logprobs,
    reference: Logprobs,
) -> list[Estimate]:
    clusters = [f"user:{pair.user_id}" for pair in pairs]
    gains = [ours - theirs for (ours, _), (theirs, _) in zip(policy, reference, strict=True)]
    chosen, rejected = gains[: len(pairs)], gains[len(pairs) :]
    margins = [won - lost for won, lost in zip(chosen, rejected, strict=True)]
    right = [1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins]
    per_token = [gain / max(n, 1) for gain, (_, n) in zip(chosen, reference, strict=False)]
    return [
        request.rate(ACCURACY, version, right, clusters, SUITE),
        request.mean("chosen_logp_change", version, per_token, clusters, SUITE),
        *_by_group(request, version, pairs, right),
    ]


def _by_group(
    request: Request, version: Version, pairs: Sequence[Pair], right: Sequence[float]
) -> list[Estimate]:
    """The accuracy on the pairs of each group of people, as far as there is room for figures of their own."""
    estimates = []
    for group in _told(pairs):
        mine = [at for at, pair in enumerate(pairs) if group in pair.groups]
        clusters = [f"user:{pairs[at].user_id}" for at in mine]
        cases = [right[at] for at in mine]
        estimates.append(request.rate(ACCURACY, version, cases, clusters, SUITE, group))
    return estimates


def _told(pairs: Sequence[Pair]) -> list[str]:
    """The groups with most pairs."""
    found = Counter(group for pair in pairs for group in pair.groups)
    told: list[str] = []
    for group in sorted(found, key=lambda one: (-found[one], one)):
        if has_room(group, told):
            told.append(group)
    return sorted(told)
