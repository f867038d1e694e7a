"""Win rate against the champion on the same prompts, judged by the reward service.

All answers are written first, which takes minutes, and then scored in one call by one reward model.
Rewards are standardised per model, so rewards of two models cannot be compared, and it is normal that a new
model is trained in those minutes.

The judge has not trained on the prompts' users: they are held out from every reward model
(shared/language/splits.py). Both answers are drawn alike (T = 0.7, top_p = 0.9). Ties are halves. The judge
learnt from the same kind of feedback as the policy did, so this figure says whether the training
reached what it aimed at; whether users agree is for the canary to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.evaluation.domain import Measured, Prompt, Request, Version
from services.evaluation.ports import Bench, JudgeChanged, Sampling, Scores
from services.evaluation.suites import by_group
from services.evaluation.suites.questions import answers, everyday, prompts
from shared.language.errors import FailedPrecondition, Internal
from shared.language.estimates import Estimate
from shared.language.examples import Example, examples_of

SUITE = "win_rate"
UNTRAINED = "REWARD_MODEL_UNTRAINED"
_TIE = 1e-9
# How often the judge may change while it scores before the suite fails.
_MOST_CHANGES = 3


def measure(request: Request, bench: Bench) -> Measured:
    """One estimate for the model and one for each control, with a count of 0 while no judge is trained. No
    estimates without a champion. Raises Internal (JUDGE_CHANGED) if the judge changed in every call."""
    if request.champion is None:
        return Measured()
    asked = prompts(request, bench)
    sampling = Sampling(bench.limits.answer_tokens)
    spoken = [prompt.messages for prompt in asked]
    writers = [*request.rivals, *map(request.champion.as_served, request.champion.all_served)]
    written = {v: answers(request, bench, v, spoken, sampling) for v in writers}
    examples = _examples(request, request.champion, asked, written)
    try:
        found = _scored(request, bench, asked, written)
    except FailedPrecondition as error:
        if error.reason != UNTRAINED:
            raise
        return Measured(_not_measured(request, error.reason), examples=examples)
    champion = _as_answered(request.champion, asked, found)
    clusters = [prompt.cluster for prompt in asked]
    wins = {
        v: [_win(*pair) for pair in zip(found[v].rewards, champion.rewards, strict=True)]
        for v in request.rivals
    }
    estimates = [request.rate(SUITE, v, outcomes, clusters, SUITE) for v, outcomes in wins.items()]
    estimates += by_group.win_rates(request, asked, found, request.champion, _win, SUITE)
    groups = by_group.groups_of(found[request.model])
    estimates += by_group.wish_rates(request, asked, written, groups, request.champion, SUITE)
    of_versions = {v: found[v] for v in request.rivals} | {request.champion: champion}
    estimates += by_group.well_being(request, asked, of_versions, SUITE)
    return Measured(tuple(estimates), champion.judge, examples)


def _examples(
    request: Request,
    champion: Version,
    asked: Sequence[Prompt],
    written: Mapping[Version, Sequence[str]],
) -> tuple[Example, ...]:
    """To everyday questions, by what answers those who are in no group."""
    ours = everyday()
    own = [at for at, prompt in enumerate(asked) if prompt in ours]
    speakers = {champion.name: champion.as_served(champion.served_to(()))}
    speakers |= {version.name: version for version in request.rivals}
    said = {name: [written[speaker][at] for at in own] for name, speaker in speakers.items()}
    return examples_of(SUITE, [asked[at].messages[-1].text for at in own], said)


def _scored(
    request: Request,
    bench: Bench,
    asked: Sequence[Prompt],
    written: Mapping[Version, Sequence[str]],
) -> dict[Version, Scores]:
    """Each version's scores in the order of the prompts, all by one model."""
    items = [pair for texts in written.values() for pair in zip(asked, texts, strict=True)]
    for _ in range(_MOST_CHANGES):
        try:
            scores = bench.scorer.score(request.tenant, items)
        except JudgeChanged:
            continue
        return {v: scores.part(i * len(asked), len(asked)) for i, v in enumerate(written)}
    raise Internal(
        f"the reward model changed {_MOST_CHANGES} times while the answers were scored; "
        "evaluate again once no reward model is being trained",
        reason="JUDGE_CHANGED",
    )


def _as_answered(
    version: Version, asked: Sequence[Prompt], found: Mapping[Version, Scores]
) -> Scores:
    """The scores of each prompt's answer by the weights that answer its user."""
    each = [
        found[version.as_served(version.served_to(one.groups))].part(n, 1)
        for n, one in enumerate(asked)
    ]
    return Scores(
        tuple(one.rewards[0] for one in each), tuple(one.groups[0] for one in each), each[0].judge
    )


def _not_measured(request: Request, reason: str) -> tuple[Estimate, ...]:
    names = [request.label(SUITE, version) for version in request.rivals]
    said = f"not measured: {reason}"
    return tuple(
        Estimate(name, 0.5, 0.0, 1.0, request.confidence, suite=SUITE, method=said)
        for name in names
    )


def _win(ours: float, theirs: float) -> float:
    if abs(ours - theirs) <= _TIE:
        return 0.5
    return 1.0 if ours > theirs else 0.0
