"""The use case: measure every suite that has not been measured yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from services.evaluation.domain import Measured, Request
from services.evaluation.ports import Bench, Progress
from services.evaluation.suites import form, held_out_pairs, over_refusal, sycophancy, win_rate
from shared.language.estimates import Estimate

Suite = Callable[[Request, Bench], Measured]
ALL_SUITES: Mapping[str, Suite] = {
    over_refusal.SUITE: over_refusal.measure,
    sycophancy.SUITE: sycophancy.measure,
    win_rate.SUITE: win_rate.measure,
    form.SUITE: form.measure,
    held_out_pairs.SUITE: held_out_pairs.measure,
}


class EvaluateVersion:
    """Measures one suite after another and stores each suite's estimates as they come, so that a killed
    evaluation continues with the suite it was in and only asks for answers it does not have."""

    def __init__(self, bench: Bench, suites: Mapping[str, Suite] = ALL_SUITES) -> None:
        self._bench, self._suites = bench, suites

    def __call__(self, request: Request, progress: Progress) -> list[Estimate]:
        """All estimates, in the suites' order. Errors of the ports are passed on."""
        results = self._bench.results
        done = results.of_suites(request.evaluation)
        estimates: list[Estimate] = []
        for place, name in enumerate(request.suites):
            if name not in done:
                measured = self._measured(name, request, progress, place / len(request.suites))
                results.keep_suite(request.evaluation, name, measured)
                done[name] = measured.estimates
            estimates += done[name]
        return estimates

    def _measured(self, suite: str, request: Request, progress: Progress, share: float) -> Measured:
        progress.say(suite, share)

        def tell(words: str) -> None:
            progress.say(f"{suite}, {words}", share)

        return self._suites[suite](request, replace(self._bench, tell=tell))
