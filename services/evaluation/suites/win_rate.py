"""Win rate against the champion on the same prompts, judged by the reward service.

The judge has not trained on the prompts' users: they are held out from every reward model
(shared/language/splits.py). Both answers are drawn alike (T = 0.7, top_p = 0.9). Ties are halves. The judge
learnt from the same kind of feedback as the policy did, so this figure says whether the training
reached what it aimed at; whether users agree is for the canary to say.
"""

from __future__ import annotations

from services.evaluation.domain import Prompt, Request, Version, rate
from services.evaluation.ports import Bench, Sampling
from services.evaluation.suites.questions import answers, prompts
from shared.language.errors import FailedPrecondition
from shared.language.estimates import Estimate

SUITE = "win_rate"
_TIE = 1e-9


def measure(request: Request, bench: Bench) -> list[Estimate]:
    """One figure for the model and one for each control; of no cases while no judge is trained.
    None without a champion."""
    if request.champion is None:
        return []
    asked = prompts(request, bench)
    groups = [prompt.group for prompt in asked]
    try:
        theirs = _rewards(request, bench, request.champion, asked)
        rewards = {v: _rewards(request, bench, v, asked) for v in request.rivals}
    except FailedPrecondition as error:
        why = f"not measured: {error.reason}"
        names = [request.label("win_rate", version) for version in request.rivals]
        return [Estimate(name, 0.5, 0.0, 1.0, suite=SUITE, method=why) for name in names]
    figures = []
    for version, ours in rewards.items():
        wins = [_win(our, their) for our, their in zip(ours, theirs, strict=True)]
        figures.append(rate(request.label("win_rate", version), wins, groups, SUITE))
    return figures


def _rewards(request: Request, bench: Bench, version: Version, asked: list[Prompt]) -> list[float]:
    sampling = Sampling(bench.limits.answer_tokens)
    given = answers(request, bench, version, [prompt.messages for prompt in asked], sampling)
    rewards, name = bench.scorer.score(request.tenant, list(zip(asked, given, strict=True)))
    bench.results.keep_reward_model(request.evaluation, name)
    return rewards


def _win(ours: float, theirs: float) -> float:
    if abs(ours - theirs) <= _TIE:
        return 0.5
    return 1.0 if ours > theirs else 0.0
