"""Whether an answer is in the language of its request: by script, and by the commonest words of seven
languages in Latin script. No library and no model: what neither tells apart passes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# Words that a text of a language can hardly do without, and that are rare in the other six.
_COMMON = {
    "en": "the and is of to are you with for this that it what how can was they would there from",
    "de": "der die das und ist nicht ein eine mit zu den von auf ich sie für wie sind werden auch",
    "fr": "le les et est des une pas que pour dans vous avec sur qui sont je ce cette mais nous",
    "es": "el los las y es una por para con del como pero más está son muy puede qué ser hay",
    "it": "il gli di che è per una con non sono della nel anche come più questo sono ha puoi",
    "pt": "o os e é um uma para com não do da em que você são mais como por isso ao",
    "nl": "het een en van is niet dat met voor zijn op aan ook maar worden bij naar deze hoe je",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _name, _words in _COMMON.items():
    for _word in set(_words.split()):
        _LANGUAGES_OF.setdefault(_word, []).append(_name)
_LEAST_HITS, _LEAST_LEAD = 3, 2.0
_LEAST_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
_ASKS = re.compile(
    r"\b(translat\w+|languages?|in (english|german|french|spanish|italian|portuguese|dutch|chinese"
    r"|japanese|korean|russian|arabic|hindi|turkish|polish|greek|latin|hebrew|ukrainian|swedish)"
    r"|(english|german|french|spanish|italian|portuguese|dutch|chinese|japanese|korean|russian|arabic"
    r"|hindi) (word|phrase|sentence|name|for|please)s?|übersetz\w*|tradui\w*|traduc\w*"
    r"|auf (englisch|deutsch|französisch|spanisch)|en (anglais|français|inglés|español))\b",
    re.I,
)


def language_of(text: str) -> str:
    """A script's name in lower case ("cyrillic", "cjk", ...), or for Latin script one of the seven
    languages; "" if it cannot be told: too little text, or words of several languages."""
    script = _script(text)
    if script != "latin":
        return script
    hits = Counter(
        name for word in _WORD.findall(text.lower()) for name in _LANGUAGES_OF.get(word, ())
    )
    ranked = [*hits.most_common(2), ("", 0), ("", 0)]
    (first, most), (_, second) = ranked[:2]
    return first if most >= _LEAST_HITS and most >= _LEAST_LEAD * second else ""


def mismatch(request: str, answer: str, feedback: str) -> bool:
    """Both languages can be told, they differ, and nobody spoke of languages."""
    asked, answered = language_of(request), language_of(answer)
    if not asked or not answered or asked == answered:
        return False
    return not _ASKS.search(request) and not _ASKS.search(feedback)


def _script(text: str) -> str:
    """That of more than half of the letters; "" for too few letters, or none has the most."""
    letters = Counter(_script_of(letter) for letter in text if letter.isalpha())
    if letters.total() < _LEAST_LETTERS:
        return ""
    ((script, count),) = letters.most_common(1)
    return script if 2 * count > letters.total() else ""


def _script_of(letter: str) -> str:
    """Chinese, Japanese and Korean count as one: their texts mix the scripts."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "cjk" if first in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL") else first.lower()
