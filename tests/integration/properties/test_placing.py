"""Whatever people say and however much of it an application carries, every turn comes once, at its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.talk import Talk

# Few words, so that they are often said again.
_WORDS = st.sampled_from(["Continue.", "OK.", "hi", "A joke", "Why?", "Be kind"])
_ALL = 1_000


@dataclass
class Person:
    """One conversation of an application that carries the last `window` messages."""

    window: int
    name: str
    user: str
    texts: list[str] = field(default_factory=list)
    conversations: set[str] = field(default_factory=set)

    def say(self, talk: Talk, text: str, answer: str) -> None:
        talk.name, talk.user = self.name, self.user
        self.texts.append(text)
        carried = self.texts[-self.window :]
        self.conversations.add(talk.say(*carried, answer=answer))
        self.texts.append(answer)

    def check(self, talk: Talk) -> None:
        if not self.texts:
            return
        (conversation,) = self.conversations
        assert talk.stored(conversation) == [(n, text, "") for n, text in enumerate(self.texts)]
        turns = [turn for turn in talk.logged[conversation] if turn.index % 2]
        assert [turn.index for turn in turns] == list(range(1, len(self.texts), 2))


# Who speaks, what they say, what the model says.
_SAID = st.lists(st.tuples(st.integers(0, 2), _WORDS, _WORDS), max_size=14)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([1, 2, 3, 5, _ALL]), min_size=3, max_size=3), _SAID)
def test_named_conversations_of_any_application(
    windows: list[int], said: list[tuple[int, str, str]]
) -> None:
    """But for a first message that is said again at once, while nothing is known of the application."""
    talk = Talk()
    people = [Person(window, f"c-{n}", "ada") for n, window in enumerate(windows)]
    for who, text, answer in said:
        person = people[who]
        again = len(person.texts) == 2 and text == person.texts[0]
        person.say(talk, "Something else" if again else text, answer)
    for person in people:
        person.check(talk)


@settings(max_examples=300)
@given(_SAID)
def test_users_conversations_that_carry_their_history(said: list[tuple[int, str, str]]) -> None:
    """Each of another user, who neither names a conversation nor says anything twice before it is answered."""
    talk = Talk()
    people = [Person(_ALL, "", user) for user in ("ada", "bob", "cy")]
    for who, text, answer in said:
        people[who].say(talk, text, answer)
    for person in people:
        person.check(talk)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 2), _WORDS), max_size=14))
def test_one_users_chats_side_by_side(said: list[tuple[int, str]]) -> None:
    """Answers differ, as they do; so do the chats, once one of them began."""
    talk = Talk()
    people = [Person(_ALL, "", "ada") for _ in range(3)]
    for number, (who, text) in enumerate(said):
        person = people[who]
        person.say(talk, text if person.texts else f"{text} ({who})", f"answer {number}")
    for person in people:
        person.check(talk)
