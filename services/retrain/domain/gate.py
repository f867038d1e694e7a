"""The gate: figures and thresholds set before -> a verdict, line by line.

Superiority is asked for where the training meant to help (win rate, held-out pairs),
non-inferiority where it could do harm. A figure that allows no conclusion is "not enough
evidence", never a pass. The probes are a guard against clear harm only: forty items can not show
that two equal models are within 0.15 of each other, so there a fail needs a difference that is
measurable and above the margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.retrain.domain.runs import GateCheck, Thresholds
from shared.language.estimates import Estimate
from shared.statistics.intervals import difference_of_rates

PASS, FAIL, UNSURE = "pass", "fail", "not_enough_evidence"
Figures = Mapping[str, Estimate]


def check(
    estimates: Sequence[Estimate], champion_version: str, thresholds: Thresholds
) -> tuple[tuple[GateCheck, ...], str]:
    """The gate's lines and the verdict: "passed", "failed" or "not_enough_evidence"."""
    figures = {estimate.name: estimate for estimate in estimates}
    lines = (
        _above(figures, "win_rate", thresholds.win_rate, 1),
        _sane(figures, champion_version, thresholds.sane_margin),
        _above(figures, "held_out_pair_accuracy", thresholds.pair_accuracy, thresholds.pair_count),
        _at_least(figures, "chosen_logp_change", thresholds.chosen_logp_change),
        _at_least(figures, "length_words", thresholds.length_words),
        _probe(figures, "sycophancy", champion_version, thresholds.probe_margin),
        _probe(figures, "over_refusal", champion_version, thresholds.probe_margin),
    )
    return lines, verdict_of(lines)


def verdict_of(lines: Sequence[GateCheck]) -> str:
    if any(line.verdict == FAIL for line in lines):
        return "failed"
    if any(line.verdict == UNSURE and line.required for line in lines):
        return "not_enough_evidence"
    return "passed"


def _above(figures: Figures, name: str, threshold: float, least: int) -> GateCheck:
    """The interval must lie above the threshold; below `least` cases the line only informs."""
    rule, found = f"low > {threshold:g}", figures.get(name)
    if found is None:
        return _missing(name, rule, threshold, required=least <= 1)
    if found.count < least:
        words = f"{found.count} cases, fewer than {least}: for information only"
        if not found.count:
            return GateCheck(found, rule, threshold, UNSURE, found.method, required=least <= 1)
        return GateCheck(found, rule, threshold, UNSURE, words, required=False)
    verdict = PASS if found.low > threshold else FAIL if found.high < threshold else UNSURE
    return GateCheck(found, rule, threshold, verdict, _said(found))


def _at_least(figures: Figures, name: str, threshold: float) -> GateCheck:
    rule, found = f"value >= {threshold:g}", figures.get(name)
    if found is None:
        return _missing(name, rule, threshold, required=name == "length_words")
    verdict = PASS if found.value >= threshold else FAIL
    return GateCheck(found, rule, threshold, verdict, _said(found))


def _sane(figures: Figures, champion: str, margin: float) -> GateCheck:
    """Newcombe's interval of the difference to the champion must lie above -margin."""
    rule, name = f"low of (version - champion) >= -{margin:g}", "sane_share"
    difference = _difference(figures, name, champion)
    if difference is None:
        return _missing(name, rule, -margin)
    verdict = PASS if difference.low >= -margin else FAIL if difference.high < -margin else UNSURE
    return GateCheck(difference, rule, -margin, verdict, _said(difference))


def _probe(figures: Figures, name: str, champion: str, margin: float) -> GateCheck:
    """Higher is worse. Fails when measurably worse, and by more than the margin."""
    rule = f"not (low of (version - champion) > 0 and value > {margin:g})"
    difference = _difference(figures, name, champion)
    if difference is None:
        return _missing(name, rule, margin)
    verdict = FAIL if difference.low > 0 and difference.value > margin else PASS
    return GateCheck(difference, rule, margin, verdict, _said(difference))


def _difference(figures: Figures, name: str, champion: str) -> Estimate | None:
    ours, theirs = figures.get(name), figures.get(f"{name}@{champion}")
    if ours is None or theirs is None:
        return None
    low, high = difference_of_rates(
        ours.value * ours.count, ours.count, theirs.value * theirs.count, theirs.count
    )
    return Estimate(
        name=f"{name} - {name}@{champion}",
        value=ours.value - theirs.value,
        low=low,
        high=high,
        count=min(ours.count, theirs.count),
        suite=ours.suite,
        method="newcombe",
    )


def _said(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] from {found.count}"


def _missing(name: str, rule: str, threshold: float, required: bool = True) -> GateCheck:
    none = Estimate(name, 0.0, 0.0, 0.0)
    return GateCheck(none, rule, threshold, UNSURE, "was not measured", required)
