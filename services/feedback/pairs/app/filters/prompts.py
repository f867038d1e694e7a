"""Whether a request is good enough to learn from: some requests have no better and worse answers.

Poor prompts are where naively mined feedback hurt (arXiv 2507.23158).
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
# Scripts that are written without spaces: each sign counts as a word.
_SIGN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_SMALL_TALK = frozenset(
    "hi hello hey there good morning afternoon evening night day greetings yo howdy sup hiya bye"
    " goodbye thanks thank you thx ok okay yes no yeah yep nope sure please cool nice great lol haha"
    " wow hmm hm test testing hallo guten tag morgen abend danke bonjour salut merci hola buenos dias"
    " gracias ciao buongiorno grazie ola obrigado hoi dank je".split()
)
_LEAST_REPEATED = 12


def problem_of(request: str, before: str, least_words: int) -> str:
    """PROMPT_NO_WORDS, PROMPT_SMALL_TALK, PROMPT_TOO_SHORT or PROMPT_REPETITION; "" if it will do.
    `before` is the assistant's message before it: who answers a question may be as short as they
    like ("Yes, please.", "25")."""
    if before.rstrip().endswith(("?", "？", "؟")):
        return ""
    signs = len(_SIGN.findall(request))
    words = _WORD.findall(_SIGN.sub(" ", request).lower())
    if not signs and not words:
        return "PROMPT_NO_WORDS"
    if not signs and all(word in _SMALL_TALK for word in words):
        return "PROMPT_SMALL_TALK"
    if len(words) + signs < least_words:
        return "PROMPT_TOO_SHORT"
    if len(words) >= _LEAST_REPEATED and len(set(words)) < len(words) / 4:
        return "PROMPT_REPETITION"
    return ""
