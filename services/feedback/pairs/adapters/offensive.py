"""How offensive a text is, by alt-profanity-check's model: a linear one over words, fitted on comments that
people judged (Wikipedia's and Twitter's; English). Small, fast, coarse: it knows words, not what is meant."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from shared.language.errors import FailedPrecondition

_WORD = re.compile(r"\b\w\w+\b")


class LinearModerator:
    """On the arrays that `make setup` writes (infra/models/offence.py). Raises FailedPrecondition if they are
    not there. Pure afterwards, and safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FailedPrecondition(
                f"{path} does not exist: run `make setup`, or set TRIMTAB_FEEDBACK_OFFENCE",
                reason="NO_OFFENCE_MODEL",
            )
        with np.load(path, allow_pickle=False) as kept:
            self._places = {str(word): place for place, word in enumerate(kept["words"])}
            self._idf, self._weights, self._bias = kept["idf"], kept["weights"], kept["bias"]
            self._slope, self._shift = kept["slope"], kept["shift"]

    def offence(self, text: str) -> float:
        known = [self._places[w] for w in _WORD.findall(text.lower()) if w in self._places]
        places, counts = np.unique(np.array(known, dtype=np.int64), return_counts=True)
        row = counts * self._idf[places]
        row /= max(float(np.linalg.norm(row)), 1e-12)
        scores = row @ self._weights[places] + self._bias
        return float((1.0 / (1.0 + np.exp(self._slope * scores + self._shift))).mean())
