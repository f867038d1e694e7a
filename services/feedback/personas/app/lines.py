"""The lines of a persona: what supports them, which may be kept, and how new ones join old ones.

Pure rules. A line speaks of subjects (how long, in what form, in what tone ...) and says one thing
of each; two lines that share no subject are compared by their words. What the user said of the
persona itself outranks what they told the assistant, and that outranks what was inferred: a line
never displaces one of a stronger basis on the same subject. Of equals the newer one stands.

Sensitive traits (the special categories of the GDPR, Art. 9, and criminal offences, Art. 10) are not
inferred, nor quoted from what users say in passing; only the user's own correction may name them.
The check knows words of English, not what they allude to.

Counts of stage "feedback.persona_lines", one for each line that was found: made: "stated",
"inferred"; abstained: TOO_LITTLE_EVIDENCE (kept, not used); dropped: UNGROUNDED, CORRECTED, OUTRANKED,
SENSITIVE_HEALTH and the like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.feedback.personas.domain import Basis, PersonaLine
from shared.language.wishes import marks

MOST_WORDS = 60
_MOST_LINES, _MOST_EVIDENCE = 12, 50
_RANK = {basis: rank for rank, basis in enumerate(Basis)}
# Jaccard of content words from which two lines say the same.
_ALIKE = 0.5
_WORD = re.compile(r"[a-z]{4,}")
_GENERIC = frozenset(
    "this user users likes like prefers prefer wants want would asks asked answer answers answered"
    " response responses assistant please with that about from have they them their what when which"
    " should make made give said says more very much your keep need needs question questions".split()
)
_SENSITIVE = {
    "HEALTH": r"health|disease|illness|ill|sick|diabet\w*|cancer|depress\w+|anxiety|adhd|autis\w+"
    r"|disab\w+|pregnan\w+|therap\w+|medicat\w+|medical|diagnos\w+|hiv|asthma\w*|allerg\w+|bipolar"
    r"|dyslexi\w+|blind|deaf|addict\w+|alcoholic|surgery|symptoms?",
    "RELIGION": r"religio\w+|christian\w*|catholic\w*|protestant\w*|muslim\w*|islam\w*|jew(s|ish)?"
    r"|judaism|hindu\w*|buddhis\w+|sikh\w*|atheis\w+|agnostic|church|mosque|synagogue|bible|quran"
    r"|koran|ramadan|halal|kosher|pray(s|er|ers|ing)?|faith",
    "POLITICS": r"politic\w*|republicans?|democrats?|conservatives?|liberals?|socialis\w+"
    r"|communis\w+|left[- ]wing|right[- ]wing|vot(e|es|ed|er|ers|ing)|elections?|union members?"
    r"|trade unions?|feminis\w+|anarchis\w+",
    "SEXUALITY": r"sexual\w*|gay|lesbian|bisexual|homosexual\w*|heterosexual\w*|queer|lgbt\w*"
    r"|transgender|trans (man|woman|person)|sex life",
    "ETHNICITY": r"ethnic\w*|race|racial|skin colou?r|african[- ]american|black (man|woman|person)"
    r"|white (man|woman|person)|asian|hispanic|latin[oax]|arab(s|ic descent)?|romani|gyps(y|ies)"
    r"|indigenous|immigrants?|refugees?|asylum",
    "OFFENCES": r"criminal\w*|convict(s|ed|ion|ions)?|prison|jail|felon\w*|arrested|parole",
    "BIOMETRICS": r"genetic\w*|dna|biometric\w*|fingerprints?",
}
_CATEGORIES = [
    (category, re.compile(rf"\b({pattern})(?!\w)", re.I))
    for category, pattern in _SENSITIVE.items()
]
_STATES = re.compile(
    r"\b(i (always |really |usually )?(prefer|like|love|hate|dislike|want|need)|call me|i'?d rather"
    r"|from now on|in (the )?future|please (always|never|do not|don't)|always|never)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How many different turns a line must rest on before it is used."""

    stated: int = 1
    inferred: int = 2

    def suffices(self, line: PersonaLine) -> bool:
        if line.basis is Basis.CORRECTED:
            return True
        least = self.stated if line.basis is Basis.STATED else self.inferred
        return len(line.evidence) >= least


@dataclass(frozen=True, slots=True)
class Said:
    """What a user said, by its name; `is_wish`: it says how answers should be."""

    name: str
    text: str
    is_wish: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """The lines that are kept, strongest first; and for each line found: its outcome and reason."""

    lines: tuple[PersonaLine, ...]
    outcomes: tuple[tuple[str, str], ...]


def states_a_wish(text: str) -> bool:
    """Whether a turn that is not a complaint says how its user wants things to be, in general."""
    return bool(_STATES.search(text))


def sensitive_category(text: str) -> str:
    """The first category of sensitive traits that the text has words of; "" if there is none."""
    return next((name for name, pattern in _CATEGORIES if pattern.search(text)), "")


def line_of(text: str, said: Sequence[Said]) -> PersonaLine | None:
    """The line with what supports it (`said` newest first); None if nothing does. It counts as
    stated if a wish is among what supports it."""
    rests_on = [one for one in said if supports(one.text, text)]
    if not rests_on:
        return None
    wishes = [one for one in rests_on if one.is_wish]
    basis = Basis.STATED if wishes else Basis.INFERRED
    return PersonaLine(text, basis, tuple(one.name for one in (wishes or rests_on)))


def supports(said: str, line: str) -> bool:
    """What was said says the same of a subject, or shares a content word."""
    return bool(marks(said) & marks(line)) or bool(_words(said) & _words(line))


def same_subject(one: str, other: str) -> bool:
    subjects = {subject for subject, _ in marks(one)}
    return bool(subjects & {subject for subject, _ in marks(other)}) or _alike(one, other)


def merge(
    former: Sequence[PersonaLine],
    found: Sequence[PersonaLine],
    struck: Sequence[str],
    least: Evidence,
) -> Merged:
    """Takes `found` (oldest first) into `former`."""
    lines = list(former)
    outcomes = []
    for line in found:
        refusal = _refusal(line, lines, struck)
        if refusal:
            outcomes.append(("dropped", refusal))
            continue
        joined, lines = _joined(line, lines)
        kept = replace(joined, used=least.suffices(joined))
        lines.insert(0, kept)
        outcomes.append(
            ("made", kept.basis.value) if kept.used else ("abstained", "TOO_LITTLE_EVIDENCE")
        )
    ranked = sorted(lines, key=lambda line: (_RANK[line.basis], not line.used))
    return Merged(tuple(ranked[:_MOST_LINES]), tuple(outcomes))


def compose(lines: Iterable[PersonaLine]) -> tuple[str, tuple[str, ...]]:
    """The persona's text, at most MOST_WORDS words of whole lines, the strongest first; and the names
    that it rests on. A line that does not fit is left out, not cut."""
    text, names = "", dict[str, None]()
    for line in lines:
        longer = f"{text} {line.text}".strip()
        if line.used and len(longer.split()) <= MOST_WORDS:
            text = longer
            names |= dict.fromkeys(line.evidence)
    return text, tuple(names)


def _refusal(line: PersonaLine, lines: Sequence[PersonaLine], struck: Sequence[str]) -> str:
    if category := sensitive_category(line.text):
        return f"SENSITIVE_{category}"
    if any(marks(line.text) & marks(one) or _alike(line.text, one) for one in struck):
        return "CORRECTED"
    for one in lines:
        if _RANK[one.basis] < _RANK[line.basis] and same_subject(one.text, line.text):
            return "CORRECTED" if one.basis is Basis.CORRECTED else "OUTRANKED"
    return ""


def _joined(
    line: PersonaLine, lines: Sequence[PersonaLine]
) -> tuple[PersonaLine, list[PersonaLine]]:
    """`line` with the evidence of those that said the same, and the lines that it leaves standing."""
    standing, evidence = [], list(line.evidence)
    for one in lines:
        if not same_subject(one.text, line.text):
            standing.append(one)
        elif marks(one.text) & marks(line.text) or _alike(one.text, line.text):
            evidence += one.evidence
    names = tuple(dict.fromkeys(evidence))[:_MOST_EVIDENCE]
    return replace(line, evidence=names), standing


def _words(text: str) -> set[str]:
    """Content words without the commonest endings, so that "rivers" supports "river"."""
    words = (word for word in _WORD.findall(text.lower()) if word not in _GENERIC)
    return {re.sub(r"(ing|ed|s)$", "", word) for word in words}


def _alike(one: str, other: str) -> bool:
    first, second = _words(one), _words(other)
    return bool(first and second) and len(first & second) >= _ALIKE * len(first | second)
