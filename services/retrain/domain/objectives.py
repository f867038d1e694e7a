"""The objectives in words: when to take each, what data it needs, and which parameters are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.retrain.domain.training import TrainingPlan


@dataclass(frozen=True, slots=True)
class Purpose:
    """`parameters`: fields of TrainingPlan that only some objectives have."""

    when: str
    data: str
    parameters: tuple[str, ...] = ()


_PAIRS = "pairs"
PURPOSES: Mapping[str, Purpose] = {
    "sft": Purpose(
        "the chosen answers are good in themselves, and nothing is to be unlearnt",
        "chosen answers; the rejected ones are not read",
    ),
    "dpo": Purpose("the pairs can be trusted: the default", _PAIRS, ("nll_weight",)),
    "ipo": Purpose(
        "few or easy pairs, which DPO would push ever further: it has a finite target",
        _PAIRS,
        ("nll_weight",),
    ),
    "robust_dpo": Purpose(
        "a known share of the pairs has its answers the wrong way round, as with votes or mined feedback",
        _PAIRS,
        ("nll_weight", "smoothing"),
    ),
    "simpo": Purpose(
        "answers are to stay short: likelihood counts per token, and the reference has no part in the loss",
        _PAIRS,
        ("nll_weight", "target_margin"),
    ),
    "kto": Purpose(
        "good and bad answers are told apart well, but hardly pair by pair",
        f"{_PAIRS}, each taken as one desirable and one undesirable answer",
        ("nll_weight", "desirable_weight", "undesirable_weight"),
    ),
    "aot": Purpose(
        "single pairs are noisy, but the whole of them is not: it compares distributions of margins",
        f"{_PAIRS}, dozens in a step",
        ("nll_weight", "smoothing"),
    ),
    "aot_unpaired": Purpose(
        "as aot, where it matters little which rejected answer belongs to which chosen one",
        f"{_PAIRS}, dozens in a step",
        ("nll_weight", "smoothing"),
    ),
    "clha": Purpose(
        "a reward model says by how much each chosen answer is better, and only clear cases should count",
        "pairs with a reward margin (rewrites and samples that were scored)",
        ("reward_gap", "hinge_margin", "sft_weight"),
    ),
    "cut": Purpose(
        "users said what was wrong with an answer, and its other parts were right",
        "pairs with what the user said of the rejected answer (mined from follow-ups)",
        ("judgment_ratio", "judgment_weight"),
    ),
    "figa": Purpose(
        "the chosen answers are the rejected ones, rewritten in places",
        "pairs whose answers share much of their text (rewrites and edits)",
        ("removed_weight", "removed_below"),
    ),
    "hindsight": Purpose(
        "users said what was wrong with an answer, and nobody has a better one",
        "pairs with what the user said of the rejected answer (mined from follow-ups); no chosen one is read",
        ("hint_clip",),
    ),
    "mnpo": Purpose(
        "the policy was retrained before: it is held to what its champions learnt, and has a finite target",
        f"{_PAIRS}; the policy's champions, if any was trained",
        ("nll_weight", "reference_weight", "eta", "history", "newest_weight"),
    ),
    "grao": Purpose(
        "a reward model can be trusted: every answer that it scored counts, by how much it is better than the"
        " others, and the chosen one is the example",
        f"{_PAIRS} that a reward model judged, with the other answers that were sampled",
        ("imitation_weight", "alignment_weight"),
    ),
    "grpo": Purpose(
        "as grao, in one small step: a token's probability changes by a quarter and no further",
        f"{_PAIRS} that a reward model judged, with the other answers that were sampled; the policy's champion,"
        " if it was trained",
        ("clip_low", "clip_high", "kl_weight", "history"),
    ),
    "ppo_max": Purpose(
        "as grpo, where answers are good or bad in places: a critic tells which tokens brought the reward",
        f"{_PAIRS} that a reward model judged, with the other answers that were sampled, a hundred answers or"
        " more for the critic; the policy's champion, if it was trained",
        (
            *("nll_weight", "clip_low", "clip_high", "reward_clip", "kl_charge", "gae_lambda"),
            "history",
        ),
    ),
    "maxmin": Purpose(
        "groups of people want different things, and the one that is worst off is to count most",
        f"{_PAIRS} of learnt groups of people, dozens in a step",
        ("nll_weight", "group_sharpness", "least_group_pairs"),
    ),
    "panacea": Purpose(
        "groups of people want different things, and how each is weighed is to be chosen after the training",
        f"{_PAIRS} of learnt groups of people, dozens in a step",
        ("nll_weight", "least_group_pairs"),
    ),
    "cpo": Purpose(
        "each request is to say how long its answer is: `<brevity: 1>` to `<brevity: 5>` in its system message",
        f"{_PAIRS} whose answers differ in length",
        ("nll_weight", "tagged_share"),
    ),
}
# What only the objectives that name it take.
OWN = frozenset(name for purpose in PURPOSES.values() for name in purpose.parameters)


def takes_tags(objective: str) -> bool:
    """Whether it learns from pairs with tags (domain/tags.py)."""
    return "tagged_share" in PURPOSES[objective].parameters


def past_policies(plan: TrainingPlan) -> int:
    """How many of the policy's champions its objective asks for, the one that serves first."""
    return plan.history if "history" in PURPOSES[plan.objective].parameters else 0
