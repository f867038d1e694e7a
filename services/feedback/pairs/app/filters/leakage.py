"""Whether the user's feedback stands in the prompt that the answers are compared on.

Then the better answer follows from the prompt, and what is learnt is to obey a wish that is said, not
to meet one that is not. In the chosen answer it is looked for when candidates are made.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")
_RUN = 3


def leaks(feedback: str, message: str, share: float) -> bool:
    """Whether at least `share` of the runs of three words of `feedback` are in a message of the prompt.
    Two words must be there as they are; one says too little to be told from the request's own."""
    said, asked = _words(feedback), _words(message)
    run = min(_RUN, len(said))
    if run < 2:
        return False
    runs = _runs(said, run)
    return len(runs & _runs(asked, run)) >= share * len(runs)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
