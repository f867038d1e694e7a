"""How strongly an adapter acts: one training, judged at several strengths, the least first. The first that
passes serves.

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


def in_order(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """As they are. Raises ValueError unless there are one to five, each above the one before, in (0, 2]."""
    if not 1 <= len(strengths) <= _MOST:
        raise ValueError(f"there may be 1 to {_MOST} strengths, not {len(strengths)}")
    if not all(
        low < high <= _GREATEST for low, high in zip((0.0, *strengths), strengths, strict=False)
    ):
        raise ValueError(
            f"each strength must be above the one before, the first above 0, none above {_GREATEST:g}"
        )
    return strengths


def is_worth_a_stronger_one(run: Run) -> bool:
    """After the gate: whether it lacked evidence, and a greater strength is left. What measurably fails at one
    strength is not tried at a greater one, which would do more of the same."""
    left = len(run.tried) + 1 < len(run.rules.thresholds.strengths)
    return left and run.verdict == "not_enough_evidence"


def stronger(run: Run) -> Run:
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
    )


def _win_rate(run: Run) -> str:
    """In words, of everyone; empty if it was not measured."""
    found = next((line for line in run.gate if line.estimate.name == "win_rate"), None)
    return found.words if found and not found.estimate.group else ""
