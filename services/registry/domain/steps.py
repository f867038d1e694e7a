"""The steps by which a canary gets more users, and when it goes on from one to the next.

`5%:20:1h, 25%:50:6h` are two: 5% of the users until 20 of them were heard on the canary, within an hour; then
25%, until 50 more were, within six. The last step follows them and is not written: it has the policy's
`canary_share`, `min_users` and `max_s`, and ends with a promotion. Who was on the canary stays on it when its
share rises.

`shadow:20:1h` may come first: the canary answers in the shadow of the champion, seen by nobody, until 20 users
were answered by both. Nothing is known then of what people say: the step goes on unless the canary's answers
fail more often, or have lower rewards (answers.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

MOST_STEPS = 10
_STEP = re.compile(
    r"(?:(?P<shadow>shadow)|(?P<share>[0-9.]+)(?P<percent>%?)):(?P<users>[0-9]+):(?P<time>[0-9.]+)(?P<unit>[smhd]?)"
)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Evidence(StrEnum):
    """What a canary must show to go on."""

    # Nothing, unless it is measurably worse, which sends it back at once.
    UNLESS_WORSE = "unless_worse"
    # That it is not worse by more than `worse_by`.
    NOT_WORSE = "not_worse"
    # That it is better than the champion.
    BETTER = "better"


# By these a promotion may be decided.
PROMOTING = (Evidence.NOT_WORSE, Evidence.BETTER)


class OutOfTime(StrEnum):
    """What happens to a canary that did not show it in time."""

    ROLL_BACK = "roll_back"
    # It keeps its share until the evidence is there or a person decides.
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Step:
    """`users`: of the canary, since the step began. Nobody sees the canary where `share` is 0."""

    share: float
    users: int
    max_s: float

    @property
    def is_shadow(self) -> bool:
        return self.share == 0.0


@lru_cache(maxsize=256)  # rollouts ask for their steps at every user's value
def parse(line: str) -> tuple[Step, ...]:
    """Raises ValueError with what is wrong. An empty line has no steps."""
    written = [one.strip() for one in line.split(",")] if line.strip() else []
    if len(written) > MOST_STEPS:
        raise ValueError(f"has {len(written)} steps; {MOST_STEPS} are allowed")
    steps = tuple(map(_step, written))
    for before, after in pairwise(steps):
        if after.share <= before.share:
            raise ValueError(
                f"goes from {said_share(before.share)} to {said_share(after.share)}; shares must rise"
            )
    return steps


def _step(written: str) -> Step:
    found = _STEP.fullmatch(written.replace(" ", ""))
    if found is None:
        raise ValueError(
            f"has {written[:40]!r}; a step is its share of the users, how many of them must be heard, and"
            " within what time, such as 5%:20:1h"
        )
    try:
        share = 0.0 if found["shadow"] else float(found["share"]) / (100 if found["percent"] else 1)
        max_s = float(found["time"]) * _SECONDS[found["unit"]]
    except ValueError:
        raise ValueError(f"has {written[:40]!r}, of which a number cannot be read") from None
    step = Step(share, int(found["users"]), max_s)
    has_share = step.share < 1 and (step.share > 0 or bool(found["shadow"]))
    if not (has_share and step.users > 0 and step.max_s > 0):
        raise ValueError(
            f"has {written[:40]!r}; a share is between 0 and 100%, users and time are more than 0"
        )
    return step


def said_share(share: float) -> str:
    return f"{100 * share:.4g}%" if share else "the shadow"
