"""The gate: figures and thresholds that were set before -> a verdict, line by line. It asks for
superiority where training was meant to help (win rate, held-out pairs) and for non-inferiority where it
could do harm. A figure that allows no conclusion is "not enough evidence", never a pass. Both use intervals
whose confidence rises with every candidate that is compared with the same champion (Thresholds.confidence);
figures at a lower confidence allow no conclusion.

The probes are a guard against clear harm only: forty items cannot show that two equal models are within
0.15 of each other, so a fail needs a measurable difference above the margin. Their interval stays at 0.95,
because a wider one would let more candidates pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from services.retrain.domain.effects import (
    FAIL,
    PASS,
    UNSURE,
    for_some,
    for_wish,
    group_lines,
    helped_alone,
)
from services.retrain.domain.rules import Thresholds
from services.retrain.domain.runs import GAINS, GateCheck
from shared.language.estimates import Estimate
from shared.language.groups import Reach
from shared.language.interests import ConflictRule, Interests
from shared.language.suites import judges
from shared.statistics.intervals import difference, difference_of_rates

Figures = Mapping[str, Estimate]
_ROUNDING = 1e-9


def check(
    estimates: Sequence[Estimate],
    champion_version: str,
    thresholds: Thresholds,
    confidence: float,
    suites: Collection[str] = (),
    interests: Interests | None = None,
    first_version: str = "",
    wish: str = "",
) -> tuple[tuple[GateCheck, ...], str, Reach]:
    """The gate's lines, the verdict ("passed", "failed" or "not_enough_evidence"), and who gets the version if
    it passes (by default everyone). A suite that does not judge the policy's candidates has no lines;
    by default all do. Groups of people have lines of their own, as the rule for conflicts says. `first_version`
    is what served before any training, if that is no longer the champion: a little worse than each champion in
    turn must not become much worse than the first. `wish`: what it was trained for alone; no one else gets it,
    and those who have it must gain, unless the rule looks at the mean."""
    rule, sure = interests or Interests(), confidence - _ROUNDING
    lines = _lines(estimates, champion_version, thresholds, sure, suites, rule)
    if first_version:
        lines += _beside_first(estimates, first_version, thresholds, sure, suites)
        lines += _groups_beside_first(estimates, first_version, thresholds, sure, rule)
    verdict = verdict_of(lines)
    if rule.rule is ConflictRule.MEAN:
        return lines, verdict, Reach()
    if wish:
        lines, reach = for_wish(lines, wish, sure)
        return lines, verdict_of(lines), reach
    if verdict == "passed":
        return lines, verdict, Reach()
    reach = helped_alone(lines, sure)
    narrower = for_some(lines, reach)
    found = verdict_of(narrower)
    # What others would lose is no reason where too little is known of something else alone.
    if reach.groups and found != "failed":
        return narrower, found, reach
    return lines, verdict, Reach()


def _lines(
    estimates: Sequence[Estimate],
    champion_version: str,
    thresholds: Thresholds,
    sure: float,
    suites: Collection[str],
    interests: Interests,
) -> tuple[GateCheck, ...]:
    figures = _of_everyone(estimates)
    pairs = (thresholds.pair_accuracy, thresholds.pair_count, sure)
    every = (
        ("win_rate", _above(figures, "win_rate", thresholds.win_rate, 1, sure)),
        *group_lines(estimates, interests, sure),
        ("form", _not_below(figures, "sane_share", champion_version, thresholds.sane_margin, sure)),
        ("held_out_pairs", _above(figures, "held_out_pair_accuracy", *pairs)),
        (
            "held_out_pairs",
            _at_least(figures, "chosen_logp_change", thresholds.chosen_logp_change),
        ),
        ("form", _at_least(figures, "length_words", thresholds.length_words)),
        *(
            (probe, _probe(figures, probe, champion_version, thresholds.probe_margin))
            for probe in ("sycophancy", "over_refusal")
        ),
    )
    return tuple(line for suite, line in every if judges(suites, suite))


def _beside_first(
    estimates: Sequence[Estimate],
    first_version: str,
    thresholds: Thresholds,
    sure: float,
    suites: Collection[str],
) -> tuple[GateCheck, ...]:
    """Not inferior to the first champion, by the margins that hold beside the present one."""
    figures, probe_margin = _of_everyone(estimates), thresholds.probe_margin
    every = (
        ("win_rate", _not_below(figures, "win_rate", first_version, thresholds.first_margin, sure)),
        ("form", _not_below(figures, "sane_share", first_version, thresholds.sane_margin, sure)),
        *(
            (probe, _probe(figures, probe, first_version, probe_margin))
            for probe in ("sycophancy", "over_refusal")
        ),
    )
    return tuple(line for suite, line in every if judges(suites, suite))


def _groups_beside_first(
    estimates: Sequence[Estimate],
    first_version: str,
    thresholds: Thresholds,
    sure: float,
    interests: Interests,
) -> tuple[GateCheck, ...]:
    """The same of each group by its own reward, where both versions were measured by it."""
    stops = interests.rule is not ConflictRule.MEAN
    found = []
    for group in (one.group for one in estimates if one.group and one.name == "win_rate"):
        figures = {one.name: one for one in estimates if one.group == group}
        if f"win_rate@{first_version}" in figures:
            line = _not_below(figures, "win_rate", first_version, thresholds.first_margin, sure)
            found.append(replace(line, required=stops))
    return tuple(found)


def _of_everyone(estimates: Sequence[Estimate]) -> dict[str, Estimate]:
    return {estimate.name: estimate for estimate in estimates if not estimate.group}


def verdict_of(lines: Sequence[GateCheck]) -> str:
    if any(line.verdict == FAIL and line.required for line in lines):
        return "failed"
    if any(line.verdict == UNSURE and line.required for line in lines):
        return "not_enough_evidence"
    return "passed"


def _above(figures: Figures, name: str, threshold: float, least: int, sure: float) -> GateCheck:
    """The interval must lie above the threshold; with fewer than `least` cases the line is only
    informative."""
    rule, found = f"{GAINS}{threshold:g}", figures.get(name)
    if found is None:
        return _missing(name, rule, threshold, required=least <= 1)
    if found.count < least:
        words = f"{found.count} cases, fewer than {least}: for information only"
        if not found.count:
            return GateCheck(found, rule, threshold, UNSURE, found.method, required=least <= 1)
        return GateCheck(found, rule, threshold, UNSURE, words, required=False)
    if found.confidence < sure:
        return _too_unsure(found, rule, threshold)
    verdict = PASS if found.low > threshold else FAIL if found.high < threshold else UNSURE
    return GateCheck(found, rule, threshold, verdict, _said(found))


def _at_least(figures: Figures, name: str, threshold: float) -> GateCheck:
    rule, found = f"value >= {threshold:g}", figures.get(name)
    if found is None:
        return _missing(name, rule, threshold, required=name == "length_words")
    verdict = PASS if found.value >= threshold else FAIL
    return GateCheck(found, rule, threshold, verdict, _said(found))


def _not_below(figures: Figures, name: str, other: str, margin: float, sure: float) -> GateCheck:
    """The interval of the difference to the other version, from both intervals, must lie above -margin."""
    rule = f"low of (version - {other}) >= -{margin:g}"
    ours, theirs = figures.get(name), figures.get(f"{name}@{other}")
    if ours is None or theirs is None:
        return _missing(name, rule, -margin)
    found = _difference(
        ours, theirs, difference(ours, theirs), min(ours.confidence, theirs.confidence)
    )
    if found.confidence < sure:
        return _too_unsure(found, rule, -margin)
    verdict = PASS if found.low >= -margin else FAIL if found.high < -margin else UNSURE
    return GateCheck(found, rule, -margin, verdict, _said(found))


def _probe(figures: Figures, name: str, other: str, margin: float) -> GateCheck:
    """Higher is worse. Fails if it is measurably worse, and by more than the margin."""
    rule = f"not (low of (version - {other}) > 0 and value > {margin:g})"
    ours, theirs = figures.get(name), figures.get(f"{name}@{other}")
    if ours is None or theirs is None:
        return _missing(name, rule, margin)
    bounds = difference_of_rates(
        ours.value * ours.count, ours.count, theirs.value * theirs.count, theirs.count
    )
    found = _difference(ours, theirs, bounds, 0.95)
    verdict = FAIL if found.low > 0 and found.value > margin else PASS
    return GateCheck(found, rule, margin, verdict, _said(found))


def _difference(
    ours: Estimate, theirs: Estimate, bounds: tuple[float, float], confidence: float
) -> Estimate:
    return Estimate(
        name=f"{ours.name} - {theirs.name}",
        value=ours.value - theirs.value,
        low=bounds[0],
        high=bounds[1],
        confidence=confidence,
        count=min(ours.count, theirs.count),
        users=min(ours.users, theirs.users),
        suite=ours.suite,
        method=f"newcombe of {ours.method}",
        group=ours.group,
    )


def _said(found: Estimate) -> str:
    return (
        f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] at {found.confidence:.4g} "
        f"from {found.count}"
    )


def _too_unsure(found: Estimate, rule: str, threshold: float) -> GateCheck:
    words = f"{_said(found)}: the confidence is too low for this attempt"
    return GateCheck(found, rule, threshold, UNSURE, words)


def _missing(name: str, rule: str, threshold: float, required: bool = True) -> GateCheck:
    none = Estimate(name, 0.0, 0.0, 0.0)
    return GateCheck(none, rule, threshold, UNSURE, "was not measured", required)
