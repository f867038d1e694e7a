"""How strongly an adapter acts: one training, judged at several strengths, one after the other as they are
named. The first that passes serves.

An adapter adds s B A to a weight matrix. At a strength λ it adds λ s B A: 0 is the base model, 1 the adapter as
it was trained. So it is chosen after the training how far a policy is aligned, as in DeRa (Liu et al. 2024,
arXiv 2402.02992). Departure: DeRa mixes the logits of two models at every token. Here the weights are scaled,
which costs nothing in serving and is the same to first order in λ only.

Every strength that is judged is an attempt of its own at the gate, at the confidence of its number: looking
several times does not let one pass by luck.
"""

from __future__ import annotations

from dataclasses import replace

from services.retrain.domain.runs import Run, Tried

# As many as are worth an evaluation each, and how far an adapter may be overdriven.
_MOST, _GREATEST = 5, 2.0


def checked(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """As they are. Raises ValueError unless there are one to five, each once, in (0, 2]."""
    if not 1 <= len(strengths) <= _MOST:
        raise ValueError(f"there may be 1 to {_MOST} strengths, not {len(strengths)}")
    if not all(0 < one <= _GREATEST for one in strengths) or len(set(strengths)) < len(strengths):
        raise ValueError(
            f"each strength must be above 0, at most {_GREATEST:g}, and named once, not"
            f" {', '.join(f'{one:g}' for one in strengths)}"
        )
    return strengths


def is_worth_another(run: Run) -> bool:
    """After the gate: whether the next strength may do better. A greater one, where there was too little
    evidence: what measurably fails is not made stronger. A lesser one, where nothing but what was lost stood in
    the way: it loses less, and whoever must gain gains already."""
    place = len(run.tried) + 1
    if place >= len(run.rules.thresholds.strengths) or run.verdict == "passed":
        return False
    if run.rules.thresholds.strengths[place] > run.strength:
        return run.verdict == "not_enough_evidence"
    stood = [line for line in run.gate if line.required and line.verdict != "pass"]
    return not any(line.asks_for_a_gain for line in stood)


def at_next_strength(run: Run) -> Run:
    """The run before the evaluation of its next strength."""
    tried = Tried(run.strength, run.model_version, run.attempt, run.verdict, _win_rate(run))
    return replace(
        run,
        tried=(*run.tried, tried),
        model_version="",
        attempt=0,
        estimates=(),
        examples=(),
        gate=(),
        verdict="",
        only_groups=(),
        spared_groups=(),
    )


def _win_rate(run: Run) -> str:
    """In words, of everyone; empty if it was not measured."""
    found = next((line for line in run.gate if line.estimate.name == "win_rate"), None)
    return found.words if found and not found.estimate.group else ""
