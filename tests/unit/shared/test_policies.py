"""Names of policies and of their versions."""

from __future__ import annotations

import pytest

from shared.language.errors import InvalidArgument
from shared.language.policies import PolicyKey, check_policy_id, policy_of_version, version_name


def test_a_version_says_its_policy() -> None:
    assert version_name("support-desk", 12) == "support-desk-v12"
    assert policy_of_version("support-desk-v12") == "support-desk"
    assert [policy_of_version(name) for name in ("gpt-4o", "Llama-v2", "", "a.b-v1")] == [""] * 4
    assert PolicyKey("acme").first_version == "assistant-v0"


@pytest.mark.parametrize("said", ["support", "a", "support-v", "x1-v2b", "a" * 40])
def test_ids_of_policies(said: str) -> None:
    assert check_policy_id(said) == said


@pytest.mark.parametrize("said", ["support-v3", "Support", "1a", "a.b", "a/b", "a" * 41, "ä", "-a"])
def test_what_could_be_taken_for_a_version_or_a_tenant_is_no_policy(said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_policy_id(said, "policy_id")
    assert (refused.value.reason, refused.value.field) == ("INVALID_POLICY_ID", "policy_id")


def test_no_name_is_the_assistant() -> None:
    assert check_policy_id("") == "assistant"
