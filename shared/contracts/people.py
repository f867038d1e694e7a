"""Membership, Composition and Interests <-> trimtab.common.v1: the one codec."""

from __future__ import annotations

from datetime import UTC

from shared.contracts.messages import write_time
from shared.gen.trimtab.common.v1 import people_pb2 as pb
from shared.language.groups import Basis, Composition, Layer, Membership, Reach
from shared.language.interests import ConflictRule, Interests, SmallGroups

_BASES = {basis: pb.MembershipBasis.Value(f"MEMBERSHIP_BASIS_{basis.name}") for basis in Basis}
_RULES = {rule: pb.ConflictRule.Value(f"CONFLICT_RULE_{rule.name}") for rule in ConflictRule}
_SMALL = {what: pb.SmallGroups.Value(f"SMALL_GROUPS_{what.name}") for what in SmallGroups}
_BASIS_OF = {number: basis for basis, number in _BASES.items()}
_RULE_OF = {number: rule for rule, number in _RULES.items()}
_SMALL_OF = {number: what for what, number in _SMALL.items()}


def encode_membership(membership: Membership) -> pb.Membership:
    encoded = pb.Membership(
        tenant=membership.tenant,
        user_id=membership.user_id,
        version=membership.version,
        group=membership.group,
        probabilities=membership.probabilities,
        basis=_BASES[membership.basis],
        judgements=membership.judgements,
        evidence=membership.evidence,
        segments=membership.segments,
        reward_model=membership.reward_model,
        actor=membership.actor,
        reason=membership.reason,
        removed=membership.is_removed,
    )
    write_time(membership.update_time, encoded.update_time)
    return encoded


def decode_membership(membership: pb.Membership) -> Membership:
    return Membership(
        tenant=membership.tenant,
        user_id=membership.user_id,
        version=membership.version,
        update_time=membership.update_time.ToDatetime(tzinfo=UTC),
        group=membership.group,
        probabilities=dict(membership.probabilities),
        basis=_BASIS_OF.get(membership.basis, Basis.LEARNT),
        judgements=membership.judgements,
        evidence=tuple(membership.evidence),
        segments=dict(membership.segments),
        reward_model=membership.reward_model,
        actor=membership.actor,
        reason=membership.reason,
        is_removed=membership.removed,
    )


def encode_composition(composition: Composition) -> pb.Composition:
    """With `served_names` for readers that know no layers: of each group the newest weights."""
    layers = [
        pb.Layer(
            served_name=one.served_name,
            groups=one.reach.groups,
            spared_groups=one.reach.spared,
        )
        for one in composition.layers
    ]
    newest = {
        group: one.served_name for one in reversed(composition.layers) for group in one.reach.groups
    }
    return pb.Composition(layers=layers, others=composition.others, served_names=newest)


def decode_composition(composition: pb.Composition) -> Composition | None:
    """None of a version whose own weights everyone gets."""
    if not composition.others:
        return None
    if not composition.layers:
        return Composition.by_group(composition.served_names, composition.others)
    layers = (
        Layer(one.served_name, Reach(tuple(one.groups), tuple(one.spared_groups)))
        for one in composition.layers
    )
    return Composition(composition.others, tuple(layers))


def encode_interests(interests: Interests) -> pb.Interests:
    encoded = pb.Interests(
        rule=_RULES[interests.rule],
        reason=interests.reason,
        actor=interests.actor,
        margin=interests.margin,
        small_groups=_SMALL[interests.small_groups],
        limits=interests.limits,
        words=interests.words,
    )
    if interests.set_time:
        write_time(interests.set_time, encoded.set_time)
    return encoded


def decode_interests(interests: pb.Interests) -> Interests:
    """What is not set is as in `Interests()`."""
    default = Interests()
    return Interests(
        rule=_RULE_OF.get(interests.rule, default.rule),
        margin=interests.margin if interests.HasField("margin") else default.margin,
        small_groups=_SMALL_OF.get(interests.small_groups, default.small_groups),
        reason=interests.reason,
        actor=interests.actor,
        set_time=interests.set_time.ToDatetime(tzinfo=UTC)
        if interests.HasField("set_time")
        else None,
    )
