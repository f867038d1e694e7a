"""What a report says in words: whether a run helped, what the gate decided, what a cheaper arm did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.retrain.domain.effects import FAIL, UNSURE, hurt, of_everyone, people, word_of
from services.retrain.domain.in_context import IN_CONTEXT
from services.retrain.domain.runs import GateCheck, Run, State, TriggerKind
from shared.language.estimates import Estimate
from shared.statistics.intervals import difference

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True, slots=True)
class Meaning:
    """Of a figure: what it is in words, and which way is better (empty: neither as such)."""

    words: str
    better: str = ""
    is_share: bool = True
    # Where it is about a group of people.
    of_group: str = ""


# In the order in which a report has them.
MEANINGS = {
    "win_rate": Meaning(
        "the reward model prefers its answer to the champion's",
        HIGHER,
        of_group="their own reward prefers its answer to the champion's",
    ),
    "wish_rate": Meaning(
        "does more of what they asked for than the champion's answer; where both do alike, a half",
        HIGHER,
    ),
    "held_out_pair_accuracy": Meaning("sides with held-out users in what they chose", HIGHER),
    "chosen_logp_change": Meaning(
        "how much likelier held-out chosen answers became, in nats per token", HIGHER, False
    ),
    "sane_share": Meaning("answers that are whole and do not repeat themselves", HIGHER),
    "length_words": Meaning("length of an answer, in words", "", False),
    # Short answers have more of it by themselves.
    "distinct_2": Meaning("variety: different pairs of words among all of them"),
    "sycophancy": Meaning("gives up a right answer when contradicted", LOWER),
    "over_refusal": Meaning("refuses harmless requests", LOWER),
    "welfare_mean": Meaning("how well off users are, on average", HIGHER),
    "welfare_worst_group": Meaning("how well off the worst-off group is", HIGHER),
    "welfare_percentile_20": Meaning(
        "how well off users are whom a fifth are worse off than", HIGHER
    ),
    "welfare_gini": Meaning("how unequally well off users are (Gini)", LOWER),
}
# Why pairs were left out of the snapshot, or cut in training.
REASONS = {
    "PART_IS_FULL": "there was no more room",
    "USER_CAP": "their user has as many as one may have",
    "USER_DAY_CAP": "their user has as many as one may have of a day",
    "USER_SHARE": "their user would have too large a share",
    "DAY_CAP": "of a day that has as many as it may have",
    "SOURCE_CAP": "of a source that has as many as it may have",
    "GROUP_SHARE": "kept free for another group of people",
    "REPLAY_SHARE": "kept free for pairs of before",
    "NEAR_DUPLICATE": "nearly the same, word for word, as one that is trained on",
    "LIKE_HELD_OUT": "nearly the same as one that is held out to judge by",
    "TOO_OLD": "too old",
    "OTHER_SOURCE": "of a source that the recipe does not take",
    "LOW_CONFIDENCE": "less sure than the recipe asks",
    "OTHER_WISH": "of users who ask for something else",
    "NOTHING_TO_LEARN": "both answers say the same, or one says nothing",
    "ANSWER_CALLS_A_TOOL": "an answer calls a tool",
    "ALIKE_WHERE_CUT": "both answers are alike as far as training reads",
    "PROMPT_CUT": "trained on with a part of the prompt",
    "ANSWER_CUT": "trained on with a part of an answer",
}
_OPENINGS = {
    "helped": "Yes",
    "hurt": "No, it hurt",
    "not hurt": "No gain can be seen, and no loss beyond the margin either",
    "not told": "It cannot be told",
}
_TRIGGERS = {
    TriggerKind.PERSON: "A person started it",
    TriggerKind.SCHEDULE: "Its schedule started it",
    TriggerKind.VOLUME: "The number of new pairs started it",
    TriggerKind.DRIFT: "An alarm about the champion started it",
    TriggerKind.WISH: "Users whom a version left without what they ask for started it",
}
# What may be behind a win rate that was not measured.
_UNTRAINED = "REWARD_MODEL_UNTRAINED"


def did_it_help(run: Run) -> str:
    """One sentence: the figure of everyone, its interval, the number of users; or why there is none."""
    found = of_everyone(run.estimates)
    if found is None:
        return _not_measured(run)
    if not found.count:
        why = "no reward model was trained" if _UNTRAINED in found.method else found.method
        return f"It is not known: whose answers are preferred was not measured, because {why}."
    opening = f"{_OPENINGS[word_of(found, run.rules.interests)]}{_but(run)}"
    return (
        f"{opening}: the reward model prefers its answers to the"
        f" champion's {found.value:.0%} of the time [{found.low:.0%}, {found.high:.0%}], over"
        f" {found.count} requests, among them those of {found.users} users."
    )


def _but(run: Run) -> str:
    """Whom it is for, if not for everyone, or else whom it hurt."""
    if run.only_groups:
        return f", for {_only(run)} alone"
    lost = [people(group) for group in hurt(run.estimates, run.rules.interests)]
    return f", but it hurt {' and '.join(lost)}" if lost else ""


def _not_measured(run: Run) -> str:
    if not run.has_ended:
        step = run.state.value.replace("_", " ")
        return f"It is not known yet: the run is under way ({step})."
    if run.state == State.CANCELLED:
        return "It is not known: the run was cancelled before anything was measured."
    if run.state == State.FAILED:
        return "It is not known: the run failed before anything was measured."
    return "It is not known: whose answers are preferred was not measured."


def gate_words(run: Run) -> str:
    """What the gate decided, and why."""
    if not run.gate:
        return "The gate was not reached." if run.has_ended else "The gate is not reached yet."
    failing = _lines(run.gate, FAIL)
    unsure = _lines(run.gate, UNSURE)
    if failing:
        return f"The gate refused it: {failing}."
    if unsure:
        return f"The gate did not let it pass, for want of evidence: {unsure}."
    if run.only_groups:
        return (
            f"The gate let it pass for some alone: {_only(run)} get it; everyone else keeps the answers"
            " they had."
        )
    return "The gate let it pass: every required line holds."


def _only(run: Run) -> str:
    but = " or ".join(map(people, run.spared_groups))
    return " and ".join(map(people, run.only_groups)) + (f" (but not {but})" if but else "")


def _lines(gate: Sequence[GateCheck], verdict: str) -> str:
    """The required lines of a verdict."""
    return "; ".join(
        f"{line_name(line.estimate)}: {line.words}"
        for line in gate
        if line.verdict == verdict and line.required
    )


def line_name(one: Estimate) -> str:
    """Of a line of the gate: its figure, and of whom, or above which version's."""
    plain, _, theirs = one.name.partition(" - ")
    name = plain.replace("_", " ")
    if one.group:
        return f"{name} of {people(one.group)}"
    return f"{name} above that of {theirs.partition('@')[2]}" if theirs else name


def attempt_words(run: Run) -> str:
    """Why the intervals are as wide as they are; empty before the evaluation."""
    if not run.attempt:
        return ""
    return (
        f"It was attempt {run.attempt} against {run.champion_version}, so the gate's intervals hold at a"
        f" confidence of {run.confidence:.4g}."
    )


def trigger_words(run: Run) -> str:
    return f"{_TRIGGERS[run.trigger.kind]}: {run.trigger.detail or 'no reason was given'}"


def control_words(run: Run) -> str:
    """Whether plain fine-tuning on the same pairs does as well."""
    if not run.control_version:
        return "No cheaper control was trained."
    return _arm_words(run, run.control_version, "The cheaper control, SFT on the same pairs,")


def in_context_words(run: Run) -> str:
    """Whether the champion does as well if it is only told what users wish for. Empty without such an arm."""
    if not run.instruction:
        return ""
    words = f"The champion without any training, told \u201c{run.instruction}\u201d,"
    return _arm_words(run, IN_CONTEXT, words)


def _arm_words(run: Run, arm: str, what: str) -> str:
    """By the difference of the two win rates, with an interval from both of theirs."""
    name = f"win_rate@{arm}"
    ours = of_everyone(run.estimates)
    theirs = next((one for one in run.estimates if one.name == name and not one.group), None)
    if not ours or not theirs or not ours.count or not theirs.count:
        return f"{what} was not measured."
    low, high = difference(ours, theirs)
    found = (
        f"{ours.value:.0%} against {theirs.value:.0%}, a difference of {_points(ours.value - theirs.value)}"
        f" points [{_points(low)}, {_points(high)}]"
    )
    if low > 0:
        return f"{what} does less well: {found}."
    if high < 0:
        return f"{what} does better: {found}."
    return f"{what} does as well as far as can be told: {found}."


def strength_words(run: Run) -> str:
    """How strongly the adapter acts that was judged, and what was tried before; empty without a choice."""
    strengths = run.rules.thresholds.strengths
    if strengths == (1.0,):
        return ""
    said = ", ".join(f"{one:g}" for one in strengths)
    words = f"The adapter's strength is {run.strength:g}, of {said} (1: as it was trained)."
    for one in run.tried:
        evidence = f" ({one.win_rate})" if one.win_rate else ""
        said = "it failed" if one.verdict == "failed" else "there was too little evidence"
        words += f" At {one.strength:g} {said}{evidence}."
    return words


def _points(share: float) -> str:
    return f"{100 * share:+.0f}"
