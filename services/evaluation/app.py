"""The use case: measure every suite that is not measured yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.evaluation.domain import SUITES, Figure, Request
from services.evaluation.ports import Bench, Progress
from services.evaluation.suites import form, held_out_pairs, over_refusal, sycophancy, win_rate
from shared.language.errors import InvalidArgument

Suite = Callable[[Request, Bench], Sequence[Figure]]
ALL_SUITES: Mapping[str, Suite] = {
    over_refusal.SUITE: over_refusal.measure,
    sycophancy.SUITE: sycophancy.measure,
    win_rate.SUITE: win_rate.measure,
    form.SUITE: form.measure,
    held_out_pairs.SUITE: held_out_pairs.measure,
}


def check_suites(names: Sequence[str]) -> tuple[str, ...]:
    """All for none named, in the order they are measured in. Raises InvalidArgument for an unknown
    one."""
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise InvalidArgument(
            f"suites {', '.join(unknown)} are not known; there are: {', '.join(SUITES)}",
            reason="UNKNOWN_SUITE",
            field="suites",
        )
    return tuple(name for name in SUITES if not names or name in names)


class EvaluateVersion:
    """Suites one after another; each one's figures are kept as they come, so that a killed
    evaluation goes on with the suite it was in, and asks only for the answers that it had not
    got."""

    def __init__(self, bench: Bench, suites: Mapping[str, Suite] = ALL_SUITES) -> None:
        self._bench, self._suites = bench, suites

    def __call__(self, request: Request, progress: Progress) -> list[Figure]:
        """All figures, in the suites' order. What a port raises passes through."""
        results = self._bench.results
        done = results.of_suites(request.evaluation)
        figures: list[Figure] = []
        for place, name in enumerate(request.suites):
            if name not in done:
                progress.say(name, place / len(request.suites))
                done[name] = tuple(self._suites[name](request, self._bench))
                results.keep_suite(request.evaluation, name, done[name])
            figures += done[name]
        return figures
