"""The registry's rollout and versions, decoded."""

from __future__ import annotations

from services.gateway.domain.rollout import Rollout, Version
from shared.gen.trimtab.registry.v1 import registry_pb2


def decode_rollout(rollout: registry_pb2.Rollout, others: tuple[Version, ...] = ()) -> Rollout:
    canary = decode_version(rollout.canary) if rollout.canary.version else None
    return Rollout(
        revision=rollout.revision,
        champion=decode_version(rollout.champion),
        canary=canary,
        canary_share=rollout.canary_share,
        others=others,
    )


def decode_version(version: registry_pb2.ModelVersion) -> Version:
    return Version(version.version, version.served_name or version.version)
