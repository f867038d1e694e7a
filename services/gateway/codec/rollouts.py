"""The registry's rollouts and versions, decoded, and as they are kept in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from services.gateway.domain.policies import Served
from services.gateway.domain.rollout import Rollout, Version
from shared.contracts.people import decode_composition
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.language.groups import Composition
from shared.language.policies import ASSISTANT, PolicyKey


def decode_served(served: registry_pb2.Served) -> Served | None:
    """None if it says nothing that could be served: a rollout without a champion, or an `assistant` deleted."""
    key = PolicyKey(served.tenant, served.policy or ASSISTANT)
    if not served.HasField("rollout"):
        return Served(key, None) if key.policy != ASSISTANT else None
    if not served.rollout.champion.version:
        return None
    return Served(key, decode_rollout(served.rollout, map(decode_version, served.askable)))


def decode_rollout(rollout: registry_pb2.Rollout, others: Iterable[Version] = ()) -> Rollout:
    canary = decode_version(rollout.canary) if rollout.canary.version else None
    return Rollout(
        revision=rollout.revision,
        champion=decode_version(rollout.champion),
        canary=canary,
        canary_share=rollout.canary_share,
        others=tuple(others),
        left_out=_by_name((one.served_name, one.replica) for one in rollout.left_out),
        is_shadow=rollout.step.shadow,
    )


def decode_version(version: registry_pb2.ModelVersion) -> Version:
    composition = decode_composition(version.composition)
    return Version(version.version, version.served_name or version.version, composition)


def encode_kept(served: Iterable[Served]) -> dict[str, Any]:
    return {"served": [asdict(one) for one in served]}


def decode_kept(kept: dict[str, Any], own_tenant: str) -> list[Served]:
    """What `encode_kept` writes, or what was written before there were policies: the one rollout of
    `own_tenant`. Anything else raises ValueError, KeyError or TypeError."""
    if "served" not in kept:
        return [Served(PolicyKey(own_tenant), _rollout(kept))]
    return [
        Served(PolicyKey(**one["key"]), _rollout(one["rollout"]) if one["rollout"] else None)
        for one in kept["served"]
    ]


def _rollout(kept: dict[str, Any]) -> Rollout:
    return Rollout(
        revision=int(kept["revision"]),
        champion=_version(kept["champion"]),
        canary=_version(kept["canary"]) if kept["canary"] else None,
        canary_share=float(kept["canary_share"]),
        others=tuple(map(_version, kept["others"])),
        left_out=kept.get("left_out", {}),
        is_shadow=kept.get("is_shadow", False),
    )


def _by_name(left_out: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for served_name, replica in left_out:
        found.setdefault(served_name, []).append(replica)
    return found


def _version(kept: dict[str, Any]) -> Version:
    """Without a composition if it was written before there were any."""
    said = kept.get("composition")
    return Version(kept["name"], kept["served_name"], Composition.kept(said) if said else None)
