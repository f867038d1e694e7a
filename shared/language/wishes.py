"""What a text says of how answers should be: how long, in what form, in what tone and the like.

Rules over words of English: they know what is said, not what it alludes to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_ITEMS = r"(bullet(ed|s)?([- ]points?)?|numbered)?[ -]?(lists?|bullets?|bullet[- ]points?)"
# "Don't use bullets", but not "That's not how I want it: use bullets" or "No, use bullets".
_NO_LISTS = (
    rf"no (more )?{_ITEMS}|without (any )?{_ITEMS}"
    rf"|(not|(do|did|does)n['’]?t|never|stop|instead of|rather than|avoid)( [\w'’-]+){{0,4}}? {_ITEMS}"
)
_FORMAL, _CASUAL = "formal|professional|serious", "casual|informal|friendly|relaxed|warm|funny"
_TECHNICAL, _SIMPLE, _FUN = "technical|advanced", "simple|plain|easy", "humou?r|jokes?|emojis?"
# "Less formal" and "don't be so formal" ask for the opposite, and not for less text.
_MORE, _LESS = r"(?<!too )(?<!so )(?<!less )", r"(less|too|(not|be|sound) so)"
_NO, _SOME = (
    r"(no|less|fewer|without|too many)",
    r"(?<!no )(?<!less )(?<!fewer )(?<!without )(?<!many )",
)
# By subject, then by what is said of it.
_SUBJECTS: dict[str, dict[str, str]] = {
    "length": {
        "shorter": r"(?<!too )(?<!so )(short(er)?|brief(er|ly)?)|concise(ly)?|succinct(ly)?|terse|to the point"
        r"|(too|so) (long|wordy|much|detailed)|long-winded|at most|no more|under \d|max(imum)?|summary"
        rf"|(less|fewer)(?! ({_FORMAL}|{_CASUAL}|{_TECHNICAL}|{_SIMPLE}|{_FUN}))",
        "longer": r"(?<!too )(?<!so )(long(er)?|detailed)|more detail(s|ed)?|elaborate|expand|too (short|brief)"
        r"|in[- ]depth|thorough|comprehensive|at least|(?<!no )more than|words or more",
    },
    "form": {
        "prose": rf"{_NO_LISTS}|prose|paragraphs?",
        "list": rf"{_ITEMS}|numbered|steps|step[- ]by[- ]step",
        "table": r"tables?|tabular|columns?",
    },
    "tone": {
        "formal": rf"{_MORE}({_FORMAL})|{_LESS} ({_CASUAL})|{_NO} ({_FUN})",
        "casual": rf"{_MORE}({_CASUAL})|{_LESS} ({_FORMAL})|{_SOME}({_FUN})",
    },
    "level": {
        "simple": rf"{_MORE}({_SIMPLE})|{_LESS} ({_TECHNICAL})"
        r"|simpler|simply|easier|beginners?|layman|no jargon",
        "expert": rf"{_MORE}({_TECHNICAL})|experts?|{_LESS} ({_SIMPLE})",
    },
    "examples": {"examples": r"examples?|illustrat\w+|concrete"},
    "sources": {"sources": r"sources?|citations?|cite|references?|links?"},
}
_MARKS = [
    (subject, value, re.compile(rf"\b({pattern})(?!\w)", re.I))
    for subject, values in _SUBJECTS.items()
    for value, pattern in values.items()
]
# Of what follow-ups say on these, people can be told apart.
_TOLD = ("length", "form", "tone")
# What a model would be told that is to fulfil the wish without being trained.
INSTRUCTIONS: dict[tuple[str, str], str] = {
    ("length", "shorter"): "Keep every answer short: two or three sentences at most.",
    ("length", "longer"): "Answer in detail: explain fully, and leave nothing out.",
    ("form", "prose"): "Answer in plain paragraphs, without lists or bullet points.",
    ("form", "list"): "Answer as a list of points, one a line.",
    ("form", "table"): "Answer as a table.",
    ("tone", "formal"): "Answer in a formal, professional tone.",
    ("tone", "casual"): "Answer in a casual, friendly tone.",
}
# What is asked for, in words.
ASKED_FOR: dict[tuple[str, str], str] = {
    ("length", "shorter"): "shorter answers",
    ("length", "longer"): "longer answers",
    ("form", "prose"): "prose",
    ("form", "list"): "lists",
    ("form", "table"): "tables",
    ("tone", "formal"): "a formal tone",
    ("tone", "casual"): "a casual tone",
}

_ITEM = re.compile(r"^[ \t]*([-*•]|\d+[.)])[ \t]", re.M)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|", re.M)


def has_items(text: str) -> bool:
    """Whether a line of it is an item of a list."""
    return bool(_ITEM.search(text))


# How much an answer does of a wish, where that can be counted.
_DONE: Mapping[tuple[str, str], Callable[[str], int]] = {
    ("length", "shorter"): lambda text: -len(text.split()),
    ("length", "longer"): lambda text: len(text.split()),
    ("form", "prose"): lambda text: not has_items(text),
    ("form", "list"): has_items,
    ("form", "table"): lambda text: bool(_TABLE_ROW.search(text)),
}


def has_form(form: str, text: str) -> bool:
    """Whether the text is in prose, or has a list or a table."""
    return bool(_DONE["form", form](text))


def can_be_counted(wish: tuple[str, str]) -> bool:
    return wish in _DONE


def does_more(wish: tuple[str, str], text: str, other: str) -> float:
    """1 if the text does more of a wish that can be counted than the other one, 0 if it does less, a half if
    both do alike."""
    ours, theirs = _DONE[wish](text), _DONE[wish](other)
    return 0.5 if ours == theirs else float(ours > theirs)


def marks(text: str) -> set[tuple[str, str]]:
    """Subject and value of all that is said; of a form that is ruled out, only that it is."""
    found = {(subject, value) for subject, value, pattern in _MARKS if pattern.search(text)}
    return found - {("form", "list")} if ("form", "prose") in found else found


def wishes(complaint: str) -> dict[str, str]:
    """By subject what a complaint about an answer asks for; not where it says two things of a subject."""
    found = marks(complaint)
    said = {subject: [value for of, value in found if of == subject] for subject in _TOLD}
    return {subject: values[0] for subject, values in said.items() if len(values) == 1}
