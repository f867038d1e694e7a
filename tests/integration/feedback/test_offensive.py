"""The filter of offensive answers knows insults from their absence, and not what is meant."""

from pathlib import Path

import pytest

from infra.models import offence
from services.feedback.pairs.adapters.offensive import LinearModerator
from services.feedback.training.fit import SEEDS, read_seeds
from shared.language.errors import FailedPrecondition


@pytest.fixture(scope="module")
def moderator(tmp_path_factory: pytest.TempPathFactory) -> LinearModerator:
    folder = tmp_path_factory.mktemp("offence")
    offence.write(folder)
    return LinearModerator(folder / offence.FILE)


def test_it_says_what_the_published_model_says(moderator: LinearModerator) -> None:
    from profanity_check import predict_prob

    texts = [text for row in read_seeds(SEEDS)[0] for text in (row.answer, row.follow_up)][::7]
    texts += ["", "?!", "Damn it, damn, this is crap.", "naïve café, 12 34", "you idiot " * 50]
    for text, expected in zip(texts, predict_prob(texts), strict=True):
        assert moderator.offence(text) == pytest.approx(float(expected), abs=1e-9), text


def test_without_its_arrays_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="make setup"):
        LinearModerator(tmp_path / offence.FILE)


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
