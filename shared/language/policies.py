"""Policies: what a team calls its assistant. Every tenant has the policy `assistant` without creating it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.language.errors import InvalidArgument

ASSISTANT = "assistant"
_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VERSION = re.compile(r"([a-z][a-z0-9-]{0,39})-v(\d{1,9})")
_LIKE_A_VERSION = re.compile(r".*-v\d+")


@dataclass(frozen=True, slots=True, order=True)
class PolicyKey:
    """A policy of one tenant."""

    tenant: str
    policy: str = ASSISTANT

    @property
    def name(self) -> str:
        return f"tenants/{self.tenant}/policies/{self.policy}"

    @property
    def first_version(self) -> str:
        """The base model: the first champion."""
        return version_name(self.policy, 0)


def version_name(policy: str, number: int) -> str:
    """Unique within a tenant: no policy's id ends like a version."""
    return f"{policy}-v{number}"


def policy_of_version(version: str) -> str:
    """The policy whose version has this name; empty for a name that is not a version's, such as `gpt-4o`.
    Another system's model may be called like a version: this says nothing about who wrote an answer."""
    found = _VERSION.fullmatch(version)
    return found[1] if found else ""


def is_same(one: str, other: str) -> bool:
    """Whether two of a tenant's turns, pairs or requests name the same policy: an empty one is `assistant`."""
    return (one or ASSISTANT) == (other or ASSISTANT)


def check_policy_id(said: str, field: str = "policy") -> str:
    """`said`, or `assistant` if it is empty. InvalidArgument names `field` if it cannot be a policy's id."""
    if not said:
        return ASSISTANT
    if not _ID.fullmatch(said) or _LIKE_A_VERSION.fullmatch(said):
        raise InvalidArgument(
            f"{field} must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter, and not end"
            f" like a version (-v1); got {said[:60]!r}",
            reason="INVALID_POLICY_ID",
            field=field,
        )
    return said
