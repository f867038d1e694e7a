"""What applications call users, conversations and models, and the ids under which these are kept."""

from __future__ import annotations

import pytest

from shared.language.identifiers import (
    conversation_id_of,
    is_segment,
    model_id_of,
    stable_id,
    user_id_of,
)


@pytest.mark.parametrize("said", ["u1", "auth0:5f7c", "a@x.org", "9" * 128])
def test_a_name_that_can_be_an_id_is_the_id(said: str) -> None:
    assert user_id_of(said) == conversation_id_of(said) == model_id_of(said) == said


@pytest.mark.parametrize(
    "said", ["auth0|5f7c", "a+b@x.org", "Jörg Müller", "thread/42", "a=b", "9" * 129, "x" * 300]
)
def test_any_other_name_is_kept_as_its_hash(said: str) -> None:
    assert user_id_of(said) == f"user-{stable_id(said)}"
    assert conversation_id_of(said) == f"conversation-{stable_id(said)}"
    assert is_segment(user_id_of(said))


def test_the_same_name_in_another_spelling_is_the_same_person() -> None:
    assert user_id_of("Jo\u0308rg") == user_id_of("J\u00f6rg") == user_id_of(" J\u00f6rg ")
    assert user_id_of(12345) == user_id_of("12345") == "12345"


def test_what_names_nobody_is_empty() -> None:
    assert [user_id_of(said) for said in (None, "", "  ", True, {}, [])] == [""] * 6


def test_half_an_emoji_in_a_name_is_no_error() -> None:
    assert is_segment(user_id_of("cut \ud83d"))


def test_a_models_name_stays_readable() -> None:
    assert model_id_of("meta-llama/Llama-3") == "meta-llama:Llama-3"
    assert model_id_of("Llama 3 8B (local)") == "Llama-3-8B--local-"
