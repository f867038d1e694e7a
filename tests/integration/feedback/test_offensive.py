"""The filter of offensive answers knows insults from their absence, and not what is meant."""

import pytest

from services.feedback.pairs.adapters.offensive import LinearModerator


@pytest.fixture(scope="module")
def moderator() -> LinearModerator:
    return LinearModerator()


@pytest.mark.parametrize(
    ("text", "offends"),
    [
        ("", False),
        ("A river is water that flows to the sea.", False),
        ("I am sorry, I can not help with that.", False),
        ("You are a stupid idiot, shut up.", True),
        ("What a load of bullshit.", True),
        # A quotation is taken for an insult; contempt without its words is not seen.
        ("He was fined for calling the referee a stupid idiot.", True),
        ("People like you should not be allowed to speak.", False),
    ],
)
def test_insults_are_known_by_their_words(
    moderator: LinearModerator, text: str, offends: bool
) -> None:
    assert (moderator.offence(text) >= 0.5) is offends
