"""Candidates for a better answer: how they are asked for, and which are sane. Pure functions.

User-guided rewrites (RLHI, arXiv 2509.25137): the model rewrites the unsatisfying answer by what
the user said. Departure: half of the candidates are fresh answers to the request with the user's
wish as a suffix, as a small model follows a wish beside the request better than one after its own
answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.language.messages import Message, text_message
from shared.language.repetition import repeated
from shared.language.wishes import INSTRUCTIONS, has_form, has_items, marks, wishes

MIN_WORDS = 5
_REPEATED = re.compile(r"(.)\1{5,}")
# Of runs of four words, such as of a list of the same item over and over.
_MOST_REPEATED = 0.3
_ENDS = ".!?\"')”’`]"
_SHORTER = re.compile(
    r"\b(short(er)?|brief(er|ly)?|concise(ly)?|too (long|wordy|much)|less|fewer|trim|cut|condense"
    r"|gist|nutshell|tl;?dr|wall of text|to the point|way more than|why so long|quick answer"
    r"|one line|(one|a single|two) sentences?|so long|a lot|talk too much)\b",
    re.I,
)
_LONGER = re.compile(
    r"\b(longer|more detail(s|ed)?|elaborate|expand|too (short|brief)|in depth|deeper|at least"
    r"|or more|minimum|not enough|(?<!no )more than \d)\b",
    re.I,
)
_WORDS = re.compile(r"\bwords?\b", re.I)
_NUMBER = re.compile(r"\d+")
_END = re.compile(r"""[.!?]["')”’`\]]*(?=\s)""")
_NUMBERED = re.compile(r"\s*\d+[.)]")
# What a complaint about an answer's form alone has at most, in words.
_BRIEF = 12


def rewrite_prompt(context: Sequence[Message], answer: Message, follow_up: str) -> list[Message]:
    """The conversation as it went, then what the user said, with the request to rewrite."""
    order = "Rewrite your answer so that it follows this. Write only the answer."
    wish = f"{follow_up.strip()}\n\n{order}"
    return [*context, answer, text_message("user", wish)]


def wish_prompt(context: Sequence[Message], follow_up: str) -> list[Message]:
    """The request once more, with the user's wish as a suffix: in their words, or, where these say nothing but
    which form they want, as an instruction."""
    *before, request = context
    said, is_brief = wishes(follow_up), len(follow_up.split()) <= _BRIEF
    is_form = set(said) == {"form"} and is_brief
    wish = INSTRUCTIONS["form", said["form"]] if is_form else follow_up.strip()
    asked = f"{request.text.strip()}\n\n({wish})"
    return [*before, text_message("user", asked)]


def clean(text: str) -> str:
    """Stripped; cut after its last whole sentence or item if the token limit cut it off."""
    lines = text.strip().split("\n")
    while lines:
        lines[-1] = _whole(lines[-1])
        if lines[-1]:
            break
        lines.pop()
        if lines and has_items(lines[-1]):  # it is whole, as something came after it
            break
    return "\n".join(lines).strip()


def _whole(line: str) -> str:
    """Up to the end of its last sentence; empty if that of none is there."""
    if _NUMBERED.fullmatch(line):  # an item that was not begun
        return ""
    if not line or line[-1] in _ENDS:
        return line
    ends = [found.end() for found in _END.finditer(line)]
    return next((line[:end] for end in ends[::-1] if not _NUMBERED.fullmatch(line[:end])), "")


def problem_of(text: str, original: str, follow_up: str) -> str:
    """Why `text` cannot be a chosen answer; "" if it can. A floor of sanity, not of quality."""
    words = text.split()
    if len(words) < MIN_WORDS:
        return "TOO_FEW_WORDS"
    if (
        _REPEATED.search(text)
        or len(set(words)) < len(words) / 4
        or repeated(words, 4) >= _MOST_REPEATED
    ):
        return "REPETITION"
    if " ".join(words).lower() == " ".join(original.split()).lower():
        return "SAME_AS_ANSWER"
    wish = " ".join(follow_up.split()).lower()
    if len(wish.split()) >= 3 and wish in " ".join(words).lower():
        return "LEAKS_FEEDBACK"
    if not heeds(text, original, follow_up):
        return "IGNORES_FEEDBACK"
    return ""


def heeds(text: str, original: str, follow_up: str) -> bool:
    """False if the follow-up says something of length or form that can be counted, and `text` does
    not do it. What cannot be counted is left to the reward model."""
    words, before = len(text.split()), len(original.split())
    named = [int(number) for number in _NUMBER.findall(follow_up) if _WORDS.search(follow_up)]
    if _LONGER.search(follow_up):
        return words >= max(named) if named else words > before
    # A complaint may count the answer's words beside the limit: the limit is the lesser of the two.
    if named:
        return words <= min(named)
    if _SHORTER.search(follow_up) and words > 0.67 * before:
        return False
    forms = [value for subject, value in marks(follow_up) if subject == "form"]
    if "prose" in forms:
        return has_form("prose", text)
    return not forms or any(has_form(form, text) for form in forms)


def tokens_for(original: str, follow_up: str, most: int) -> int:
    """How many tokens a candidate may have: what is too long for the wish need not be written.

    A word of English is about 1.4 tokens; what is cut off is cut at its last whole sentence.
    """
    if _LONGER.search(follow_up):
        return most
    limit = most
    if _WORDS.search(follow_up) and (named := _NUMBER.findall(follow_up)):
        limit = min(int(number) for number in named)
    elif _SHORTER.search(follow_up):
        limit = int(0.67 * len(original.split()))
    return max(24, min(most, int(1.5 * limit) + 16))


def usable(texts: Sequence[str], original: str, follow_up: str) -> tuple[list[str], list[str]]:
    """The usable ones in order, without repeats; and the problems of the others."""
    kept: list[str] = []
    problems: list[str] = []
    for text in (clean(raw) for raw in texts):
        problem = problem_of(text, original, follow_up)
        if problem:
            problems.append(problem)
        elif text not in kept:
            kept.append(text)
    return kept, problems
