"""What can be counted of a follow-up and the conversation before it, without a model.

`features(conversation)` gives the numbers named in NAMES, in that order: of the follow-up, of the
answer it follows, of both together (what a "no" means depends on whether it was asked for), of
what was said before, and of who repeats whom. English words; other languages keep the counts of
length, punctuation and repetition. Pure and deterministic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_REMEMBERED_TURNS = 3


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Said by the user. A word may stand in several.
_SAID = {
    "negation": _set(
        "no not never nope nothing none neither nor nah cannot can't cant don't dont doesn't doesnt"
        " didn't didnt isn't isnt wasn't wasnt aren't arent weren't won't wont wouldn't wouldnt"
        " shouldn't couldn't haven't havent hasn't hadn't without"
    ),
    "agreement": _set(
        "yes yeah yep yup sure ok okay alright fine right correct exactly agreed absolutely"
        " definitely certainly course indeed"
    ),
    "thanks": _set("thanks thank thankyou thx ty cheers appreciate appreciated grateful"),
    "praise": _set(
        "perfect great awesome excellent nice good wonderful amazing fantastic brilliant lovely"
        " helpful cool super best better favorite favourite fun funny enjoy enjoyed glad happy"
        " beautiful interesting exciting terrific sweet wow neat incredible hilarious"
    ),
    "liking": _set("love loved loves like liked likes enjoy enjoyed fan into interested adore"),
    "blame": _set(
        "wrong incorrect useless bad terrible awful horrible confused confusing vague generic"
        " nonsense error mistake mistaken stupid ridiculous worst worse poor broken fail failed"
        " problem issue annoying frustrating frustrated unhelpful disappointed disappointing upset"
        " unfortunate unfortunately sad lame weird odd strange shame"
    ),
    "dislike": _set(
        "hate hated hates dislike disliked boring bored dull gross scary gory silly dumb cheesy"
        " overrated violent annoying slow weak predictable"
    ),
    "repair": _set("actually instead rather meant mean oh oops wait hmm hm er um uh sorry pardon"),
    "again": _set("again retry redo another other others else different still already more new"),
    "alternative": _set("another other others else different alternative instead elsewhere"),
    "wish": _set("need want wanted would prefer looking like wish hope hoping needed must should"),
    "asking": _set(
        "what who whom whose when where why how which is are do does did can could would will have"
        " has"
    ),
    "command": _set(
        "tell give write explain translate recommend suggest list show help make find book try check"
        " look search get let reserve send add change remove"
    ),
    "hesitation": _set("maybe perhaps guess suppose possibly probably might unsure idk dunno"),
    "contrast": _set("but however though although unless except only just"),
    "excess": _set("too very so really much enough way"),
    "greeting": _set("hi hello hey morning evening afternoon greetings"),
    "farewell": _set("bye goodbye later night day care weekend farewell"),
    "self": _set("i i'm im my me mine myself i've i'd i'll we our us"),
    "you": _set("you your yours you're youre you've"),
    "pointing": _set("that this it these those one ones they them he she"),
    "ending": _set("nevermind cancel stop forget leave done skip pass quit"),
    "indifference": _set("preference matter matters care any anything whatever either anywhere"),
    "knowing": _set("seen saw watched heard know knew tried been read"),
    "disbelief": _set("really seriously sure supposed huh what double check sure"),
}
# Said by the assistant.
_ANSWERED = {
    "apology": _set("sorry apologies apologize apologise unfortunately afraid regret"),
    "failure": _set(
        "no not none unable can't cannot couldn't don't doesn't didn't isn't aren't won't wasn't"
        " unavailable unsuccessful failed without nothing neither never"
    ),
    "success": _set("booked reserved confirmed successful reference found available done sure"),
    "offer": _set("would like recommend suggest how about try option options prefer instead"),
    "narrowing": _set(
        "preference preferences area price range specific particular type kind prefer narrow which"
        " what when"
    ),
    "more": _set("anything else further help assist more other"),
    "understanding": _set("understand clarify repeat rephrase mean confused misunderstood again"),
    "courtesy": _set("welcome pleasure glad enjoy thank thanks bye goodbye day"),
    "opinion": _set("i i'm love like think liked loved good great best favorite"),
    "you": _set("you your"),
}
_PHRASES = {
    "opens_no": r"^\W*(?:no|nope|nah|not|never)\b",
    "opens_yes": r"^\W*(?:yes|yeah|yep|yup|sure|ok|okay|alright)\b",
    "no_thanks": r"\bno,? (?:thanks?|thank you|that'?s? (?:is )?(?:all|it|everything|fine))\b",
    "i_asked": r"\bi (?:asked|said|meant|mentioned|told|already|just want|only want|specifically)\b",
    "not_what": r"\bnot (?:what|that|the|really|quite|a fan|my|into|interested|for me|sure)\b",
    "is_there": r"\b(?:is|are) there (?:any|another|other|anything)\b|\bany other\b|\bwhat else\b",
    "how_about": r"\b(?:how|what) about\b",
    "are_you_sure": r"\bare you (?:sure|certain)\b|\b(?:double[- ]?|re)check\b|\btry again\b",
    "too_much": r"\btoo (?:\w+)",
    "dont_like": r"\b(?:don'?t|didn'?t|do not|did not|doesn'?t|never) (?:\w+ )?"
    r"(?:like|care|love|enjoy|want|need|think)\b",
    "never_seen": r"\b(?:haven'?t|have not|havent|never) (?:\w+ )?(?:seen|heard|saw|watched|tried)\b",
    "no_use": r"\b(?:never ?mind|forget it|that'?s too bad|no luck|doesn'?t work|not work)\b",
    "goes_well": r"\b(?:sounds?|looks?|will be|would be|that'?s|is) (?:\w+ )?"
    r"(?:good|great|perfect|fine|nice|awesome|interesting|lovely|wonderful)\b",
    "will_do": r"\bi(?:'ll| will| am going to|'m going to|'d love to) (?:\w+ )?"
    r"(?:check|watch|try|take|look|give|go|see|add|have)\b",
    "does_not_matter": r"\b(?:no|any) preference\b|\b(?:don'?t|doesn'?t|not) (?:really )?"
    r"(?:care|matter|mind|have a)\b",
    "wh_negative": r"\bwhy (?:not|don'?t|can'?t|is|did|didn'?t|are|would)\b",
    "can_you": r"\b(?:can|could|would|will) you\b",
    "please": r"\bplease\b|\bpls\b",
    "time_or_number": r"\d",
    "sad_face": r":-?\(|😞|😠|😡|👎|🙁|☹|😒|🙄",
    "glad_face": r":-?\)|😀|😊|🙂|👍|😁|😍|❤|:d\b|<3|\bl+o+l+\b|haha",
}


def _places_of(groups: Mapping[str, frozenset[str]]) -> dict[str, Words]:
    """By word, the groups that it is in."""
    found: dict[str, Words] = {}
    for name, group in groups.items():
        for word in group:
            found[word] = (*found.get(word, ()), name)
    return found


_SAID_BY_WORD, _ANSWERED_BY_WORD = _places_of(_SAID), _places_of(_ANSWERED)
_COMPILED = tuple(re.compile(pattern) for pattern in _PHRASES.values())
_EMPTY_WORDS = _set(
    "a an the of to in on at for and or is are am was were be been do does did have has had i you"
    " it that this my your me we he she they with as so if s t m re ve ll d can could will would"
)

NAMES: Words = (
    *(f"said.{name}" for name in _SAID),
    *(f"opens.{name}" for name in _SAID),
    *(f"phrase.{name}" for name in _PHRASES),
    *(f"answer.{name}" for name in _ANSWERED),
    "mark.question",
    "mark.exclamation",
    "mark.ellipsis",
    "mark.capitals",
    "mark.quotes",
    "said.nothing",
    "length.follow_up",
    "length.answer",
    "length.request",
    "length.sentences",
    "length.short",
    "answer.question",
    "answer.question_last",
    "answer.numbers",
    "answer.exclamation",
    "answer.short",
    "place.turn",
    "place.first",
    "place.several_messages",
    "both.no_unasked",
    "both.no_asked",
    "both.no_to_more",
    "both.yes_asked",
    "both.question_question",
    "both.sorry_no",
    "both.failed_and_again",
    "both.failed_and_thanks",
    "both.failed_and_asked",
    "both.thanks_no_question",
    "both.offer_refused",
    "same.request",
    "same.request_letters",
    "same.earlier",
    "same.answer",
    "same.answer_request",
    "same.answer_earlier",
    "same.new_words",
    "past.negation",
    "past.blame",
    "past.thanks",
    "past.praise",
    "past.repair",
    "past.apology",
    "past.failure",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """(role, text) of the messages; the last is the user's follow-up."""

    messages: tuple[tuple[str, str], ...]

    @property
    def follow_up(self) -> str:
        return self.messages[-1][1]

    @property
    def answer(self) -> str:
        """What the assistant said last before the follow-up; empty if nothing."""
        return self._last("assistant", len(self.messages) - 1)[1]

    @property
    def request(self) -> str:
        """What the user said last before that answer; empty if nothing."""
        place = self._last("assistant", len(self.messages) - 1)[0]
        return self._last("user", place)[1] if place >= 0 else ""

    def said(self, role: str) -> list[str]:
        """All that `role` said before the follow-up, oldest first."""
        return [text for who, text in self.messages[:-1] if who == role]

    def _last(self, role: str, before: int) -> tuple[int, str]:
        for place in range(before - 1, -1, -1):
            if self.messages[place][0] == role:
                return place, self.messages[place][1]
        return -1, ""


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'"))


def feature_rows(conversations: Sequence[Conversation]) -> Floats:
    """[n, len(NAMES)]. Messages that several conversations share are read once."""
    known: dict[str, list[str]] = {}
    rows = [features(conversation, known) for conversation in conversations]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(NAMES))


def features(conversation: Conversation, known: dict[str, list[str]] | None = None) -> list[float]:
    """In the order of NAMES. `known` keeps the words of texts seen."""
    known = {} if known is None else known

    def words(text: str) -> list[str]:
        found = known.get(text)
        if found is None:
            found = known[text] = words_of(text)
        return found

    follow_up, answer = conversation.follow_up, conversation.answer
    said, answered, asked = words(follow_up), words(answer), words(conversation.request)
    users = [words(text) for text in conversation.said("user")]
    assistants = [words(text) for text in conversation.said("assistant")]
    lowered = follow_up.lower().replace("’", "'")
    counts = _hits(said, _SAID, _SAID_BY_WORD)
    opening = [float(one > 0) for one in _hits(said[:3], _SAID, _SAID_BY_WORD).values()]
    phrases = [float(pattern.search(lowered) is not None) for pattern in _COMPILED]
    told = _hits(answered, _ANSWERED, _ANSWERED_BY_WORD)
    return [
        *counts.values(),
        *opening,
        *phrases,
        *told.values(),
        *_marks(follow_up),
        float(not said),
        *(math.log1p(len(part)) for part in (said, answered, asked)),
        math.log1p(len(re.findall(r"[.!?]+", follow_up))),
        float(len(said) <= 2),
        *_answer_marks(answer, answered),
        *_place(conversation, len(users)),
        *_both(
            counts,
            told,
            dict(zip(_PHRASES, phrases, strict=True)),
            answer,
            follow_up,
        ),
        *_repetition(said, answered, asked, users, assistants),
        *_past(users, assistants),
    ]


def _hits(
    words: Sequence[str], groups: Iterable[str], by_word: Mapping[str, Words]
) -> dict[str, float]:
    """How many of `words` are in each of `groups`, growing slowly."""
    found = dict.fromkeys(groups, 0)
    for word in words:
        for group in by_word.get(word, ()):
            found[group] += 1
    return {group: math.log1p(count) if count else 0.0 for group, count in found.items()}


def _marks(text: str) -> tuple[float, ...]:
    letters, capitals = sum(map(str.isalpha, text)), sum(map(str.isupper, text))
    return (
        float("?" in text),
        float("!" in text),
        float("..." in text or "…" in text),
        float(letters > 5 and capitals > 0.6 * letters),
        float('"' in text),
    )


def _answer_marks(answer: str, words: Sequence[str]) -> tuple[float, ...]:
    return (
        float("?" in answer),
        float(answer.rstrip().endswith("?")),
        float(any(letter.isdigit() for letter in answer)),
        float("!" in answer),
        float(len(words) <= 4),
    )


def _place(conversation: Conversation, turns: int) -> tuple[float, ...]:
    messages = conversation.messages
    several = len(messages) > 1 and messages[-2][0] == "user"
    return math.log1p(turns), float(turns <= 1), float(several)


def _both(
    said: Mapping[str, float],
    told: Mapping[str, float],
    phrases: dict[str, float],
    answer: str,
    follow_up: str,
) -> tuple[float, ...]:
    asked, failed = "?" in answer, told["apology"] > 0 or told["failure"] > 0
    no, thanks = phrases["opens_no"] > 0, said["thanks"] > 0
    question = "?" in follow_up
    return tuple(
        float(one)
        for one in (
            no and not asked,
            no and asked,
            no and told["more"] > 0,
            phrases["opens_yes"] > 0 and asked,
            question and asked,
            told["apology"] > 0 and told["failure"] > 0,
            failed and said["again"] > 0,
            failed and thanks,
            failed and question,
            thanks and not question,
            told["offer"] > 0 and said["negation"] > 0 and not thanks,
        )
    )


def _repetition(
    said: Sequence[str],
    answered: Sequence[str],
    asked: Sequence[str],
    users: Sequence[Sequence[str]],
    assistants: Sequence[Sequence[str]],
) -> tuple[float, ...]:
    content = {word for word in said if word not in _EMPTY_WORDS}
    earlier = set().union(*users) if users else set()
    before = [set(words) for words in assistants[:-1][-_REMEMBERED_TURNS:]]
    now = set(answered)
    return (
        _share(content, set(asked)),
        _share(_trigrams(said), _trigrams(asked)),
        max((_share(content, set(words)) for words in users[-_REMEMBERED_TURNS:]), default=0.0),
        _share(content, now),
        _share({word for word in asked if word not in _EMPTY_WORDS}, now),
        max((len(now & other) / max(len(now | other), 1) for other in before), default=0.0),
        1.0 - _share(content, earlier) if content else 0.0,
    )


def _past(users: Sequence[Sequence[str]], assistants: Sequence[Sequence[str]]) -> list[float]:
    """How the turns before went, by the user's and the assistant's last few messages."""
    spoken = [word for words in users[-_REMEMBERED_TURNS:] for word in words]
    told = [word for words in assistants[:-1][-_REMEMBERED_TURNS:] for word in words]
    by_users = _hits(spoken, _SAID, _SAID_BY_WORD)
    by_assistants = _hits(told, _ANSWERED, _ANSWERED_BY_WORD)
    return [
        *(by_users[name] for name in ("negation", "blame", "thanks", "praise", "repair")),
        *(by_assistants[name] for name in ("apology", "failure")),
    ]


def _trigrams(words: Sequence[str]) -> set[str]:
    text = " ".join(words)
    return {text[start : start + 3] for start in range(len(text) - 2)}


def _share(of: set[str], other: set[str]) -> float:
    return len(of & other) / len(of) if of else 0.0
