"""What can be seen of an answer by anyone, and how a taste is named after it.

English words; lengths, lists, questions and numbers hold for other languages too. Deterministic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.features import repeated_trigrams

Array = NDArray[np.float64]

_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)
_CODE = re.compile(r"```|^(?: {4}|\t)\S", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} |\*\*[^*\n]+\*\*", re.MULTILINE)
_WORDS = {
    "hedges": r"maybe|perhaps|might|may|could|possibly|probably|likely|seems?|i think|i believe|"
    r"not sure|it depends|generally|usually|often",
    "politeness": r"please|thanks?|thank you|you're welcome|happy to|glad to|of course|certainly|"
    r"great question|feel free|let me know|hope this",
    "apologies": r"sorry|apologi[sz]e|apolog(?:y|ies)|afraid|unfortunately|my mistake",
    "refusals": r"can(?:no|')?t (?:help|assist|do|provide|recommend)|won't|not able to|unable to|"
    r"should not|shouldn't|illegal|harmful|dangerous|against the law",
    "warmth": r"feel(?:ing|s)?|understand|sounds (?:like|hard)|care|support|love|wonderful|"
    r"proud|hear that",
    "first person": r"i|i'm|i'd|i'll|i've|me|my|mine|we|our",
    "second person": r"you|your|you're|you'll|yours",
}
_PATTERNS = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in _WORDS.items()}

# A trait, what more of it is called, and what less of it is called.
NAMES: tuple[tuple[str, str, str], ...] = (
    ("words", "longer", "shorter"),
    ("list items", "lists", "no lists"),
    ("questions", "asking back", "not asking back"),
    ("exclamations", "lively", "calm"),
    ("numbers", "numbers", "no numbers"),
    ("code", "code", "no code"),
    ("headings", "headings", "plain text"),
    ("long words", "formal words", "simple words"),
    ("long sentences", "long sentences", "short sentences"),
    ("repetition", "repetitive", "not repetitive"),
    ("hedges", "hedged", "plain-spoken"),
    ("politeness", "polite", "curt"),
    ("apologies", "apologetic", "unapologetic"),
    ("refusals", "declining", "compliant"),
    ("warmth", "warm", "factual"),
    ("first person", "personal", "impersonal"),
    ("second person", "addressing you", "not addressing you"),
)
TRAITS = len(NAMES)
# A difference of so many standard errors is called a preference.
CLEAR = 2.5


def traits(text: str) -> list[float]:
    """In the order of NAMES. Counts are log1p, so that the tenth list item says less than the
    first."""
    words = text.split()
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    counted = [log1p(len(pattern.findall(text))) for pattern in _PATTERNS.values()]
    return [
        log1p(len(words)),
        log1p(len(_LIST.findall(text))),
        log1p(text.count("?")),
        log1p(text.count("!")),
        log1p(len(re.findall(r"\d+", text))),
        log1p(len(_CODE.findall(text))),
        log1p(len(_HEADING.findall(text))),
        sum(map(len, words)) / len(words) / 5 if words else 0.0,
        log1p(len(words) / sentences),
        repeated_trigrams(words),
        *counted,
    ]


def matrix(texts: Sequence[str]) -> Array:
    """(n, TRAITS)"""
    return np.array([traits(text) for text in texts]).reshape(len(texts), TRAITS)


def preferences(differences: Array, others: Array | None = None) -> list[tuple[str, float]]:
    """What chosen answers have more of (or less), clearest first, as (words, z).

    `differences` (n, TRAITS) are chosen minus rejected; z is the mean over its standard error, set
    against that of `others` where there are any. Only what is clear is named.
    """
    score = _standardised(differences)
    if others is not None:
        score = (score - _standardised(others)) / 2**0.5
    order = sorted(range(TRAITS), key=lambda at: (-abs(score[at]), at))
    return [
        (NAMES[at][1] if score[at] > 0 else NAMES[at][2], round(float(score[at]), 2))
        for at in order
        if abs(score[at]) >= CLEAR
    ]


def name(prefers: Sequence[tuple[str, float]], taken: Sequence[str]) -> str:
    """Of the one or two clearest preferences; a number is added where the name is taken."""
    clear = [words for words, z in prefers[:2] if abs(z) >= abs(prefers[0][1]) / 2]
    return unused(" and ".join(clear) or "no clear taste", taken)


def unused(base: str, taken: Sequence[str]) -> str:
    """The name, with a number where it is taken."""
    found, count = base, 2
    while found in taken:
        found, count = f"{base} ({count})", count + 1
    return found


def _standardised(differences: Array) -> Array:
    if len(differences) < 2:
        return np.zeros(TRAITS)
    error = differences.std(axis=0, ddof=1) / len(differences) ** 0.5
    z: Array = np.where(error > 1e-9, differences.mean(axis=0) / np.maximum(error, 1e-9), 0.0)
    return z
