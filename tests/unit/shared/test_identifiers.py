"""What applications call users, conversations and models, and the ids under which these are kept."""

from __future__ import annotations

import pytest

from shared.language.errors import InvalidArgument
from shared.language.identifiers import (
    checked_user,
    completion_id_of,
    conversation_id_of,
    id_of,
    is_segment,
    label_of,
    model_id_of,
    parse_name,
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
    assert user_id_of(12345) == user_id_of(12345.0) == user_id_of("12345") == "12345"
    assert user_id_of(2**64) == user_id_of(str(2**64)) == "18446744073709551616"
    assert user_id_of("\ud83d\ude00") == user_id_of("😀")


def test_what_names_nobody_is_empty() -> None:
    nobody: list[object] = [None, "", "  ", True, {}, []]
    assert [user_id_of(said) for said in nobody] == [""] * 6
    for said in nobody:
        with pytest.raises(InvalidArgument) as refused:
            checked_user(said)
        assert (refused.value.reason, refused.value.field) == ("MISSING_USER", "user_id")


def test_half_an_emoji_in_a_name_is_no_error() -> None:
    wanted = "user-" + stable_id("cut \ufffd")
    assert user_id_of("cut \ud83d") == user_id_of("cut \ufffd") == wanted


def test_an_id_is_its_own_name() -> None:
    for kind in ("user", "conversation", "completion", "turn", "feedback", "pair"):
        made = id_of("a/b", kind)
        assert made == f"{kind}-{stable_id('a/b')}" == id_of(made, kind)
    assert model_id_of(model_id_of("a/b c")) == model_id_of("a/b c") == "a:b-c"
    assert label_of(label_of("zu lang ä")) == label_of("zu lang ä")


def test_a_label_stays_readable_unless_that_would_make_two_the_same() -> None:
    assert label_of("not helpful") == "not-helpful"
    assert label_of("不好") != label_of("很好")
    assert label_of("不好").startswith("label-")


def test_names_of_the_application_stand_in_resource_names_as_they_are() -> None:
    pattern = "tenants/*/users/**/persona"
    for said in ("ada", "auth0|5f7c", "a/b", "x/persona", "100%25", "two\nlines", "x" * 300):
        assert parse_name(f"tenants/t/users/{said}/persona", pattern) == ("t", said)
    for wrong in ("tenants/t/users//persona", "tenants/a b/users/ada/persona", "x/users/a/persona"):
        with pytest.raises(InvalidArgument):
            parse_name(wrong, pattern)
    turn = parse_name(
        "tenants/t/conversations/a/turns/b/turns/c", "tenants/*/conversations/**/turns/*"
    )
    assert turn == ("t", "a/turns/b", "c")


def test_a_models_name_stays_readable() -> None:
    assert model_id_of("meta-llama/Llama-3") == "meta-llama:Llama-3"
    assert model_id_of("Llama 3 8B (local)") == "Llama-3-8B--local-"


@pytest.mark.parametrize(
    "said", ["msg_trimtab_chatcmpl-1", "resp_trimtab_chatcmpl-1", "chatcmpl-1"]
)
def test_an_answers_id_at_another_door_names_its_completion(said: str) -> None:
    assert completion_id_of(said) == "chatcmpl-1"
    assert completion_id_of(completion_id_of(f"resp_trimtab_{said}")) == "chatcmpl-1"


@pytest.mark.parametrize("said", ["msg_01XFDUDYJgAACzvnptvVoYEL", "resp_68a1", "fc_trimtab_a_0"])
def test_ids_that_others_gave_to_answers_stay(said: str) -> None:
    assert completion_id_of(said) == said
