"""The suites of evaluation: what may judge a candidate before it is promoted."""

from __future__ import annotations

from collections.abc import Collection

# In the order in which they are measured.
SUITES = ("over_refusal", "sycophancy", "win_rate", "form", "held_out_pairs")
# They judge every candidate: without them, one that is no better or has collapsed could pass.
NEEDED = ("win_rate", "form")


def judges(chosen: Collection[str], suite: str) -> bool:
    """Whether the suite is one of those chosen; all are if none is."""
    return not chosen or suite in chosen
