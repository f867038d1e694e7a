"""Pairs for a policy whose answers are as long as its system message says: `<brevity: 1>` to `<brevity: 5>`
(CPO, controllable preference optimization, Guo et al. 2024, arXiv 2402.19085).

The paper rates answers in helpfulness, honesty and harmlessness, and puts a tag for each that is to be
controlled in front of the prompt. The answer whose ratings are nearer to the tags is preferred: of controlled
ratings the reward is -|rating - target|, and the others count as they are.

Departures:
1. What is controlled is the length, which needs no judge: 120, 95, 70, 45 and 20 words are levels 1 to 5.
2. The target is the level of one of a pair's two answers, of either as often, so what is preferred is always at
the level that the tag names. The paper's targets are fixed.
3. Where both answers are as near, the user's own preference decides, which elsewhere has no part.
4. The tag is a line at the end of the system message, where applications can write it; a persona comes after
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.retrain.domain.objectives import takes_tags
from services.retrain.domain.training import TrainingPlan
from shared.language.identifiers import share_of
from shared.language.messages import plain_text, with_instruction
from shared.language.pairs import Pair

_LONGEST, _STEP, _LEVELS = 120, 25, 5


def brevity(text: str) -> int:
    """The nearest level."""
    steps = (_LONGEST - len(text.split())) / _STEP
    return 1 + min(max(int(steps + 0.5), 0), _LEVELS - 1)


def tag(level: int) -> str:
    return f"<brevity: {level}>"


def as_trained(pairs: Sequence[Pair], plan: TrainingPlan) -> Sequence[Pair]:
    """With tags, if any stage of the plan takes them."""
    if any(takes_tags(stage.objective) for stage in plan.stages):
        return [tagged(pair, plan.tagged_share, plan.seed) for pair in pairs]
    return pairs


def tagged(pair: Pair, share: float, seed: int) -> Pair:
    """A seeded share of the pairs with a tag; the answer that is chosen is the one that is nearer to it. The
    rest as they are."""
    if share_of(pair.pair_id, f"tag-{seed}") >= share:
        return pair
    chosen, rejected = (brevity(plain_text(one)) for one in (pair.chosen, pair.rejected))
    is_turned = share_of(pair.pair_id, f"target-{seed}") < 0.5 and chosen != rejected
    prompt = with_instruction(pair.prompt, tag(rejected if is_turned else chosen))
    if not is_turned:
        return replace(pair, prompt=prompt)
    # What was said of the one, the reward of both and what is known of the user spoke for the other.
    return replace(
        pair,
        prompt=prompt,
        chosen=pair.rejected,
        rejected=pair.chosen,
        persona="",
        reward_margin=-pair.reward_margin,
        feedback_text="",
        samples=(),
    )
