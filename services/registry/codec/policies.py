"""Policies <-> protobuf. A field that is not set stays so."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from services.registry.domain.policies import (
    GateThresholds,
    Policy,
    Recipe,
    RolloutOverrides,
    Triggers,
)
from services.registry.domain.rollouts import Rollout
from shared.contracts.people import decode_interests, encode_interests
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import PermissionDenied
from shared.language.identifiers import parse_name
from shared.language.policies import PolicyKey, check_policy_id

S = TypeVar("S", Recipe, Triggers, GateThresholds, RolloutOverrides)


def encode_policy(policy: Policy, rollout: Rollout) -> pb.Policy:
    encoded = pb.Policy(
        name=policy.key.name,
        description=policy.description,
        base_model=policy.base_model,
        suites=policy.suites,
        champion_version=rollout.champion,
        canary_version=rollout.canary,
        revision=policy.revision,
    )
    for section in ("recipe", "triggers", "gate", "rollout"):
        _write(getattr(policy, section), getattr(encoded, section))
    encoded.interests.CopyFrom(encode_interests(policy.interests))
    if policy.create_time:
        encoded.create_time.FromDatetime(policy.create_time)
    if policy.update_time:
        encoded.update_time.FromDatetime(policy.update_time)
    return encoded


def decode_policy(policy: pb.Policy, key: PolicyKey) -> Policy:
    """What its owner may set; the rest is the service's."""
    return Policy(
        key=key,
        description=policy.description,
        base_model=policy.base_model,
        recipe=_read(policy.recipe, Recipe),
        triggers=_read(policy.triggers, Triggers),
        gate=_read(policy.gate, GateThresholds),
        rollout=_read(policy.rollout, RolloutOverrides),
        suites=tuple(dict.fromkeys(policy.suites)),
        interests=replace(decode_interests(policy.interests), set_time=None),
    )


def decode_policy_name(name: str, tenant: str) -> PolicyKey:
    """Takes `tenants/T/policies/P` of the caller's tenant, and `P`."""
    if "/" not in name:
        return PolicyKey(tenant, check_policy_id(name, "name"))
    owner, policy = parse_name(name, "tenants/*/policies/*")
    if owner != tenant:
        raise PermissionDenied(
            f"the policy belongs to tenant {owner!r}, the caller to {tenant!r}",
            reason="TENANT_MISMATCH",
            field="name",
        )
    return PolicyKey(tenant, check_policy_id(policy, "name"))


def _write(section: Any, into: Any) -> None:
    for one in fields(section):
        if (value := getattr(section, one.name)) is not None:
            setattr(into, one.name, value)


def _read(message: Any, kind: type[S]) -> S:
    names = [one.name for one in fields(kind)]
    return kind(**{name: getattr(message, name) for name in names if message.HasField(name)})
